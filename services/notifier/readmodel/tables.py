"""The tables of the projection "webhooks". Instants are epoch microseconds, positions those of the log."""

from dataclasses import dataclass

from sqlalchemy import BigInteger, Column, Index, Integer, LargeBinary, MetaData, Table, Text


@dataclass(frozen=True, slots=True)
class WebhookTables:
    """One generation of the tables."""

    endpoints: Table
    messages: Table
    deliveries: Table
    attempts: Table


def webhook_tables(metadata: MetaData, suffix: str) -> WebhookTables:
    """Declare the tables; every name ends with `suffix`."""
    return WebhookTables(
        endpoints=_endpoints(metadata, suffix),
        messages=_messages(metadata, suffix),
        deliveries=_deliveries(metadata, suffix),
        attempts=_attempts(metadata, suffix),
    )


def _endpoints(metadata: MetaData, suffix: str) -> Table:
    """`message_types` are separated by blanks; `ended_position` is that of the first event that ended it, or NULL."""
    return Table(
        f"webhook_endpoints{suffix}",
        metadata,
        Column("key", Text, primary_key=True),
        Column("url", Text, nullable=False),
        Column("message_types", Text, nullable=False),
        Column("description", Text, nullable=False),
        Column("mode", Text, nullable=False),
        Column("secret_salt", LargeBinary, nullable=False),
        Column("secret_fingerprint", LargeBinary, nullable=False),
        Column("state", Text, nullable=False),
        Column("created_at_us", BigInteger, nullable=False),
        Column("created_position", BigInteger, nullable=False),
        Column("ended_position", BigInteger),
    )


def _messages(metadata: MetaData, suffix: str) -> Table:
    """`position` is that of the message, `source_position` that of the fact."""
    return Table(
        f"webhook_messages{suffix}",
        metadata,
        Column("id", Text, primary_key=True),
        Column("type", Text, nullable=False),
        Column("body", LargeBinary, nullable=False),
        Column("occurred_at_us", BigInteger, nullable=False),
        Column("source_position", BigInteger, nullable=False),
        Column("position", BigInteger, nullable=False),
        Index(f"webhook_messages_source{suffix}", "source_position"),
        Index(f"webhook_messages_position{suffix}", "position"),
        Index(f"webhook_messages_type{suffix}", "type", "position"),
    )


def _deliveries(metadata: MetaData, suffix: str) -> Table:
    """`attempts` counts those made, `next_attempt_at_us` is NULL unless pending, `position` is the message's."""
    return Table(
        f"webhook_deliveries{suffix}",
        metadata,
        Column("message", Text, primary_key=True),
        Column("endpoint", Text, primary_key=True),
        Column("message_type", Text, nullable=False),
        Column("state", Text, nullable=False),
        Column("attempts", Integer, nullable=False),
        Column("next_attempt_at_us", BigInteger),
        Column("position", BigInteger, nullable=False),
        Index(f"webhook_deliveries_due{suffix}", "endpoint", "state", "next_attempt_at_us", "position"),
        Index(f"webhook_deliveries_next{suffix}", "state", "next_attempt_at_us"),
        Index(f"webhook_deliveries_position{suffix}", "position", "endpoint"),
        Index(f"webhook_deliveries_state{suffix}", "state", "position", "endpoint"),
        Index(f"webhook_deliveries_endpoint{suffix}", "endpoint", "position"),
    )


def _attempts(metadata: MetaData, suffix: str) -> Table:
    return Table(
        f"webhook_attempts{suffix}",
        metadata,
        Column("message", Text, primary_key=True),
        Column("endpoint", Text, primary_key=True),
        Column("number", Integer, primary_key=True),
        Column("attempted_at_us", BigInteger, nullable=False),
        Column("status", Integer, nullable=False),
        Column("error", Text, nullable=False),
        Column("duration_ms", BigInteger, nullable=False),
        Column("response_excerpt", LargeBinary, nullable=False),
    )
