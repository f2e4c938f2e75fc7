"""Pets, each of one owner."""
