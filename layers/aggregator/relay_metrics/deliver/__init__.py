"""Delivering snapshots: encode, push, spool, and the report of what became of them."""
