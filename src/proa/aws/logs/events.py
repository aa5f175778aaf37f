"""Log events: put, get, filter.

Source: API references of PutLogEvents, GetLogEvents, FilterLogEvents. A page of GetLogEvents
carries a forward and a backward token; at either end the token that was given comes back.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import pairwise

from proa.aws.gateway.desk import Handler
from proa.aws.gateway.service import Context, Input, Output
from proa.aws.logs.reading import Place, Range, in_order, merged
from proa.aws.logs.shared import (
    LogsDesk,
    event_id,
    group_entry,
    group_name,
    invalid,
    missing,
    pack,
    read_token,
    stream_entry,
    token_of,
    unpack,
)
from proa.aws.logs.streams import sequence_token
from proa.cloud.log_filter import InvalidPattern, compile_filter
from proa.cloud.logs import DAY_MS, FOREVER_MS, STREAMS, LogGroup, LogStream, Stored, stream_key

MAX_BATCH_BYTES, MAX_BATCH_EVENTS, EVENT_OVERHEAD = 1_048_576, 10_000, 26
MAX_FUTURE_MS, MAX_PAST_MS = 2 * 3600 * 1000, 14 * DAY_MS
PAGE_EVENTS, PAGE_BYTES = 10_000, 1_048_576
MAX_EXAMINED = 50_000  # by one FilterLogEvents call; a page may be empty and still not the last
MAX_STREAM_NAMES = 100
_TOKEN = re.compile(r"([fb])/(\d{36})(\d{20})/s")


def _check_batch(events: list[Input]) -> None:
    size = sum(len(event["message"].encode()) + EVENT_OVERHEAD for event in events)
    if size > MAX_BATCH_BYTES:
        raise invalid(f"Upload too large: {size} bytes exceeds limit of {MAX_BATCH_BYTES}")
    times = [event["timestamp"] for event in events]
    if any(later < earlier for earlier, later in pairwise(times)):
        raise invalid("Log events in a single PutLogEvents request must be in chronological order.")


def _rejections(events: list[Input], group: LogGroup, now_ms: int) -> tuple[int, int, Output]:
    """The range of events to keep, and what is told of the others. Events are in order."""
    too_old = sum(event["timestamp"] < now_ms - MAX_PAST_MS for event in events)
    expired = sum(event["timestamp"] < group.oldest_ms(now_ms) for event in events)
    kept = sum(event["timestamp"] <= now_ms + MAX_FUTURE_MS for event in events)
    info: Output = {}
    if expired:
        info["expiredLogEventEndIndex"] = expired
    if too_old:
        info["tooOldLogEventEndIndex"] = too_old
    if kept < len(events):
        info["tooNewLogEventStartIndex"] = kept
    return max(too_old, expired), kept, info


async def put_log_events(desk: LogsDesk, context: Context, given: Input) -> Output:
    """PutLogEvents; the sequence token is ignored, as AWS does since 2023."""
    events, now_ms = given["logEvents"], int(context.now * 1000)
    group = group_entry(desk, context, given["logGroupName"]).value
    stream = stream_entry(desk, group, given["logStreamName"]).value
    _check_batch(events)
    start, end, info = _rejections(events, group, now_ms)
    accepted = events[start:end]
    if accepted:
        if accepted[-1]["timestamp"] - accepted[0]["timestamp"] > DAY_MS:
            raise invalid(
                "The batch of log events in a single PutLogEvents request cannot span more than "
                "24 hours."
            )
        entries = [(event["timestamp"], pack(now_ms, event["message"])) for event in accepted]
        await desk.events.append(stream.id, entries)
    token = sequence_token(await desk.events.extent(stream.id))
    return {"nextSequenceToken": token, "rejectedLogEventsInfo": info or None}


def _page_token(kind: str, place: tuple[int, int]) -> str:
    return f"{kind}/{place[0]:036d}{place[1]:020d}/s"


async def get_log_events(desk: LogsDesk, context: Context, given: Input) -> Output:
    """GetLogEvents."""
    group = group_entry(desk, context, group_name(given)).value
    stream = stream_entry(desk, group, given["logStreamName"]).value
    limit = given.get("limit", PAGE_EVENTS)
    backward = not given.get("startFromHead", False)
    beyond: tuple[int, int] | None = None
    if "nextToken" in given:
        match = _TOKEN.fullmatch(given["nextToken"])
        if match is None:
            raise invalid("The specified nextToken is invalid.")
        backward, beyond = match[1] == "b", (int(match[2]), int(match[3]))
    oldest_ms = group.oldest_ms(int(context.now * 1000))
    span = Range(max(given.get("startTime", 0), oldest_ms), given.get("endTime", FOREVER_MS))
    found: list[Stored] = []
    size = 0
    async for entry in in_order(desk.events, stream, span, beyond, backward):
        size += len(entry.body) + EVENT_OVERHEAD
        if len(found) >= limit or (size > PAGE_BYTES and found):
            break
        found.append(entry)
    if backward:
        found.reverse()
    edges = (found[0], found[-1]) if found else None
    here = beyond or (0, 0)
    first = (edges[0].at_ms, edges[0].position) if edges else here
    last = (edges[1].at_ms, edges[1].position) if edges else here
    return {
        "events": [_shown(entry) for entry in found],
        "nextForwardToken": _page_token("f", last),
        "nextBackwardToken": _page_token("b", first),
    }


def _shown(entry: Stored) -> Output:
    ingested_ms, message = unpack(entry.body)
    return {"timestamp": entry.at_ms, "message": message, "ingestionTime": ingested_ms}


def _searched(desk: LogsDesk, group: LogGroup, given: Input) -> list[LogStream]:
    names, prefix = given.get("logStreamNames"), given.get("logStreamNamePrefix")
    if names is not None and prefix is not None:
        raise invalid("logStreamNames and logStreamNamePrefix cannot be provided together.")
    if names is not None:
        if not names or len(names) > MAX_STREAM_NAMES:
            raise invalid(f"logStreamNames must have between 1 and {MAX_STREAM_NAMES} names.")
        return [stream_entry(desk, group, name).value for name in dict.fromkeys(names)]
    scan = desk.view.rows(STREAMS).scan(stream_key(group, ""))
    found = [entry.value for entry in scan if entry.value.name.startswith(prefix or "")]
    if prefix is not None and not found:
        raise missing("log stream")
    return found


def _predicate(given: Input) -> Callable[[str], bool]:
    try:
        return compile_filter(given.get("filterPattern", ""))
    except InvalidPattern as error:
        raise invalid(str(error)) from error


def _start(given: Input) -> tuple[Place | None, bool]:
    """Where a FilterLogEvents call goes on, and in which direction."""
    if "nextToken" not in given:
        return None, not given.get("startFromHead", True)
    token = read_token(given["nextToken"], list)
    if [type(part) for part in token] != [int, str, int, bool]:
        raise invalid("The specified nextToken is invalid.")
    return (token[0], token[1], token[2]), token[3]


async def filter_log_events(desk: LogsDesk, context: Context, given: Input) -> Output:
    """FilterLogEvents: the group's events by time, interleaved. ``endTime`` is inclusive here."""
    group = group_entry(desk, context, group_name(given)).value
    streams, holds = _searched(desk, group, given), _predicate(given)
    beyond, backward = _start(given)
    oldest_ms = group.oldest_ms(int(context.now * 1000))
    span = Range(max(given.get("startTime", 0), oldest_ms), given.get("endTime", FOREVER_MS) + 1)
    limit = given.get("limit", PAGE_EVENTS)
    found: list[Output] = []
    examined = size = 0
    last: Place | None = None
    more = False
    async for stream, entry in merged(desk.events, streams, span, beyond, backward):
        if len(found) >= limit or examined >= MAX_EXAMINED or size > PAGE_BYTES:
            more = True
            break
        examined += 1
        last = (entry.at_ms, stream.name, entry.position)
        shown = _shown(entry)
        if holds(shown["message"]):
            size += len(entry.body) + EVENT_OVERHEAD
            found.append(
                {"logStreamName": stream.name, **shown, "eventId": event_id(stream, entry)}
            )
    token = token_of([*last, backward]) if more and last else None
    return {"events": found, "searchedLogStreams": [], "nextToken": token}


HANDLERS: dict[str, Handler[LogsDesk]] = {
    "PutLogEvents": put_log_events,
    "GetLogEvents": get_log_events,
    "FilterLogEvents": filter_log_events,
}
