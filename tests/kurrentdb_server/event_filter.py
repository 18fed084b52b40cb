"""Which events of the whole log a reader wants, as the request says it."""

import re
from collections.abc import Callable

from kurrentdbclient.protos.v1 import streams_pb2

from tests.kurrentdb_server.record import Record
from tests.kurrentdb_server.refusal import index_not_found, invalid_argument

Allowed = Callable[[Record], bool]
FilterOptions = streams_pb2.ReadReq.Options.FilterOptions

INDEX_PREFIX = "$idx-"
DEFAULT_WINDOW = 32


def allowed_everywhere(record: Record) -> bool:
    """Even a reader without a filter is not told of the epochs and of what subscriptions keep for themselves."""
    stream = record.stream
    if not stream.startswith("$"):
        return True
    is_private = stream.startswith("$persistentsubscription-$all::") and stream.endswith(("-checkpoint", "-parked"))
    return stream != "$epoch-information" and not is_private


def event_filter(options: FilterOptions) -> Allowed:
    """What the filter lets through; raises Refusal for what the server refuses."""
    which = options.WhichOneof("filter")
    if which is None:
        raise invalid_argument("'filter' is not a valid filter")
    expression = options.event_type if which == "event_type" else options.stream_identifier
    if which == "stream_identifier" and not expression.regex:
        _refuse_index(list(expression.prefix))
    matches = _matcher(expression)
    if which == "event_type":
        return lambda record: allowed_everywhere(record) and matches(record.type)
    return lambda record: allowed_everywhere(record) and matches(record.stream)


def search_window(options: FilterOptions) -> int:
    """How many events one page considers at most."""
    window = options.WhichOneof("window")
    if window is None:
        raise invalid_argument("'None' is not a valid window")
    return options.max if window == "max" else DEFAULT_WINDOW


def _matcher(expression: FilterOptions.Expression) -> Callable[[str], bool]:
    if not expression.regex:
        prefixes = tuple(expression.prefix)
        return lambda text: text.startswith(prefixes)
    try:
        pattern = re.compile(expression.regex)
    except re.error as error:
        raise invalid_argument(f"invalid pattern {expression.regex!r}: {error}") from error
    return lambda text: pattern.search(text) is not None


def _refuse_index(prefixes: list[str]) -> None:
    for prefix in prefixes:
        if prefix.startswith(INDEX_PREFIX):
            raise index_not_found(prefix)
