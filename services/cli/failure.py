"""What a command says when it cannot do what it was asked: one line, and an exit code."""

from collections.abc import Sequence
from enum import IntEnum

from services.kernel.errors import FieldViolation


class ExitCode(IntEnum):
    """What the shell learns."""

    DONE = 0
    FAILED = 1
    USAGE = 2


class CommandFailed(Exception):
    """Ends a command: the message says what was wrong and what to do, the reason is stable and UPPER_SNAKE."""

    def __init__(
        self,
        message: str,
        *,
        reason: str = "FAILED",
        exit_code: ExitCode = ExitCode.FAILED,
        violations: Sequence[FieldViolation] = (),
    ) -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason
        self.exit_code = exit_code
        self.violations = tuple(violations)

    def document(self) -> dict[str, object]:
        """The failure as `--json` shows it."""
        error: dict[str, object] = {"message": self.message, "reason": self.reason}
        if self.violations:
            error["fields"] = [{"field": each.field, "description": each.description} for each in self.violations]
        return {"error": error}


def misused(message: str, reason: str = "USAGE") -> CommandFailed:
    """The failure of a command that was called in a way it cannot serve."""
    return CommandFailed(message, reason=reason, exit_code=ExitCode.USAGE)
