"""HTTP: one exchange, bounded in bytes and in time."""
