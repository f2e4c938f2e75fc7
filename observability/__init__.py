"""What is measured of the clinic, and the programs that keep and show it."""
