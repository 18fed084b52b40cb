"""Histories in files: one line a fact, written in one system call, so that a killed client leaves what it knew."""

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from time import monotonic_ns
from typing import Any

from tests.crash.history import (
    Answer,
    Attempt,
    Delivery,
    HeadRead,
    History,
    Outcome,
    Rebuilt,
    Session,
    StreamRead,
)

Line = dict[str, Any]


class HistoryFile:
    """The lines of one process. Safe to share between its threads: each line is one write at the end of the file."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)

    def write(self, what: str, client: str, **fields: object) -> int:
        """Write a line; returns the instant that it bears."""
        now_ns = monotonic_ns()
        text = json.dumps({"what": what, "client": client, "ns": now_ns, **fields}, separators=(",", ":"))
        os.write(self._descriptor, f"{text}\n".encode())
        return now_ns

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._descriptor)


def read_history(path: Path) -> History:
    """What a file says; a line that the end of its process cut off is as if it had not been written."""
    return history_of(list(lines_of(path)))


def lines_of(path: Path) -> Iterator[Line]:
    """The whole lines of a file; none when there is no file yet."""
    if path.exists():
        for text in path.read_text().split("\n")[:-1]:
            yield json.loads(text)


def history_of(lines: Sequence[Line]) -> History:
    """The history that lines tell."""
    return History(
        attempts=tuple(_attempts(lines)),
        sessions=tuple(_sessions(lines)),
        head_reads=tuple(
            HeadRead(line["client"], line["since"], line["ns"], line["position"])
            for line in lines
            if line["what"] == "head"
        ),
        stream_reads=tuple(
            StreamRead(line["client"], line["stream"], line["limit"], line["since"], line["ns"], tuple(line["ids"]))
            for line in lines
            if line["what"] == "stream"
        ),
        rebuilds=tuple(
            Rebuilt(line["client"], line["position"], line["is_equal"]) for line in lines if line["what"] == "rebuilt"
        ),
    )


def _attempts(lines: Sequence[Line]) -> list[Attempt]:
    """Attempts by (client, number); one without an end stays unknown."""
    attempts: dict[tuple[str, int], Attempt] = {}
    for line in lines:
        if line["what"] not in ("append", "ended"):
            continue
        key = (line["client"], line["number"])
        if line["what"] == "append":
            ids = tuple(line["ids"])
            attempts[key] = Attempt(
                line["client"], line["stream"], line["expected"], ids, line["ns"], None, Outcome.UNKNOWN
            )
        else:
            attempts[key] = _ended(attempts[key], line)
    return list(attempts.values())


def _ended(attempt: Attempt, line: Line) -> Attempt:
    told = line["answer"]
    answer = Answer(told[0], told[1], told[2], tuple(told[3])) if told else None
    return replace(attempt, ended_ns=line["ns"], outcome=Outcome(line["outcome"]), answer=answer, detail=line["detail"])


def _sessions(lines: Sequence[Line]) -> list[Session]:
    """A subscription's client has one life at a time, so its lines follow each other."""
    sessions: list[tuple[Line, list[Delivery]]] = []
    open_by_client: dict[str, list[Delivery]] = {}
    for line in lines:
        if line["what"] == "subscribed":
            open_by_client[line["client"]] = []
            sessions.append((line, open_by_client[line["client"]]))
        elif line["what"] == "delivered":
            events = tuple((position, event_id) for position, event_id in line["events"])
            open_by_client[line["client"]].append(Delivery(events, line["position"]))
    return [
        Session(first["client"], frozenset(first["categories"]), first["after"], tuple(deliveries))
        for first, deliveries in sessions
    ]
