"""The options of lists and watches, and the tokens by which a list goes on.

``reads`` and ``watching`` read requests through these. The rules and texts are those of
apimachinery's ValidateListOptions; a continue token names the version that the first page showed
and the last key of the page before, so that all pages show one picture.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass

import orjson

from proa.base.http import Request
from proa.kube.api.call import ApiError
from proa.kube.api.failures import bad_request, expired
from proa.kube.api.options import flag, refused_options, whole_number
from proa.kube.schema.errors import FORBIDDEN, FieldError, unsupported

EXACT, NOT_OLDER = "Exact", "NotOlderThan"
VERSION_DIGITS = 20
_MATCH = "resourceVersionMatch"


@dataclass(slots=True, frozen=True)
class Place:
    """Where a page begins: after ``key``, in the picture of ``version`` (0: the newest)."""

    version: int = 0
    key: str = ""


@dataclass(slots=True, frozen=True)
class ListOptions:
    """``version`` and ``exact`` as asked for (-1 where no version is), ``limit`` 0 for none."""

    version: int
    exact: bool
    limit: int
    start: Place


@dataclass(slots=True, frozen=True)
class WatchOptions:
    """``initial`` is sendInitialEvents: None where it is not said."""

    version: int
    initial: bool | None
    bookmarks: bool
    timeout_s: int


def list_options(request: Request, prefix: str) -> ListOptions:
    """Raises ApiError 400, 422. ``prefix`` is where the listed keys lie."""
    match, version = request.param(_MATCH), request.param("resourceVersion")
    token = request.param("continue")
    errors = []
    if match and not version:
        errors.append(_forbidden(f"{_MATCH} is forbidden unless resourceVersion is provided"))
    if match and token:
        errors.append(_forbidden(f"{_MATCH} is forbidden when continue is provided"))
    if match and match not in (EXACT, NOT_OLDER):
        errors.append(unsupported(_MATCH, match, [EXACT, NOT_OLDER, ""]))
    if match == EXACT and version == "0":
        errors.append(_forbidden(f'{_MATCH} "exact" is forbidden for resourceVersion "0"'))
    if request.param("sendInitialEvents"):
        text = "sendInitialEvents is forbidden for list"
        errors.append(FieldError(FORBIDDEN, "sendInitialEvents", text))
    if errors:
        raise refused_options("ListOptions", errors)
    number, limit = version_of(version), max(0, whole_number(request, "limit"))
    if token and number > 0:
        raise bad_request("specifying resource version is not allowed when using continue")
    exact = match == EXACT or (not match and limit > 0 and number > 0)
    return ListOptions(number, exact, limit, _place(token, prefix) if token else Place())


def watch_options(request: Request) -> WatchOptions:
    """Raises ApiError 400, 422."""
    match, initial = request.param(_MATCH), request.param("sendInitialEvents")
    errors = []
    if initial and match != NOT_OLDER:
        text = f"sendInitialEvents requires setting {_MATCH} to {NOT_OLDER}"
        errors.append(_forbidden(text))
    if match and not initial:
        text = f"{_MATCH} is forbidden for watch unless sendInitialEvents is provided"
        errors.append(_forbidden(text))
    if match and match != NOT_OLDER:
        errors.append(unsupported(_MATCH, match, [NOT_OLDER]))
    if match and request.param("continue"):
        errors.append(_forbidden(f"{_MATCH} is forbidden when continue is provided"))
    if errors:
        raise refused_options("ListOptions", errors)
    return WatchOptions(
        version_of(request.param("resourceVersion")),
        flag(request, "sendInitialEvents") if initial else None,
        flag(request, "allowWatchBookmarks"),
        max(0, whole_number(request, "timeoutSeconds")),
    )


def version_of(text: str) -> int:
    """A resourceVersion of a query as a number, -1 for none. Raises 400."""
    if not text:
        return -1
    if not text.isascii() or not text.isdigit() or len(text) > VERSION_DIGITS:
        raise bad_request(
            f'invalid resource version: resourceVersion: Invalid value: "{text}": '
            f'strconv.ParseUint: parsing "{text}": invalid syntax'
        )
    return int(text)


def too_large(wanted: int, current: int) -> ApiError:
    """504 for a version that is still to come; clients know the cause by name."""
    cause = {"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}
    return ApiError(
        504,
        "Timeout",
        f"Timeout: Too large resource version: {wanted}, current: {current}",
        {"causes": [cause], "retryAfterSeconds": 1},
    )


def token_of(place: Place) -> str:
    """The continue token of a place."""
    text = orjson.dumps({"v": "proa/v1", "rv": place.version, "start": place.key})
    return base64.urlsafe_b64encode(text).decode().rstrip("=")


def _place(token: str, prefix: str) -> Place:
    try:
        said = orjson.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
        place = Place(said["rv"], said["start"])
        if isinstance(place.version, int) and place.key.startswith(prefix):
            return place
    except (binascii.Error, ValueError, KeyError, TypeError, AttributeError):
        pass
    raise bad_request("continue key is not valid")


def too_old(place: Place) -> ApiError:
    """410 for a continue token whose picture is gone, with a token that goes on regardless."""
    error = expired(
        "The provided continue parameter is too old to display a consistent list result. You can "
        "start a new list without the continue parameter, or use the continue token in this "
        "response to retrieve the remainder of the results. Continuing with the provided token "
        "results in an inconsistent list - objects that were created, modified, or deleted "
        "between the time the first chunk was returned and now may show up in the list."
    )
    error.metadata = {"continue": token_of(Place(0, place.key))}
    return error


def _forbidden(text: str) -> FieldError:
    return FieldError(FORBIDDEN, _MATCH, text)
