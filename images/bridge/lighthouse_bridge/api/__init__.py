"""The routes, one module a subject; each lists its own in ROUTES."""
