"""The alerts: what fires, what is silenced, and the rules that come from the objective."""
