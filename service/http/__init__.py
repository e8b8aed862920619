"""The HTTP service: an app factory over an engine, and the server that runs it."""
