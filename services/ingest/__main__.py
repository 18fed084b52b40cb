"""The ingest service as a process."""

import gc
import sys

from services.ingest.index_folder import IndexFolder
from services.ingest.index_follower import IndexFollower
from services.ingest.live_index import LiveIndex
from services.ingest.recorder import Recorder
from services.ingest.server import INGEST_SERVICE, IngestFace
from services.kernel.clock import SystemClock
from services.kernel.ids import new_uuid
from services.rpc.service import Context, Face, Service, run


def build(context: Context) -> Service:
    """Wire the service. What is loaded by then stays to the end, so the garbage collector need not look at it again."""
    partitions = context.log_settings.usage_partitions
    live = LiveIndex()
    follower = IndexFollower(context.store, IndexFolder(context.var_path / "usage_dedupe"), live, partitions)
    recorder = Recorder(context.store, context.clock, live, partitions, new_uuid(SystemClock().now()))
    face = Face(INGEST_SERVICE, IngestFace(recorder, context.clock).register)
    gc.freeze()
    return Service(faces=(face,), workers=(follower,), projections=(follower,))


if __name__ == "__main__":
    sys.exit(run("ingest", build))
