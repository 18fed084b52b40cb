"""What a client is told of a conflict: the same words through every door."""

from typing import Final

CONFLICT_REASON: Final = "OTHER_CONTENT_RECORDED"
CONFLICT_MESSAGE: Final = (
    "this source and id is recorded with other content, which stays as it is; give new usage a new id"
)
