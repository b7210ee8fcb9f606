"""WuKongIM: its webhook bodies and its recordings."""
