-- Who may do what in the database. It runs once, when the database is made; each statement ends with its line.
-- Nobody may do anything by default: neither connect nor make objects.
REVOKE ALL ON DATABASE lighthouse FROM PUBLIC;
REVOKE ALL ON SCHEMA public FROM PUBLIC;
-- Otherwise the owner of the database owns this schema too.
ALTER SCHEMA public OWNER TO postgres;
CREATE ROLE bridge;
CREATE ROLE exporter;
CREATE ROLE auditor;
-- The migrator owns the schema and is the only one who may change what is in it.
CREATE SCHEMA lighthouse AUTHORIZATION migrator;
ALTER DATABASE lighthouse SET search_path = lighthouse;
GRANT CONNECT ON DATABASE lighthouse TO migrator, bridge, auditor, pg_monitor;
GRANT USAGE ON SCHEMA lighthouse TO bridge, auditor;
-- Events are appended and never changed, so the bridge may read and insert. A migration that makes a table whose
-- rows change grants UPDATE and DELETE on that table itself.
ALTER DEFAULT PRIVILEGES FOR ROLE migrator IN SCHEMA lighthouse GRANT SELECT, INSERT ON TABLES TO bridge;
ALTER DEFAULT PRIVILEGES FOR ROLE migrator IN SCHEMA lighthouse GRANT USAGE ON SEQUENCES TO bridge;
ALTER DEFAULT PRIVILEGES FOR ROLE migrator IN SCHEMA lighthouse GRANT SELECT ON TABLES TO auditor;
-- Functions are executable by everybody unless this is said for all schemas.
ALTER DEFAULT PRIVILEGES FOR ROLE migrator REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;
ALTER ROLE bridge SET statement_timeout = '30s';
ALTER ROLE bridge SET idle_in_transaction_session_timeout = '30s';
ALTER ROLE auditor SET default_transaction_read_only = on;
