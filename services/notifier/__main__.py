"""Starts the notifier: python -m services.notifier."""

import functools
import sys

from services.kernel.clock import SystemClock
from services.kernel.errors import InvalidInput
from services.notifier.announcer import Announcer
from services.notifier.courier import Clocks
from services.notifier.dispatcher import Dispatcher
from services.notifier.face import NOTIFIER_SERVICE, NotifierFace
from services.notifier.keyring import Keyring
from services.notifier.master_key import KEYS_FOLDER, MASTER_KEY_SETTING, load_master_key
from services.notifier.network import ALLOW_SETTING, parse_networks
from services.notifier.readmodel.projection import WebhookProjection
from services.notifier.settings import (
    ALLOW_HTTP_SETTING,
    CONCURRENCY_MAX,
    CONCURRENCY_SETTING,
    DRY_RUN_SETTING,
    SETTINGS,
    TIMEOUT_MAX_S,
    TIMEOUT_SETTING,
)
from services.notifier.transport import HttpTransport, Reach
from services.projection.database import Database
from services.projection.runner import ProjectionRunner
from services.rpc.service import Context, Face, Service, run
from services.rpc.settings import Settings


def build(context: Context) -> Service:
    """Wire the notifier. Receivers check the time of an attempt against their own clock, so it is the machine's."""
    settings, store, clock = context.settings, context.store, context.clock
    reach = reach_of(settings)
    is_dry_run = settings.flag(DRY_RUN_SETTING)
    keys_folder = settings.path("METERLOG_VAR") / KEYS_FOLDER
    keyring = Keyring(load_master_key(settings.text(MASTER_KEY_SETTING), keys_folder))
    wall_clock = SystemClock()
    runner = ProjectionRunner(store, Database.open(context.database_url, "notifier"), WebhookProjection())
    dispatcher = Dispatcher(
        store,
        runner,
        keyring,
        Clocks(business=clock, wall=wall_clock),
        functools.partial(HttpTransport, reach, wall_clock),
        slots=reach.connections_max,
        is_dry_run=is_dry_run,
    )
    face = NotifierFace(store, clock, runner, keyring, allows_http=reach.allows_http)
    return Service(
        faces=(Face(NOTIFIER_SERVICE, face.register),),
        workers=(runner, Announcer(store, runner), dispatcher),
        projections=(runner,),
    )


def reach_of(settings: Settings) -> Reach:
    """How far and how long an attempt may go; raises InvalidInput."""
    return Reach(
        timeout_s=_bounded(settings, TIMEOUT_SETTING, TIMEOUT_MAX_S),
        connections_max=_bounded(settings, CONCURRENCY_SETTING, CONCURRENCY_MAX),
        allowed=parse_networks(settings.text(ALLOW_SETTING)),
        allows_http=settings.flag(ALLOW_HTTP_SETTING),
    )


def _bounded(settings: Settings, name: str, maximum: int) -> int:
    number = settings.integer(name, minimum=1)
    if number > maximum:
        raise InvalidInput(f"{name} is {number}; it must be 1 to {maximum}", field=name, reason="BAD_SETTING")
    return number


if __name__ == "__main__":
    sys.exit(run("notifier", build, SETTINGS))
