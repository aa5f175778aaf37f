"""Service account tokens: ES256 JWTs with Kubernetes' claims, minted and verified here.

The claims are those of "Bound service account tokens" (KEP-1205): issuer, subject, audience,
times, and under ``kubernetes.io`` what the token is bound to.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey

CACHE_SIZE = 4096
LEEWAY_S = 60.0  # the machines' clocks differ
CLAIMS_KEY = "kubernetes.io"


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


class TokenIssuer:
    """Mints with one key; verifies what that key has signed."""

    def __init__(self, key_pem: bytes, issuer: str) -> None:
        self._key = ECKey.import_key(key_pem)
        self._key_id = self._key.thumbprint()
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
    ) -> tuple[str, float]:
        """(token, when it expires). ``pod`` is (name, uid); ``id`` becomes the jti."""
        bound: dict[str, Any] = {
            "namespace": namespace,
            "serviceaccount": {"name": name, "uid": uid},
        }
        if pod is not None:
            bound["pod"] = {"name": pod[0], "uid": pod[1]}
        if node:
            bound["node"] = {"name": node}
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
        header = {"alg": "ES256", "kid": self._key_id}
        return str(jwt.encode(header, claims, self._key)), float(expires_at)

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
            content = jwt.decode(token, self._key, algorithms=["ES256"]).claims
        except (JoseError, ValueError, TypeError, RecursionError) as error:
            raise ValueError(f"no token of ours: {error}") from error
        if content.get("iss") != self.issuer:
            raise ValueError("the token is of another issuer")
        try:
            bound = content[CLAIMS_KEY]
            account, pod = bound["serviceaccount"], bound.get("pod") or {}
            return Claims(
                namespace=bound["namespace"],
                name=account["name"],
                uid=account["uid"],
                audiences=tuple(content["aud"]),
                expires_at=float(content["exp"]),
                pod=pod.get("name", ""),
                pod_uid=pod.get("uid", ""),
                node=(bound.get("node") or {}).get("name", ""),
                id=content.get("jti", ""),
                not_before=float(content.get("nbf", 0)),
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"no token of ours: {error!r}") from error

    def jwks(self) -> dict[str, Any]:
        """The public key, for those who verify tokens themselves."""
        public = self._key.as_dict(private=False)
        return {"keys": [{**public, "kid": self._key_id, "use": "sig", "alg": "ES256"}]}

    def openid_configuration(self) -> dict[str, Any]:
        """The issuer's discovery document."""
        return {
            "issuer": self.issuer,
            "jwks_uri": f"{self.issuer}/openid/v1/jwks",
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["ES256"],
        }
