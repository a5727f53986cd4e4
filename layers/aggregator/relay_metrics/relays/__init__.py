"""Asking relays: one module a kind, each from a relay's settings to a snapshot."""
