"""A Claude Relay Service: its keys, accounts and the relay at large."""
