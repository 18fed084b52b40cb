"""The ingest service as a process."""

import gc
import sys

from services.ingest.backfill import Backfills
from services.ingest.client_limits import CALLS_CONCURRENT, STREAMS_CONCURRENT, USAGE_PER_SECOND, ClientLimits
from services.ingest.digests import Digests
from services.ingest.index_folder import IndexFolder
from services.ingest.index_follower import IndexFollower
from services.ingest.index_secret import index_secret
from services.ingest.intake import Intake
from services.ingest.live_index import LiveIndex
from services.ingest.log_secret import log_secret
from services.ingest.recorder import Recorder
from services.ingest.server import INGEST_SERVICE, IngestFace
from services.ingest.usage_report import UsageReport
from services.kernel.clock import SystemClock
from services.kernel.ids import new_uuid
from services.rpc.service import Context, Face, Service, run


def build(context: Context) -> Service:
    """Wire the service. What is loaded by then stays to the end, so the garbage collector need not look at it again."""
    store, clock = context.store, context.clock
    partitions = context.log_settings.usage_partitions
    folder = context.var_path / "usage_dedupe"
    live = LiveIndex(Digests(log_secret(store), index_secret(folder)))
    follower = IndexFollower(store, IndexFolder(folder, live.digests), live, partitions)
    recorder = Recorder(store, clock, live, partitions, new_uuid(SystemClock().now()))
    limits = ClientLimits.of(context.settings)
    intake = Intake(recorder, clock, Backfills(store), limits, UsageReport(clock))
    ingest = IngestFace(intake)
    gc.freeze()
    return Service(
        faces=(Face(INGEST_SERVICE, ingest.register),),
        workers=(follower,),
        projections=(follower,),
        on_drain=(ingest.drain,),
    )


if __name__ == "__main__":
    sys.exit(run("ingest", build, (USAGE_PER_SECOND, CALLS_CONCURRENT, STREAMS_CONCURRENT)))
