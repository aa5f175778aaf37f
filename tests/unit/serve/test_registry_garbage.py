"""What nothing names any more is freed, and never from under a push."""

from __future__ import annotations

import asyncio
import errno
import json
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from proa.base.chance import Chance
from proa.base.clock import SystemClock
from proa.serve.registry import Registry
from proa.serve.registry_garbage import PUSH_S
from proa.store import blobs as blobs_module
from proa.store.blobs import FileBlobs, digest_of
from tests.unit.serve.registry_client import IMAGE, INDEX, Client, Story


@pytest.fixture
def play(tmp_path: Path) -> Callable[[Story], None]:
    async def run(story: Callable[[Client], Awaitable[None]]) -> None:
        blobs = FileBlobs(tmp_path, Chance("garbage"))
        await story(Client(Registry(blobs, tmp_path, SystemClock())))

    return lambda story: asyncio.run(run(story))


def grow_old(registry: Registry) -> None:
    """As if every client had been told of every blob long ago."""
    for link in registry.repositories._root.rglob("_blobs/*"):
        then = link.stat().st_mtime - PUSH_S - 1
        os.utime(link, (max(0, then), max(0, then)))


def test_layers_go_with_the_last_manifest_that_names_them(play: Callable[[Story], None]) -> None:
    async def story(client: Client) -> None:
        first = await client.push("app", "v1", b"one")
        second = await client.push("app", "v2", b"two", annotations={"made": "later"})
        both = await client.push("app", "v3", b"one", annotations={"again": "yes"})
        assert len(await client.registry.blobs.digests()) == 7
        for digest, left in ((first, 6), (both, 3), (second, 0)):
            assert (await client.ask("DELETE", f"/v2/app/manifests/{digest}")).status == 202
            assert len(await client.registry.blobs.digests()) == left

    play(story)


def test_layers_stay_for_another_repository(play: Callable[[Story], None]) -> None:
    async def story(client: Client) -> None:
        digest = await client.push("one", "v1")
        assert await client.push("two", "v1") == digest
        await client.ask("DELETE", f"/v2/one/manifests/{digest}")
        assert (await client.ask("GET", f"/v2/two/manifests/{digest}")).status == 200
        assert len(await client.registry.blobs.digests()) == 3

    play(story)


def test_what_a_push_was_told_of_stays_until_it_is_named(play: Callable[[Story], None]) -> None:
    async def story(client: Client) -> None:
        first = await client.push("app", "v1")
        layer = digest_of(b"layer of {}")
        assert (await client.ask("HEAD", f"/v2/app/blobs/{layer}")).status == 200
        fresh = await client.push_blob("app", b"uploaded, not yet named")
        await client.ask("DELETE", f"/v2/app/manifests/{first}")
        assert await client.registry.blobs.digests() == sorted([layer, fresh])
        config = await client.push_blob("app", b"{}")
        manifest = {
            "schemaVersion": 2,
            "config": {"digest": config, "mediaType": "application/vnd.oci.image.config.v1+json"},
            "layers": [{"digest": layer}, {"digest": fresh}],
        }
        await client.put("app", "v2", manifest, IMAGE)

    play(story)


def test_sweep_frees_what_pushes_have_left(play: Callable[[Story], None]) -> None:
    async def story(client: Client) -> None:
        kept = await client.push("app", "v1")
        await client.push_blob("app", b"left by a push that was given up")
        await client.push_blob("other", b"the only one of its repository")
        await client.registry.blobs.put(b"linked nowhere, since a crash came between")
        before = await client.registry.blobs.digests()
        assert await client.registry.garbage.sweep() == 42
        assert len(await client.registry.blobs.digests()) == len(before) - 1
        grow_old(client.registry)
        assert await client.registry.garbage.sweep() == 62
        assert await client.registry.blobs.digests() == sorted(
            [kept, digest_of(b"{}"), digest_of(b"layer of {}")]
        )
        assert await client.registry.garbage.sweep() == 0

    play(story)


