"""What records show, as values: lab.reports writes the sentences."""
