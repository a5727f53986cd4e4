"""A Wyolet Relay: its Prometheus endpoint."""
