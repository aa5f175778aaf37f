"""The image registry: OCI distribution 1.1, as request → response functions over files.

containerd asks it first for every image (``?ns=docker.io`` names the registry it stands in
for); skopeo, buildah and podman push to it. Blobs lie once, by digest; a repository is a folder
with its tags and the digests it may serve. A blob or manifest is visible only once it is whole,
verified and synced.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from proa.base.chance import Chance
from proa.base.http import Request, Response

CHUNK = 256 * 1024
MANIFEST_LIMIT = 4 * 1024 * 1024
INDEXES = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
_NAME = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_ROUTE = re.compile(
    rf"^/v2/(?P<name>{_NAME}(?:/{_NAME})*)/"
    r"(?P<kind>manifests|blobs|tags|referrers)/(?P<rest>.+)$"
)
_DIGEST = re.compile(r"^sha256:[0-9a-f]{64}$")
_TAG = re.compile(r"^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$")
_ECR = re.compile(r"^\d+\.dkr\.ecr\.[a-z0-9-]+\.amazonaws\.com(?:\.cn)?$")


class Refusal(Exception):
    """An error in the distribution specification's shape."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code = status, code

    def response(self) -> Response:
        body = {"errors": [{"code": self.code, "message": str(self), "detail": None}]}
        return Response(
            self.status, json.dumps(body).encode(), {"content-type": "application/json"}
        )


@dataclass(slots=True, frozen=True)
class Route:
    """What a path of the API is about."""

    repository: str
    kind: str
    rest: str


def route_of(path: str) -> Route | None:
    """The parts of a path below /v2/; None where it is none of ours."""
    match = _ROUTE.match(path)
    return Route(match["name"], match["kind"], match["rest"]) if match else None


def repositories_of(name: str, namespace: str) -> Iterator[str]:
    """Where an image may lie, best first. A registry that Proa stands in for is a folder of its
    own; what was pushed without naming one is found under its plain name, and for ECR under
    whatever account and region it was pushed to."""
    if namespace:
        yield f"{namespace}/{name}"
        if _ECR.match(namespace):
            yield f"ecr/{name}"
    else:
        yield name
        yield f"docker.io/{name}"
    if namespace == "docker.io" and name.startswith("library/"):
        yield name.removeprefix("library/")
    yield name


