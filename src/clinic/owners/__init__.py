"""Owners: the people who bring their pets."""
