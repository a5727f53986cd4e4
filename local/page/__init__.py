"""A page of what the demo stores, for a browser on this machine: spend, tokens, overhead, health.

It knows only what the store answers to SQL, and asks no address but its own.
"""

from local.page.history import History
from local.page.server import serve_page

__all__ = ["History", "serve_page"]
