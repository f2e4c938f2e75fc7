#!/bin/sh
# Run once, on an empty data folder, by the image's own start: role, database and statistics.
set -eu

# Half a database would be taken for a whole one at the next start.
trap 'test $? = 0 || rm -rf "$PGDATA"/*' EXIT

psql --quiet --no-psqlrc --set ON_ERROR_STOP=1 --dbname postgres <<'SQL'
\set password `cat /run/clinic/postgres-password`
CREATE ROLE clinic LOGIN PASSWORD :'password';
CREATE DATABASE clinic OWNER clinic;
ALTER ROLE postgres PASSWORD NULL;
\connect clinic
CREATE EXTENSION pg_stat_statements;
GRANT pg_read_all_stats TO clinic;
SQL
