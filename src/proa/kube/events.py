"""Events (core/v1) as Calls: what controllers, the scheduler and the agents tell users.

The same news about the same object is one Event whose count grows, as kubectl shows it; an
event's name is ``<object>.<when it was first said>``. They expire after an hour.
"""

from __future__ import annotations

from operator import attrgetter
from typing import Any
from zlib import crc32

import orjson
from msgspec import Struct
from msgspec.structs import replace

from proa.base.chance import Chance
from proa.base.clock import iso8601
from proa.dispatch.skin import Parts
from proa.kube.api.call import Call
from proa.kube.event_objects import ALIKE, COMBINED, Event, Saying, decode_event, event_of
from proa.kube.keys import object_key
from proa.kube.objects import Meta, Object
from proa.kube.tables import EVENTS, PREFIX, cluster_of, namespace_of
from proa.model.sandbox import NodeEvent
from proa.reconcile.view import Entry, View
from proa.store.api import Guard, Put

EVENT_TTL_S = 3600.0  # kube-apiserver --event-ttl
MESSAGE_LIMIT = 1024  # bytes (validation of core/v1 Event messages)
ALIKE_LIMIT, ALIKE_WITHIN_S = 10, 600.0  # client-go's event aggregator
_WIDEST = 4  # bytes of a character
_NAME_LIMIT = 230  # a subdomain of 253, less the dot and the number


class Said(Struct, frozen=True):
    """One piece of news. ``component`` is the source; ``host`` its node, if it has one;
    ``field_path`` points into the object ("spec.containers{web}"); ``times`` it was said."""

    reason: str
    message: str
    kind: str = "Normal"
    component: str = ""
    host: str = ""
    field_path: str = ""
    times: int = 1


def event_call(view: View, about: Entry[Any], said: Said, now: float) -> tuple[Call, ...]:
    """The Call that tells it: a new Event, or one more count of the one that is there. Nothing
    where the namespace is ending, which would refuse it."""
    cluster, value = cluster_of(about.key), about.value
    assert isinstance(value, Object), "events are about objects"
    meta = value.metadata
    namespace = meta.namespace or "default"
    home = namespace_of(view, cluster, namespace)
    if home is not None and home.value.metadata.deleting:
        return ()
    said, present = _known(view, cluster, meta.uid, said, now)
    if present is not None:
        name = present.value.metadata.name
        body: dict[str, Any] = {
            "count": present.value.count + said.times,
            "message": said.message,
            "lastTimestamp": iso8601(now),
        }
        return (Call(cluster, "patch", "", "events", namespace, name, body=body),)
    name = _name(meta.name, said, now)
    body = _body(about, said, namespace, name, now)
    return (Call(cluster, "create", "", "events", namespace, name, body=body, existing_ok=True),)


def event_parts(
    view: View, about: Entry[Any], said: Said, chance: Chance, now: float
) -> tuple[Parts, ...]:
    """What ``event_call`` asks for, to be written beside what the Event tells of."""
    home = namespace_of(view, cluster_of(about.key), about.value.metadata.namespace or "default")
    if home is not None and home.value.metadata.deleting:
        return ()
    return (_event_part(view, about, said, chance, now),)


def _known(
    view: View, cluster: str, uid: str, said: Said, now: float
) -> tuple[Said, Entry[Event] | None]:
    """(what to say, the Event that says it already). The same news is counted; from the tenth
    likeness within ten minutes on, news are combined into one Event (client-go's aggregator)."""
    said = replace(said, message=shortened(said.message))
    rows = view.rows(EVENTS)
    if not rows.count("object", uid):
        return said, None
    about, home = rows.filed("object", uid), f"{PREFIX}{cluster}/"
    saying = _saying(uid, said)
    same, likeness = hash(saying), hash(saying[:ALIKE])
    # Objects of several clusters may have one uid, if users say so.
    found = [entry for entry in about if entry.value.said == same and entry.key.startswith(home)]
    if found:
        return said, _latest(found)
    recent = [
        entry
        for entry in about
        if entry.value.likeness == likeness
        and entry.value.last_said_at > now - ALIKE_WITHIN_S
        and entry.key.startswith(home)
    ]
    if len(recent) < ALIKE_LIMIT:
        return said, None
    said = replace(said, message=shortened(f"{COMBINED} {said.message}"))
    return said, _latest([entry for entry in recent if entry.value.combined])


def _latest(events: list[Entry[Event]]) -> Entry[Event] | None:
    """The last by name, which is by time."""
    return max(events, key=attrgetter("key"), default=None)


def shortened(message: str) -> str:
    """A message cut to what the API takes."""
    if len(message) * _WIDEST <= MESSAGE_LIMIT:
        return message
    return message.encode()[:MESSAGE_LIMIT].decode(errors="ignore")


