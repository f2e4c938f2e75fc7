"""The database's disk is full, Prometheus's disk is full, clocks differ."""

from pathlib import Path

FULL_DISK = Path(__file__).with_name("full_disk.c")
"""Source of a library that makes the disk of a program full."""
