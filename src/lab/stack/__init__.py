"""The stack: PostgreSQL, telemetry and the API, in Docker or as native processes."""
