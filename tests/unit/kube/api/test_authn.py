"""Who asks: by certificate, by token, or nobody."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from proa.base.http import Peer, Request
from proa.kube import pki
from proa.kube.api.authn import ForeignTokens, bearer, certified, nobodys_tokens
from proa.kube.api.call import ApiError
from proa.kube.api.context import ANONYMOUS, Api, User
from proa.kube.api.tokens import TokenIssuer
from tests.unit.kube.api.cluster import CLUSTER, NOW, account, given, key_of, pod, put
from tests.unit.kube.world import MemoryStore

ISSUER = TokenIssuer(pki.key_bytes(pki.new_key()), CLUSTER.issuer)
AUTHORITY = pki.Authority.create(0)


def token(**changed: Any) -> str:
    wanted = {"audiences": [CLUSTER.issuer], "expires_s": 600, "now": NOW, **changed}
    return ISSUER.mint("default", "robot", "sa-1", **wanted)[0]


def asking(authorization: str = "", certificate_of: tuple[str, list[str]] | None = None) -> Request:
    der = None
    if certificate_of is not None:
        pem, _ = AUTHORITY.issue_client(*certificate_of, now=0)
        der = x509.load_pem_x509_certificate(pem).public_bytes(Encoding.DER)
    headers = {"authorization": authorization} if authorization else {}
    return Request("GET", "/api", headers=headers, peer=Peer("", der))


def who(
    request: Request,
    objects: Iterable[dict[str, Any]] = (),
    foreign: ForeignTokens = nobodys_tokens,
) -> User:
    found: list[User] = []

    async def check(api: Api, _store: MemoryStore) -> None:
        found.append(certified(request) or await bearer(request, api, ISSUER, foreign))

    given(objects, check)
    return found[0]


def refused(request: Request, objects: Iterable[dict[str, Any]] = ()) -> None:
    with pytest.raises(ApiError) as caught:
        who(request, objects)
    error = caught.value
    assert (error.code, error.reason, error.message) == (401, "Unauthorized", "Unauthorized")


def test_who_shows_nothing_is_anonymous() -> None:
    assert who(asking()) == ANONYMOUS
    assert who(asking("Bearer ")) == ANONYMOUS
    assert who(asking("Basic YTpi")) == ANONYMOUS


def test_a_certificate_names_the_user_and_the_groups_and_counts_before_a_token() -> None:
    user = who(asking("Bearer nonsense", ("ann", ["dev", "ops"])))
    assert user == User("ann", ("dev", "ops", "system:authenticated"))


def test_a_certificate_without_a_name_stands_for_nobody() -> None:
    key, start = pki.new_key(), datetime(2020, 1, 1, tzinfo=UTC)
    subject = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "system:masters")])
    certificate = (
        x509.CertificateBuilder(subject, subject, key.public_key(), 1, start, start)
        .sign(key, SHA256())
        .public_bytes(Encoding.DER)
    )
    assert who(Request("GET", "/api", peer=Peer("", certificate))) == ANONYMOUS


def test_a_token_names_the_service_account_and_what_it_is_bound_to() -> None:
    shown = token(pod=("web", "pod-1"), node="node-1", id="j")
    user = who(asking(f"bearer {shown}"), [account(), pod()])
    assert user.name == "system:serviceaccount:default:robot"
    assert user.uid == "sa-1"
    assert user.groups == (
        "system:serviceaccounts",
        "system:serviceaccounts:default",
        "system:authenticated",
    )
    prefix = "authentication.kubernetes.io/"
    assert user.extra == {
        f"{prefix}pod-name": ("web",),
        f"{prefix}pod-uid": ("pod-1",),
        f"{prefix}node-name": ("node-1",),
        f"{prefix}credential-id": ("JTI=j",),
    }


def test_a_token_falls_with_its_service_account_even_when_one_of_that_name_returns() -> None:
    request = asking(f"Bearer {token()}")
    refused(request)
    refused(request, [account(uid="sa-2")])
    refused(request, [account(namespace="other")])
    assert who(request, [account()]).uid == "sa-1"


def test_a_token_falls_with_its_pod() -> None:
    request = asking(f"Bearer {token(pod=('web', 'pod-1'))}")
    refused(request, [account()])
    refused(request, [account(), pod(uid="pod-2")])


def test_a_token_that_was_believed_falls_when_its_account_goes() -> None:
    async def check(api: Api, store: MemoryStore) -> None:
        request = asking(f"Bearer {token()}")
        assert (await bearer(request, api, ISSUER)).uid == "sa-1"
        store.delete(key_of(account()))
        await api.fresh()
        with pytest.raises(ApiError):
            await bearer(request, api, ISSUER)
        put(store, account(uid="sa-2"))
        await api.fresh()
        with pytest.raises(ApiError):
            await bearer(request, api, ISSUER)

    given([account()], check)


@pytest.mark.parametrize(
    "shown",
    ["nonsense", "a.b.c", token(audiences=["other"]), token(now=NOW - 600)],
    ids=["text", "parts", "audience", "expired"],
)
def test_a_bad_token_is_refused_and_does_not_become_anonymous(shown: str) -> None:
    refused(asking(f"Bearer {shown}"), [account()])


def test_a_token_of_another_kind_is_believed_where_somebody_vouches_for_it() -> None:
    async def vouch(token: str) -> User | None:
        return User("arn:aws:iam::1:user/ann", ("ops",)) if token == "k8s-aws-v1.good" else None

    user = who(asking("Bearer k8s-aws-v1.good"), foreign=vouch)
    assert (user.name, user.groups) == ("arn:aws:iam::1:user/ann", ("ops", "system:authenticated"))
    with pytest.raises(ApiError):
        who(asking("Bearer k8s-aws-v1.bad"), foreign=vouch)
