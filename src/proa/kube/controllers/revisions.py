"""ControllerRevisions: what a StatefulSet's or DaemonSet's template was, by number.

``kubectl rollout history`` and ``undo`` read what is written here. A revision's name carries a
hash of the template, which its pods carry as a label; a template that comes back gets its old
revision with a new number. Rules: kube-controller-manager's controller history.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from proa.kube.api.call import Call
from proa.kube.controllers.common import delete, owner_reference, patch
from proa.kube.controllers.deployment.revisions import template_hash
from proa.kube.objects import Object, Pod, PodTemplate
from proa.kube.set_objects import Revision
from proa.kube.tables import REVISIONS, cluster_of
from proa.reconcile.view import Change, Entry, Table, View

HASH_LABEL = "controller-revision-hash"


@dataclass(slots=True, frozen=True)
class History:
    """A set's revisions, oldest first. ``hash`` is the present template's; ``calls`` write its
    revision where it is missing or not the newest."""

    revisions: tuple[Entry[Revision], ...]
    name: str
    hash: str
    calls: tuple[Call, ...]

    def template_of(self, name: str) -> PodTemplate | None:
        """The template of a revision by its name."""
        for entry in self.revisions:
            if entry.value.metadata.name == name:
                return _template(entry.value)
        return None


def history(
    view: View, owner: Entry[Any], kind: str, template: PodTemplate, collisions: int, user: str
) -> History:
    """Find or number the revision of a set's present template."""
    value = owner.value
    assert isinstance(value, Object), "sets are objects"
    meta, cluster = value.metadata, cluster_of(owner.key)
    known = sorted(
        view.rows(REVISIONS).by("controller", f"{cluster}/{meta.uid}"),
        key=lambda entry: (entry.value.revision, entry.key),
    )
    hash = template_hash(template, collisions)
    data = {"spec": {"template": {**_json(template), "$patch": "replace"}}}
    same = next((entry for entry in known if entry.value.data == data), None)
    newest = known[-1].value.revision if known else 0
    if same is not None:
        name = same.value.metadata.name
        calls = () if same is known[-1] else (patch(same, {"revision": newest + 1}, user),)
        return History(tuple(known), name, name.removeprefix(f"{meta.name}-"), calls)
    name = f"{meta.name}-{hash}"
    body = {
        "apiVersion": "apps/v1",
        "kind": "ControllerRevision",
        "metadata": {
            "name": name,
            "namespace": meta.namespace,
            "labels": {**template.metadata.get("labels", {}), HASH_LABEL: hash},
            "annotations": _notes(value),
            "ownerReferences": [owner_reference("apps/v1", kind, meta)],
        },
        "data": data,
        "revision": newest + 1,
    }
    call = Call(
        cluster, "create", "apps", "controllerrevisions", meta.namespace, name,
        body=body, user=user, existing_ok=True,
    )  # fmt: skip
    return History(tuple(known), name, hash, (call,))


def _json(template: PodTemplate) -> dict[str, Any]:
    return {"metadata": template.metadata, "spec": template.spec}


def _template(revision: Revision) -> PodTemplate:
    found = ((revision.data or {}).get("spec") or {}).get("template") or {}
    return PodTemplate(found.get("metadata") or {}, found.get("spec") or {})


def _notes(owner: Object) -> dict[str, str]:
    """Why it was changed is told by ``rollout history``; what was applied is not repeated."""
    dropped = "kubectl.kubernetes.io/last-applied-configuration"
    return {key: text for key, text in owner.metadata.annotations.items() if key != dropped}


def superfluous(
    history: History, pods: Iterable[Entry[Pod]], keep: Sequence[str], limit: int, user: str
) -> list[Call]:
    """Deletions of the oldest revisions beyond ``limit`` that neither a pod nor ``keep`` names."""
    living = {pod.value.metadata.labels.get(HASH_LABEL, "") for pod in pods}
    idle = [
        entry
        for entry in history.revisions
        if entry.value.metadata.name not in keep
        and entry.value.metadata.labels.get(HASH_LABEL, "") not in living
    ]
    return [delete(entry, user) for entry in idle[: max(0, len(idle) - limit)]]


def owner_in(table: Table[Any]) -> Callable[[View, Change[Revision]], Iterable[str]]:
    """A trigger: the set of ``table`` that a changed revision belongs to. A set waits for its
    revision to be written, and writes one that has gone again."""

    def keys(view: View, change: Change[Revision]) -> Iterable[str]:
        side = change.new or change.old
        owner = side.value.metadata.controller if side else None
        if owner is None:
            return ()
        found = view.rows(table).by("uid", f"{cluster_of(change.key)}/{owner.uid}")
        return [entry.key for entry in found]

    return keys