def _saying(uid: str, said: Said) -> Saying:
    return Saying(
        uid, said.component, said.host, said.kind, said.reason, said.field_path, said.message
    )


def _name(object_name: str, said: Said, now: float) -> str:
    """In the order in which things were said; news of one instant differ in the last digits."""
    text = f"{said.component}\0{said.host}\0{said.reason}\0{said.field_path}\0{said.message}"
    number = int(now * 1e6) << 32 | crc32(text.encode())
    return f"{object_name[:_NAME_LIMIT]}.{number:x}"


def _body(about: Entry[Any], said: Said, namespace: str, name: str, now: float) -> dict[str, Any]:
    value = about.value
    involved: dict[str, Any] = {
        "apiVersion": value.api_version,
        "kind": value.kind,
        "name": value.metadata.name,
        "uid": value.metadata.uid,
        "resourceVersion": str(about.version),
    }
    if value.metadata.namespace:
        involved["namespace"] = value.metadata.namespace
    if said.field_path:
        involved["fieldPath"] = said.field_path
    source = {"component": said.component}
    if said.host:
        source["host"] = said.host
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": name, "namespace": namespace},
        "involvedObject": involved,
        "reason": said.reason,
        "message": said.message,
        "type": said.kind,
        "count": said.times,
        "firstTimestamp": iso8601(now),
        "lastTimestamp": iso8601(now),
        "source": source,
        "reportingComponent": said.component,
        "reportingInstance": said.host,
    }


def node_event_parts(
    view: View, pod: Entry[Any], events: list[NodeEvent], node: str, chance: Chance, now: float
) -> list[Parts]:
    """What an agent told of one pod, as it is stored; the same news twice in a batch is counted,
    not repeated."""
    counted: dict[Said, list[float]] = {}
    for event in events:
        said = Said(
            event.reason, event.message, event.kind, "kubelet", node, field_path(pod, event)
        )
        counted.setdefault(said, []).append(event.at or now)
    parts = []
    for said, instants in counted.items():
        said = replace(said, times=len(instants))
        parts.append(_event_part(view, pod, said, chance, max(instants)))
    return parts


def _event_part(view: View, about: Entry[Any], said: Said, chance: Chance, now: float) -> Parts:
    """The write of what ``event_call`` asks the API for, past its checks: it is our own."""
    cluster, meta = cluster_of(about.key), about.value.metadata
    said, present = _known(view, cluster, meta.uid, said, now)
    if present is not None:
        body = orjson.loads(present.body)
        body["count"] = present.value.count + said.times
        body["message"], body["lastTimestamp"] = said.message, iso8601(now)
        return Parts(
            (Guard(present.key, present.version),), (Put(present.key, orjson.dumps(body)),)
        )
    name = _name(meta.name, said, now)
    key, new = _new(about, said, name, chance, now)
    return Parts((Guard(key, 0),), (Put(key, new),))


def _new(about: Entry[Any], said: Said, name: str, chance: Chance, now: float) -> tuple[str, bytes]:
    """Key and body of a new Event; what the body decodes to is told beforehand."""
    value, at, uid = about.value, iso8601(now), chance.uid()
    namespace = value.metadata.namespace or "default"
    parts = _body(about, said, namespace, name, now)
    parts["metadata"] |= {"uid": uid, "creationTimestamp": at}
    body = orjson.dumps(parts)
    saying = _saying(value.metadata.uid, said)
    of = value.kind, value.metadata.name
    meta = Meta(name, namespace, uid, creation_timestamp=at)
    second = float(int(now))  # an instant is written to the second
    decode_event.tell(body, event_of(saying, of, meta, said.times, second))
    return object_key(cluster_of(about.key), "", "events", namespace, name), body


def scheduled_event(pod: Entry[Any], node: str, chance: Chance, now: float) -> tuple[str, bytes]:
    """Key and body of the event "Scheduled", stored in the transaction that binds the pod."""
    meta = pod.value.metadata
    text = f"Successfully assigned {meta.namespace}/{meta.name} to {node}"
    said = Said("Scheduled", shortened(text), component="default-scheduler")
    return _new(pod, said, _name(meta.name, said, now), chance, now)


def field_path(pod: Entry[Any], event: NodeEvent) -> str:
    """Where in the pod the container stands that an event is about."""
    if not event.container:
        return ""
    init = {container.name for container in pod.value.spec.init_containers}
    part = "initContainers" if event.container in init else "containers"
    return f"spec.{part}{{{event.container}}}"


def expires_at(event: Entry[Event]) -> float:
    """When an Event has been there long enough: an hour after it was last said."""
    return event.value.last_said_at + EVENT_TTL_S
