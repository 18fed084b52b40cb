"""Pages of lists: how long one may be, and the opaque token that continues it."""

import base64
import binascii
import json

from services.kernel.errors import InvalidInput

PAGE_SIZE_DEFAULT = 100
PAGE_SIZE_MAX = 1_000
TOKEN_CHARACTERS_MAX = 4_096


def page_size(requested: int) -> int:
    """The size to use: the default for 0; raises InvalidInput outside 1 to PAGE_SIZE_MAX."""
    if not 0 <= requested <= PAGE_SIZE_MAX:
        raise InvalidInput(f"page_size is {requested}; it must be 1 to {PAGE_SIZE_MAX}", field="page_size")
    return requested or PAGE_SIZE_DEFAULT


def encode_token(*parts: str | int) -> str:
    """The token that leads on from the row with this sort key."""
    return base64.urlsafe_b64encode(json.dumps(parts, separators=(",", ":")).encode()).decode()


def decode_token(token: str) -> tuple[str | int, ...]:
    """The sort key in a token, empty for an empty token; raises InvalidInput for anything that is no token of ours."""
    if not token:
        return ()
    if len(token) > TOKEN_CHARACTERS_MAX:
        raise _not_a_token()
    try:
        parts = json.loads(base64.b64decode(token, altchars=b"-_", validate=True))
    except (binascii.Error, ValueError, RecursionError) as error:
        raise _not_a_token() from error
    if not isinstance(parts, list) or not parts or not all(map(_is_sort_key, parts)):
        raise _not_a_token()
    return tuple(parts)


def _is_sort_key(part: object) -> bool:
    """Text that UTF-8 can hold, or an integer that a database can."""
    match part:
        case bool():
            return False
        case int():
            return -(2**63) <= part < 2**63
        case str():
            return not any("\ud800" <= character <= "\udfff" for character in part)
        case _:
            return False


def _not_a_token() -> InvalidInput:
    return InvalidInput("page_token is not one that this service gave; start from the first page", field="page_token")
