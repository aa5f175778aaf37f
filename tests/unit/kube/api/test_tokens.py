"""Service account tokens: what they say, and which are believed."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, KeySet

from proa.kube import pki
from proa.kube.api import tokens
from proa.kube.api.tokens import TokenIssuer

URL = "https://issuer"
NOW = 1_700_000_000.0
KEY = pki.key_bytes(pki.new_key())


def mint(issuer: TokenIssuer, **changed: Any) -> str:
    wanted = {"audiences": [URL], "expires_s": 600, "now": NOW, **changed}
    token, _ = issuer.mint("default", "robot", "sa-1", **wanted)
    return token


def claims_of(token: str) -> Any:
    part = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))


def test_the_claims_are_those_of_a_bound_token() -> None:
    token, expires_at = TokenIssuer(KEY, URL).mint(
        "default",
        "robot",
        "sa-1",
        audiences=["a", "b"],
        expires_s=3607,
        now=NOW + 0.75,
        pod=("web", "pod-1"),
        node="node-1",
        id="jti-1",
    )
    assert expires_at == NOW + 3607
    assert claims_of(token) == {
        "iss": URL,
        "sub": "system:serviceaccount:default:robot",
        "aud": ["a", "b"],
        "iat": NOW,
        "nbf": NOW,
        "exp": NOW + 3607,
        "jti": "jti-1",
        "kubernetes.io": {
            "namespace": "default",
            "serviceaccount": {"name": "robot", "uid": "sa-1"},
            "pod": {"name": "web", "uid": "pod-1"},
            "node": {"name": "node-1"},
        },
    }


def test_a_token_is_read_as_it_was_minted_also_after_a_restart() -> None:
    token = mint(TokenIssuer(KEY, URL), pod=("web", "pod-1"), node="node-1", id="jti-1")
    claims = TokenIssuer(KEY, URL).verify(token, NOW, [URL])
    assert (claims.namespace, claims.name, claims.uid) == ("default", "robot", "sa-1")
    assert (claims.pod, claims.pod_uid, claims.node) == ("web", "pod-1", "node-1")
    assert (claims.id, claims.audiences, claims.expires_at) == ("jti-1", (URL,), NOW + 600)


def test_a_token_holds_until_its_second_of_expiry_however_often_it_was_read() -> None:
    issuer = TokenIssuer(KEY, URL)
    token = mint(issuer)
    issuer.verify(token, NOW + 599, [URL])
    with pytest.raises(ValueError, match="expired"):
        issuer.verify(token, NOW + 600, [URL])


def test_a_token_of_a_faster_clock_is_believed_within_the_leeway() -> None:
    issuer = TokenIssuer(KEY, URL)
    token = mint(issuer)
    issuer.verify(token, NOW - tokens.LEEWAY_S, [URL])
    with pytest.raises(ValueError, match="not valid yet"):
        issuer.verify(token, NOW - tokens.LEEWAY_S - 1, [URL])


def test_one_shared_audience_is_enough_and_none_is_refused() -> None:
    issuer = TokenIssuer(KEY, URL)
    token = mint(issuer, audiences=["sts.amazonaws.com", "other"])
    assert issuer.verify(token, NOW, ["other", URL]).audiences == ("sts.amazonaws.com", "other")
    with pytest.raises(ValueError, match="audience"):
        issuer.verify(token, NOW, [URL])


def test_tokens_that_another_key_signed_are_refused() -> None:
    ours = TokenIssuer(KEY, URL)
    with pytest.raises(ValueError, match="no token of ours"):
        ours.verify(mint(TokenIssuer(pki.key_bytes(pki.new_key()), URL)), NOW, [URL])


def test_a_changed_or_shapeless_token_is_refused() -> None:
    issuer = TokenIssuer(KEY, URL)
    head, body, signature = mint(issuer).split(".")
    other = claims_of(f"{head}.{body}.{signature}")
    other["kubernetes.io"]["serviceaccount"]["name"] = "admin"
    forged = base64.urlsafe_b64encode(json.dumps(other).encode()).rstrip(b"=").decode()
    none = base64.urlsafe_b64encode(b'{"alg":"none"}').rstrip(b"=").decode()
    deep = base64.urlsafe_b64encode(b"[" * 5000).decode()
    for bad in (
        f"{head}.{forged}.{signature}",
        f"{none}.{forged}.",
        f"{head}.{body}.",
        f"{head}.{body}",
        "a.b.c",
        "..",
        "",
        "no token",
        f"{deep}.{forged}.{signature}",
        "é.é.é",
        "\udcff.a.b",
    ):
        with pytest.raises(ValueError, match="no token of ours"):
            issuer.verify(bad, NOW, [URL])


@pytest.mark.parametrize(
    "claims",
    [
        {"iss": URL},
        {"iss": URL, "kubernetes.io": [], "exp": 1, "aud": []},
        {"iss": URL, "kubernetes.io": {"serviceaccount": None}, "exp": 1, "aud": []},
    ],
)
def test_signed_content_of_another_shape_is_refused(claims: dict[str, Any]) -> None:
    token = jwt.encode({"alg": "ES256"}, claims, ECKey.import_key(KEY))
    with pytest.raises(ValueError, match="no token of ours"):
        TokenIssuer(KEY, URL).verify(token, NOW, [URL])


def test_another_issuer_with_the_same_key_is_refused() -> None:
    token = mint(TokenIssuer(KEY, "https://other"))
    with pytest.raises(ValueError, match="another issuer"):
        TokenIssuer(KEY, URL).verify(token, NOW, [URL])


def test_the_memory_of_verified_tokens_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens, "CACHE_SIZE", 3)
    issuer = TokenIssuer(KEY, URL)
    for number in range(6):
        issuer.verify(mint(issuer, id=str(number)), NOW, [URL])
    assert len(issuer._verified) == 3


def test_others_verify_with_the_published_key_which_is_public_alone() -> None:
    issuer = TokenIssuer(KEY, URL)
    published = issuer.jwks()
    assert all("d" not in key and key["use"] == "sig" for key in published["keys"])
    decoded = jwt.decode(mint(issuer), KeySet.import_key_set(published), algorithms=["ES256"])
    assert decoded.claims["sub"] == "system:serviceaccount:default:robot"
    document = issuer.openid_configuration()
    assert document["issuer"] == URL
    assert document["jwks_uri"] == f"{URL}/openid/v1/jwks"
