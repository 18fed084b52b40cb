"""The laws of recording usage: a usage event that was answered is in the log, each is there once, none is made up."""

from collections import Counter
from collections.abc import Iterable, Sequence

from meterlog.events.v1.usage_pb2 import UsageRecorded
from services.eventstore.catalogue import decode
from services.eventstore.event import RecordedEvent
from services.eventstore.usage_batch import decode_usage
from tests.crash.history_file import Line
from tests.crash.law import Law, Violation, broken
from tests.crash.log_laws import USAGE

OUTCOMES = {"recorded", "duplicate"}


def usage_violations(lines: Sequence[Line], log: Iterable[RecordedEvent]) -> list[Violation]:
    """Check what producers sent and were answered against the usage streams of the final log."""
    counts = Counter(name for event in log if event.stream.category == USAGE for name in _ids(event))
    sent = {name for line in lines if line["what"] == "usage" for name in line["ids"]}
    answers = [line for line in lines if line["what"] == "recorded"]
    return [
        *broken(Law.ONCE, [f"usage {name} is there {count} times" for name, count in counts.items() if count > 1]),
        *broken(Law.NO_PHANTOM, [f"usage {name}" for name in counts if name not in sent]),
        *broken(Law.KEPT, [f"usage {name}" for line in answers for name in line["ids"] if name not in counts]),
        *broken(
            Law.FORESEEN,
            [
                f"{line['client']} was answered {line['outcomes']}"
                for line in answers
                if set(line["outcomes"]) - OUTCOMES
            ],
        ),
        *broken(Law.ONCE, _answered_as_new_twice(answers)),
    ]


def _answered_as_new_twice(answers: Sequence[Line]) -> list[str]:
    """Who was answered once already is answered `duplicate` ever after."""
    counts = Counter(
        name
        for line in answers
        for name, outcome in zip(line["ids"], line["outcomes"], strict=True)
        if outcome == "recorded"
    )
    return [f"usage {name} was recorded {count} times" for name, count in counts.items() if count > 1]


def _ids(event: RecordedEvent) -> list[str]:
    message = decode(event)
    if not isinstance(message, UsageRecorded):
        return []
    names: list[str] = decode_usage(message).column("id").to_pylist()
    return names
