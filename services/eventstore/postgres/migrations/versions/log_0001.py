"""The tables of a log: categories, streams, runs, events, commits. Nothing in them is ever changed."""

from alembic import op

revision = "log_0001"
down_revision = None
branch_labels = None
depends_on = None

_TABLES = (
    """
    CREATE TABLE categories (
        id integer PRIMARY KEY,
        name text COLLATE "C" NOT NULL UNIQUE
    )
    """,
    """
    CREATE TABLE streams (
        id bigint PRIMARY KEY,
        category_id integer NOT NULL,
        identifier text COLLATE "C" NOT NULL,
        UNIQUE (category_id, identifier)
    )
    """,
    # A run is a row of consecutive events of one stream: positions and versions count up together.
    """
    CREATE TABLE runs (
        first_position bigint PRIMARY KEY,
        last_position bigint NOT NULL CHECK (last_position >= first_position),
        stream_id bigint NOT NULL,
        first_version bigint NOT NULL CHECK (first_version >= 0), -- 0, 1, 2 … without gaps in its stream
        recorded_at_us bigint NOT NULL, -- microseconds since 1970-01-01 UTC
        payload_bytes bigint NOT NULL, -- of all its events
        category_id integer NOT NULL,
        UNIQUE (stream_id, first_version)
    )
    """,
    "CREATE INDEX runs_by_category ON runs (category_id, first_position)",
    # Position is the only key, so that the table can be partitioned by ranges of positions.
    """
    CREATE TABLE events (
        position bigint PRIMARY KEY, -- 1, 2, 3 … without gaps
        event_id uuid NOT NULL,
        schema_version integer NOT NULL,
        type text COLLATE "C" NOT NULL,
        payload bytea NOT NULL,
        leaf bytea NOT NULL
    )
    """,
    # Payloads are compressed before they come here.
    "ALTER TABLE events ALTER COLUMN payload SET STORAGE EXTERNAL",
    """
    CREATE TABLE commits (
        last_position bigint PRIMARY KEY,
        first_position bigint NOT NULL,
        root bytea NOT NULL,
        chain bytea NOT NULL
    )
    """,
)

_VIEW = """
    CREATE VIEW recorded_events AS
    SELECT e.position, k.name || '-' || s.identifier AS stream,
        r.first_version + e.position - r.first_position AS version, e.type, e.schema_version,
        to_timestamp(r.recorded_at_us / 1000000.0) AS recorded_at, e.event_id, e.payload, e.leaf
    FROM runs AS r
    JOIN streams AS s ON s.id = r.stream_id AND s.category_id = r.category_id
    JOIN categories AS k ON k.id = r.category_id
    JOIN events AS e ON e.position BETWEEN r.first_position AND r.last_position
"""

_REFUSAL = """
    CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $body$
    BEGIN
        RAISE EXCEPTION 'the log is append-only: % of % is refused', TG_OP, TG_TABLE_NAME
            USING ERRCODE = 'integrity_constraint_violation';
    END
    $body$
"""

_TRIGGER = """
    CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {table}
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()
"""

# Rows only come. Vacuum then has one thing to do: freeze what came, once, in pieces, long before it must.
_VACUUM = """
    ALTER TABLE {table} SET (
        autovacuum_vacuum_insert_threshold = 1000000, autovacuum_vacuum_insert_scale_factor = 0,
        autovacuum_freeze_min_age = 0, autovacuum_analyze_threshold = 1000000
    )
"""


def upgrade() -> None:
    """Create them in the schema that is first in the search path."""
    for statement in (*_TABLES, _VIEW, _REFUSAL):
        op.execute(statement)
    for table in ("categories", "streams", "runs", "events", "commits"):
        op.execute(_TRIGGER.format(table=table))
    for table in ("streams", "runs", "events", "commits"):
        op.execute(_VACUUM.format(table=table))
