"""A mapping as it lies on disk: read, parsed, and known by a fingerprint."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import yaml

from services.cli.importing.mapping import UsageMapping, parse_mapping
from services.cli.importing.refusal import MappingRefused

MAPPING_BYTES_MAX = 1024 * 1024


@dataclass(frozen=True, slots=True)
class MappingFile:
    """A mapping and the SHA-256 of the file it came from, in hexadecimal."""

    mapping: UsageMapping
    fingerprint: str


def read_mapping(path: Path) -> MappingFile:
    """The mapping of a YAML file; raises MappingRefused."""
    content = _content(path)
    try:
        document = yaml.safe_load(content)
    except (yaml.YAMLError, UnicodeDecodeError, ValueError, RecursionError) as error:
        raise MappingRefused(f"{path} is not YAML: {_one_line(error)}") from error
    try:
        mapping = parse_mapping(document)
    except MappingRefused as error:
        raise MappingRefused(f"{path}: {error.message}", field=error.field) from error
    return MappingFile(mapping, hashlib.sha256(content).hexdigest())


def _content(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(MAPPING_BYTES_MAX + 1)
    except OSError as error:
        raise MappingRefused(f"{path} cannot be read: {error.strerror}; check the path") from error
    if len(content) > MAPPING_BYTES_MAX:
        raise MappingRefused(f"{path} is larger than {MAPPING_BYTES_MAX} bytes; is it a mapping?")
    return content


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