class Registry:
    """All repositories below one folder."""

    def __init__(self, root: Path, chance: Chance) -> None:
        self._root, self._chance = root, chance
        for name in ("blobs", "uploads", "repositories"):
            (root / name).mkdir(parents=True, exist_ok=True)

    async def handle(self, request: Request) -> Response:
        """Answer one request."""
        try:
            response = await self._answer(request)
        except Refusal as refusal:
            response = refusal.response()
        response.headers["docker-distribution-api-version"] = "registry/2.0"
        if request.method == "HEAD":
            response.headers.setdefault("content-length", str(len(response.body)))
            response.body = b""
        return response

    async def _answer(self, request: Request) -> Response:
        if request.path in ("/v2", "/v2/"):
            return _json(200, {})
        if request.path == "/v2/_catalog":
            return self._catalog(request)
        route = route_of(request.path)
        if route is None:
            raise Refusal(404, "NAME_UNKNOWN", "repository name not known to registry")
        if route.kind == "manifests":
            return await self._manifest(request, route)
        if route.kind == "tags" and route.rest == "list":
            return self._tags(request, route)
        if route.kind == "blobs" and route.rest.startswith("uploads/"):
            return await self._upload(request, route)
        if route.kind == "blobs":
            return self._blob(request, route)
        if route.kind == "referrers":
            index = {"schemaVersion": 2, "mediaType": INDEXES[0], "manifests": []}
            return _json(200, index, INDEXES[0])
        raise Refusal(404, "UNSUPPORTED", "the operation is unsupported")

    # Blobs

    def blob_path(self, digest: str) -> Path:
        """Where a blob lies, whether it is there or not."""
        return self._root / "blobs" / digest.replace(":", "-")

    def _found_in(self, request: Request, route: Route) -> str:
        namespace = request.param("ns")
        for name in repositories_of(route.repository, namespace):
            if (self._root / "repositories" / name).is_dir():
                return name
        raise Refusal(404, "NAME_UNKNOWN", f"no repository {route.repository}")

    def _blob(self, request: Request, route: Route) -> Response:
        if not _DIGEST.match(route.rest):
            raise Refusal(400, "DIGEST_INVALID", f"{route.rest} is no sha256 digest")
        path = self.blob_path(route.rest)
        if not path.exists():
            raise Refusal(404, "BLOB_UNKNOWN", "blob unknown to registry")
        headers = {
            "content-type": "application/octet-stream",
            "docker-content-digest": route.rest,
            "accept-ranges": "bytes",
        }
        size = path.stat().st_size
        if request.method == "HEAD":
            return Response(200, b"", {**headers, "content-length": str(size)})
        if request.method == "DELETE":
            path.unlink()
            return Response(202)
        if request.method != "GET":
            raise Refusal(405, "UNSUPPORTED", f"{request.method} is not for blobs")
        start, end, status = _span(request.headers.get("range", ""), size)
        headers["content-length"] = str(end - start)
        if status == 206:
            headers["content-range"] = f"bytes {start}-{end - 1}/{size}"
        return Response(status, headers=headers, stream=_read(path, start, end))

    # Uploads

    async def _upload(self, request: Request, route: Route) -> Response:
        id = route.rest.removeprefix("uploads/")
        if request.method == "POST" and not id:
            return await self._begin(request, route)
        path = self._root / "uploads" / id
        if not re.fullmatch(r"[0-9a-f]{32}", id) or not path.exists():
            raise Refusal(404, "BLOB_UPLOAD_UNKNOWN", "blob upload unknown to registry")
        if request.method == "GET":
            return self._progress(route, id, 204)
        if request.method == "DELETE":
            path.unlink()
            return Response(204)
        if request.method == "PATCH":
            _check_start(request, path.stat().st_size)
            await _append(path, request)
            return self._progress(route, id, 202)
        if request.method == "PUT":
            _check_start(request, path.stat().st_size)
            await _append(path, request)
            return self._finish(route, path, request.param("digest"))
        raise Refusal(405, "UNSUPPORTED", f"{request.method} is not for uploads")

    async def _begin(self, request: Request, route: Route) -> Response:
        mount = request.param("mount")
        if mount and _DIGEST.match(mount) and self.blob_path(mount).exists():
            return self._created(route, "blobs", mount)
        id = self._chance.hex(32)
        path = self._root / "uploads" / id
        path.touch()
        digest = request.param("digest")
        if digest:
            await _append(path, request)
            return self._finish(route, path, digest)
        return self._progress(route, id, 202)

    def _progress(self, route: Route, id: str, status: int) -> Response:
        size = (self._root / "uploads" / id).stat().st_size
        headers = {
            "location": f"/v2/{route.repository}/blobs/uploads/{id}",
            "docker-upload-uuid": id,
            "range": f"0-{max(size - 1, 0)}",
        }
        return Response(status, b"", headers)

    def _finish(self, route: Route, path: Path, digest: str) -> Response:
        if not _DIGEST.match(digest):
            raise Refusal(400, "DIGEST_INVALID", f"{digest!r} is no sha256 digest")
        if _digest_of(path) != digest:
            path.unlink()
            raise Refusal(400, "DIGEST_INVALID", "provided digest did not match uploaded content")
        path.rename(self.blob_path(digest))
        return self._created(route, "blobs", digest)

    def _created(self, route: Route, kind: str, digest: str) -> Response:
        headers = {
            "location": f"/v2/{route.repository}/{kind}/{digest}",
            "docker-content-digest": digest,
        }
        return Response(201, b"", headers)

    # Manifests and tags

    async def _manifest(self, request: Request, route: Route) -> Response:
        if request.method == "PUT":
            return self._put_manifest(route, request.body)
        repository = self._found_in(request, route)
        digest = self._resolve(repository, route.rest)
        if request.method == "DELETE":
            self._delete_manifest(repository, route.rest, digest)
            return Response(202)
        content = self.blob_path(digest).read_bytes()
        media_type = json.loads(content).get(
            "mediaType", "application/vnd.oci.image.manifest.v1+json"
        )
        return Response(200, content, {"content-type": media_type, "docker-content-digest": digest})

    def _resolve(self, repository: str, reference: str) -> str:
        folder = self._root / "repositories" / repository
        unknown = Refusal(404, "MANIFEST_UNKNOWN", f"manifest unknown: {reference}")
        if _DIGEST.match(reference):
            known = (folder / "_manifests" / reference.replace(":", "-")).exists()
            if not known or not self.blob_path(reference).exists():
                raise unknown
            return reference
        try:
            return (folder / "_tags" / reference).read_text()
        except (FileNotFoundError, NotADirectoryError) as error:
            raise unknown from error

    def _put_manifest(self, route: Route, content: bytes) -> Response:
        if len(content) > MANIFEST_LIMIT:
            raise Refusal(413, "MANIFEST_INVALID", "the manifest is larger than 4 MiB")
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        if _DIGEST.match(route.rest):
            if route.rest != digest:
                raise Refusal(400, "DIGEST_INVALID", "provided digest did not match the manifest")
        elif not _TAG.match(route.rest):
            raise Refusal(400, "TAG_INVALID", f"{route.rest!r} is no tag")
        self._check_references(content)
        self.store_manifest(
            route.repository, content, "" if _DIGEST.match(route.rest) else route.rest
        )
        return self._created(route, "manifests", digest)

    def _check_references(self, content: bytes) -> None:
        """Every blob and manifest that a manifest names must be here already."""
        try:
            manifest = json.loads(content)
            if manifest["schemaVersion"] != 2:
                raise Refusal(400, "MANIFEST_INVALID", "only schema version 2 is supported")
            named = [entry["digest"] for entry in manifest.get("manifests", [])]
            named += [entry["digest"] for entry in manifest.get("layers", [])]
            named += [manifest["config"]["digest"]] if "config" in manifest else []
        except (ValueError, KeyError, TypeError) as error:
            raise Refusal(400, "MANIFEST_INVALID", f"not an image manifest: {error}") from error
        for digest in named:
            if not _DIGEST.match(str(digest)) or not self.blob_path(digest).exists():
                raise Refusal(404, "MANIFEST_BLOB_UNKNOWN", f"{digest} is unknown to registry")

    def store_manifest(self, repository: str, content: bytes, tag: str) -> str:
        """Keep a manifest whose blobs are here; the tag, if any, moves to it at once."""
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        _write(self.blob_path(digest), content)
        folder = self._root / "repositories" / repository
        _write(folder / "_manifests" / digest.replace(":", "-"), b"")
        if tag:
            _write(folder / "_tags" / tag, digest.encode())
        return digest

    def _delete_manifest(self, repository: str, reference: str, digest: str) -> None:
        folder = self._root / "repositories" / repository
        if reference != digest:
            (folder / "_tags" / reference).unlink()
            return
        (folder / "_manifests" / digest.replace(":", "-")).unlink()
        for tag in self._tags_of(repository):
            if (folder / "_tags" / tag).read_text() == digest:
                (folder / "_tags" / tag).unlink()

    def _tags_of(self, repository: str) -> list[str]:
        folder = self._root / "repositories" / repository / "_tags"
        return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []

    def _tags(self, request: Request, route: Route) -> Response:
        repository = self._found_in(request, route)
        return _page(request, {"name": route.repository}, "tags", self._tags_of(repository))

    def _catalog(self, request: Request) -> Response:
        top = self._root / "repositories"
        names = sorted(str(path.parent.relative_to(top)) for path in top.rglob("_manifests"))
        return _page(request, {}, "repositories", names)


