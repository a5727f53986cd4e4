"""Reads the exposition of a Prometheus endpoint into families."""
