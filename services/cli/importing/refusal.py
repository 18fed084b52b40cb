"""Why an import does not start, or does not reach its end.

InvalidInput
├── MappingRefused    the mapping file cannot be used; `field` names the key at fault
└── FileRefused       the file of usage cannot be used at all: missing, empty, without a needed column
DomainError
└── ImportInterrupted usage was not accepted any more; running the same import again continues it
"""

from typing import ClassVar

from services.kernel.errors import DomainError, InvalidInput


class MappingRefused(InvalidInput):
    """The mapping cannot be used; `field` is the dotted path of the key at fault, such as `time.format`."""

    default_reason: ClassVar[str] = "MAPPING_INVALID"


class FileRefused(InvalidInput):
    """The file cannot be used at all."""

    default_reason: ClassVar[str] = "FILE_INVALID"


class ImportInterrupted(DomainError):
    """The service stopped accepting usage; what was acknowledged stays recorded, and the progress is kept."""

    default_reason: ClassVar[str] = "IMPORT_INTERRUPTED"
