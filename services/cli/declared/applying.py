"""Bring the services to what a file declares: item by item, each answered by itself."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import grpc
from google.protobuf.message import Message

from services.cli.connection import Services
from services.cli.declared.catalogue import Item
from services.cli.declared.difference import Action, Step, step_for
from services.cli.declared.kinds import KINDS, Kind
from services.cli.refusal import CallFailed
from services.kernel.errors import FieldViolation


@dataclass(frozen=True, slots=True)
class Applied:
    """What became of one item: the step, a secret that is shown this once, and the file's fields at fault."""

    step: Step
    secret: str = ""
    violations: tuple[FieldViolation, ...] = ()


def preview(services: Services, items: Iterable[Item]) -> Iterator[Applied]:
    """What applying would do; writes nothing."""
    return answer_each(items, lambda item: Applied(_step(services, item)))


def apply(services: Services, items: Iterable[Item]) -> Iterator[Applied]:
    """Create and update, item by item; one that is refused stops no other. Safe to repeat."""
    return answer_each(items, lambda item: _apply(services, item))


def answer_each(items: Iterable[Item], bring: Callable[[Item], Applied]) -> Iterator[Applied]:
    """What `bring` makes of each item, by itself.

    Raises CallFailed only when nothing was answered yet, so that no secret of a new endpoint is ever lost.
    Once a service does not answer, what is left is refused without asking again.
    """
    unavailable: CallFailed | None = None
    for index, item in enumerate(items):
        if unavailable is not None:
            yield _refused(item, unavailable)
            continue
        try:
            yield bring(item)
        except CallFailed as error:
            unavailable = error if error.code is grpc.StatusCode.UNAVAILABLE else None
            if unavailable is not None and index == 0:
                raise
            yield _refused(item, error)


def _apply(services: Services, item: Item) -> Applied:
    kind = KINDS[item.kind]
    current = _current(services, item, kind)
    step = step_for(item, current, kind.rule)
    if step.action is Action.CREATE:
        return Applied(step, kind.create(services, item.message))
    if step.action is Action.UPDATE and current is not None:
        kind.update(services, item.message, current)
    return Applied(step)


def _step(services: Services, item: Item) -> Step:
    kind = KINDS[item.kind]
    return step_for(item, _current(services, item, kind), kind.rule)


def _current(services: Services, item: Item, kind: Kind[Message]) -> Message | None:
    try:
        return kind.read(services, item.key)
    except CallFailed as error:
        if error.code is grpc.StatusCode.NOT_FOUND:
            return None
        raise


def _refused(item: Item, error: CallFailed) -> Applied:
    step = Step(item, Action.REFUSED, reason=f"{error.message} ({error.reason})")
    return Applied(step, violations=tuple(_in_file(item, each) for each in error.violations))


def _in_file(item: Item, violation: FieldViolation) -> FieldViolation:
    """The service names fields from its request (`plan.prices[2].meter`); people look for them in the file."""
    top, _, rest = violation.field.partition(".")
    field = rest if top == KINDS[item.kind].request_field else violation.field
    description = violation.description.removeprefix(f"{violation.field} ")
    return FieldViolation(f"{item.path}.{field}".rstrip("."), description)
