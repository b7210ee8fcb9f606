"""WuKongIM's binary protocol, by which its clients connect: as much of it as a canary needs to come and to go."""
