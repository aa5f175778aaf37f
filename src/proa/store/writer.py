"""The writer of the SQLite backend's file: ``python writer.py FILE``, its link as stdin.

It is a process of its own, for each call into SQLite gives up the interpreter's lock and must win
it back from a busy loop; ``writer_process`` starts it. One group after the other comes over the
link, is made durable, and is answered by what went wrong, or by nothing. It ends when the link
does, and by nothing else. ``write`` is also what a store in memory calls. It imports nothing of
this package and little else: all that it does is resident a second time.
"""

from __future__ import annotations

import marshal
import os
import signal
import struct
import sys
import threading
from collections.abc import Iterable, Sequence
from functools import cache
from itertools import chain
from typing import Any

import apsw

Row = tuple[Any, ...]
# Rows of ``entry``; statements with their values; counters to be noted, by name.
Order = tuple[Sequence[Row], Sequence[tuple[str, Row]], Sequence[Row]]
HEAD = struct.Struct("<I")  # before each message of the link: its length
BUSY_ATTEMPTS = 5000
ALONE = 64  # rows that are written by one statement of their number
_AT_ONCE = (512, 64, 8, 1)  # rows a statement within a transaction, the largest that fits first
_STATEMENTS = 256  # that stay prepared
_ENTRY = f"({','.join('?' * 8)})"
_READ = 64 * 1024  # more would be memory to be mapped and cleared each time


def connect(path: str) -> apsw.Connection:
    """A connection to the file; what it commits is durable."""
    sql = apsw.Connection(path, statementcachesize=_STATEMENTS)
    sql.set_busy_handler(_wait_a_little)
    sql.execute("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL")
    return sql


def _wait_a_little(attempt: int) -> bool:
    """Locks are only ever held for moments, as there is one writer. This polls, because with
    busy_timeout this build of SQLite (SETLK_TIMEOUT) blocks inside a lock's mutex: a reader and
    the writer of one process then wait for each other until the time is over."""
    threading.Event().wait(0.001)
    return attempt < BUSY_ATTEMPTS


def write(sql: apsw.Connection, order: Order) -> None:
    """Make a group durable, in one transaction. Raises apsw.Error, when nothing is written."""
    rows, statements, counters = order
    if len(rows) <= ALONE and not statements and not counters:
        if rows:
            sql.execute(_inserting(len(rows)), _flat(rows))
        return
    # SQLite does not wait for the lock on behalf of a transaction that has already read.
    sql.transaction_mode = "IMMEDIATE"
    with sql:
        start = 0
        for size in _AT_ONCE:
            while len(rows) - start >= size:
                sql.execute(_inserting(size), _flat(rows[start : start + size]))
                start += size
        for statement, values in statements:
            sql.execute(statement, values)
        if counters:
            places = ", ".join(["(?, ?)"] * len(counters))
            sql.execute(f"INSERT OR REPLACE INTO meta VALUES {places}", _flat(counters))


@cache
def _inserting(rows: int) -> str:
    return "INSERT INTO entry VALUES " + ",".join([_ENTRY] * rows)


def _flat(rows: Iterable[Row]) -> Row:
    return tuple(chain.from_iterable(rows))


def message(content: bytes) -> bytes:
    """One message of the link."""
    return HEAD.pack(len(content)) + content


def taken(inbox: bytearray) -> bytes | None:
    """The next message out of what has arrived; None where it is not whole."""
    if len(inbox) < HEAD.size:
        return None
    end = HEAD.size + HEAD.unpack_from(inbox)[0]
    if len(inbox) < end:
        return None
    content = bytes(memoryview(inbox)[HEAD.size : end])
    del inbox[:end]
    return content


def main() -> None:
    """Serve the link at standard input."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    sql, link, inbox = connect(sys.argv[1]), os.dup(0), bytearray()
    while arrived := os.read(link, _READ):
        inbox += arrived
        while (order := taken(inbox)) is not None:
            answer = message(_answer(sql, marshal.loads(order)))
            while answer:
                answer = answer[os.write(link, answer) :]
    sql.close()


def _answer(sql: apsw.Connection, order: Order) -> bytes:
    try:
        write(sql, order)
    except Exception as error:  # the disk is full, mostly; whoever is next must not be kept waiting
        return str(error).encode() or b"it is not known why"
    return b""


if __name__ == "__main__":
    main()
