"""What `meterlog apply` says about each item, for people and as a document."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final

from rich.table import Table
from rich.text import Text

from services.cli.declared.applying import Applied
from services.cli.declared.difference import Action, Change

_STYLES: Final = {Action.CREATE: "green", Action.UPDATE: "yellow", Action.UNCHANGED: "dim", Action.REFUSED: "red"}
_DONE: Final = {
    Action.CREATE: "created",
    Action.UPDATE: "updated",
    Action.UNCHANGED: "unchanged",
    Action.REFUSED: "refused",
}
_PLANNED: Final = {
    Action.CREATE: "to create",
    Action.UPDATE: "to update",
    Action.UNCHANGED: "unchanged",
    Action.REFUSED: "cannot change",
}


def applied_table(results: Iterable[Applied], *, is_dry_run: bool) -> Table:
    """One row an item, one more for each field that differs."""
    words = _PLANNED if is_dry_run else _DONE
    table = Table(box=None, pad_edge=False, show_header=False)
    for result in results:
        step = result.step
        table.add_row(step.item.kind, step.item.key, Text(words[step.action], _STYLES[step.action]), _summary(result))
        if step.action is not Action.CREATE:
            for change in step.changes:
                table.add_row("", "", "", _change_text(change))
    return table


def secret_lines(results: Iterable[Applied]) -> list[Text]:
    """The secrets of new endpoints."""
    return [
        Text.assemble(f"secret of endpoint {result.step.item.key}: ", (result.secret, "bold"), " (shown this once)")
        for result in results
        if result.secret
    ]


def applied_document(results: Sequence[Applied], *, is_dry_run: bool) -> dict[str, object]:
    """The same as a document; counts by action."""
    counts = Counter(result.step.action for result in results)
    return {
        "dry_run": is_dry_run,
        "items": [_item_document(result) for result in results],
        "counts": {action.value: counts[action] for action in Action},
    }


def _item_document(result: Applied) -> dict[str, object]:
    step = result.step
    document: dict[str, object] = {
        "kind": step.item.kind,
        "key": step.item.key,
        "path": step.item.path,
        "action": step.action.value,
        "changes": [{"field": change.field, "old": change.old, "new": change.new} for change in step.changes],
    }
    if step.reason:
        document["reason"] = step.reason
    if result.violations:
        document["fields"] = [{"field": each.field, "description": each.description} for each in result.violations]
    if result.secret:
        document["secret"] = result.secret
    return document


def _summary(result: Applied) -> Text:
    """Where the service named fields, those in the file; else what it said."""
    lines = [f"{each.field} {each.description}" for each in result.violations]
    return Text("\n".join(lines or [result.step.reason]))


def _change_text(change: Change) -> Text:
    return Text.assemble((change.field, "bold"), f" {change.old or '(none)'} → {change.new or '(none)'}")
