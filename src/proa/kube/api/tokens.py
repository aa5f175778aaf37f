"""Service account tokens: ES256 JWTs with Kubernetes' claims, minted and verified here.

The claims are those of "Bound service account tokens" (KEP-1205): issuer, subject, audience,
times, and under ``kubernetes.io`` what the token is bound to. Tokens in Secrets have the older
claims, which start with ``kubernetes.io/serviceaccount``.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from proa.kube.api.es256 import TokenKey

CACHE_SIZE = 4096
LEEWAY_S = 60.0  # the machines' clocks differ
CLAIMS_KEY = "kubernetes.io"
LEGACY_ISSUER = "kubernetes/serviceaccount"
_LEGACY = "kubernetes.io/serviceaccount/"


@dataclass(slots=True, frozen=True)
class Claims:
    """What a token says, verified."""

    namespace: str
    name: str
    uid: str
    audiences: tuple[str, ...]
    expires_at: float
    pod: str = ""
    pod_uid: str = ""
    node: str = ""
    id: str = ""
    not_before: float = 0.0
    node_uid: str = ""  # set where the token is bound to the node itself, not to a pod on it
    secret: str = ""
    secret_uid: str = ""  # "" for a token that lies in its Secret and never expires
    lies_there: str = ""  # such a token itself: it counts while its Secret holds just this one


class TokenIssuer:
    """Mints with one key; verifies what that key has signed."""

    def __init__(self, key_pem: bytes, issuer: str) -> None:
        self._key = TokenKey(key_pem)
        self.issuer = issuer
        self._verified: OrderedDict[str, Claims] = OrderedDict()

    def mint(
        self,
        namespace: str,
        name: str,
        uid: str,
        *,
        audiences: Sequence[str],
        expires_s: int,
        now: float,
        pod: tuple[str, str] | None = None,
        node: str = "",
        id: str = "",
        bound_to: tuple[str, str, str] | None = None,
    ) -> tuple[str, float]:
        """(token, when it expires). ``pod`` is (name, uid), ``bound_to`` ("secret" or "node",
        name, uid) instead of a pod; ``id`` becomes the jti."""
        bound: dict[str, Any] = {
            "namespace": namespace,
            "serviceaccount": {"name": name, "uid": uid},
        }
        if pod is not None:
            bound["pod"] = {"name": pod[0], "uid": pod[1]}
        if node:
            bound["node"] = {"name": node}
        if bound_to is not None:
            kind, bound_name, bound_uid = bound_to
            bound[kind] = {"name": bound_name, "uid": bound_uid}
        expires_at = int(now) + expires_s
        claims = {
            "iss": self.issuer,
            "sub": f"system:serviceaccount:{namespace}:{name}",
            "aud": list(audiences),
            "iat": int(now),
            "nbf": int(now),
            "exp": expires_at,
            CLAIMS_KEY: bound,
        }
        if id:
            claims["jti"] = id
        return self._key.sign(claims), float(expires_at)

    def mint_for_secret(self, namespace: str, name: str, uid: str, secret: str) -> str:
        """The token that a Secret of type kubernetes.io/service-account-token holds: without an
        end, and good for as long as the Secret is there."""
        claims = {
            "iss": LEGACY_ISSUER,
            "sub": f"system:serviceaccount:{namespace}:{name}",
            f"{_LEGACY}namespace": namespace,
            f"{_LEGACY}secret.name": secret,
            f"{_LEGACY}service-account.name": name,
            f"{_LEGACY}service-account.uid": uid,
        }
        return self._key.sign(claims)

    def verify(self, token: str, now: float, audiences: Sequence[str]) -> Claims:
        """What a valid token says. Raises ValueError for every other."""
        claims = self._verified.get(token)
        if claims is None:
            claims = self._read(token)
            self._verified[token] = claims
            if len(self._verified) > CACHE_SIZE:
                self._verified.popitem(last=False)
        if claims.expires_at <= now:
            raise ValueError("the token has expired")
        if claims.not_before > now + LEEWAY_S:
            raise ValueError("the token is not valid yet")
        if not set(claims.audiences) & set(audiences):
            raise ValueError("the token is for another audience")
        return claims

    def _read(self, token: str) -> Claims:
        """The claims of a token that our key has signed. Raises ValueError."""
        try:
            content = self._key.read(token)
        except ValueError as error:
            raise ValueError(f"no token of ours: {error}") from error
        if content.get("iss") == LEGACY_ISSUER:
            return self._legacy(content, token)
        if content.get("iss") != self.issuer:
            raise ValueError("the token is of another issuer")
        try:
            bound = content[CLAIMS_KEY]
            account, pod = bound["serviceaccount"], bound.get("pod") or {}
            node, secret = bound.get("node") or {}, bound.get("secret") or {}
            return Claims(
                namespace=bound["namespace"],
                name=account["name"],
                uid=account["uid"],
                audiences=tuple(content["aud"]),
                expires_at=float(content["exp"]),
                pod=pod.get("name", ""),
                pod_uid=pod.get("uid", ""),
                node=node.get("name", ""),
                id=content.get("jti", ""),
                not_before=float(content.get("nbf", 0)),
                node_uid=node.get("uid", ""),
                secret=secret.get("name", ""),
                secret_uid=secret.get("uid", ""),
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"no token of ours: {error!r}") from error

    def _legacy(self, content: dict[str, Any], token: str) -> Claims:
        names = ("namespace", "service-account.name", "service-account.uid", "secret.name")
        namespace, name, uid, secret = (str(content.get(_LEGACY + part, "")) for part in names)
        if not secret:
            raise ValueError("no token of ours: it names no Secret")
        return Claims(
            namespace, name, uid, (self.issuer,), math.inf, secret=secret, lies_there=token
        )

    def jwks(self) -> dict[str, Any]:
        """The public key, for those who verify tokens themselves."""
        return {"keys": [{**self._key.public, "kid": self._key.id, "use": "sig", "alg": "ES256"}]}

    def openid_configuration(self) -> dict[str, Any]:
        """The issuer's discovery document."""
        return {
            "issuer": self.issuer,
            "jwks_uri": f"{self.issuer}/openid/v1/jwks",
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["ES256"],
        }
