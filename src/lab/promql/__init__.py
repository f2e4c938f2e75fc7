"""Every PromQL and TraceQL expression, once."""
