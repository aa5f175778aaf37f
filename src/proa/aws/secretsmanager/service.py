"""The Secrets Manager slice as the gateway sees it, and its housekeeping."""

from __future__ import annotations

from functools import partial

from proa.aws.gateway.desk import Change, bound
from proa.aws.gateway.service import Service
from proa.aws.secretsmanager import listing, metadata, values
from proa.aws.secretsmanager.records import SECRETS, TABLES, VALUES, is_gone
from proa.aws.secretsmanager.shared import SecretsDesk
from proa.store.api import Delete, Guard

__all__ = ["TABLES", "build", "sweep"]


def build(desk: SecretsDesk) -> Service:
    """Every operation, bound to what it works on."""
    handlers = {**values.HANDLERS, **metadata.HANDLERS, **listing.HANDLERS}
    return Service("secretsmanager", bound(desk, handlers))


async def sweep(desk: SecretsDesk, now: float) -> None:
    """Remove secrets whose recovery window is over, and values whose secret is gone. The
    assembly calls this every hour or so."""
    rows = desk.view.rows(SECRETS)
    for key in [entry.key for entry in rows.scan() if is_gone(entry.value, now)]:
        await desk.carry_out(partial(_removal, desk, key, now))
    owners = set(rows.values_of("id"))
    left = [
        entry.key
        for entry in desk.view.rows(VALUES).scan()
        if entry.key.rsplit("/", 2)[1] not in owners
    ]
    for start in range(0, len(left), 50):
        await desk.delete(left[start : start + 50])


def _removal(desk: SecretsDesk, key: str, now: float) -> Change[None]:
    """A new secret may have taken the name meanwhile."""
    entry = desk.view.rows(SECRETS).get(key)
    if entry is None or not is_gone(entry.value, now):
        return Change(None)
    return Change(None, (Guard(key, entry.version),), (Delete(key),))
