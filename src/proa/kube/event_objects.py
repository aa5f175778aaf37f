"""The typed projection of an Event, and what makes two of them the same or alike.

The table of events finds those about one object; ``kube.events`` looks among them before it tells
anything.
"""

from __future__ import annotations

from typing import NamedTuple

from proa.kube.objects import Object, ObjectReference, Thing


class EventSource(Thing, frozen=True):
    component: str = ""
    host: str = ""


class InvolvedObject(ObjectReference, frozen=True):
    field_path: str = ""


class Saying(NamedTuple):
    """What makes two pieces of news the same. All but the last two: what makes them alike."""

    uid: str
    component: str
    host: str
    kind: str
    reason: str
    field_path: str
    message: str

    @property
    def likeness(self) -> tuple[str, ...]:
        return self[:5]


class Event(Object, frozen=True):
    involved_object: InvolvedObject = InvolvedObject()
    type: str = ""
    reason: str = ""
    message: str = ""
    source: EventSource = EventSource()
    count: int = 1
    first_timestamp: str = ""
    last_timestamp: str = ""
    event_time: str = ""

    @property
    def saying(self) -> Saying:
        """Who said what about which part of which object."""
        about, by = self.involved_object, self.source
        return Saying(
            about.uid, by.component, by.host, self.type, self.reason, about.field_path, self.message
        )
