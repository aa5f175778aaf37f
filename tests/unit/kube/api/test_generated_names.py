"""Names that the server makes up for objects with generateName."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from proa.base.chance import Chance
from tests.unit.kube.api.served import DEFAULT, Client, Json, said, serving

CONFIG_MAPS = f"{DEFAULT}/configmaps"
GENERATED: Json = {
    "apiVersion": "v1",
    "kind": "ConfigMap",
    "metadata": {"generateName": "web-"},
}


def draws(monkeypatch: pytest.MonkeyPatch, suffixes: Sequence[str]) -> None:
    """Let these suffixes be drawn one after another."""
    left = list(suffixes)
    monkeypatch.setattr(Chance, "suffix", lambda _self, _length=5: left.pop(0))


def test_a_name_that_is_taken_is_drawn_again(monkeypatch: pytest.MonkeyPatch) -> None:
    async def check(client: Client) -> None:
        draws(monkeypatch, ["aaaaa", "aaaaa", "aaaaa", "bbbbb"])
        names = [said(await client.ask("POST", CONFIG_MAPS, GENERATED)) for _ in range(2)]
        assert [item["metadata"]["name"] for item in names] == ["web-aaaaa", "web-bbbbb"]

    serving(check)


def test_after_eight_names_that_are_taken_the_object_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def check(client: Client) -> None:
        draws(monkeypatch, ["aaaaa"] * 9)
        assert (await client.ask("POST", CONFIG_MAPS, GENERATED)).status == 201
        answer = await client.ask("POST", CONFIG_MAPS, GENERATED)
        assert answer.status == 409
        assert said(answer)["reason"] == "AlreadyExists"

    serving(check)
