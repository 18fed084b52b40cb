"""What a subscription says besides events: that it stands, how far it looked, and whether it keeps up."""

from uuid import uuid4

from google.protobuf.timestamp_pb2 import Timestamp
from kurrentdbclient.protos.v1 import streams_pb2

from services.kernel.clock import SystemClock, epoch_us

ReadResp = streams_pb2.ReadResp

# Before the first record: nothing was looked at yet.
HEAD = -1


def confirmation() -> ReadResp:
    """The first message of every subscription."""
    return ReadResp(confirmation=ReadResp.SubscriptionConfirmation(subscription_id=str(uuid4())))


def checkpoint(position: int) -> ReadResp:
    """Everything up to `position` was looked at."""
    told = ReadResp.Checkpoint(commit_position=position, prepare_position=position, timestamp=_now())
    return ReadResp(checkpoint=told)


def caught_up(position: int | None = None, revision: int | None = None, *, says_where: bool) -> ReadResp:
    """The reader has all that there is, up to a position of the log or a revision of the stream."""
    if not says_where:
        return ReadResp(caught_up=ReadResp.CaughtUp())
    told = ReadResp.CaughtUp(timestamp=_now(), position=_place(position), stream_revision=_known(revision))
    return ReadResp(caught_up=told)


def fell_behind(position: int | None = None, revision: int | None = None) -> ReadResp:
    """More was appended than waits for a reader; the rest is read from the log again."""
    told = ReadResp.FellBehind(timestamp=_now(), position=_place(position), stream_revision=_known(revision))
    return ReadResp(fell_behind=told)


def _place(position: int | None) -> ReadResp.Position | None:
    known = _known(position)
    return None if known is None else ReadResp.Position(commit_position=known, prepare_position=known)


def _known(number: int | None) -> int | None:
    return None if number is None or number == HEAD else number


def _now() -> Timestamp:
    seconds, rest = divmod(epoch_us(SystemClock().now()), 1_000_000)
    return Timestamp(seconds=seconds, nanos=rest * 1000)
