"""The tables of the projection "webhooks". Instants are epoch microseconds, positions those of the log."""

from dataclasses import dataclass

from sqlalchemy import BigInteger, Column, Index, Integer, LargeBinary, MetaData, Table

from services.projection.columns import TEXT, Apart, apart


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
        Column("key", TEXT, primary_key=True),
        Column("url", TEXT, nullable=False, info=apart(Apart.DEPLOYMENT)),
        Column("message_types", TEXT, nullable=False),
        Column("description", TEXT, nullable=False),
        Column("mode", TEXT, nullable=False),
        Column("secret_salt", LargeBinary, nullable=False, info=apart(Apart.CHANCE)),
        Column("secret_fingerprint", LargeBinary, nullable=False, info=apart(Apart.CHANCE)),
        Column("state", TEXT, nullable=False),
        Column("created_at_us", BigInteger, nullable=False),
        Column("created_position", BigInteger, nullable=False, info=apart(Apart.PLACE)),
        Column("ended_position", BigInteger, info=apart(Apart.PLACE)),
    )


def _messages(metadata: MetaData, suffix: str) -> Table:
    """`position` is that of the message, `source_position` that of the fact."""
    return Table(
        f"webhook_messages{suffix}",
        metadata,
        Column("id", TEXT, primary_key=True),
        Column("type", TEXT, nullable=False),
        Column("body", LargeBinary, nullable=False, info=apart(Apart.PLACE)),
        Column("occurred_at_us", BigInteger, nullable=False),
        Column("source_position", BigInteger, nullable=False, info=apart(Apart.PLACE)),
        Column("position", BigInteger, nullable=False, info=apart(Apart.PLACE)),
        Index(f"webhook_messages_source{suffix}", "source_position"),
        Index(f"webhook_messages_position{suffix}", "position"),
        Index(f"webhook_messages_type{suffix}", "type", "position"),
    )


def _deliveries(metadata: MetaData, suffix: str) -> Table:
    """`attempts` counts those made, `next_attempt_at_us` is NULL unless pending, `position` is the message's."""
    return Table(
        f"webhook_deliveries{suffix}",
        metadata,
        Column("message", TEXT, primary_key=True),
        Column("endpoint", TEXT, primary_key=True),
        Column("message_type", TEXT, nullable=False),
        Column("state", TEXT, nullable=False),
        Column("attempts", Integer, nullable=False),
        Column("next_attempt_at_us", BigInteger),
        Column("position", BigInteger, nullable=False, info=apart(Apart.PLACE)),
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
        Column("message", TEXT, primary_key=True),
        Column("endpoint", TEXT, primary_key=True),
        Column("number", Integer, primary_key=True),
        Column("attempted_at_us", BigInteger, nullable=False),
        Column("status", Integer, nullable=False),
        Column("error", TEXT, nullable=False),
        Column("duration_ms", BigInteger, nullable=False, info=apart(Apart.MEASURED)),
        Column("response_excerpt", LargeBinary, nullable=False),
    )
