"""HTTP exchanges, bounded in bytes and time."""
