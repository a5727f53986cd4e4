"""The entry of an invocation: the Lambda handler, the typed event, and the action it asks for."""
