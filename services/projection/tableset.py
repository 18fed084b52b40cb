"""The tables of one generation of a projection: declared, created, dropped, digested."""

from dataclasses import dataclass
from typing import Generic, TypeVar

from sqlalchemy import Connection, MetaData

from services.projection.digest import tables_digest
from services.projection.generations import Generation
from services.projection.projection import Projection

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class TableSet(Generic[T]):
    """The tables of one generation, by the names that the projection gave them."""

    suffix: str
    metadata: MetaData
    tables: T

    @staticmethod
    def of(projection: Projection[T], generation: Generation) -> "TableSet[T]":
        """Declare the tables; nothing is created yet."""
        metadata = MetaData()
        return TableSet(generation.suffix, metadata, projection.tables(metadata, generation.suffix))

    def create(self, connection: Connection) -> None:
        """Create what is missing."""
        self.metadata.create_all(connection)

    def drop(self, connection: Connection) -> None:
        """Drop what is there."""
        self.metadata.drop_all(connection)

    def digest(self, connection: Connection) -> str:
        """Hexadecimal SHA-256 over all rows."""
        return tables_digest(connection, self.metadata, self.suffix)
