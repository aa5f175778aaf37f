"""The Parameter Store slice as the gateway sees it, and its housekeeping."""

from __future__ import annotations

from functools import partial

from proa.aws.gateway.desk import Change, bound
from proa.aws.gateway.service import Service
from proa.aws.ssm import listing, parameters, tags
from proa.aws.ssm.records import PARAMETERS, TABLES, VERSIONS, is_over
from proa.aws.ssm.shared import SsmDesk
from proa.store.api import Delete, Guard

__all__ = ["TABLES", "build", "sweep"]


def build(desk: SsmDesk) -> Service:
    """Every operation, bound to what it works on."""
    handlers = {**parameters.HANDLERS, **listing.HANDLERS, **tags.HANDLERS}
    return Service("ssm", bound(desk, handlers))


async def sweep(desk: SsmDesk, now: float) -> None:
    """Remove parameters whose time is over, and versions whose parameter is gone. The assembly
    calls this every hour or so."""
    rows = desk.view.rows(PARAMETERS)
    over = [entry.key for entry in rows.scan() if is_over(entry.value, now)]
    for key in over:
        await desk.carry_out(partial(_removal, desk, key, now))
    left = [e.key for e in desk.view.rows(VERSIONS).scan() if not rows.by("id", e.value.id)]
    for start in range(0, len(left), 50):
        await desk.delete(left[start : start + 50])


def _removal(desk: SsmDesk, key: str, now: float) -> Change[None]:
    """A new parameter may have taken the name meanwhile."""
    entry = desk.view.rows(PARAMETERS).get(key)
    if entry is None or not is_over(entry.value, now):
        return Change(None)
    return Change(None, (Guard(key, entry.version),), (Delete(key),))