def _page(request: Request, head: dict[str, Any], member: str, items: list[str]) -> Response:
    """A page of names after ``last``, at most ``n``, with a Link to the next."""
    last, count = request.param("last"), request.param("n")
    rest = [item for item in items if item > last]
    shown = rest[: int(count)] if count.isdigit() else rest
    response = _json(200, {**head, member: shown})
    if shown and len(shown) < len(rest):
        response.headers["link"] = f'<{request.path}?n={count}&last={shown[-1]}>; rel="next"'
    return response


def _json(status: int, value: object, media_type: str = "application/json") -> Response:
    return Response(status, json.dumps(value).encode(), {"content-type": media_type})


def _span(header: str, size: int) -> tuple[int, int, int]:
    """(start, end, status) of a Range header; one range is served, others are ignored."""
    match = re.fullmatch(r"bytes=(\d*)-(\d*)", header)
    if match is None or match.groups() == ("", ""):
        return 0, size, 200
    first, last = match.groups()
    start = int(first) if first else max(0, size - int(last))
    end = min(size, int(last) + 1) if first and last else size
    if start >= end:
        raise Refusal(416, "BLOB_UPLOAD_INVALID", "the range lies outside of the blob")
    return start, end, 206


async def _read(path: Path, start: int, end: int) -> AsyncIterator[bytes]:
    with path.open("rb") as file:
        file.seek(start)
        left = end - start
        while left:
            chunk = file.read(min(CHUNK, left))
            if not chunk:
                return
            left -= len(chunk)
            yield chunk


def _check_start(request: Request, size: int) -> None:
    match = re.match(r"(\d+)-(\d+)", request.headers.get("content-range", ""))
    if match and int(match[1]) != size:
        raise Refusal(416, "BLOB_UPLOAD_INVALID", f"expected a chunk that starts at {size}")


async def _append(path: Path, request: Request) -> None:
    with path.open("ab") as file:
        if request.stream is not None:
            async for chunk in request.stream:
                file.write(chunk)
        file.write(request.body)
        file.flush()
        os.fsync(file.fileno())


def _digest_of(path: Path) -> str:
    with path.open("rb") as file:
        return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"


def _write(path: Path, content: bytes) -> None:
    """Replace a file at once; it is whole and synced when it appears."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    with partial.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    partial.rename(path)


def import_layout(registry: Registry, layout: Path, references: tuple[str, ...]) -> None:
    """Put an OCI layout's image into the registry under each reference (host/path:tag). What is
    there already is not copied again."""
    index = json.loads((layout / "index.json").read_text())
    digest = index["manifests"][0]["digest"]
    for blob in sorted((layout / "blobs" / "sha256").iterdir()):
        target = registry.blob_path(f"sha256:{blob.name}")
        if not target.exists():
            _write(target, blob.read_bytes())
    manifest = (layout / "blobs" / "sha256" / digest.removeprefix("sha256:")).read_bytes()
    for reference in references:
        repository, _, tag = reference.rpartition(":")
        registry.store_manifest(repository, manifest, tag)
