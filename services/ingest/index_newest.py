"""The newest entries of the dedupe index, in memory, until they are spilled: a hash table of columns."""

import numpy as np

from services.ingest.index_entries import I64, U64, Entries, in_key_order, order_of
from services.ingest.index_filter import marks_of, may_hold, words_for, words_of

ROOM_MIN = 1 << 10
_SLOTS_PER_ENTRY = 4


class Newest:
    """Slots hold the number of an entry plus 1, and 0 when free; who finds a slot taken tries the next one.

    At most a quarter of the slots is taken, so there is always a free one to end at. Nearly all keys that are asked for
    are new: a filter says so before any slot is looked at. Not safe in two threads at once.
    """

    def __init__(self) -> None:
        self._count = 0
        self._columns = _columns(ROOM_MIN)
        self._slots = _slots(ROOM_MIN)
        self._filter = np.zeros(words_for(ROOM_MIN), np.uint64)

    def __len__(self) -> int:
        """Entries taken in, repeated keys included."""
        return self._count

    def add(self, hi: U64, lo: U64, contents: U64, position: int) -> None:
        """Take in one entry a row, all of one log position; a key that is there already keeps its entry."""
        start, end = self._count, self._count + len(hi)
        self._make_room(end)
        self._columns.hi[start:end], self._columns.lo[start:end] = hi, lo
        self._columns.contents[start:end], self._columns.positions[start:end] = contents, position
        self._count = end
        self._place(np.arange(start, end))

    def find(self, hi: U64, lo: U64, marks: U64) -> I64:
        """The number of the entry of each key; -1 where there is none. `marks` are those of `lo`."""
        found = np.full(len(hi), -1, np.int64)
        seeking = np.flatnonzero(may_hold(self._filter, hi, marks))
        slots = self._first_slots(hi[seeking])
        while len(seeking):
            held = self._slots[slots]
            is_taken = held != 0
            seeking, slots, held = seeking[is_taken], slots[is_taken], held[is_taken] - 1
            is_same = (self._columns.hi[held] == hi[seeking]) & (self._columns.lo[held] == lo[seeking])
            found[seeking[is_same]] = held[is_same]
            seeking, slots = seeking[~is_same], self._next_slots(slots[~is_same])
        return found

    def contents(self, numbers: I64) -> U64:
        """The contents of these entries."""
        return self._columns.contents[numbers]

    def positions(self, numbers: I64) -> I64:
        """The log positions of these entries."""
        return self._columns.positions[numbers]

    def entries(self) -> Entries:
        """The entry of each key, by key."""
        entries = self._columns.part(0, self._count)
        return in_key_order(entries, order=order_of(entries.hi))

    def clear(self) -> None:
        """Forget all entries, and keep the room that they had."""
        self._count = 0
        self._slots[:] = 0
        self._filter[:] = 0

    def _place(self, numbers: I64) -> None:
        hi, lo = self._columns.hi, self._columns.lo
        np.bitwise_or.at(self._filter, words_of(hi[numbers], len(self._filter)), marks_of(lo[numbers]))
        slots = self._first_slots(hi[numbers])
        while len(numbers):
            is_free = self._slots[slots] == 0
            # Of several that want one slot the last one written has it: backwards, that is the first entry.
            self._slots[slots[is_free][::-1]] = numbers[is_free][::-1] + 1
            held = self._slots[slots] - 1
            is_done = (hi[held] == hi[numbers]) & (lo[held] == lo[numbers])
            numbers, slots = numbers[~is_done], self._next_slots(slots[~is_done])

    def _first_slots(self, hi: U64) -> I64:
        return (hi & np.uint64(len(self._slots) - 1)).astype(np.int64)

    def _next_slots(self, slots: I64) -> I64:
        return (slots + 1) & (len(self._slots) - 1)

    def _make_room(self, count: int) -> None:
        room = len(self._columns)
        if count <= room:
            return
        while room < count:
            room *= 2
        held, self._columns, self._slots = self._columns.part(0, self._count), _columns(room), _slots(room)
        self._filter = np.zeros(words_for(room), np.uint64)
        for column, values in zip(self._columns.columns(), held.columns(), strict=True):
            column[: self._count] = values
        self._place(np.arange(self._count))


def _columns(room: int) -> Entries:
    return Entries(
        np.empty(room, np.uint64), np.empty(room, np.uint64), np.empty(room, np.uint64), np.empty(room, np.int64)
    )


def _slots(room: int) -> "np.ndarray[tuple[int], np.dtype[np.int32]]":
    return np.zeros(room * _SLOTS_PER_ENTRY, np.int32)
