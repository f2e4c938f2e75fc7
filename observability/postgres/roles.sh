#!/bin/sh
# Creates the roles of the API and of the metrics, or renews them: the image runs this on an empty
# data directory, after clinic.sh, and `just up` at each start.
set -eu

psql --quiet --no-psqlrc --set ON_ERROR_STOP=1 --dbname postgres <<'SQL'
SET client_min_messages = error;
SET log_min_messages = error;
\set password `cat /run/monitor/postgres-password`
DO $$ BEGIN CREATE ROLE monitor; EXCEPTION WHEN duplicate_object THEN NULL; END $$;
ALTER ROLE monitor LOGIN CONNECTION LIMIT 8 PASSWORD :'password';
GRANT pg_monitor TO monitor;
REVOKE TEMPORARY ON DATABASE postgres, clinic, template1 FROM PUBLIC;
REVOKE pg_read_all_stats FROM clinic;
CREATE EXTENSION IF NOT EXISTS pg_stat_statements;
\connect clinic
SET client_min_messages = error;
SET log_min_messages = error;
\set password `cat /run/api/postgres-password`
DO $$ BEGIN CREATE ROLE clinic_api; EXCEPTION WHEN duplicate_object THEN NULL; END $$;
ALTER ROLE clinic_api LOGIN CONNECTION LIMIT 80 PASSWORD :'password';
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO clinic_api;
ALTER DEFAULT PRIVILEGES FOR ROLE clinic IN SCHEMA public
  GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO clinic_api;
SQL
