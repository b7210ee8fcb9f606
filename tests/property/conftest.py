"""Hypothesis as all properties want it: no bound on one example's time, since the machine may be busy."""

from hypothesis import HealthCheck, settings

settings.register_profile("properties", deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("properties")
