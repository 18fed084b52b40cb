"""The tables beside a projection's own: which generations there are, what they set aside, which rebuilds are held."""

from typing import TypeVar

from sqlalchemy import Connection

from services.projection import generations, held, parked
from services.projection.generations import Generation, remove_generation
from services.projection.held import forget_held
from services.projection.parked import forget_parked
from services.projection.projection import Projection
from services.projection.tableset import TableSet

T = TypeVar("T")


def create_bookkeeping(connection: Connection) -> None:
    """Create what is missing."""
    generations.create_table(connection)
    parked.create_table(connection)
    held.create_table(connection)


def drop_generation(connection: Connection, projection: Projection[T], generation: Generation) -> None:
    """Drop a generation's tables and everything that is noted about it: its number may be given again."""
    TableSet.of(projection, generation).drop(connection)
    forget_parked(connection, generation)
    forget_held(connection, generation)
    remove_generation(connection, generation)
