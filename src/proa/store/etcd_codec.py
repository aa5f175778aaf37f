"""How records and transactions look in etcd: pure translation, used by ``EtcdStore`` only.

All keys of one etcd transaction share a revision, so a value begins with a header that holds
its index in the transaction. A deletion has no value: its index is one more than that of the
event before it in the same revision, which whoever sees the whole revision can count. Puts
take their place in the list of writes as index; so indices rise with the order of events.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from proa.pb import etcd_pb2 as pb
from proa.store.api import (
    Committed,
    Delete,
    Event,
    Exists,
    Guard,
    GuardFailed,
    Put,
    Record,
    Transaction,
)

_ROOT = b"proa:"
OFFSET_KEY = b"proa.offset"
OFFSET = struct.Struct(">qq")  # offset of revisions, oldest version that is served
_HEADER = struct.Struct(">BHB")  # format of the header, schema of the body, index
_FORMAT = 1


def is_ours(key: bytes) -> bool:
    """Whether a key of etcd's is one of this store."""
    return key.startswith(_ROOT)


def full_key(key: str) -> bytes:
    return _ROOT + key.encode()


def beyond(prefix: str) -> bytes:
    """The end of the range of all keys that start with ``prefix``: no UTF-8 contains 0xff."""
    return full_key(prefix) + b"\xff"


def index_of(entry: Any) -> int:
    """A key-value pair's index in the transaction that wrote it."""
    return int(_HEADER.unpack_from(entry.value)[2])


@dataclass(slots=True)
class Versions:
    """Versions from revisions and back. ``offset`` is the stored one."""

    offset: int = 0

    def of(self, revision: int, index: int = 255) -> int:
        """Without an index, the last version that the revision can have."""
        return (revision + self.offset) << 8 | index

    def revision(self, version: int) -> int:
        return (version >> 8) - self.offset

    def record(self, entry: Any) -> Record:
        """A key-value pair's record; ``created`` is exact to the transaction."""
        format, schema, index = _HEADER.unpack_from(entry.value)
        assert format == _FORMAT, f"a value of a later Proa (format {format})"
        created = self.of(entry.create_revision, 0)
        version = self.of(entry.mod_revision, index)
        key = entry.key[len(_ROOT) :].decode()
        return Record(key, entry.value[_HEADER.size :], version, created, schema, entry.lease)

    def events(self, changes: Iterable[Any]) -> list[Event]:
        """The events of whole revisions; keys that are not ours have none."""
        events: list[Event] = []
        revision, index = 0, -1
        for change in changes:
            if not is_ours(change.kv.key):
                continue
            if change.kv.mod_revision != revision:
                revision, index = change.kv.mod_revision, -1
            previous = self.record(change.prev_kv) if change.prev_kv.key else None
            if change.type == pb.StoredEvent.PUT:
                index = index_of(change.kv)
                events.append(Event("put", self.record(change.kv), previous))
                continue
            assert previous is not None, "history that is served has what a deletion deleted"
            index += 1
            version = self.of(revision, index)
            gone = Record(previous.key, previous.body, version, previous.created, previous.schema)
            events.append(Event("delete", gone, previous))
        return events

    def request(self, transaction: Transaction) -> Any:
        """The etcd transaction; when a guard fails it reads what is there instead."""
        return pb.TxnRequest(
            compare=[self._compare(guard) for guard in transaction.guards],
            success=[_operation(write, index) for index, write in enumerate(transaction.writes)],
            failure=[
                pb.RequestOp(request_range=pb.RangeRequest(key=full_key(guard.key)))
                for guard in transaction.guards
            ],
        )

    def _compare(self, guard: Guard | Exists) -> Any:
        key = full_key(guard.key)
        if isinstance(guard, Exists):
            return pb.Compare(
                key=key, target=pb.Compare.CREATE, result=pb.Compare.GREATER, create_revision=0
            )
        revision = self.revision(guard.version) if guard.version else 0
        return pb.Compare(
            key=key, target=pb.Compare.MOD, result=pb.Compare.EQUAL, mod_revision=revision
        )

    def committed(self, writes: Sequence[Put | Delete], answer: Any) -> Committed:
        """What a transaction that succeeded made; a deletion of nothing has the last version."""
        indices: list[int | None] = []
        index = -1
        for place, (write, part) in enumerate(zip(writes, answer.responses, strict=True)):
            if isinstance(write, Put):
                index = place
            elif part.response_delete_range.deleted:
                index += 1
            else:
                indices.append(None)
                continue
            indices.append(index)
        last = self.of(answer.header.revision, index if index >= 0 else 255)
        versions = tuple(
            last if each is None else self.of(answer.header.revision, each) for each in indices
        )
        return Committed(last, versions)

    def failure(self, guards: Sequence[Guard | Exists], answer: Any) -> GuardFailed:
        """The first guard that did not hold."""
        for guard, part in zip(guards, answer.responses, strict=True):
            found = [self.record(entry).version for entry in part.response_range.kvs]
            version = found[0] if found else 0
            if isinstance(guard, Exists):
                if not found:
                    return GuardFailed(guard.key, -1, 0)
            elif version != guard.version:
                return GuardFailed(guard.key, guard.version, version)
        raise AssertionError("etcd refused a transaction all of whose guards hold")


def _operation(write: Put | Delete, index: int) -> Any:
    key = full_key(write.key)
    if isinstance(write, Put):
        value = _HEADER.pack(_FORMAT, write.schema, index) + write.body
        return pb.RequestOp(request_put=pb.PutRequest(key=key, value=value, lease=write.lease))
    return pb.RequestOp(request_delete_range=pb.DeleteRangeRequest(key=key))
