"""The clinic itself, whoever calls it: what its own metrics say, over `each`, such as `20s`."""

from observability.queries.names import SERVICE, quoted

OF_THE_CLINIC = f"job={quoted(SERVICE)}"


def event_loop_lag(quantile: float, each: str) -> str:
    """Give a quantile of the seconds by which the event loop woke a sleeper too late."""
    lag = f"rate(clinic_event_loop_lag_seconds{{{OF_THE_CLINIC}}}[{each}])"
    return f"histogram_quantile({quantile}, sum({lag}))"


def connections_used(each: str) -> str:
    """Count the pool's connections in use, at the most."""
    used = f'{OF_THE_CLINIC},db_client_connection_state="used"'
    return f"sum(max_over_time(db_client_connection_count{{{used}}}[{each}]))"


def connections_allowed(each: str) -> str:
    """Count the connections that the pool may open."""
    return f"sum(last_over_time(db_client_connection_max{{{OF_THE_CLINIC}}}[{each}]))"
