"""A load run: started under its id, and read back from Prometheus and the trace store by it."""
