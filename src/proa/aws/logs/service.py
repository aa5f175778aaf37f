"""The CloudWatch Logs slice as the gateway sees it, and its housekeeping."""

from __future__ import annotations

from proa.aws.gateway.desk import bound
from proa.aws.gateway.service import Service
from proa.aws.logs import events, groups, streams
from proa.aws.logs.shared import LogsDesk
from proa.cloud.logs import GROUPS, STREAMS, TABLES

__all__ = ["TABLES", "build", "sweep"]


def build(desk: LogsDesk) -> Service:
    """Every operation, bound to what it works on."""
    handlers = {**groups.HANDLERS, **streams.HANDLERS, **events.HANDLERS}
    return Service("logs", bound(desk, handlers))


async def sweep(desk: LogsDesk, now: float) -> None:
    """Forget events past their group's retention, and streams whose group is gone. The assembly
    calls this every hour or so."""
    groups_by_id = {entry.value.id: entry.value for entry in desk.view.rows(GROUPS).scan()}
    for entry in list(desk.view.rows(STREAMS).scan()):
        group = groups_by_id.get(entry.value.group)
        if group is None:
            await desk.delete([entry.key])
            await desk.events.remove(entry.value.id)
        elif group.retention_days:
            await desk.events.expire(entry.value.id, group.oldest_ms(int(now * 1000)))
