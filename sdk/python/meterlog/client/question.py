"""A call that asks or decides something, as a value: where to, what is sent, and how its answer is read.

Every call here may be sent again when nobody answered: questions write nothing, and decisions are known by their key.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar

from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.message import Message

from meterlog.aggregator.v1 import aggregator_pb2, correction_pb2, storage_pb2
from meterlog.ingest.v1 import ingest_pb2
from meterlog.rating.v1 import rating_pb2

A = TypeVar("A")

Server = Literal["ingest", "aggregator", "rating"]


@dataclass(frozen=True, slots=True)
class Question(Generic[A]):
    """One call; `read` makes the answer of its response."""

    server: Server
    path: str
    request: Message
    response: type[Message]
    read: Callable[[Any], A]


@dataclass(frozen=True, slots=True)
class Pages(Generic[A]):
    """A call whose answer comes in pages: `items` are those of one response, which names the next page's token."""

    first: Question[Sequence[A]]


def usage_question(method: str, request: Message, response: type[Message], read: Callable[[Any], A]) -> Question[A]:
    """A question to the aggregator."""
    return Question("aggregator", _path(aggregator_pb2, "AggregatorService", method), request, response, read)


def correction_question(
    method: str, request: Message, response: type[Message], read: Callable[[Any], A]
) -> Question[A]:
    """A question, or a decision, about corrections and backfills."""
    return Question("aggregator", _path(correction_pb2, "CorrectionService", method), request, response, read)


def storage_question(method: str, request: Message, response: type[Message], read: Callable[[Any], A]) -> Question[A]:
    """A question about the archive of usage, or a check of usage."""
    return Question("aggregator", _path(storage_pb2, "UsageStorageService", method), request, response, read)


def invoice_question(method: str, request: Message, response: type[Message], read: Callable[[Any], A]) -> Question[A]:
    """A question to the rating service."""
    return Question("rating", _path(rating_pb2, "RatingService", method), request, response, read)


def ingest_question(method: str, request: Message, response: type[Message], read: Callable[[Any], A]) -> Question[A]:
    """A question to the ingest service."""
    return Question("ingest", _path(ingest_pb2, "IngestService", method), request, response, read)


def _path(module: Any, service: str, method: str) -> str:
    descriptor: ServiceDescriptor = module.DESCRIPTOR.services_by_name[service]
    return f"/{descriptor.full_name}/{descriptor.methods_by_name[method].name}"
