"""Grafana's dashboards, built from code: `make docs` writes the JSON files beside it."""
