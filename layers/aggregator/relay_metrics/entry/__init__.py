"""How an invocation comes in: the handler, the event, and which action it asks for."""
