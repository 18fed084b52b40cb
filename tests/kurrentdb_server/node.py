"""One node of a cluster: what it shares with the others, and what is its own."""

from collections import Counter
from dataclasses import dataclass, field
from uuid import UUID, uuid4

from tests.kurrentdb_server.event_log import EventLog
from tests.kurrentdb_server.faults import Faults
from tests.kurrentdb_server.options import Options
from tests.kurrentdb_server.recent_ids import RecentIds


@dataclass(slots=True)
class Membership:
    """The nodes of a cluster and who leads them; nobody does between two elections."""

    nodes: list["Node"] = field(default_factory=list)
    leader: "Node | None" = None


@dataclass(slots=True, eq=False)
class Node:
    """The log is the cluster's; faults, the cache of recent ids and the count of calls are the node's."""

    log: EventLog
    options: Options
    faults: Faults
    membership: Membership
    host: str = "127.0.0.1"
    port: int = 0
    is_alive: bool = False
    cuts: int = 0
    instance_id: UUID = field(default_factory=uuid4)
    calls: Counter[str] = field(default_factory=Counter)
    recent: RecentIds = field(init=False)

    def __post_init__(self) -> None:
        self.recent = RecentIds(self.options.recent_ids_bytes)

    def leader(self) -> "Node | None":
        """Who leads the cluster now."""
        return self.membership.leader

    def memory(self) -> RecentIds:
        """The recent ids that decide: the leader's, as followers hand writes on to it."""
        return (self.membership.leader or self).recent
