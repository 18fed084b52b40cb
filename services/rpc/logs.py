"""Structured logs: one line per outcome, on standard error."""

import json
import logging
import sys

import structlog
from structlog.typing import EventDict, Processor

from services.rpc.settings import Settings

_ENCODER = json.JSONEncoder(default=repr)
"""Made once: there is a line for every call, and making an encoder takes longer than using it."""

_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


def configure_logs(settings: Settings, service: str) -> None:
    """Set up structlog for this process; raises InvalidInput for an unknown level or format."""
    level = _LEVELS[settings.choice("METERLOG_LOG_LEVEL", tuple(_LEVELS))]
    is_json = settings.choice("METERLOG_LOG_FORMAT", ("console", "json")) == "json"
    renderer = _as_json if is_json else structlog.dev.ConsoleRenderer(colors=False)
    logging.getLogger("sqlalchemy").setLevel(logging.CRITICAL)  # of connections that are gone, whose users say so
    structlog.configure(
        processors=[
            _naming(service),
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )


def _as_json(_logger: object, _method: str, line: EventDict) -> str:
    """The line as JSON; what JSON has no form for as Python shows it."""
    return _ENCODER.encode(line)


def _naming(service: str) -> Processor:
    """Names the service in every line, whichever thread writes it."""

    def name(_logger: object, _method: str, line: EventDict) -> EventDict:
        return {**line, "service": service}

    return name
