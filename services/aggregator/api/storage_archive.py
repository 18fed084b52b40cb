"""The API's methods about the archive of usage."""

from meterlog.aggregator.v1 import storage_pb2 as api
from services.aggregator.archive.archiver import UsageArchiver
from services.aggregator.archive.retention import shown_day
from services.kernel.errors import RuleViolated


class StorageArchive:
    """Says where the archive stands, and brings it up to date; without an archiver it is switched off."""

    def __init__(self, archiver: UsageArchiver | None) -> None:
        self._archiver = archiver

    def get(self, _request: api.GetUsageArchiveRequest) -> api.GetUsageArchiveResponse:
        """Where it stands; an archive that is switched off has no url."""
        if self._archiver is None:
            return api.GetUsageArchiveResponse(archive=api.UsageArchive())
        return api.GetUsageArchiveResponse(archive=_message(self._archiver))

    def compact(self, _request: api.CompactUsageArchiveRequest, left_s: float) -> api.CompactUsageArchiveResponse:
        """Archive everything recorded so far, apply retention and merge small files.

        Safe to repeat. Raises RuleViolated (ARCHIVE_OFF), TimedOut when it takes longer, and Unavailable.
        """
        if self._archiver is None:
            raise RuleViolated(
                "the archive of usage is switched off; give METERLOG_ARCHIVE_URL another value than none",
                reason="ARCHIVE_OFF",
            )
        removed = self._archiver.bring_up_to_date(left_s)
        return api.CompactUsageArchiveResponse(archive=_message(self._archiver), removed_file_count=removed)


def _message(archiver: UsageArchiver) -> api.UsageArchive:
    archive = archiver.archive
    if not archive.is_open:
        return api.UsageArchive(url=str(archive.folder), problem=archiver.problem() or "it was not opened yet")
    listing = archive.listing
    problem = archiver.problem()
    if not problem and not archive.is_of_these_tables():
        problem = "it was written from other events than the tables; it is being put right"
    return api.UsageArchive(
        url=str(archive.folder),
        position=listing.position,
        file_count=len(listing.files),
        usage_event_count=sum(file.rows for file in listing.files),
        size_bytes=sum(file.size for file in listing.files),
        first_day=shown_day(listing.first_us),
        problem=problem,
    )
