"""Service account tokens of pods, minted once and handed out again while they are good.

A pod is compiled at each of its changes; a new token each time would rewrite its files for
nothing. Rules: "Configure Service Accounts for Pods" (renewal at 80 % of the lifetime or after a
day), kube-apiserver --service-account-extend-token-expiration.
"""

from __future__ import annotations

from collections.abc import Callable

from msgspec.structs import replace

from proa.base.clock import Clock
from proa.kube.compile.sources import TokenRequest

LIMIT = 50_000
EXTENDED_FROM_S, EXTENDED_TO_S = 3607, 365 * 86_400
_DAY_S = 86_400


class TokenCache:
    """Called like ``mint``. Holds at most LIMIT tokens; the one asked for longest ago goes."""

    def __init__(self, mint: Callable[[TokenRequest], str], clock: Clock) -> None:
        self._mint, self._clock = mint, clock
        self._known: dict[TokenRequest, tuple[str, float]] = {}

    def __call__(self, request: TokenRequest) -> tuple[str, float]:
        """(the token for a request, when to ask again): the answer is the same until then."""
        now = self._clock.now()
        token, renew_at = self._known.pop(request, ("", 0.0))
        if now >= renew_at:
            asked = request
            if request.expiration_s == EXTENDED_FROM_S and not request.audience:
                # The API's own tokens outlive their nominal hour, for clients that never reread.
                asked = replace(request, expiration_s=EXTENDED_TO_S)
            token = self._mint(asked)
            renew_at = now + min(0.8 * asked.expiration_s, _DAY_S)
        self._known[request] = (token, renew_at)
        while len(self._known) > LIMIT:
            del self._known[next(iter(self._known))]
        return token, renew_at
