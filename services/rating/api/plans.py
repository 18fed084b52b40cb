"""Requests about plans."""

from dataclasses import dataclass

from meterlog.rating.v1 import rating_pb2
from services.kernel.errors import NotFound, RuleViolated
from services.rating.api.conversion import plan_message
from services.rating.api.page import fitting, key_after
from services.rating.api.parse_plan import parse_plan
from services.rating.desk import Desk
from services.rating.plan import Plan
from services.rating.plan_stream import (
    CreatePlan,
    PlanCommand,
    PlanVersions,
    PublishPlanVersion,
    no_plan,
    plan_stream,
    plan_versions,
)
from services.rating.readmodel.catalogue import find_plan, list_plans
from services.rating.usage_reader import MeterState, UsageReader
from services.rpc.pages import encode_token, page_size


@dataclass(frozen=True, slots=True)
class Plans:
    """Publishes and shows versions of plans."""

    desk: Desk
    usage: UsageReader

    def create(self, request: rating_pb2.CreatePlanRequest, timeout_s: float) -> rating_pb2.CreatePlanResponse:
        """Publish version 1, once."""
        plan = parse_plan(request.plan, "plan")
        versions = self._run(CreatePlan(plan, self.desk.now()), timeout_s)
        return rating_pb2.CreatePlanResponse(plan=plan_message(versions[0]))

    def publish(
        self, request: rating_pb2.PublishPlanVersionRequest, timeout_s: float
    ) -> rating_pb2.PublishPlanVersionResponse:
        """Publish the next version, unless the newest is equal."""
        plan = parse_plan(request.plan, "plan")
        versions = self._run(PublishPlanVersion(plan, self.desk.now()), timeout_s)
        return rating_pb2.PublishPlanVersionResponse(plan=plan_message(versions[-1]))

    def get(self, request: rating_pb2.GetPlanRequest) -> rating_pb2.GetPlanResponse:
        """Show one version, by default the newest."""
        with self.desk.books.read() as (connection, tables):
            found = find_plan(connection, tables, request.key, request.version)
            newest = found or find_plan(connection, tables, request.key, 0)
        if newest is None:
            raise no_plan(request.key)
        if found is None:
            raise NotFound(
                f'plan "{request.key}" has no version {request.version}; the newest is {newest.version}',
                reason="PLAN_VERSION_NOT_FOUND",
            )
        return rating_pb2.GetPlanResponse(plan=plan_message(found))

    def list(self, request: rating_pb2.ListPlansRequest) -> rating_pb2.ListPlansResponse:
        """Show the newest version of each plan, by key."""
        size, after = page_size(request.page_size), key_after(request.page_token)
        with self.desk.books.read() as (connection, tables):
            page, has_more = fitting(map(plan_message, list_plans(connection, tables, after, size + 1)), size)
        token = encode_token(page[-1].key) if has_more else ""
        return rating_pb2.ListPlansResponse(plans=page, next_page_token=token)

    def _run(self, command: PlanCommand, timeout_s: float) -> PlanVersions:
        """Meters are looked up only when something is to be published, so that a repeat needs no aggregator."""
        stream = plan_stream(command.plan.key)
        if plan_versions.decide(command, self.desk.load(plan_versions, stream)):
            self._require_meters(command.plan, timeout_s)
        return self.desk.run(plan_versions, stream, command, timeout_s)

    def _require_meters(self, plan: Plan, timeout_s: float) -> None:
        states = {meter: self.usage.meter_state(meter, timeout_s) for meter in plan.meters}
        for index, price in enumerate(plan.prices):
            if price.meter:
                _require_in_use(states[price.meter], price.meter, f"plan.prices[{index}].meter")


def _require_in_use(state: MeterState, meter: str, field: str) -> None:
    metadata = {"field": field, "meter": meter}
    if state is MeterState.ABSENT:
        message = f'{field}: no meter "{meter}"; create it or check the slug'
        raise NotFound(message, reason="METER_NOT_FOUND", metadata=metadata)
    if state is MeterState.ARCHIVED:
        message = f'{field}: the meter "{meter}" is archived; name another'
        raise RuleViolated(message, reason="METER_IS_ARCHIVED", metadata=metadata)
