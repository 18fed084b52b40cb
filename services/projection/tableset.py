"""The tables of one generation of a projection: declared, created, dropped, digested."""

from dataclasses import dataclass
from typing import Generic, TypeVar

from sqlalchemy import Connection, MetaData

from services.projection.digest import tables_digest
from services.projection.generations import Generation, wait_for_readers
from services.projection.projection import Projection
from services.projection.upsert import drop_staging

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
        """Drop what is there, once no snapshot shows it; raises Unavailable when readers hold on to it too long."""
        wait_for_readers(connection)
        for table in self.metadata.tables.values():
            drop_staging(connection, table)
        self.metadata.drop_all(connection)

    def digest(self, connection: Connection) -> str:
        """The digests of all rows, `<content>-<the rest>`, each a hexadecimal SHA-256."""
        return tables_digest(connection, self.metadata, self.suffix)
