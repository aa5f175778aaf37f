"""The pods that a controller creates in one turn, and the Events that tell of each.

ReplicaSets and Jobs draw the names of their pods themselves, as generateName would draw them, so
that the Events can name them and all can be written together (``steps.Births``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from proa.base.chance import Chance
from proa.dispatch.skin import Parts
from proa.kube.api.call import Call
from proa.kube.events import Said, event_parts
from proa.kube.keys import object_key
from proa.kube.tables import PODS
from proa.reconcile.view import Entry, View


def children(
    view: View,
    owner: Entry[Any],
    draws: Iterable[Callable[[], Call]],
    component: str,
    chance: Chance,
    now: float,
) -> tuple[tuple[Call, Sequence[Parts]], ...]:
    """The Calls that create the pods of ``owner``, one of each draw, each with its Event. A draw
    names a pod by chance, and is repeated where that is the name of another."""
    drawn: dict[str, Call] = {}
    pods = view.rows(PODS)
    for draw in draws:
        call, key = _named(draw)
        while key in drawn or pods.get(key) is not None:
            call, key = _named(draw)
        drawn[key] = call
    found: list[tuple[Call, Sequence[Parts]]] = []
    told: set[str] = set()
    for call in drawn.values():
        said = Said("SuccessfulCreate", f"Created pod: {call.name}", component=component)
        parts = event_parts(view, owner, said, chance, now)
        keys = {write.key for part in parts for write in part.writes}
        found.append((call, () if keys & told else parts))  # one that combines is told once
        told |= keys
    return tuple(found)


def _named(draw: Callable[[], Call]) -> tuple[Call, str]:
    call = draw()
    return call, object_key(call.cluster, "", "pods", call.namespace, call.name)
