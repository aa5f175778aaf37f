"""Log streams: create, describe, delete."""

from __future__ import annotations

from proa.aws.gateway.desk import Change, Handler
from proa.aws.gateway.service import AwsError, Context, Input, Output
from proa.aws.logs.shared import (
    LogsDesk,
    group_entry,
    group_name,
    invalid,
    read_token,
    stream_entry,
    token_of,
    unpack,
)
from proa.base.chance import Chance
from proa.cloud.logs import (
    STREAMS,
    Extent,
    LogGroup,
    LogStream,
    encode,
    find_stream,
    group_key,
    stream_key,
)
from proa.store.api import Delete, Exists, Guard, Put

PAGE_SIZE = 50


def creation(group: LogGroup, name: str, now: float, chance: Chance) -> Change[LogStream]:
    """What creates a stream, guarded by its absence and its group's presence."""
    stream = LogStream(group.account, group.region, group.id, name, chance.hex(32), int(now * 1000))
    key = stream_key(group, name)
    owner = Exists(group_key(group.account, group.region, group.name))
    return Change(stream, (Guard(key, 0), owner), (Put(key, encode(stream)),))


async def create_log_stream(desk: LogsDesk, context: Context, given: Input) -> Output:
    """CreateLogStream."""
    name = given["logStreamName"]

    def decide() -> Change[LogStream]:
        group = group_entry(desk, context, given["logGroupName"]).value
        if find_stream(desk.view, group, name) is not None:
            raise AwsError(
                "ResourceAlreadyExistsException", "The specified log stream already exists"
            )
        return creation(group, name, context.now, desk.chance)

    await desk.carry_out(decide)
    return {}


async def delete_log_stream(desk: LogsDesk, context: Context, given: Input) -> Output:
    """DeleteLogStream."""

    def decide() -> Change[LogStream]:
        group = group_entry(desk, context, given["logGroupName"]).value
        entry = stream_entry(desk, group, given["logStreamName"])
        return Change(entry.value, (Guard(entry.key, entry.version),), (Delete(entry.key),))

    stream = await desk.carry_out(decide)
    await desk.events.remove(stream.id)
    return {}


def _shown(group: LogGroup, stream: LogStream, extent: Extent, ingested_ms: int) -> Output:
    written = extent.entries > 0
    return {
        "logStreamName": stream.name,
        "creationTime": stream.created_at_ms,
        "firstEventTimestamp": extent.first_ms if written else None,
        "lastEventTimestamp": extent.last_ms if written else None,
        "lastIngestionTime": ingested_ms if written else None,
        "uploadSequenceToken": sequence_token(extent) if written else None,
        "arn": f"{group.arn}:log-stream:{stream.name}",
        "storedBytes": 0,  # as AWS answers since 2019
    }


def sequence_token(extent: Extent) -> str:
    """What AWS still hands out and no longer checks."""
    return f"49{extent.entries:054d}"


async def _ingested_ms(desk: LogsDesk, stream: LogStream) -> int:
    last = await desk.events.read(stream.id, limit=1, backward=True)
    return unpack(last[0].body)[0] if last else 0


async def describe_log_streams(desk: LogsDesk, context: Context, given: Input) -> Output:
    """DescribeLogStreams by name or by the time of the last event."""
    group = group_entry(desk, context, group_name(given)).value
    by_time = given.get("orderBy") == "LastEventTime"
    prefix, falling = given.get("logStreamNamePrefix", ""), given.get("descending", False)
    if by_time and prefix:
        raise invalid("Cannot order by LastEventTime with a logStreamNamePrefix.")
    found = []
    for entry in desk.view.rows(STREAMS).scan(stream_key(group, "")):
        if entry.value.name.startswith(prefix):
            extent = await desk.events.extent(entry.value.id)
            order = (extent.last_ms if by_time else 0, entry.value.name)
            found.append((order, entry.value, extent))
    found.sort(key=lambda item: item[0], reverse=falling)
    if "nextToken" in given:
        last = read_token(given["nextToken"], list)
        found = [item for item in found if _after(list(item[0]), last, falling)]
    limit = given.get("limit", PAGE_SIZE)
    shown = [
        _shown(group, stream, extent, await _ingested_ms(desk, stream))
        for _, stream, extent in found[:limit]
    ]
    more = token_of(list(found[limit - 1][0])) if len(found) > limit else None
    return {"logStreams": shown, "nextToken": more}


def _after(order: list[object], last: list[object], falling: bool) -> bool:
    try:
        return order < last if falling else order > last
    except TypeError as error:
        raise invalid("The specified nextToken is invalid.") from error


HANDLERS: dict[str, Handler[LogsDesk]] = {
    "CreateLogStream": create_log_stream,
    "DeleteLogStream": delete_log_stream,
    "DescribeLogStreams": describe_log_streams,
}
