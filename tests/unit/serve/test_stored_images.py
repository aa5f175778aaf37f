"""What ``proa image list`` shows, and what ``proa image rm`` frees."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from proa.base.chance import Chance
from proa.base.clock import SystemClock
from proa.base.errors import CallerFault
from proa.base.http import Request
from proa.serve.registry import Registry
from proa.serve.registry_images import Images
from proa.store.blobs import FileBlobs
from tests.unit.serve.registry_client import IMAGE, INDEX, Client

PORT = 4510
Story = Callable[[Client, Images], Awaitable[None]]


@pytest.fixture
def play(tmp_path: Path) -> Callable[[Story], None]:
    async def run(story: Story) -> None:
        registry = Registry(FileBlobs(tmp_path, Chance("images")), tmp_path, SystemClock())
        await story(Client(registry), Images(registry, PORT))

    return lambda story: asyncio.run(run(story))


def config(architecture: str, **more: str) -> bytes:
    return json.dumps({"os": "linux", "architecture": architecture, **more}).encode()


async def push_index(client: Client, name: str, tag: str) -> str:
    images = [
        await client.push(name, "", config("amd64")),
        await client.push(name, "", config("arm", variant="v7")),
    ]
    entries = [{"digest": digest, "mediaType": IMAGE} for digest in images]
    return await client.put(name, tag, {"schemaVersion": 2, "manifests": entries}, INDEX)


def test_list_shows_every_tag_with_size_and_platforms(play: Callable[[Story], None]) -> None:
    async def story(client: Client, images: Images) -> None:
        digest = await client.push("docker.io/library/app", "v1", config("arm64"))
        index = await push_index(client, "team/many", "v2")
        size = sum(
            [
                await client.registry.blobs.size(blob) or 0
                for blob in await client.registry.blobs.digests()
            ]
        )
        one, many = await images.listed()
        assert (one.reference, one.digest) == ("docker.io/library/app:v1", digest)
        assert one.platforms == ("linux/arm64",)
        assert (many.reference, many.digest) == ("localhost:4510/team/many:v2", index)
        assert many.platforms == ("linux/amd64", "linux/arm/v7")
        assert one.size + many.size == size

    play(story)


def test_removed_reference_frees_all_that_only_it_kept(play: Callable[[Story], None]) -> None:
    async def story(client: Client, images: Images) -> None:
        await client.push("docker.io/library/app", "v1", config("arm64"))
        await push_index(client, "team/many", "v2")
        freed = sum(entry.size for entry in await images.listed())
        assert sum([await images.remove("app:v1"), await images.remove("team/many:v2")]) == freed
        assert await images.listed() == [] == await client.registry.blobs.digests()
        assert await client.registry.garbage.sweep() == 0

    play(story)


def test_image_stays_while_another_name_is_at_it(play: Callable[[Story], None]) -> None:
    async def story(client: Client, images: Images) -> None:
        digest = await client.push("docker.io/library/app", "v1")
        assert await client.push("docker.io/library/app", "v2") == digest
        assert await images.remove("app:v1") == 0
        assert [entry.reference for entry in await images.listed()] == ["docker.io/library/app:v2"]
        assert await images.remove(f"app@{digest}") > 0
        assert await client.registry.blobs.digests() == []

    play(story)


def test_image_of_an_index_stays_with_it(play: Callable[[Story], None]) -> None:
    async def story(client: Client, images: Images) -> None:
        index = await push_index(client, "app", "all")
        listed = json.loads((await client.ask("GET", f"/v2/app/manifests/{index}")).body)
        first = listed["manifests"][0]["digest"]
        body = (await client.ask("GET", f"/v2/app/manifests/{first}")).body
        await client.ask("PUT", "/v2/app/manifests/amd64", body, content_type=IMAGE)
        assert await images.remove("localhost:4510/app:amd64") == 0
        assert (await client.ask("GET", f"/v2/app/manifests/{first}")).status == 200
        await client.ask("PUT", "/v2/app/manifests/amd64", body, content_type=IMAGE)
        assert await images.remove("localhost:4510/app:all") > 0
        assert (await client.ask("GET", "/v2/app/manifests/amd64")).status == 200

    play(story)


@pytest.mark.parametrize("reference", ["app:v2", "other", "not a reference", "", "app@sha256:1"])
def test_unknown_image_is_refused_by_name(play: Callable[[Story], None], reference: str) -> None:
    async def story(client: Client, images: Images) -> None:
        await client.push("docker.io/library/app", "v1")
        with pytest.raises(CallerFault):
            await images.remove(reference)
        query = (("reference", reference),)
        answer = await images.handle(Request("DELETE", "/v1/images", query, {}, b""))
        assert answer.status == 404 and reference in json.loads(answer.body)["message"]

    play(story)
