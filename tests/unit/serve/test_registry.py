"""The image registry, asked as its clients ask it (OCI distribution-spec 1.1)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

import pytest

from proa.base.chance import Chance
from proa.base.clock import SystemClock
from proa.serve.registry import Registry
from proa.store.blobs import FileBlobs, digest_of
from tests.unit.serve.registry_client import IMAGE, INDEX, NONE, Client, Story


@pytest.fixture
def play(tmp_path: Path) -> Callable[[Story], None]:
    async def run(story: Story) -> None:
        folder = tmp_path / "registry"
        await story(Client(Registry(FileBlobs(folder, Chance("registry")), folder, SystemClock())))

    return lambda story: asyncio.run(run(story))


def test_pushed_image_is_pulled_by_tag_and_by_digest(play: Callable[[Story], None]) -> None:
    async def story(client: Client) -> None:
        digest = await client.push("team/app", "v1")
        for reference in ("v1", digest):
            answer = await client.ask("GET", f"/v2/team/app/manifests/{reference}")
            assert answer.status == 200 and digest_of(answer.body) == digest
            assert answer.headers["content-type"] == IMAGE
            head = await client.ask("HEAD", f"/v2/team/app/manifests/{reference}")
            assert (head.body, head.headers["docker-content-digest"]) == (b"", digest)
            assert head.headers["content-length"] == str(len(answer.body))
        layer = json.loads(answer.body)["layers"][0]["digest"]
        status, content, headers = await client.blob(f"/v2/team/app/blobs/{layer}")
        assert (status, content) == (200, b"layer of {}")
        head = await client.ask("HEAD", f"/v2/team/app/blobs/{layer}")
        assert head.headers["content-length"] == headers["content-length"] == "11"

    play(story)


@pytest.mark.parametrize(
    ("wanted", "status", "body", "span"),
    [
        ("bytes=2-4", 206, b"234", "bytes 2-4/10"),
        ("bytes=7-", 206, b"789", "bytes 7-9/10"),
        ("bytes=-2", 206, b"89", "bytes 8-9/10"),
        ("bytes=5-99", 206, b"56789", "bytes 5-9/10"),
        ("bytes=0-1,3-4", 200, b"0123456789", None),
        ("lines=1-2", 200, b"0123456789", None),
    ],
)
def test_part_of_a_blob_may_be_asked_for(
    play: Callable[[Story], None], wanted: str, status: int, body: bytes, span: str | None
) -> None:
    async def story(client: Client) -> None:
        digest = await client.push_blob("a", b"0123456789")
        found = await client.blob(f"/v2/a/blobs/{digest}", range=wanted)
        assert found[:2] == (status, body)
        assert found[2].get("content-range") == span
        beyond = await client.ask("GET", f"/v2/a/blobs/{digest}", range="bytes=10-")
        assert (beyond.status, beyond.headers["content-range"]) == (416, "bytes */10")

    play(story)


def test_upload_in_chunks_goes_on_where_it_was_broken_off(play: Callable[[Story], None]) -> None:
    async def story(client: Client) -> None:
        async def cut_short() -> AsyncIterator[bytes]:
            yield b"hel"
            raise ConnectionError("the client went away")

        begun = await client.ask("POST", "/v2/a/b/blobs/uploads/")
        place = begun.headers["location"]
        assert (begun.status, begun.headers["range"]) == (202, "0-0")
        with pytest.raises(ConnectionError):
            await client.ask("PATCH", place, stream=cut_short())
        asked = await client.ask("GET", place)
        assert (asked.status, asked.headers["range"]) == (204, "0-2")
        late = await client.ask("PATCH", place, b"xx", content_range="0-1")
        assert (late.status, late.headers["range"]) == (416, "0-2")
        assert late.headers["location"] == place
        went_on = await client.ask("PATCH", place, b"lo", content_range="3-4")
        assert (went_on.status, went_on.headers["range"]) == (202, "0-4")
        digest = digest_of(b"hello!")
        done = await client.ask("PUT", place, b"!", query=[("digest", digest)])
        assert (done.status, done.headers["location"]) == (201, f"/v2/a/b/blobs/{digest}")
        assert await client.status("GET", place) == (404, "BLOB_UPLOAD_UNKNOWN")

    play(story)


def test_upload_that_is_not_what_it_says_is_refused(play: Callable[[Story], None]) -> None:
    async def story(client: Client) -> None:
        place = (await client.ask("POST", "/v2/a/blobs/uploads/")).headers["location"]
        no_digest = await client.status("PUT", place, body=b"hello")
        assert no_digest == (400, "DIGEST_INVALID")
        wrong = await client.status("PUT", place, query=[("digest", NONE)])
        assert wrong == (400, "DIGEST_INVALID")
        assert await client.registry.blobs.digests() == []
        place = (await client.ask("POST", "/v2/a/blobs/uploads/")).headers["location"]
        assert (await client.ask("DELETE", place)).status == 204
        assert await client.status("PATCH", place) == (404, "BLOB_UPLOAD_UNKNOWN")

    play(story)


def test_blob_is_mounted_from_a_repository_that_has_it(play: Callable[[Story], None]) -> None:
    async def story(client: Client) -> None:
        digest = await client.push_blob("one", b"shared")
        assert await client.status("GET", f"/v2/two/blobs/{digest}") == (404, "BLOB_UNKNOWN")
        for source, status in (("three", 202), ("../one", 202), ("one", 201)):
            query = [("mount", digest), ("from", source)]
            answer = await client.ask("POST", "/v2/two/blobs/uploads/", query=query)
            assert answer.status == status
        assert (await client.blob(f"/v2/two/blobs/{digest}"))[1] == b"shared"

    play(story)


def test_blob_goes_when_the_last_repository_lets_it_go(play: Callable[[Story], None]) -> None:
    async def story(client: Client) -> None:
        digest = await client.push_blob("one", b"shared")
        await client.push_blob("two", b"shared")
        for name in ("never", "one"):
            await client.ask("DELETE", f"/v2/{name}/blobs/{digest}")
            assert (await client.blob(f"/v2/two/blobs/{digest}"))[1] == b"shared"
        assert await client.status("HEAD", f"/v2/two/blobs/{digest}") == (200, "")
        assert (await client.ask("HEAD", f"/v2/one/blobs/{digest}")).status == 404
        assert (await client.ask("DELETE", f"/v2/two/blobs/{digest}")).status == 202
        assert await client.registry.blobs.digests() == []

    play(story)


def test_index_names_only_manifests_that_are_there(play: Callable[[Story], None]) -> None:
    async def story(client: Client) -> None:
        amd = await client.push("app", "", b'{"architecture":"amd64"}')
        elsewhere = await client.push("other", "", b'{"architecture":"arm64"}')
        index = {"schemaVersion": 2, "manifests": [{"digest": amd}, {"digest": elsewhere}]}
        body = json.dumps(index).encode()
        refused = await client.status("PUT", "/v2/app/manifests/v1", body=body, content_type=INDEX)
        assert refused == (404, "MANIFEST_BLOB_UNKNOWN")
        await client.push("app", "", b'{"architecture":"arm64"}')
        await client.put("app", "v1", index, INDEX)
        answer = await client.ask("GET", "/v2/app/manifests/v1")
        assert answer.headers["content-type"] == INDEX and answer.body == body

    play(story)


@pytest.mark.parametrize(
    "body",
    [
        b"no json",
        b"[]",
        b'{"schemaVersion": 1}',
        b'{"schemaVersion": 2}',
        b'{"schemaVersion": 2, "config": {"digest": "sha256:../../x"}}',
        b'{"schemaVersion": 2, "config": {"digest": 7}}',
        b'{"schemaVersion": 2, "manifests": {}}',
        b'{"schemaVersion": 2, "manifests": [7]}',
        b'{"schemaVersion": 2, "mediaType": "text/plain", "manifests": []}',
        b'{"schemaVersion": 2, "manifests": [], "layers": []}',
    ],
)
def test_what_is_no_manifest_is_refused(play: Callable[[Story], None], body: bytes) -> None:
    async def story(client: Client) -> None:
        answer = await client.status("PUT", "/v2/app/manifests/v1", body=body)
        assert answer == (400, "MANIFEST_INVALID")

    play(story)


def test_manifest_under_a_wrong_reference_is_refused(play: Callable[[Story], None]) -> None:
    async def story(client: Client) -> None:
        await client.push("app", "v1")
        body = (await client.ask("GET", "/v2/app/manifests/v1")).body
        put = "/v2/app/manifests/"
        assert await client.status("PUT", put + NONE, body=body) == (400, "DIGEST_INVALID")
        assert await client.status("PUT", put + "-v1", body=body) == (400, "TAG_INVALID")
        assert await client.status("PUT", "/v2/new/manifests/v1", body=body) == (
            404,
            "MANIFEST_BLOB_UNKNOWN",
        )
        other = await client.status("PUT", put + "v1", body=body, content_type=INDEX)
        assert other == (400, "MANIFEST_INVALID")

    play(story)


def test_tag_moves_and_goes_without_the_manifest(play: Callable[[Story], None]) -> None:
    async def story(client: Client) -> None:
        old, new = await client.push("app", "v1", b"{}"), await client.push("app", "v1", b'{"n":1}')
        answer = await client.ask("HEAD", "/v2/app/manifests/v1")
        assert answer.headers["docker-content-digest"] == new
        assert (await client.ask("DELETE", "/v2/app/manifests/v1")).status == 202
        assert await client.status("GET", "/v2/app/manifests/v1") == (404, "MANIFEST_UNKNOWN")
        for digest in (old, new):
            assert (await client.ask("HEAD", f"/v2/app/manifests/{digest}")).status == 200

    play(story)


def test_deleted_manifest_takes_its_tags_along(play: Callable[[Story], None]) -> None:
    async def story(client: Client) -> None:
        digest = await client.push("app", "v1")
        await client.push("app", "v2")
        await client.push("app", "v3", b'{"n":1}')
        assert (await client.ask("DELETE", f"/v2/app/manifests/{digest}")).status == 202
        assert await client.status("GET", f"/v2/app/manifests/{digest}") == (
            404,
            "MANIFEST_UNKNOWN",
        )
        tags = json.loads((await client.ask("GET", "/v2/app/tags/list")).body)
        assert tags == {"name": "app", "tags": ["v3"]}
        assert digest not in await client.registry.blobs.digests()

    play(story)


def test_names_come_in_pages(play: Callable[[Story], None]) -> None:
    async def story(client: Client) -> None:
        for tag in ("c", "a", "d", "b"):
            await client.push("team/app", tag)
        first = await client.ask("GET", "/v2/team/app/tags/list", query=[("n", "3")])
        assert json.loads(first.body)["tags"] == ["a", "b", "c"]
        assert first.headers["link"] == '</v2/team/app/tags/list?n=3&last=c>; rel="next"'
        rest = await client.ask("GET", "/v2/team/app/tags/list", query=[("n", "3"), ("last", "c")])
        assert json.loads(rest.body)["tags"] == ["d"] and "link" not in rest.headers
        none = await client.ask("GET", "/v2/team/app/tags/list", query=[("n", "0")])
        assert json.loads(none.body)["tags"] == []
        bad = await client.status("GET", "/v2/team/app/tags/list", query=[("n", "-1")])
        assert bad == (400, "PAGINATION_NUMBER_INVALID")
        await client.push("alone", "v1")
        catalog = await client.ask("GET", "/v2/_catalog")
        assert json.loads(catalog.body) == {"repositories": ["alone", "team/app"]}
        assert await client.status("GET", "/v2/team/tags/list") == (404, "NAME_UNKNOWN")

    play(story)


def test_referrers_list_what_is_attached_to_an_image(play: Callable[[Story], None]) -> None:
    async def story(client: Client) -> None:
        image = await client.push("app", "v1")
        bill = await client.push(
            "app", "", b'{"sbom":1}', subject={"digest": image}, artifactType="text/sbom",
            annotations={"by": "test"},
        )  # fmt: skip
        await client.push("app", "sig", b'{"sig":1}', subject={"digest": image})
        found = json.loads((await client.ask("GET", f"/v2/app/referrers/{image}")).body)
        assert found["mediaType"] == INDEX and len(found["manifests"]) == 2
        query = [("artifactType", "text/sbom")]
        answer = await client.ask("GET", f"/v2/app/referrers/{image}", query=query)
        (entry,) = json.loads(answer.body)["manifests"]
        assert answer.headers["oci-filters-applied"] == "artifactType"
        assert (entry["digest"], entry["artifactType"]) == (bill, "text/sbom")
        assert entry["annotations"] == {"by": "test"}
        await client.ask("DELETE", f"/v2/app/manifests/{bill}")
        left = json.loads((await client.ask("GET", f"/v2/app/referrers/{image}")).body)
        assert [entry["mediaType"] for entry in left["manifests"]] == [IMAGE]
        assert (
            json.loads((await client.ask("GET", f"/v2/app/referrers/{NONE}")).body)["manifests"]
            == []
        )

    play(story)


@pytest.mark.parametrize(
    ("pushed", "namespace", "name"),
    [
        ("docker.io/library/nginx", "docker.io", "library/nginx"),
        ("nginx", "docker.io", "library/nginx"),
        ("team/app", "docker.io", "team/app"),
        ("public.ecr.aws/nginx/nginx", "public.ecr.aws", "nginx/nginx"),
        ("ecr/web-app", "123456789012.dkr.ecr.us-east-1.amazonaws.com", "web-app"),
        ("ecr/web-app", "999999999999.dkr.ecr.eu-west-1.amazonaws.com", "web-app"),
        ("web-app", "123456789012.dkr.ecr.us-east-1.amazonaws.com", "web-app"),
        ("docker.io/team/app", "", "team/app"),
    ],
)
def test_image_is_found_under_the_names_it_stands_in_for(
    play: Callable[[Story], None], pushed: str, namespace: str, name: str
) -> None:
    async def story(client: Client) -> None:
        digest = await client.push(pushed, "v1")
        query = [("ns", namespace)] if namespace else []
        answer = await client.ask("GET", f"/v2/{name}/manifests/v1", query=query)
        assert answer.status == 200 and digest_of(answer.body) == digest
        layer = json.loads(answer.body)["layers"][0]["digest"]
        assert (await client.ask("HEAD", f"/v2/{name}/blobs/{layer}", query=query)).status == 200

    play(story)


def test_the_nearest_repository_that_has_the_tag_answers(play: Callable[[Story], None]) -> None:
    async def story(client: Client) -> None:
        near = await client.push("docker.io/library/nginx", "v1", b"{}")
        far = await client.push("nginx", "v1", b'{"n":1}')
        only_far = await client.push("nginx", "v2", b'{"n":2}')
        hub = [("ns", "docker.io")]
        for tag, digest in (("v1", near), ("v2", only_far)):
            found = await client.ask("HEAD", f"/v2/library/nginx/manifests/{tag}", query=hub)
            assert found.headers["docker-content-digest"] == digest
        plain = await client.ask("HEAD", "/v2/nginx/manifests/v1")
        assert plain.headers["docker-content-digest"] == far
        quay = [("ns", "quay.io")]
        other = await client.status("GET", "/v2/library/nginx/manifests/v1", query=quay)
        assert other == (404, "MANIFEST_UNKNOWN")

    play(story)


def test_what_stands_in_for_another_registry_is_read_only(play: Callable[[Story], None]) -> None:
    async def story(client: Client) -> None:
        digest = await client.push("docker.io/library/nginx", "v1")
        for method, path in (
            ("DELETE", f"/v2/library/nginx/manifests/{digest}"),
            ("PUT", "/v2/library/nginx/manifests/v2"),
            ("POST", "/v2/library/nginx/blobs/uploads/"),
        ):
            refused = await client.status(method, path, query=[("ns", "docker.io")])
            assert refused == (405, "UNSUPPORTED")

    play(story)


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
@pytest.mark.parametrize(
    ("path", "query"),
    [
        ("/v2/app/manifests/../../../../secret", ()),
        ("/v2/app/manifests/..%2f..%2f..%2f..%2fsecret", ()),
        ("/v2/../../app/manifests/v1", ()),
        ("/v2/app/blobs/../../secret", ()),
        ("/v2/app/blobs/uploads/../../../secret", ()),
        ("/v2/app/referrers/../../../secret", ()),
        ("/v2/app/manifests/secret", (("ns", "../../.."),)),
        ("/v2/app/manifests/secret", (("ns", ".."),)),
        ("/v2/" + "a" * 300 + "/manifests/v1", ()),
    ],
)
def test_no_path_leads_out_of_the_registry(
    play: Callable[[Story], None],
    tmp_path: Path,
    method: str,
    path: str,
    query: Sequence[tuple[str, str]],
) -> None:
    (tmp_path / "secret").write_text(NONE)
    (tmp_path / "_tags").mkdir()
    (tmp_path / "_tags" / "secret").write_text(NONE)

    async def story(client: Client) -> None:
        await client.push("app", "v1")
        before = sorted(map(str, tmp_path.rglob("*")))
        answer = await client.ask(method, path, b"{}", query=query)
        assert 400 <= answer.status < 500 and NONE.encode() not in answer.body
        assert sorted(map(str, tmp_path.rglob("*"))) == before

    play(story)


def test_errors_have_the_specifications_shape(play: Callable[[Story], None]) -> None:
    async def story(client: Client) -> None:
        answer = await client.ask("GET", f"/v2/app/blobs/{NONE}")
        assert answer.headers["content-type"] == "application/json"
        assert answer.headers["docker-distribution-api-version"] == "registry/2.0"
        assert json.loads(answer.body) == {
            "errors": [
                {"code": "BLOB_UNKNOWN", "message": "blob unknown to registry", "detail": None}
            ]
        }
        assert (await client.ask("GET", "/v2/")).status == 200
        assert await client.status("GET", "/v2/Upper/tags/list") == (400, "NAME_INVALID")
        assert await client.status("POST", "/v2/app/manifests/v1") == (405, "UNSUPPORTED")
        assert await client.status("GET", "/v2/nothing") == (404, "UNSUPPORTED")

    play(story)
