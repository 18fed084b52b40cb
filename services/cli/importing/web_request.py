"""Requests of web clients as usage events in columns: what is counted, of whom, and by which properties.

method        such as "GET"; "-" where the client sent no request that could be read
path          without host and query, cut at 1,024 characters
path_prefix   its first segments: of "/docs/api/v1", with one segment, "/docs"
status        such as "404"; status_class is "4xx"
bytes         size of the response
protocol      such as "HTTP/1.1"
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

TYPE: Final = "http.request"
ABSENT: Final = "-"
PATH_CHARACTERS_MAX: Final = 1_024
PREFIX_SEGMENTS_MAX: Final = 16

_ORIGIN = r"^[A-Za-z][A-Za-z0-9+.-]*://[^/?#]*"
_QUERY = r"[?#](?s:.)*$"


class SubjectFrom(StrEnum):
    """Who a request is about: the client's address, or the user who was logged in."""

    IP = "ip"
    USER = "user"


@dataclass(frozen=True, slots=True)
class WebLogOptions:
    """How requests become usage events; `subject` is one customer for all of them, `source` "" the format's own."""

    subject_from: SubjectFrom = SubjectFrom.IP
    subject: str = ""
    prefix_segments: int = 1
    type: str = TYPE
    source: str = ""


@dataclass(frozen=True, slots=True)
class WebRequests:
    """Requests in parallel columns of text, without nulls; `times` are timestamps in UTC, `sizes` whole numbers."""

    ids: pa.Array
    times: pa.Array
    subjects: pa.Array
    methods: pa.Array
    targets: pa.Array
    statuses: pa.Array
    sizes: pa.Array
    protocols: pa.Array


def usage_columns(requests: WebRequests, options: WebLogOptions, source: str) -> pa.RecordBatch:
    """The usage events of requests, one each, with the value that a usage event has by default."""
    paths = path_of(requests.targets)
    columns = {
        "id": requests.ids,
        "time": requests.times,
        "p.method": requests.methods.dictionary_encode(),
        "p.path": paths.dictionary_encode(),
        "p.path_prefix": path_prefix(paths, options.prefix_segments).dictionary_encode(),
        "p.status": requests.statuses.dictionary_encode(),
        "p.status_class": status_class(requests.statuses).dictionary_encode(),
        "p.bytes": requests.sizes.cast(pa.utf8()).dictionary_encode(),
        "p.protocol": requests.protocols.dictionary_encode(),
    }
    same_for_all = {"source": options.source or source, "type": options.type}
    if options.subject:
        same_for_all["subject"] = options.subject
    else:
        columns["subject"] = requests.subjects.dictionary_encode()
    fields = [pa.field(name, column.type) for name, column in columns.items()]
    return pa.RecordBatch.from_arrays(list(columns.values()), schema=pa.schema(fields, same_for_all))


def path_of(targets: pa.Array) -> pa.Array:
    """The path of each request's target: no scheme and host, no query; "/" for none."""
    paths = pc.replace_substring_regex(targets, _ORIGIN, "")
    paths = pc.utf8_slice_codeunits(pc.replace_substring_regex(paths, _QUERY, ""), 0, PATH_CHARACTERS_MAX)
    return pc.if_else(pc.equal(paths, ""), "/", paths)


def path_prefix(paths: pa.Array, segments: int) -> pa.Array:
    """The first segments of each path, without a slash at the end; "/" stays."""
    first = pc.replace_substring_regex(paths, rf"^((?:/[^/]*){{1,{segments}}})(?s:.)*$", r"\1")
    bare = pc.utf8_rtrim(first, "/")
    return pc.if_else(pc.equal(bare, ""), "/", bare)


def status_class(statuses: pa.Array) -> pa.Array:
    """ "2xx" for "204"."""
    return pc.binary_join_element_wise(pc.utf8_slice_codeunits(statuses, 0, 1), "xx", "")
