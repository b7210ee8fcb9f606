"""A WuKongIM that lies on command: its nodes, clients, webhooks, query API and faults. It knows no presence rule."""
