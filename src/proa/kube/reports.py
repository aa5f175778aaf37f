"""What agents report, written in as few transactions as it takes: statuses, ends, events.

``KubeSkin.report`` calls it with the news of one Host or of thousands. A pod's new status and what
its agent tells of it are committed together, past the API's checks: they are our own words. What is
refused because somebody else was faster is decided again on the newest picture. Only pods that wait
for finalizers are removed through the API.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import itemgetter

from proa.base.chance import Chance
from proa.base.clock import Clock
from proa.base.errors import CallerFault, Conflict, TryAgain
from proa.base.telemetry import get_logger
from proa.cloud import compute
from proa.dispatch.batches import merged, packed_by, transaction_of
from proa.dispatch.skin import Parts
from proa.kube.api.call import SYSTEM, Call
from proa.kube.controllers.addresses import released_with
from proa.kube.controllers.common import delete
from proa.kube.controllers.steps import CallPerformer
from proa.kube.events import node_event_parts
from proa.kube.objects import Pod
from proa.kube.pod_status import reported_body
from proa.kube.tables import PODS, PREFIX, cluster_of, namespace_of
from proa.model.sandbox import NodeEvent, SandboxStatus
from proa.reconcile.view import Entry, View
from proa.store.api import Delete, Guard, Put, Store

log = get_logger(__name__)
_NOTHING = Parts()
ATTEMPTS = 5


class Reports:
    """``perform`` is the API's in-process entrance."""

    def __init__(self, store: Store, clock: Clock, chance: Chance, perform: CallPerformer) -> None:
        self._store, self._clock, self._chance, self._perform = store, clock, chance, perform

    async def take(
        self, view: View, statuses: Sequence[SandboxStatus], events: Sequence[NodeEvent]
    ) -> None:
        """Write what is new. Raises TryAgain where others keep writing the same pods."""
        told: dict[str, list[NodeEvent]] = {}
        for event in events:
            told.setdefault(event.uid, []).append(event)
        news = {status.uid: status for status in statuses}
        uids = list(dict.fromkeys((*news, *told)))
        for _ in range(ATTEMPTS):
            uids = await self._once(view, uids, news, told)
            if not uids:
                return
            await view.reached(await self._store.version())
        raise TryAgain("somebody else keeps writing the same pods")

    async def _once(
        self,
        view: View,
        uids: Sequence[str],
        news: dict[str, SandboxStatus],
        told: dict[str, list[NodeEvent]],
    ) -> list[str]:
        """Returns the uids of pods that are to be decided again."""
        pieces: list[tuple[str, Parts]] = []
        removals: list[Call] = []
        now = self._clock.now()
        for uid in uids:
            for entry in view.rows(PODS).by("any-uid", uid):
                status = news.get(uid)
                gone = status is not None and status.gone and entry.value.metadata.deleting
                if gone and entry.value.metadata.finalizers:
                    removals.append(delete(entry, SYSTEM, grace_s=0))
                pieces.append((uid, self._parts(view, entry, status, told.get(uid, []), now)))
        again = await self._commit(view, pieces)
        for call in removals:
            await self._remove(call)
        return again

    def _parts(
        self,
        view: View,
        entry: Entry[Pod],
        status: SandboxStatus | None,
        events: list[NodeEvent],
        now: float,
    ) -> Parts:
        """A pod that nothing of is left is removed at once, its address and its last status with
        it."""
        own = _NOTHING
        meta, guard = entry.value.metadata, Guard(entry.key, entry.version)
        if status is not None and status.gone and meta.deleting and not meta.finalizers:
            released = released_with(view, entry)
            own = Parts((*released.guards, guard), (*released.writes, Delete(entry.key)))
        elif status is not None:
            body = reported_body(entry, status, now, _instance(view, entry))
            own = Parts((guard,), (Put(entry.key, body),)) if body is not None else _NOTHING
        if not events:
            return own
        home = namespace_of(view, cluster_of(entry.key), meta.namespace)
        if home is not None and home.value.metadata.deleting:
            return own
        node = entry.value.spec.node_name
        return merged((own, *node_event_parts(view, entry, events, node, self._chance, now)))

    async def _commit(self, view: View, pieces: Sequence[tuple[str, Parts]]) -> list[str]:
        version, again = 0, []
        told = [piece for piece in pieces if piece[1].writes]
        for pack in packed_by(itemgetter(1), told):
            try:
                version = (
                    await self._store.commit(transaction_of([part for _, part in pack]))
                ).version
            except Conflict:
                for piece in pack if len(pack) > 1 else ():
                    try:
                        version = (await self._store.commit(transaction_of([piece[1]]))).version
                    except Conflict:
                        again.append(piece[0])
                if len(pack) == 1:
                    again.append(pack[0][0])
        await view.reached(version)
        return again

    async def _remove(self, call: Call) -> None:
        try:
            await self._perform(call)
        except (CallerFault, Conflict) as error:
            log.debug("removal not taken", name=call.name, why=str(error))


def _instance(view: View, entry: Entry[Pod]) -> str:
    name = f"{PREFIX}{cluster_of(entry.key)}/{entry.value.spec.node_name}"
    found = view.rows(compute.INSTANCES).by("name", name)
    return found[0].value.address if found else ""
