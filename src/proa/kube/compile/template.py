"""What the pods of one template have in common once they are compiled: read and made once.

``compile_pod`` asks by the stored specification. Pods that a controller makes of one template are
stored alike to the byte (``kube.api.twins``) but for the node they are bound to, which the binding
writes in front. What looks at more of a pod than that is compiled for each.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import orjson

from proa.kube.compile.containers import container
from proa.kube.compile.sources import Json, Sources
from proa.kube.decoding import without_nulls
from proa.kube.objects import Service
from proa.model.sandbox import Container

KEPT = 1000  # templates
_BOUND, _END = b'{"nodeName":"', b'",'


class Template:
    """``spec`` is the specification without the node; who gets it only reads."""

    def __init__(self, spec: Json) -> None:
        self.spec = spec
        self._made: dict[str, tuple[Sequence[Service], Service | None, Container]] = {}

    def container(
        self, pod: Json, item: Json, init: bool, sources: Sources, problem: str
    ) -> Container:
        """``item`` of ``spec`` compiled for a pod; see ``containers.container``."""
        if problem or _looks_around(item):
            return container(pod, item, init, sources, problem)
        known = self._made.get(item["name"])
        if known is None or known[0] != sources.services or known[1] != sources.master:
            made = container(pod, item, init, sources, problem)
            known = self._made[item["name"]] = (sources.services, sources.master, made)
        return known[2]


def _looks_around(item: Json) -> bool:
    """Whether a container's environment is of its own pod, or of other objects than Services."""
    return bool(item.get("envFrom")) or any("valueFrom" in one for one in item.get("env") or ())


def template_of(spec: bytes) -> Template:
    """The template of a specification as it is stored."""
    if spec.startswith(_BOUND):
        end = spec.find(_END)
        if end > 0:
            spec = b"{" + spec[end + len(_END) :]
    return _template(spec)


@lru_cache(maxsize=KEPT)
def _template(spec: bytes) -> Template:
    return Template(without_nulls(orjson.loads(spec)))
