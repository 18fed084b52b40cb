"""An import with a bar that shows how much of the file is recorded."""

from pathlib import Path

from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from services.cli.importing.command import ImportProgress, import_usage
from services.cli.importing.file_format import FileFormat
from services.cli.importing.sending import IN_FLIGHT_MAX
from services.cli.importing.summary import ImportSummary
from services.cli.importing.web_request import WebLogOptions
from services.cli.screen import Screen


def import_with_bar(
    file: Path,
    mapping: Path | None = None,
    *,
    address: str,
    var: Path,
    screen: Screen,
    api_key: str = "",
    restart: bool = False,
    in_flight: int = IN_FLIGHT_MAX,
    format: FileFormat | None = None,  # noqa: A002 (what the option is called)
    web: WebLogOptions | None = None,
    backfill: str = "",
) -> ImportSummary:
    """Import `file` and return what became of its rows; raises what `import_usage` raises.

    The bar appears with the first rows, so that a file that is refused is answered in one line.
    """
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[rows]} rows"),
        TimeElapsedColumn(),
    )
    bars = Progress(*columns, console=screen.people)
    bar = bars.add_task(file.name, total=None, rows=0)

    def show(progress: ImportProgress) -> None:
        bars.start()
        bars.update(bar, completed=progress.bytes_done, total=progress.bytes_total, rows=progress.rows)

    try:
        return import_usage(
            file,
            mapping,
            address=address,
            var=var,
            api_key=api_key,
            restart=restart,
            on_progress=show,
            in_flight=in_flight,
            format=format,
            web=web,
            backfill=backfill,
        )
    finally:
        if bars.live.is_started:
            bars.stop()
