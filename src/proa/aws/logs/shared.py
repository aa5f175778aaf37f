"""What the operations of CloudWatch Logs share: the desk, look-ups, errors, tokens, events."""

from __future__ import annotations

import base64
import binascii
import hashlib
from dataclasses import dataclass
from typing import Any

import orjson

from proa.aws.gateway.desk import Desk
from proa.aws.gateway.service import AwsError, Context, Input
from proa.cloud.logs import EventLog, LogGroup, LogStream, Stored, find_group, find_stream
from proa.reconcile.view import Entry


@dataclass(slots=True)
class LogsDesk(Desk):
    """A desk with the events' log beside it."""

    events: EventLog


def invalid(message: str) -> AwsError:
    """InvalidParameterException."""
    return AwsError("InvalidParameterException", message)


def missing(noun: str) -> AwsError:
    """ResourceNotFoundException for a log group or log stream."""
    return AwsError("ResourceNotFoundException", f"The specified {noun} does not exist.")


def group_name(given: Input) -> str:
    """The group a call is about, by ``logGroupName`` or ``logGroupIdentifier``."""
    name, identifier = given.get("logGroupName"), given.get("logGroupIdentifier")
    if (name is None) == (identifier is None):
        raise invalid("Exactly one of logGroupName or logGroupIdentifier must be provided.")
    text = str(name or identifier)
    return group_of_arn(text) if text.startswith("arn:") else text


def group_of_arn(arn: str) -> str:
    """The group's name in an ARN, with or without ``:*``."""
    parts = arn.split(":", 6)
    if len(parts) != 7 or parts[5] != "log-group":
        raise invalid("Invalid ARN")
    return parts[6].removesuffix(":*")


def group_entry(desk: Desk, context: Context, name: str) -> Entry[LogGroup]:
    """A group of the caller's account and region; raises ResourceNotFoundException."""
    entry = find_group(desk.view, context.account, context.region, name)
    if entry is None:
        raise missing("log group")
    return entry


def stream_entry(desk: Desk, group: LogGroup, name: str) -> Entry[LogStream]:
    """A stream of a group; raises ResourceNotFoundException."""
    entry = find_stream(desk.view, group, name)
    if entry is None:
        raise missing("log stream")
    return entry


def token_of(value: Any) -> str:
    """An opaque paging token."""
    return base64.urlsafe_b64encode(orjson.dumps(value)).decode()


def read_token(token: str, kind: type) -> Any:
    """The value of a paging token; raises InvalidParameterException."""
    try:
        value = orjson.loads(base64.urlsafe_b64decode(token.encode()))
    except (binascii.Error, ValueError) as error:
        raise invalid("The specified nextToken is invalid.") from error
    if not isinstance(value, kind):
        raise invalid("The specified nextToken is invalid.")
    return value


def pack(ingested_ms: int, message: str, mark: tuple[str, int] | None = None) -> bytes:
    """An event's body. ``mark`` is what the agent's batch that ends here is known by."""
    return orjson.dumps([ingested_ms, message, *(mark or ())])


def unpack(body: bytes) -> tuple[int, str]:
    """Ingestion time and message."""
    ingested_ms, message = orjson.loads(body)[:2]
    return ingested_ms, message


def mark_of(body: bytes) -> tuple[str, int] | None:
    """The (source, first) of the agent's batch that ended with this entry."""
    parts = orjson.loads(body)
    return (parts[2], parts[3]) if len(parts) == 4 else None


def event_id(stream: LogStream, entry: Stored) -> str:
    """56 digits, unique and rising with time, as CloudWatch's are."""
    digest = int.from_bytes(hashlib.sha256(stream.id.encode()).digest()[:8], "big")
    return f"3{entry.at_ms:015d}{digest:020d}{entry.position:020d}"
