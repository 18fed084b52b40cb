"""Where the archive of usage lies and how much of it is kept: its settings, and the archiver that they ask for."""

from services.aggregator.archive.archiver import UsageArchiver
from services.aggregator.archive.folder import ArchiveFolder
from services.aggregator.archive.retention import KEEP_ALL, parse_keep_days
from services.aggregator.archive.usage_archive import UsageArchive
from services.aggregator.tables import UsageTables
from services.projection.database import Database
from services.projection.runner import ProjectionRunner
from services.rpc.service import Context
from services.rpc.settings import Setting

NO_ARCHIVE = "none"

ARCHIVE_URL = Setting(
    "METERLOG_ARCHIVE_URL",
    "",
    "Where the archive of usage lies, for this aggregator and its replicas alone: file:///<folder>, "
    f"s3://<bucket>/<path>, gs://…, or {NO_ARCHIVE}; default: a folder below METERLOG_VAR.",
)
ARCHIVE_KEEP_DAYS = Setting(
    "METERLOG_ARCHIVE_KEEP_DAYS",
    KEEP_ALL,
    f"Days of usage that the archive keeps, or {KEEP_ALL}; the log keeps everything, and older usage is read from it.",
)
ARCHIVE_SETTINGS = (ARCHIVE_URL, ARCHIVE_KEEP_DAYS)


def archiver_of(context: Context, database: Database, windows: ProjectionRunner[UsageTables]) -> UsageArchiver | None:
    """The archiver that the settings ask for, None when there shall be none; raises InvalidInput."""
    settings = context.settings
    keep_days = parse_keep_days(settings.text(ARCHIVE_KEEP_DAYS.name), ARCHIVE_KEEP_DAYS.name)
    url = settings.text(ARCHIVE_URL.name)
    if url == NO_ARCHIVE:
        return None
    place = url or (context.var_path / "archive").resolve().as_uri()
    archive = UsageArchive(database, windows, ArchiveFolder.open(place, ARCHIVE_URL.name))
    return UsageArchiver(archive, context.store, windows, context.clock, keep_days)
