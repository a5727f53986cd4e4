"""A Prometheus endpoint: its exposition, read into families."""
