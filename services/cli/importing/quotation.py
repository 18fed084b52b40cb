"""Text from a file, as a message may show it."""

import json

CHARACTERS_SHOWN_MAX = 60


def quoted(text: str) -> str:
    """The text in quotes, cut short, with control characters escaped so that it cannot steer a terminal."""
    shown = text if len(text) <= CHARACTERS_SHOWN_MAX else text[:CHARACTERS_SHOWN_MAX] + "…"
    return "".join(character if character.isprintable() else _escaped(character) for character in f'"{shown}"')


def _escaped(character: str) -> str:
    return json.dumps(character)[1:-1]
