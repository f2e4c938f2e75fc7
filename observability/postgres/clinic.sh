#!/bin/sh
# The image runs this once, on an empty data directory: it creates the role, the database and the
# statistics extension.
set -eu

# The next start would take an incomplete data directory for a complete one.
trap 'test $? = 0 || rm -rf "$PGDATA"/*' EXIT

psql --quiet --no-psqlrc --set ON_ERROR_STOP=1 --dbname postgres <<'SQL'
\set password `cat /run/clinic/postgres-password`
CREATE ROLE clinic LOGIN PASSWORD :'password';
CREATE DATABASE clinic OWNER clinic;
ALTER ROLE postgres PASSWORD NULL;
\connect clinic
CREATE EXTENSION pg_stat_statements;
SQL
