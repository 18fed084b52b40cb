"""Every way in which the server says no, as a gRPC status with the words and the metadata of the real one."""

from dataclasses import dataclass

import grpc


@dataclass(frozen=True)
class Refusal(Exception):
    """Ends a call; `metadata` goes into the trailers."""

    code: grpc.StatusCode
    details: str
    metadata: tuple[tuple[str, str], ...] = ()


def handler_failed() -> Refusal:
    """What any unforeseen exception of a handler looks like to a client."""
    return Refusal(grpc.StatusCode.UNKNOWN, "Exception was thrown by handler.")


def connection_lost() -> Refusal:
    """What a client sees when the connection breaks under a call."""
    return Refusal(grpc.StatusCode.UNAVAILABLE, "Connection reset by peer")


def stream_reset() -> Refusal:
    """What a client sees when the server, or a proxy before it, resets the HTTP/2 stream of a call."""
    return Refusal(grpc.StatusCode.INTERNAL, "Received RST_STREAM with error code 2")


def not_ready() -> Refusal:
    """The node starts, or an election goes on; nothing was done."""
    return Refusal(grpc.StatusCode.UNAVAILABLE, "Server Is Not Ready")


def timed_out(message: str) -> Refusal:
    """The cluster did not finish in time; whether it did later, nobody says."""
    return Refusal(grpc.StatusCode.ABORTED, f"Operation timed out: {message}")


def consumer_too_slow() -> Refusal:
    """A subscriber that lags is dropped."""
    return timed_out("Consumer too slow to handle event while live. Client resubscription required.")


def not_leader(host: str, port: int) -> Refusal:
    """Another node takes this call."""
    metadata = (
        ("exception", "not-leader"),
        ("leader-endpoint-host", host),
        ("leader-endpoint-port", str(port)),
    )
    return Refusal(grpc.StatusCode.NOT_FOUND, "Leader info available", metadata)


def no_leader() -> Refusal:
    """Another node should take this call, and none is known."""
    return Refusal(grpc.StatusCode.UNKNOWN, "No leader info available in response")


def unauthenticated() -> Refusal:
    """The credentials are wrong."""
    return Refusal(grpc.StatusCode.UNAUTHENTICATED, "Unauthenticated")


def access_denied() -> Refusal:
    """This user may not do this."""
    return Refusal(grpc.StatusCode.PERMISSION_DENIED, "Access Denied", (("exception", "access-denied"),))


def stream_deleted(stream: str) -> Refusal:
    """The stream is tombstoned, or deleted and expected to exist."""
    metadata = (("exception", "stream-deleted"), *_names("stream-name", stream))
    return Refusal(grpc.StatusCode.FAILED_PRECONDITION, f"Event stream '{stream}' is deleted.", metadata)


def wrong_expected_version(operation: str, stream: str, expected: int, actual: int) -> Refusal:
    """A deletion met another version."""
    details = f"{operation} failed due to WrongExpectedVersion. Stream: {stream}, "
    details += f"Expected version: {expected}, Actual version: {actual}"
    versions = (("expected-version", str(expected)), ("actual-version", str(actual)))
    metadata = (("exception", "wrong-expected-version"), *_names("stream-name", stream), *versions)
    return Refusal(grpc.StatusCode.FAILED_PRECONDITION, details, metadata)


def append_too_large(bytes_max: int) -> Refusal:
    """All events of one append together are over the limit."""
    metadata = (("exception", "maximum-append-size-exceeded"), ("maximum-append-size", str(bytes_max)))
    return invalid_argument(f"Maximum Append Size of {bytes_max} Exceeded.", metadata)


def event_too_large(event_id: str, size: int, bytes_max: int) -> Refusal:
    """One event alone is over the limit; servers before 25.1 have none."""
    metadata = (
        ("exception", "maximum-append-event-size-exceeded"),
        ("maximum-append-event-size", str(bytes_max)),
        ("event-id", event_id),
        ("proposed-append-event-size", str(size)),
    )
    details = f"Event with Id: {event_id}, Size: {size}, exceeds Maximum Append Event Size of {bytes_max}."
    return invalid_argument(details, metadata)


def property_missing(details: str) -> Refusal:
    """An event came without what every event has."""
    metadata = (
        ("exception", "missing-required-metadata-property"),
        ("required-metadata-properties", "type,content-type"),
    )
    return invalid_argument(details, metadata)


def invalid_position() -> Refusal:
    """A subscription began where no record is."""
    return invalid_argument("Trying to read from an invalid position.")


def unreadable_position(result: str, position: int) -> Refusal:
    """A read began where no record is; `result` is the name that the server's reader gives its answer."""
    details = f"Unexpected {result}: InvalidPosition >> no record at position {position}"
    return Refusal(grpc.StatusCode.UNKNOWN, details)


def index_not_found(name: str) -> Refusal:
    """There are no secondary indexes here."""
    metadata = (("exception", "index-not-found"), *_names("index-name", name))
    return Refusal(grpc.StatusCode.NOT_FOUND, f"Index '{name}' not found.", metadata)


def invalid_argument(details: str, metadata: tuple[tuple[str, str], ...] = ()) -> Refusal:
    """The request itself is wrong."""
    return Refusal(grpc.StatusCode.INVALID_ARGUMENT, details, metadata)


def _names(key: str, name: str) -> tuple[tuple[str, str], ...]:
    """A name that fits into a header; others are left out, as a header holds ASCII only."""
    return ((key, name),) if name.isascii() and name.isprintable() else ()
