"""Stored bodies into projections of them (``kube.objects``), and bodies by their parts.

The tables of ``kube.tables`` decode by what ``decoder`` and ``handed_over`` make; who writes an
object anew by changing a part of it reads the others neither as bytes nor as projections.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, TypeVar

import msgspec
import orjson
from msgspec.structs import replace

from proa.reconcile.told import Told

T = TypeVar("T")
S = TypeVar("S", bound=msgspec.Struct)


def decoder(kind: type[T]) -> Callable[[bytes], T]:
    """A decoder of stored bodies. An explicit null means absent, as in Kubernetes; it is rare, so
    only a body that does not decode as it is pays for it. Raises ValueError."""
    typed = msgspec.json.Decoder(kind)

    def decode(body: bytes) -> T:
        try:
            return typed.decode(body)
        except msgspec.ValidationError:
            return msgspec.convert(without_nulls(msgspec.json.decode(body)), kind)

    return decode


# An object by its members, none of them read: who changes one leaves the others as they are.
members = msgspec.json.Decoder(dict[str, msgspec.Raw])
whole = msgspec.json.Encoder()
_STATUS = b',"status":'


def parted(body: bytes) -> tuple[bytes, dict[str, Any]]:
    """(what stands before an object's status, the status): the first, a status and ``}`` are an
    object again. Most often the status is the last member, which is seen by its being one value up
    to the end; then nothing else is read."""
    at = body.rfind(_STATUS + b"{")
    if at >= 0:
        begin = at + len(_STATUS)
        try:
            return body[:begin], orjson.loads(memoryview(body)[begin:-1])
        except ValueError:
            pass  # something within an object, or not the last member
    stored = members.decode(body)
    status = orjson.loads(bytes(stored.pop("status", b"{}"))) or {}
    return whole.encode(stored)[:-1] + _STATUS, status


class HandedOver(Told[S]):
    """A decoder of objects that have a status, for who makes a body of one whose projection is
    known: that gives the new projection too, with the parts that stay."""

    def __init__(self, kind: type[S]) -> None:
        super().__init__(decoder(kind))
        types = {field.name: field.type for field in msgspec.structs.fields(kind)}
        self._status, self._meta = decoder(types["status"]), decoder(types["metadata"])

    def tell_status(self, body: bytes, before: S, status: bytes) -> None:
        """``body`` is that of ``before`` with another status, whose bytes are these."""
        self.tell(body, replace(before, status=self._status(status)))

    def tell_meta(self, body: bytes, before: S, metadata: bytes) -> None:
        """``body`` is that of ``before`` with other metadata, whose bytes are these."""
        self.tell(body, replace(before, metadata=self._meta(metadata)))


@cache
def handed_over(kind: type[S]) -> HandedOver[S]:
    """The one of a kind of object that has a status."""
    return HandedOver(kind)


def without_nulls(value: Any) -> Any:
    """A JSON value without members that are null."""
    if isinstance(value, dict):
        return {key: without_nulls(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [without_nulls(item) for item in value if item is not None]
    return value