def test_images_of_an_index_outlive_it_until_they_are_deleted(
    play: Callable[[Story], None],
) -> None:
    async def story(client: Client) -> None:
        image = await client.push("app", "", b"arm")
        listed = {"digest": image, "mediaType": IMAGE, "platform": {"architecture": "arm64"}}
        index = await client.put("app", "v1", {"schemaVersion": 2, "manifests": [listed]}, INDEX)
        await client.ask("DELETE", f"/v2/app/manifests/{index}")
        assert (await client.ask("GET", f"/v2/app/manifests/{image}")).status == 200
        await client.ask("DELETE", f"/v2/app/manifests/{image}")
        assert await client.registry.blobs.digests() == []

    play(story)


def test_referrers_of_a_tag_are_listed_beside_the_registrys_own(
    play: Callable[[Story], None],
) -> None:
    async def story(client: Client) -> None:
        image = await client.push("app", "v1")
        subject = {"digest": image, "mediaType": IMAGE, "size": 1}
        known = await client.push("app", "", b"sbom", subject=subject)
        old = await client.push("app", "", b"signature")
        entries = [{"digest": d, "mediaType": IMAGE, "size": 1} for d in (known, old)]
        tag = image.replace(":", "-")
        await client.put("app", tag, {"schemaVersion": 2, "manifests": entries}, INDEX)
        answer = await client.ask("GET", f"/v2/app/referrers/{image}")
        listed = [entry["digest"] for entry in json.loads(answer.body)["manifests"]]
        assert sorted(listed) == sorted([known, old])

    play(story)


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_both_kinds_of_digests_name_blobs_and_manifests(
    play: Callable[[Story], None], algorithm: str
) -> None:
    async def story(client: Client) -> None:
        config = digest_of(b"{}", algorithm)
        path = "/v2/app/blobs/uploads/"
        answer = await client.ask("POST", path, b"{}", query=[("digest", config)])
        assert answer.status == 201
        described = {"digest": config, "mediaType": "application/vnd.oci.image.config.v1+json"}
        body = json.dumps({"schemaVersion": 2, "config": described, "layers": []}).encode()
        digest = digest_of(body, algorithm)
        path = f"/v2/app/manifests/{digest}"
        answer = await client.ask("PUT", path, body, content_type=IMAGE)
        assert (answer.status, answer.headers["docker-content-digest"]) == (201, digest)
        assert (await client.ask("GET", path)).body == body
        wrong = path[:-1] + ("0" if path[-1] != "0" else "1")
        assert await client.status("PUT", wrong, body=body) == (400, "DIGEST_INVALID")

    play(story)


@pytest.mark.parametrize(
    ("span", "length", "wanted"),
    [
        ("0-4", "5", (202, "")),
        ("0-3", "5", (400, "SIZE_INVALID")),
        ("five", "5", (400, "BLOB_UPLOAD_INVALID")),
        ("3-7", "5", (416, "BLOB_UPLOAD_INVALID")),
    ],
)
def test_chunk_is_what_its_range_says(
    play: Callable[[Story], None], span: str, length: str, wanted: tuple[int, str]
) -> None:
    async def story(client: Client) -> None:
        begun = await client.ask("POST", "/v2/app/blobs/uploads/")
        headers = {"content_range": span, "content_length": length}
        path = begun.headers["location"]
        assert await client.status("PATCH", path, body=b"hello", **headers) == wanted
        answer = await client.ask("GET", path)
        assert answer.headers["range"] == ("0-4" if wanted[0] == 202 else "0-0")

    play(story)


def test_full_disk_is_said_and_the_upload_goes_on_later(
    play: Callable[[Story], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_arguments: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    async def story(client: Client) -> None:
        path = (await client.ask("POST", "/v2/app/blobs/uploads/")).headers["location"]
        with monkeypatch.context() as patched:
            patched.setattr(blobs_module, "_add", full)
            assert await client.status("PATCH", path, body=b"hello") == (507, "UNKNOWN")
        assert (await client.ask("PATCH", path, b"hello")).headers["range"] == "0-4"
        finish = [("digest", digest_of(b"hello"))]
        assert (await client.ask("PUT", path, query=finish)).status == 201

    play(story)
