"""Usage events of one producer: fills in what a call leaves out."""

import os
from collections.abc import Mapping
from datetime import datetime

from meterlog.client import clock
from meterlog.client.event import Number, usage_event
from meterlog.client.identity import new_id, process_source
from meterlog.ingest.v1.ingest_pb2 import UsageEvent


class Producer:
    """Makes the usage events of one source; without a name it is a source of this process alone."""

    def __init__(self, source: str | None) -> None:
        self._named_source = source
        self._source_by_process: dict[int, str] = {}

    @property
    def source(self) -> str:
        """The source of events that name none; a fork's child gets its own."""
        if self._named_source is not None:
            return self._named_source
        process_id = os.getpid()
        return self._source_by_process.get(process_id) or self._source_by_process.setdefault(
            process_id, process_source()
        )

    def event(
        self,
        id: str | None,  # noqa: A002 - the attribute's name in CloudEvents and in the contract
        source: str | None,
        type: str,  # noqa: A002 - as above
        subject: str,
        time: datetime | None,
        value: Number | None,
        properties: Mapping[str, Number] | None,
    ) -> UsageEvent:
        """The usage event; None stands for a new id, this source, now, and the service's default value."""
        return usage_event(
            id=new_id() if id is None else id,
            source=self.source if source is None else source,
            type=type,
            subject=subject,
            time=clock.now() if time is None else time,
            value=value,
            properties=properties,
        )
