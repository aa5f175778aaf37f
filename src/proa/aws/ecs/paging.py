"""Paging of List operations: sorted names in, one page and an opaque token out."""

from __future__ import annotations

import base64
from collections.abc import Sequence

from proa.aws.ecs.names import invalid

_MARK = b"proa1:"  # what every token of ours begins with


def page(
    items: Sequence[str], token: str | None, limit: int | None, most: int = 100
) -> tuple[list[str], str | None]:
    """The items after the token's, at most ``limit`` (by default and at most ``most``).

    A token names the last item given, so that what comes and goes in between neither repeats
    nor hides an item. ``items`` are sorted, in either direction. Raises
    InvalidParameterException for a token that is none and for a limit out of range."""
    if limit is not None and not 1 <= limit <= most:
        raise invalid(f"maxResults must be between 1 and {most}")
    start = 0
    if token is not None:
        last = _decode(token)
        falling = len(items) > 1 and items[0] > items[-1]
        start = next(
            (
                index
                for index, item in enumerate(items)
                if (item < last if falling else item > last)
            ),
            len(items),
        )
    end = start + (limit or most)
    more = _encode(items[end - 1]) if end < len(items) else None
    return list(items[start:end]), more


def _encode(text: str) -> str:
    return base64.urlsafe_b64encode(_MARK + text.encode()).decode()


def _decode(token: str) -> str:
    try:
        body = base64.b64decode(token.encode(), b"-_", validate=True)
        if not body.startswith(_MARK):
            raise ValueError("no token of ours")
        return body.removeprefix(_MARK).decode()
    except ValueError as error:
        raise invalid("Invalid token.") from error
