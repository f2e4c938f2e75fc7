"""Runs: start one, read one back as a record."""
