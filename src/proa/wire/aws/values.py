"""Scalars of AWS's protocols: instants in their three spellings, blobs, numbers in text.

Inside Proa an instant is seconds since the epoch (float) and a blob is bytes; the formats and
where each is the default are the AWS protocol definitions' (Smithy, ``timestampFormat``).
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime
from typing import Any

from proa.wire.aws.faults import Malformed

ISO8601, EPOCH, RFC822 = "iso8601", "unixTimestamp", "rfc822"
_YEAR_9999_S = 253_402_300_799


def format_instant(seconds: float, style: str) -> str:
    """An instant as text; ISO 8601 carries milliseconds where there are any."""
    if style == EPOCH:
        return f"{seconds:.3f}".rstrip("0").rstrip(".")
    if style == RFC822:
        return format_datetime(datetime.fromtimestamp(int(seconds), UTC), usegmt=True)
    milliseconds = round(seconds * 1000)
    text = datetime.fromtimestamp(milliseconds // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    fraction = milliseconds % 1000
    return f"{text}.{fraction:03d}Z" if fraction else f"{text}Z"


def format_instant_millis(seconds: float) -> str:
    """ISO 8601 with milliseconds always, as EC2 writes it."""
    milliseconds = round(seconds * 1000)
    text = datetime.fromtimestamp(milliseconds // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{text}.{milliseconds % 1000:03d}Z"


def parse_instant(text: str, style: str) -> float:
    """Seconds since the epoch; any of the three spellings is taken where ``style`` fails, as
    AWS's own front ends do. Raises Malformed."""
    for reader in (_READERS[style], *_READERS.values()):
        try:
            value = reader(text)
        except (ValueError, TypeError, OverflowError, IndexError):
            continue
        if -_YEAR_9999_S < value <= _YEAR_9999_S:
            return value
    raise Malformed(f"Unable to parse the timestamp {text!r}")


def _from_iso(text: str) -> float:
    parsed = datetime.fromisoformat(text)
    return (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp()


def _from_rfc822(text: str) -> float:
    return parsedate_to_datetime(text).timestamp()


_READERS: dict[str, Callable[[str], float]] = {
    ISO8601: _from_iso,
    EPOCH: float,
    RFC822: _from_rfc822,
}


def instant(value: Any) -> float:
    """A JSON number as an instant."""
    seconds = float(value)
    if not -_YEAR_9999_S < seconds <= _YEAR_9999_S:
        raise Malformed(f"{value} is not an instant")
    return seconds


def decode_blob(text: str | bytes) -> bytes:
    """Base64 to bytes; raises Malformed."""
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Malformed("Invalid base64 encoding") from error


def encode_blob(value: bytes | str) -> str:
    """Bytes (or text, as UTF-8) to base64."""
    return base64.b64encode(value.encode() if isinstance(value, str) else value).decode()


def parse_scalar(text: str, kind: str) -> Any:
    """A scalar of a query parameter, header or XML element; raises Malformed."""
    try:
        if kind in ("integer", "long"):
            return int(text)
        if kind in ("float", "double"):
            return float(text)
    except ValueError as error:
        raise Malformed(f"'{text}' is not a valid {kind}") from error
    if kind == "boolean":
        if text in ("true", "false"):
            return text == "true"
        if text in ("True", "False"):
            return text == "True"
        raise Malformed(f"'{text}' is not a valid boolean")
    return text


def format_scalar(value: Any, kind: str) -> str:
    """The inverse of ``parse_scalar``."""
    if kind == "boolean":
        return "true" if value else "false"
    if kind in ("float", "double"):
        return repr(float(value))
    return str(value)
