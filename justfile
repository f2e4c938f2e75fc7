set dotenv-load

[private]
default:
    @just --list --unsorted

# Bring everything up, put a short load on it, print what it did; the bundle stays up
[group('run')]
demo: up smoke status

# Start everything in the background: in containers, or without where no Docker engine answers
[group('run')]
[no-exit-message]
up:
    @uv run --quiet python -m observability up

# Stop all of it; the data stays
[group('run')]
[no-exit-message]
down:
    @uv run --quiet python -m observability down

# Stop all of it and remove the data, after asking
[group('run')]
[no-exit-message]
destroy *args:
    @uv run --quiet python -m observability destroy {{ args }}

# What runs, since when and where
[group('run')]
[no-exit-message]
status:
    @uv run --quiet python -m observability status

# What the parts log (just logs api -f)
[group('run')]
[no-exit-message]
logs *args:
    @uv run --quiet python -m observability logs {{ args }}

# What fires now, since when and why
[group('alerts')]
[no-exit-message]
alerts:
    @uv run --quiet python -m observability.alerts show

# Let one alert, or all, call nobody for a while (just silence 30m ClinicDown)
[group('alerts')]
[no-exit-message]
silence duration *alertname:
    @uv run --quiet python -m observability.alerts silence {{ duration }} {{ alertname }}

# End what `just silence` began
[group('alerts')]
[no-exit-message]
unsilence:
    @uv run --quiet python -m observability.alerts unsilence

# A few requests for 20 s, then the run's table
[group('load')]
smoke: (run "smoke")

# A working day in 7 min: 2 to 30 iterations a second and back
[group('load')]
load: (run "load")

# As many users as it takes: 20, 60, then 100 in 5 min
[group('load')]
stress: (run "stress")

# 5 users, of a sudden 100 for a minute, then 5 again: 3 min
[group('load')]
spike: (run "spike")

# 10 visits a second for an hour (DURATION=8h just soak)
[group('load')]
soak: (run "soak")

# Up to 150 visits a second in 10 min, or until a threshold is crossed
[group('load')]
breakpoint: (run "breakpoint")

# Mass reading: pages of the agenda and of owners, with pauses (just browse stress)
[group('load')]
browse profile="load": (run profile "--journey=browse")

# Bookings that are cancelled, and cancelled again (just cancel stress)
[group('load')]
cancel profile="load": (run profile "--journey=cancel")

[no-exit-message]
[private]
run profile *options:
    @uv run --quiet python -m observability.runs run {{ profile }} {{ options }}

# A run's table and page again (default: of the newest)
[group('load')]
[no-exit-message]
report *run:
    @uv run --quiet python -m observability.runs report {{ run }}

# The runs there are, newest first (just runs --last 10)
[group('load')]
[no-exit-message]
runs *args:
    @uv run --quiet python -m observability.runs runs {{ args }}

# Two runs beside each other (default: the last two of a kind; just compare A B --fail-over 10%)
[group('load')]
[no-exit-message]
compare *args:
    @uv run --quiet python -m observability.runs compare {{ args }}

# The waterfall of a trace
[group('load')]
[no-exit-message]
trace id:
    @uv run --quiet python -m observability.runs trace {{ id }}

# Everything that must hold before a change lands: lint, types, tests
[group('check')]
check: lint test

# Style and types
[group('check')]
lint:
    uv run ruff check
    uv run ruff format --check
    uv run mypy
    just --fmt --check

# The types of the load script, by the TypeScript compiler (needs npm)
[group('check')]
lint-load:
    npm install --prefix performance --no-package-lock --silent
    npm run --prefix performance --silent check

# The tests, real programs and all (just test -m "not bundle": the quick ones)
[group('check')]
test *args:
    uv run pytest {{ args }}

# What telemetry costs a request, as a ratio
[group('check')]
bench:
    uv run python -m tests.telemetry_cost

# Write Grafana's pages from their source, observability/dashboards
[group('check')]
dashboards:
    uv run python -W ignore::DeprecationWarning -m observability.dashboards

# Mend style where that can be done by machine
[group('check')]
format:
    uv run ruff check --fix
    uv run ruff format
    just --fmt

# Write the rules of Prometheus that come from performance/slo.json
[group('check')]
rules:
    @uv run --quiet python -m observability.alerts rules

# Resolve the newest versions and pin every one in pyproject.toml
[group('check')]
lock:
    uv run python -m tests.lock
