"""Pods' tokens are minted once and renewed in time."""

from __future__ import annotations

import asyncio

from proa.base.clock import VirtualClock, run_virtual
from proa.kube.compile.sources import TokenRequest
from proa.kube.compile.tokens import TokenCache


def request(expiration_s: int, audience: str = "") -> TokenRequest:
    return TokenRequest("c1", "default", "robot", audience, expiration_s, "p", "u-1", "node-1")


def test_token_stays_the_same_until_four_fifths_of_its_life() -> None:
    minted: list[TokenRequest] = []

    def mint(asked: TokenRequest) -> str:
        minted.append(asked)
        return f"token {len(minted)}"

    async def main() -> None:
        tokens = TokenCache(mint, VirtualClock())
        assert tokens(request(1000))[0] == "token 1"
        await asyncio.sleep(799)
        assert tokens(request(1000))[0] == "token 1"
        await asyncio.sleep(2)
        assert tokens(request(1000))[0] == "token 2"

    run_virtual(main())


def test_default_token_of_the_api_lives_a_year_but_no_others_do() -> None:
    minted: list[TokenRequest] = []

    def mint(asked: TokenRequest) -> str:
        minted.append(asked)
        return "token"

    async def main() -> None:
        tokens = TokenCache(mint, VirtualClock())
        tokens(request(3607))
        tokens(request(3607, "sts.amazonaws.com"))
        assert [item.expiration_s for item in minted] == [365 * 86_400, 3607]

    run_virtual(main())
