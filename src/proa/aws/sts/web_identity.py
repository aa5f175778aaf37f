"""Tokens of OpenID Connect issuers, as AssumeRoleWithWebIdentity takes them.

``WebIdentities.verify`` says what a token claims, once its issuer is a provider of the role's
account and its signature is by one of the issuer's keys. The keys come through a port: those of
Proa's own clusters are known to it, others are asked for over HTTPS.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import orjson

from proa.aws.gateway.desk import Desk
from proa.aws.gateway.service import AwsError
from proa.base.errors import CallerFault
from proa.cloud.identity import PROVIDERS, OidcProvider, provider_key

ALGORITHMS = ["RS256", "RS384", "RS512", "ES256", "ES384", "ES512"]
MAX_TOKEN = 20_000
LEEWAY_S = 60.0  # the issuer's clock differs


class IssuerKeys(Protocol):
    """Where issuers' public keys come from."""

    async def keys(self, issuer: str) -> Mapping[str, Any]:
        """The JSON Web Key Set of an issuer (``https://…``). Raises CallerFault where there is
        none, TryAgain where it cannot be asked now."""
        ...


class NoIssuers:
    """Where nobody's keys are known."""

    async def keys(self, issuer: str) -> Mapping[str, Any]:
        raise CallerFault(f"the keys of {issuer} are not known")


@dataclass(slots=True, frozen=True)
class WebIdentity:
    """A verified token. ``keys`` are its condition keys, in lower case."""

    provider: OidcProvider
    subject: str
    audience: str
    keys: Mapping[str, tuple[str, ...]]


def _invalid(message: str) -> AwsError:
    return AwsError("InvalidIdentityToken", message)


class WebIdentities:
    """Verifies tokens against the providers in the view."""

    def __init__(self, issuers: IssuerKeys) -> None:
        self._issuers = issuers

    async def verify(self, desk: Desk, account: str, token: str, now: float) -> WebIdentity:
        """What a token says at ``now`` (wall seconds). Raises AwsError."""
        issuer = _issuer_of(token)
        key = provider_key(account, issuer.removeprefix("https://").rstrip("/"))
        entry = desk.view.rows(PROVIDERS).get(key)
        if entry is None:
            raise _invalid(f"No OpenIDConnect provider found in your account for {issuer}")
        claims = await self._verified(token, issuer)
        if claims.get("iss") != issuer:
            raise _invalid("The issuer of the token is not the one that signed it")
        return _identity(entry.value, claims, now)

    async def _verified(self, token: str, issuer: str) -> Mapping[str, Any]:
        # read on first use: it knows every algorithm there is
        from joserfc import jwt
        from joserfc.errors import JoseError
        from joserfc.jwk import KeySet

        try:
            keys = await self._issuers.keys(issuer)
        except CallerFault as error:
            message = f"Couldn't retrieve verification key from your identity provider: {error}"
            raise _invalid(message) from error
        try:
            known = KeySet.import_key_set({"keys": list(keys["keys"])})
            decoded = jwt.decode(token, known, algorithms=ALGORITHMS)
        except (JoseError, ValueError, TypeError, KeyError) as error:
            raise _invalid("The web identity token's signature could not be verified.") from error
        return dict(decoded.claims)


def _issuer_of(token: str) -> str:
    """The issuer that an unverified token names."""
    parts = token.split(".")
    if len(parts) != 3 or len(token) > MAX_TOKEN:
        raise _invalid("The ID Token provided is not a valid JWT. (You may see this error if you "
                       "sent an Access Token)")  # fmt: skip
    try:
        padded = parts[1] + "=" * (-len(parts[1]) % 4)
        claims = orjson.loads(base64.urlsafe_b64decode(padded))
    except (binascii.Error, ValueError) as error:
        raise _invalid("The ID Token provided is not a valid JWT.") from error
    issuer = claims.get("iss") if isinstance(claims, dict) else None
    if not isinstance(issuer, str) or not issuer.startswith("https://"):
        raise _invalid("The ID Token provided has no issuer.")
    return issuer


def _identity(provider: OidcProvider, claims: Mapping[str, Any], now: float) -> WebIdentity:
    times = [claims.get(name, default) for name, default in (("exp", None), ("nbf", 0))]
    if not all(isinstance(value, int | float) for value in times):
        raise _invalid("Missing a required claim: exp")
    expires, not_before = times
    if expires + LEEWAY_S <= now:
        raise AwsError(
            "ExpiredTokenException", f"Token expired: current date/time {int(now)} must be before "
            f"the expiration date/time {int(expires)}",
        )  # fmt: skip
    if not_before - LEEWAY_S > now:
        raise _invalid("The ID Token is not valid yet.")
    audiences = _texts(claims.get("aud"))
    known = [audience for audience in audiences if audience in provider.client_ids]
    if not known:
        raise _invalid("Incorrect token audience")
    subject = claims.get("sub")
    if not isinstance(subject, str) or not subject:
        raise _invalid("Missing a required claim: sub")
    host = provider.url.lower()
    keys = {
        f"{host}:aud": (known[0],),
        f"{host}:sub": (subject,),
        f"{host}:amr": _texts(claims.get("amr")),
        "aws:federatedprovider": (provider.arn,),
    }
    return WebIdentity(
        provider, subject, known[0], {name: texts for name, texts in keys.items() if texts}
    )


def _texts(value: Any) -> tuple[str, ...]:
    items = value if isinstance(value, list) else [value]
    return tuple(item for item in items if isinstance(item, str))
