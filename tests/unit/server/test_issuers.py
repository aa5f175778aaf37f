"""Keys of OpenID Connect issuers: our own clusters' at hand, others' over HTTPS."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from proa.base.clock import VirtualClock, run_virtual
from proa.base.errors import CallerFault
from proa.server.issuers import KEPT_S, Issuers

ISSUER = "https://id.example.com/x"
KEYS = {"keys": [{"kty": "EC"}]}


class Web:
    """Documents by URL, and which of them were asked for."""

    def __init__(self, **changes: Any) -> None:
        found = {"jwks_uri": "https://id.example.com/keys", **changes}
        self.documents: dict[str, bytes] = {
            f"{ISSUER}/.well-known/openid-configuration": json.dumps(found).encode(),
            "https://id.example.com/keys": json.dumps(KEYS).encode(),
        }
        self.asked: list[str] = []

    async def fetch(self, url: str) -> bytes:
        self.asked.append(url)
        if url not in self.documents:
            raise CallerFault(f"{url} answered 404")
        return self.documents[url]


def issuers(web: Web) -> Issuers:
    own = {"https://ours": {"keys": []}}
    return Issuers(own.get, web.fetch, VirtualClock())


def test_own_cluster_is_not_asked_over_the_network() -> None:
    web = Web()
    assert run_virtual(issuers(web).keys("https://ours")) == {"keys": []}
    assert web.asked == []


def test_foreign_keys_are_kept_for_a_while() -> None:
    web = Web()

    async def story() -> None:
        known = issuers(web)
        for _ in range(3):
            assert await known.keys(ISSUER) == KEYS
        assert len(web.asked) == 2
        await asyncio.sleep(KEPT_S)
        await known.keys(ISSUER)
        assert len(web.asked) == 4

    run_virtual(story())


@pytest.mark.parametrize(
    "place", ["http://id.example.com/keys", None, 5, "https://id.example.com/none"]
)
def test_issuer_without_readable_keys_is_refused(place: Any) -> None:
    with pytest.raises(CallerFault):
        run_virtual(issuers(Web(jwks_uri=place)).keys(ISSUER))


@pytest.mark.parametrize("document", [b"", b"[]", b"{}", b'{"keys": 5}'])
def test_document_that_holds_no_keys_is_refused(document: bytes) -> None:
    web = Web()
    web.documents["https://id.example.com/keys"] = document
    with pytest.raises(CallerFault):
        run_virtual(issuers(web).keys(ISSUER))
