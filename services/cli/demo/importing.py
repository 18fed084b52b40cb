"""The trace on its way into the log, with a bar."""

from pathlib import Path
from typing import Final

from services.cli.demo.report import ImportCounts
from services.cli.demo.trace import MAPPING_YAML, Trace
from services.cli.import_bar import import_with_bar
from services.cli.screen import Screen

MAPPING_FILE: Final = "mapping.yaml"
IN_FLIGHT: Final = 1
"""So that each batch becomes one event, however fast or slow the machine is: every run writes the same log."""


def import_trace(trace: Trace, address: str, var: Path, screen: Screen) -> ImportCounts:
    """Import the whole file as `meterlog import` would; the mapping stays in the folder for those who are curious."""
    mapping = var / MAPPING_FILE
    mapping.write_text(MAPPING_YAML, encoding="utf-8")
    summary = import_with_bar(trace.path, mapping, address=address, var=var, screen=screen, in_flight=IN_FLIGHT)
    for problem in summary.problems:
        screen.people.print(f"  line {problem.line}: {problem.message}", style="yellow", markup=False)
    return ImportCounts(summary.read, summary.recorded, summary.duplicate, summary.invalid)
