"""Clients of the stack's HTTP APIs."""
