"""Every PromQL and TraceQL expression of panels and reports, once."""
