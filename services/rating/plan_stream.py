"""The rules of a plan's versions. Stream: plan-<key>."""

from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias

from meterlog.events.v1.catalogue_pb2 import PlanVersionPublished
from services.eventstore.decider import Decider
from services.eventstore.event import StreamName
from services.kernel.errors import AlreadyExists, NotFound
from services.rating.plan import Plan, PublishedPlan
from services.rating.stored_plan import from_event, to_event

CATEGORY = "plan"

PlanVersions: TypeAlias = tuple[PublishedPlan, ...]
"""Every version of one plan, the first first; version n stands at index n - 1."""


@dataclass(frozen=True, slots=True)
class CreatePlan:
    """Publish version 1; a repeat with the content of version 1 does nothing."""

    plan: Plan
    at: datetime


@dataclass(frozen=True, slots=True)
class PublishPlanVersion:
    """Publish the next version; content equal to the newest version publishes nothing."""

    plan: Plan
    at: datetime


PlanCommand: TypeAlias = CreatePlan | PublishPlanVersion


def plan_stream(key: str) -> StreamName:
    """The stream of the plan with this key."""
    return StreamName(CATEGORY, key)


def no_plan(key: str) -> NotFound:
    """The refusal of a key that no plan has."""
    return NotFound(f'no plan "{key}"; create it or check the key', reason="PLAN_NOT_FOUND")


def version_of(versions: PlanVersions, key: str, version: int) -> PublishedPlan:
    """The version with this number, 0 for the newest; raises NotFound."""
    if not versions:
        raise no_plan(key)
    if not 0 <= version <= len(versions):
        raise NotFound(
            f'plan "{key}" has no version {version}; the newest is {len(versions)}', reason="PLAN_VERSION_NOT_FOUND"
        )
    return versions[version - 1]


def decide(command: PlanCommand, versions: PlanVersions) -> list[PlanVersionPublished]:
    """The events of a command; raises AlreadyExists or NotFound."""
    match command:
        case CreatePlan(plan, at):
            return _create(plan, at, versions)
        case PublishPlanVersion(plan, at):
            return _publish(plan, at, versions)


def evolve(versions: PlanVersions, event: PlanVersionPublished) -> PlanVersions:
    """The versions after one more was published."""
    return (*versions, from_event(event))


plan_versions: Decider[PlanCommand, PlanVersions, PlanVersionPublished] = Decider((), decide, evolve)


def _create(plan: Plan, at: datetime, versions: PlanVersions) -> list[PlanVersionPublished]:
    if not versions:
        return [to_event(PublishedPlan(plan, 1, at))]
    if versions[0].plan != plan:
        raise AlreadyExists(
            f'plan "{plan.key}" exists with other content; publish a new version or choose another key',
            reason="PLAN_EXISTS",
        )
    return []


def _publish(plan: Plan, at: datetime, versions: PlanVersions) -> list[PlanVersionPublished]:
    if not versions:
        raise no_plan(plan.key)
    if versions[-1].plan == plan:
        return []
    return [to_event(PublishedPlan(plan, len(versions) + 1, at))]
