"""What a record says: the slowest operation, saturation, the difference between two runs."""
