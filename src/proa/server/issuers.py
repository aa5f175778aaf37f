"""The public keys of OpenID Connect issuers, for AssumeRoleWithWebIdentity.

Proa's own clusters are issuers whose keys are at hand; any other is asked for its discovery
document and then for its keys, over HTTPS, and believed for a while.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import orjson

from proa.base.clock import Clock
from proa.base.errors import CallerFault

KEPT_S = 300.0
KEPT = 64
Fetch = Callable[[str], Awaitable[bytes]]
Own = Callable[[str], Mapping[str, Any] | None]


async def nothing(url: str) -> bytes:
    """Where nothing outside may be asked."""
    raise CallerFault(f"{url} cannot be asked here")


class Issuers:
    """``own`` gives the keys of an issuer of Proa's; ``fetch`` reads a URL."""

    def __init__(self, own: Own, fetch: Fetch, clock: Clock) -> None:
        self._own, self._fetch, self._clock = own, fetch, clock
        self._known: OrderedDict[str, tuple[float, Mapping[str, Any]]] = OrderedDict()

    async def keys(self, issuer: str) -> Mapping[str, Any]:
        """An issuer's JSON Web Key Set. Raises CallerFault and TryAgain."""
        own = self._own(issuer)
        if own is not None:
            return own
        known = self._known.get(issuer)
        if known is not None and self._clock.monotonic() - known[0] < KEPT_S:
            return known[1]
        keys = await self._ask(issuer)
        self._known[issuer] = (self._clock.monotonic(), keys)
        self._known.move_to_end(issuer)
        if len(self._known) > KEPT:
            self._known.popitem(last=False)
        return keys

    async def _ask(self, issuer: str) -> Mapping[str, Any]:
        found = await self._document(f"{issuer.rstrip('/')}/.well-known/openid-configuration")
        place = found.get("jwks_uri")
        if not isinstance(place, str) or not place.startswith("https://"):
            raise CallerFault(f"the discovery document of {issuer} names no keys")
        keys = await self._document(place)
        if not isinstance(keys.get("keys"), list):
            raise CallerFault(f"{place} holds no keys")
        return keys

    async def _document(self, url: str) -> Mapping[str, Any]:
        try:
            value = orjson.loads(await self._fetch(url))
        except orjson.JSONDecodeError as error:
            raise CallerFault(f"{url} is no JSON") from error
        if not isinstance(value, dict):
            raise CallerFault(f"{url} is no document")
        return value
