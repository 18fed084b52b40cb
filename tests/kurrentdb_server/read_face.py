"""Read: what to read, from where, which way, and whether it ends, as the protocol words it."""

from collections.abc import Iterator

from kurrentdbclient.protos.v1 import streams_pb2

from tests.kurrentdb_server.call import Call
from tests.kurrentdb_server.event_filter import allowed_everywhere, event_filter, search_window
from tests.kurrentdb_server.faults import Fault
from tests.kurrentdb_server.node import Node
from tests.kurrentdb_server.progress import HEAD
from tests.kurrentdb_server.reading import PAGE_MAX, Response, read_all, read_all_backwards, read_stream
from tests.kurrentdb_server.record import with_structured_ids
from tests.kurrentdb_server.refusal import (
    connection_lost,
    consumer_too_slow,
    handler_failed,
    invalid_argument,
    not_ready,
)
from tests.kurrentdb_server.subscription_to_all import SubscriptionToAll, Wish
from tests.kurrentdb_server.subscription_to_stream import SubscriptionToStream

Options = streams_pb2.ReadReq.Options


def read(node: Node, call: Call, options: Options) -> Iterator[Response]:
    """Every response, faults included; raises Refusal for what the server refuses."""
    if not options.HasField("uuid_option"):
        raise invalid_argument("'uuidOption' is a required argument")
    is_to_all = options.WhichOneof("stream_option") == "all"
    call.authorize("$all" if is_to_all else options.stream.stream_identifier.stream_name.decode())
    if node.faults.strike(Fault.READ_UNAVAILABLE) is not None:
        raise not_ready()
    responses = _responses(node, call, options, is_to_all=is_to_all)
    if options.uuid_option.WhichOneof("content") == "string":
        return responses
    return (with_structured_ids(told) if isinstance(told, bytes) else told for told in responses)


def _responses(node: Node, call: Call, options: Options, *, is_to_all: bool) -> Iterator[Response]:
    is_subscription = options.WhichOneof("count_option") == "subscription"
    if options.WhichOneof("filter_option") == "filter" and not is_to_all:
        raise invalid_argument("The combination of (Stream, Filter) is invalid.")
    if is_subscription and options.read_direction == Options.Backwards:
        raise invalid_argument("The combination of (Subscription, Backwards) is invalid.")
    if is_subscription:
        subscribed = _subscribe_to_all if is_to_all else _subscribe_to_stream
        return _with_subscription_faults(node, call, subscribed(node, call, options))
    call.require_leader()
    return _with_read_faults(node, call, (_read_all if is_to_all else _read_stream)(node, options))


def _read_stream(node: Node, options: Options) -> Iterator[Response]:
    name = options.stream.stream_identifier.stream_name.decode()
    which = options.stream.WhichOneof("revision_option")
    revision = options.stream.revision if which == "revision" else None
    backwards = options.read_direction == Options.Backwards
    if which == ("start" if backwards else "end"):
        revision = 0 if backwards else 2**63 - 1
    return read_stream(node.log, name, revision, options.count, backwards=backwards)


def _read_all(node: Node, options: Options) -> Iterator[Response]:
    is_filtered = options.WhichOneof("filter_option") == "filter"
    allowed = event_filter(options.filter) if is_filtered else allowed_everywhere
    if is_filtered:
        search_window(options.filter)
    result = "FilteredReadAllResult" if is_filtered else "ReadAllResult"
    which = options.all.WhichOneof("all_option")
    places = {"position": options.all.position.commit_position, "start": 0, "end": node.log.end}
    if which is None:
        raise handler_failed()
    reading = read_all if options.read_direction == Options.Forwards else read_all_backwards
    return reading(node.log, places[which], options.count, allowed, result)


def _subscribe_to_all(node: Node, call: Call, options: Options) -> Iterator[Response]:
    wish = Wish(allowed_everywhere, PAGE_MAX, None)
    if options.WhichOneof("filter_option") == "filter":
        window = search_window(options.filter)
        if not options.filter.checkpointIntervalMultiplier:
            raise handler_failed()
        interval = window * options.filter.checkpointIntervalMultiplier
        wish = Wish(event_filter(options.filter), window, interval)
    which = options.all.WhichOneof("all_option")
    places = {"position": options.all.position.commit_position, "start": HEAD, "end": None}
    if which is None:
        raise handler_failed()
    position = places[which]
    subscription = SubscriptionToAll(node.log, wish, node.options, lambda: call.is_wanted, call.require_leader)
    repeated = _repeated(node, wish, position) if which == "position" else ()
    return _with_repeats(repeated, subscription.responses(position))


def _subscribe_to_stream(node: Node, call: Call, options: Options) -> Iterator[Response]:
    name = options.stream.stream_identifier.stream_name.decode()
    which = options.stream.WhichOneof("revision_option")
    revisions = {"revision": options.stream.revision, "start": HEAD, "end": None}
    if which is None:
        raise handler_failed()
    subscription = SubscriptionToStream(node.log, name, node.options, lambda: call.is_wanted, call.require_leader)
    return subscription.responses(revisions[which])


def _repeated(node: Node, wish: Wish, position: int | None) -> list[Response]:
    """The events at and before `position` that a fault tells again."""
    amount = node.faults.strike(Fault.SUBSCRIPTION_REPEATS)
    index = node.log.index_of(position or 0)
    if amount is None or index is None:
        return []
    earlier = [record for record in node.log.records(0, index + 1) if wish.allowed(record)]
    return [record.response for record in earlier[-int(amount) :]]


def _with_repeats(repeated: list[Response] | tuple[()], responses: Iterator[Response]) -> Iterator[Response]:
    yield next(responses)
    yield from repeated
    yield from responses


def _with_subscription_faults(node: Node, call: Call, responses: Iterator[Response]) -> Iterator[Response]:
    cut_after = node.faults.strike(Fault.SUBSCRIPTION_CUT)
    dropped_after = node.faults.strike(Fault.CONSUMER_TOO_SLOW)
    silent_after = node.faults.strike(Fault.SUBSCRIPTION_SILENT)
    events = 0
    for told in responses:
        yield told
        events += isinstance(told, bytes)
        if cut_after is not None and events >= cut_after:
            raise connection_lost()
        if dropped_after is not None and events >= dropped_after:
            raise consumer_too_slow()
        if silent_after is not None and events >= silent_after:
            call.fall_silent()
    if call.is_connected:
        raise connection_lost()


def _with_read_faults(node: Node, call: Call, responses: Iterator[Response]) -> Iterator[Response]:
    cut_after = node.faults.strike(Fault.READ_CUT)
    silent_after = node.faults.strike(Fault.READ_SILENT)
    for events, told in enumerate(responses, start=1):
        yield told
        if cut_after is not None and events >= cut_after:
            raise connection_lost()
        if silent_after is not None and events >= silent_after:
            call.fall_silent()
