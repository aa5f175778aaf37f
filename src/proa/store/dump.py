"""A store's whole content as a stream, and back: what ``proa backup`` keeps and ``restore`` reads.

``export`` reads every record as of one version; ``load`` writes them into an empty store of any
backend and moves its versions beyond all that the old one gave out, so that clients which hold
old versions list again instead of missing something. Keys bound to a lease are left out: who
held them contends anew.

A stream is frames of a big-endian length and a msgpack value: a ``Head``, the records, a ``Tail``.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator
from typing import IO, Protocol

import msgspec

from proa.base.errors import CallerFault
from proa.store.api import MAX_BYTES, Put, Store, Transaction

FORMAT = 1
PAGE, BATCH = 500, 90
MAX_FRAME = 4 * 1024 * 1024


class Head(msgspec.Struct, frozen=True, tag="head"):
    """``version``: what the store was read at; no version it gave out then is greater."""

    version: int
    format: int = FORMAT


class Item(msgspec.Struct, frozen=True, tag="item"):
    key: str
    body: bytes
    schema: int


class Tail(msgspec.Struct, frozen=True, tag="tail"):
    """The last frame: how many records there were. Without it the stream broke off."""

    records: int


Frame = Head | Item | Tail
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Frame).decode


class Restorable(Store, Protocol):
    """A backend itself, which can be told to give out greater versions only."""

    async def advance(self, version: int) -> None: ...


class NotEmpty(CallerFault):
    """The store to be restored into holds something."""


class Damaged(CallerFault):
    """The stream is no dump, or not a whole one."""


def frame(value: Frame) -> bytes:
    """One frame's bytes."""
    body = _encode(value)
    return len(body).to_bytes(4, "big") + body


async def export(store: Store) -> AsyncIterator[bytes]:
    """Every record as of one version, as frames. Raises Compacted (try again) where writing went
    on for so long that the version is no longer kept."""
    version = await store.version()
    yield frame(Head(version))
    after, count, more = "", 0, True
    while more:
        page = await store.range("/", after=after, limit=PAGE, at=version)
        kept = [record for record in page.records if not record.lease]
        yield b"".join(frame(Item(item.key, item.body, item.schema)) for item in kept)
        count += len(kept)
        more = page.more
        after = page.records[-1].key if page.records else after
    yield frame(Tail(count))


def read(file: IO[bytes]) -> Iterator[Frame]:
    """The frames of a stream, checked: a Head of a known format first, a true Tail last. Raises
    Damaged."""
    count, ended = -1, False
    while head := file.read(4):
        size = int.from_bytes(head, "big")
        if ended or len(head) < 4 or size > MAX_FRAME:
            raise Damaged("the dump is damaged")
        body = file.read(size)
        try:
            value: Frame = _decode(body)
        except msgspec.MsgspecError as error:
            raise Damaged("the dump is damaged") from error
        if isinstance(value, Head) != (count < 0):
            raise Damaged("the dump is damaged")
        if isinstance(value, Head) and value.format != FORMAT:
            raise Damaged(f"the dump has format {value.format}; this Proa reads {FORMAT}")
        if isinstance(value, Tail):
            ended = True
            if value.records != count:
                raise Damaged("the dump lacks records")
        count += 1
        yield value
    if not ended:
        raise Damaged("the dump breaks off")


async def load(store: Restorable, frames: Iterable[Frame]) -> int:
    """Write all into an empty store; returns how many records. Raises NotEmpty, Damaged."""
    if (await store.range("/", limit=1)).records:
        raise NotEmpty("the store to restore into is not empty")
    count, version = 0, 0
    waiting: list[Put] = []
    size = 0
    for value in frames:
        if isinstance(value, Head):
            version = value.version
        elif isinstance(value, Item):
            if len(waiting) == BATCH or (waiting and size + len(value.body) > MAX_BYTES // 2):
                await store.commit(Transaction(writes=tuple(waiting)))
                waiting, size = [], 0
            waiting.append(Put(value.key, value.body, value.schema))
            size += len(value.body)
            count += 1
    if waiting:
        await store.commit(Transaction(writes=tuple(waiting)))
    await store.advance(version)
    return count
