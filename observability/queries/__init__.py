"""Every PromQL and TraceQL expression of the project, once, for runs read back and dashboards.

`totals` has a run as a whole, `course` the same over its time, `history` the runs there are,
`service` the clinic whoever calls it, and `traceql` the traces. A run is chosen by `Of`.
"""
