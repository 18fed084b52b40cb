"""A real HTTP receiver of webhooks, which verifies each with the public Standard Webhooks library."""

import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Final

from services.cli.addresses import LOOPBACK
from services.cli.failure import CommandFailed
from services.kernel.clock import monotonic_s

BODY_BYTES_MAX: Final = 1024 * 1024
STOP_TIMEOUT_S: Final = 5.0
POLL_S: Final = 0.05


class Receiver:
    """Listens on a free loopback port. Counts each message once, however often it is delivered."""

    def __init__(self) -> None:
        self._verifier: Any = None
        self._verified: set[str] = set()
        self._problems: list[str] = []
        self._news = threading.Condition()
        self._server = ThreadingHTTPServer((LOOPBACK, 0), self._handler())
        self._server.daemon_threads = True
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(POLL_S,), name="webhook receiver", daemon=True
        )

    def __enter__(self) -> "Receiver":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(STOP_TIMEOUT_S)

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://{LOOPBACK}:{self._server.server_port}/webhooks"

    @property
    def problems(self) -> tuple[str, ...]:
        """What was wrong with messages that could not be verified."""
        return tuple(self._problems)

    def expect_signatures_of(self, secret: str) -> None:
        """Verify with this secret from now on."""
        self._verifier = _verifier(secret)

    def wait_for(self, messages: int, timeout_s: float) -> int:
        """Wait until so many different messages were verified; returns how many were, at the latest after the time."""
        deadline = monotonic_s() + timeout_s
        with self._news:
            while len(self._verified) < messages and (left := deadline - monotonic_s()) > 0:
                self._news.wait(left)
            return len(self._verified)

    def receive(self, headers: dict[str, str], body: bytes) -> HTTPStatus:
        """The answer to one message: whoever cannot prove where it comes from is refused."""
        problem = self._problem_of(headers, body)
        with self._news:
            if problem:
                self._problems.append(problem)
            else:
                self._verified.add(headers["webhook-id"])
            self._news.notify_all()
        return HTTPStatus.BAD_REQUEST if problem else HTTPStatus.NO_CONTENT

    def _problem_of(self, headers: dict[str, str], body: bytes) -> str:
        if self._verifier is None:
            return "a message came before the secret was known"
        return _problem(self._verifier, headers, body)

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            timeout = 10

            def do_POST(self) -> None:
                length = self.headers.get("content-length", "")
                if not length.isdigit() or int(length) > BODY_BYTES_MAX:
                    self._answer(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
                    return
                headers = {name.lower(): value for name, value in self.headers.items()}
                self._answer(receiver.receive(headers, self.rfile.read(int(length))))

            def log_message(self, *_args: object) -> None:
                """Say nothing; the counts tell."""

            def _answer(self, status: HTTPStatus) -> None:
                self.send_response(status)
                self.send_header("content-length", "0")
                self.end_headers()

        return Handler


def _verifier(secret: str) -> Any:
    try:
        from standardwebhooks.webhooks import Webhook
    except ImportError as error:
        raise CommandFailed(
            "the demonstration verifies webhooks with the package standardwebhooks; install meterlog[dev]"
        ) from error
    return Webhook(secret)


def _problem(verifier: Any, headers: dict[str, str], body: bytes) -> str:
    from standardwebhooks.webhooks import WebhookVerificationError

    try:
        verifier.verify(body, headers, json_parse=False)
    except (WebhookVerificationError, ValueError) as error:
        return str(error)
    return ""
