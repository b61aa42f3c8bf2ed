"""Postgres and nothing else: the schema, its statements, and the server of one's own."""
