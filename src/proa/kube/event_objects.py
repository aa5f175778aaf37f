"""The typed projection of an Event, and what makes two of them the same or alike.

There are several Events to a pod, kept for an hour, so an ``Event`` holds only what is looked at:
of what was said, who said it and about what, hashes, which are compared and go no further. The
table of events finds those about one object; ``kube.events`` looks among them before it tells
anything.
"""

from __future__ import annotations

import sys
from typing import NamedTuple

from proa.base.clock import from_iso8601
from proa.kube.decoding import decoder
from proa.kube.objects import Meta, Object, ObjectReference, Thing
from proa.reconcile.told import Told

COMBINED = "(combined from similar events):"
ALIKE = 5
_NOTHING: dict[str, str] = {}  # shared by all Events without labels, or annotations


class _Source(Thing, frozen=True):
    component: str = ""
    host: str = ""


class _Involved(ObjectReference, frozen=True):
    field_path: str = ""


class _Told(Object, frozen=True):
    """An Event as it is stored."""

    involved_object: _Involved = _Involved()
    type: str = ""
    reason: str = ""
    message: str = ""
    source: _Source = _Source()
    count: int = 1
    last_timestamp: str = ""
    event_time: str = ""


class Saying(NamedTuple):
    """What makes two pieces of news the same, and its first ``ALIKE`` parts what makes them
    alike."""

    uid: str
    component: str
    host: str
    kind: str
    reason: str
    field_path: str
    message: str


class Event(Object, frozen=True):
    """``about_*`` are of the object that it is about; ``said`` and ``likeness`` are hashes of its
    Saying, by this process; ``combined`` stands for many alike; ``last_said_at`` is in seconds of
    the wall clock."""

    about_uid: str = ""
    about_kind: str = ""
    about_name: str = ""
    said: int = 0
    likeness: int = 0
    combined: bool = False
    count: int = 1
    last_said_at: float = 0.0


def event_of(
    saying: Saying, about: tuple[str, str], meta: Meta, count: int, last_said_at: float
) -> Event:
    """The projection of what is said of an object, whose kind and name ``about`` has."""
    return Event(
        "v1",
        "Event",
        _slim(meta),
        sys.intern(saying.uid),
        sys.intern(about[0]),
        sys.intern(about[1]),
        hash(saying),
        hash(saying[:ALIKE]),
        saying.message.startswith(COMBINED),
        count,
        last_said_at,
    )


_decode = decoder(_Told)


def _decoded(body: bytes) -> Event:
    told = _decode(body)
    about, by = told.involved_object, told.source
    saying = Saying(
        about.uid, by.component, by.host, told.type, told.reason, about.field_path, told.message
    )
    latest = told.last_timestamp or told.event_time or told.metadata.creation_timestamp
    at = from_iso8601(latest) if latest else 0.0
    return event_of(saying, (about.kind, about.name), told.metadata, told.count, at)


# Of a stored Event. Raises ValueError.
decode_event = Told(_decoded)


def _slim(meta: Meta) -> Meta:
    """The same, with what many Events have in common held once."""
    return Meta(
        meta.name,
        sys.intern(meta.namespace),
        meta.uid,
        meta.labels or _NOTHING,
        meta.annotations or _NOTHING,
        meta.owner_references,
        meta.finalizers,
        meta.generation,
        sys.intern(meta.creation_timestamp),
        meta.deletion_timestamp,
        meta.deletion_grace_period_seconds,
    )
