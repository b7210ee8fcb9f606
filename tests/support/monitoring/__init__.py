"""What `docs/monitoring/` holds for Prometheus, Grafana and those on call, made from the alerts' definitions."""
