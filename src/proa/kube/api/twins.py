"""Pods of one template: the first is prepared with all checks, the others are copies of its bytes.

``server`` asks for what its own controllers create, together or one after another. Two pods that a
controller makes of one template differ in what is drawn for each (name, uid) and in the instant;
everything else follows from the template and from what admission looked at, and is the same as long
as those are. The name of the token's volume means nothing outside its pod, so twins share it, and
with it the bytes of their whole specification. A copy is made only where the first one's own marks
are nowhere in the template, so that nothing else is taken for one; the instant is one only where an
object says when it was made or written, since a template may be of the same second.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any, NamedTuple

import orjson
from msgspec.structs import replace

from proa.base.clock import iso8601
from proa.dispatch.skin import Parts
from proa.kube.api import admission
from proa.kube.api.call import Call
from proa.kube.api.context import Api
from proa.kube.decoding import handed_over
from proa.kube.objects import Pod
from proa.kube.schema.kinds import Resource
from proa.kube.tables import OBJECTS
from proa.store.api import Guard, Put, Transaction

KEPT = 1000  # templates
_INSTANTS = (b'"creationTimestamp":"%b"', b'"time":"%b"')


class Marks(NamedTuple):
    """What is drawn for each, and when."""

    name: str
    uid: str
    at: str

    def of(self, body: bytes, others: Marks) -> bytes:
        """A body with these marks where it has others."""
        for old, new in zip(others.texts, self.texts, strict=True):
            body = body.replace(old, new)
        return body

    @property
    def texts(self) -> tuple[bytes, ...]:
        """These marks as they stand in a body."""
        at = self.at.encode()
        return (self.name.encode(), self.uid.encode(), *(text % at for text in _INSTANTS))

    def on(self, pod: Pod) -> Pod:
        """A pod with these marks."""
        name, uid, at = self
        meta = replace(pod.metadata, name=name, uid=uid, creation_timestamp=at)
        return replace(pod, metadata=meta)


_OTHERS = Marks("another-name", "another-uid", "another-instant")


@dataclass(slots=True, frozen=True)
class _Twin:
    """The first one: the Call, what admission looked at, what was committed, and its marks."""

    call: Call
    seen: object
    done: Transaction
    body: bytes
    pod: Pod  # as ``body`` is decoded
    marks: Marks


class _Looked(NamedTuple):
    """What admission looks at for a pod of ``spec``, as of an edition of all objects."""

    edition: int
    namespace: str
    spec: object
    seen: object


class Twins:
    """Bounded: the templates that were used last are kept."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._known: OrderedDict[tuple[str, str, str], _Twin] = OrderedDict()
        self._looked = _Looked(-1, "", {}, None)

    def like(self, resource: Resource, call: Call) -> Parts | None:
        """What creates the Call's pod, made of one like it; None where none is known."""
        place = _place(call)
        first = self._known.get(place)
        if first is None or not _alike(first.call, call):
            return None
        if first.seen != self._seen(call):
            return None
        self._known.move_to_end(place)
        new = Marks(call.name, self._api.chance.uid(), iso8601(self._api.clock.now()))
        body = new.of(first.body, first.marks)
        handed_over(Pod).tell(body, new.on(first.pod))
        key = self._api.key(resource, call.namespace, call.name)
        return Parts((Guard(key, 0), *first.done.guards[1:]), (Put(key, body),))

    def learn(self, call: Call, done: Transaction) -> None:
        """Remember how a pod was prepared, if others may be copied from it."""
        template = orjson.dumps({**call.body, "metadata": {**call.body["metadata"], "name": ""}})
        if len(done.writes) != 1 or not isinstance(done.writes[0], Put):
            return
        body = done.writes[0].body
        pod = handed_over(Pod)(body)
        meta = pod.metadata
        marks = Marks(meta.name, meta.uid, meta.creation_timestamp)
        texts, at = marks.texts, marks.at.encode()
        if any(text in template for text in texts):
            return
        instants = sum(body.count(text) for text in texts[-len(_INSTANTS) :])
        if body.count(at) != template.count(at) + instants:
            return
        if handed_over(Pod)(_OTHERS.of(body, marks)) != _OTHERS.on(pod):
            return
        seen = self._seen(call)
        place = _place(call)
        self._known[place] = _Twin(call, seen, done, body, pod, marks)
        self._known.move_to_end(place)
        if len(self._known) > KEPT:
            self._known.popitem(last=False)

    def _seen(self, call: Call) -> object:
        """What admission looks at: of pods that are made together, one is looked for."""
        edition, spec = self._api.view.rows(OBJECTS).edition, call.body["spec"]
        last = self._looked
        if last.edition != edition or last.namespace != call.namespace or last.spec is not spec:
            seen = admission.seen_for_pod(self._api, call.namespace, spec)
            last = self._looked = _Looked(edition, call.namespace, spec, seen)
        return last.seen


def may_have_twins(call: Call) -> bool:
    """Whether others like a Call's object are to be expected: a controller's pods."""
    metadata = call.body.get("metadata", {})
    return call.resource == "pods" and not call.group and "generateName" in metadata


def _place(call: Call) -> tuple[str, str, str]:
    return call.namespace, call.user, call.body["metadata"]["generateName"]


def _alike(one: Call, other: Call) -> bool:
    """Whether two Calls differ in the name alone."""
    return _but_name(one.body) == _but_name(other.body)


def _but_name(body: dict[str, Any]) -> dict[str, Any]:
    return {**body, "metadata": {**body["metadata"], "name": ""}}
