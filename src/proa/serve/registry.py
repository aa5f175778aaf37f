"""The image registry: OCI distribution-spec 1.1, as request → response functions.

containerd asks it first for every image (``?ns=docker.io`` names the registry it stands in
for, and such a view is read-only); skopeo, buildah and podman push to it. Blobs lie once, in
``store.blobs``; a repository serves those that were pushed or mounted into it. A blob or
manifest is visible only once it is whole, verified and synced. ``server.control`` puts an HTTP
shell around ``handle``.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from proa.base.clock import Clock
from proa.base.http import Request, Response
from proa.base.telemetry import get_logger
from proa.serve.references import is_name, is_tag, repositories_of
from proa.serve.registry_files import Manifest, Repositories
from proa.serve.registry_garbage import Garbage
from proa.serve.registry_manifests import BadManifest, Named, named_by
from proa.store.blobs import (
    DIGEST,
    Blobs,
    DigestMismatch,
    UploadUnknown,
    WrongOffset,
    algorithm_of,
    digest_of,
    read_whole,
)

log = get_logger(__name__)
MANIFEST_LIMIT = 4 * 1024 * 1024
PAGE = 10_000
INDEX = "application/vnd.oci.image.index.v1+json"
_ROUTE = re.compile(r"/v2/(?P<name>.+)/(?P<kind>manifests|blobs|tags|referrers)/(?P<rest>.+)")
_UPLOAD = re.compile(r"/v2/(?P<name>.+)/(?P<kind>blobs/uploads)/(?P<rest>[^/]*)")


class Refusal(Exception):
    """An error in the distribution specification's shape."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code = status, code
        self.headers: dict[str, str] = {}

    def response(self) -> Response:
        body = {"errors": [{"code": self.code, "message": str(self), "detail": None}]}
        answer = _json(self.status, body)
        answer.headers |= self.headers
        return answer


@dataclass(slots=True, frozen=True)
class Route:
    """What a path of the API is about; ``kind`` is "manifests", "blobs", "blobs/uploads",
    "tags" or "referrers", and ``rest`` what stands behind it."""

    repository: str
    kind: str
    rest: str


def route_of(path: str) -> Route | None:
    """The parts of a path, percent-encoded as sent, below /v2/; None where it is none of ours."""
    path = unquote(path)
    match = _UPLOAD.fullmatch(path) or _ROUTE.fullmatch(path)
    return Route(match["name"], match["kind"], match["rest"]) if match else None


class Registry:
    """All repositories below one folder."""

    def __init__(self, blobs: Blobs, root: Path, clock: Clock) -> None:
        self.blobs = blobs
        self.repositories = Repositories(root / "repositories")
        # Held while what is stored and what is named must not change apart from each other.
        self.changing = asyncio.Lock()
        self.garbage = Garbage(blobs, self.repositories, clock, self.changing)

    async def handle(self, request: Request) -> Response:
        """Answer one request."""
        try:
            response = await self._answer(request)
        except Refusal as refusal:
            response = refusal.response()
        except ConnectionError:
            raise  # nobody is there to be answered
        except OSError as error:  # a full disk, most likely; what was uploaded so far stays
            log.warning("the registry's disk", path=request.path, error=str(error))
            response = Refusal(507, "UNKNOWN", f"the registry's disk: {error.strerror}").response()
        response.headers["docker-distribution-api-version"] = "registry/2.0"
        if request.method == "HEAD":
            response.headers.setdefault("content-length", str(len(response.body)))
            response.body = b""
        return response

    def oversized(self, _request: Request) -> Response:
        """The refusal of a body that the shell would not read."""
        return Refusal(413, "SIZE_INVALID", "the body is too large").response()

    async def _answer(self, request: Request) -> Response:
        if request.path in ("/v2", "/v2/"):
            _allow(request, "GET", "HEAD")
            return _json(200, {})
        if request.path == "/v2/_catalog":
            _allow(request, "GET", "HEAD")
            names = await asyncio.to_thread(self.repositories.names)
            return _page(request, {}, "repositories", names)
        route = route_of(request.path)
        if route is None:
            raise Refusal(404, "UNSUPPORTED", "the operation is unsupported")
        if not is_name(route.repository):
            raise Refusal(400, "NAME_INVALID", "invalid repository name")
        if request.param("ns") and request.method not in ("GET", "HEAD"):
            raise Refusal(405, "UNSUPPORTED", "what stands in for another registry is read-only")
        answers = {
            "manifests": self._manifest,
            "blobs": self._blob,
            "blobs/uploads": self._upload,
            "tags": self._tags,
            "referrers": self._referrers,
        }
        return await answers[route.kind](request, route)

    # Blobs

    async def _blob(self, request: Request, route: Route) -> Response:
        digest = route.rest
        if not DIGEST.fullmatch(digest):
            raise Refusal(400, "DIGEST_INVALID", "this is no sha256 or sha512 digest")
        _allow(request, "GET", "HEAD", "DELETE")
        holder = next(
            (n for n in _candidates(request, route) if self.repositories.has_blob(n, digest)), None
        )
        size = await self.blobs.size(digest)
        if holder is None or size is None:
            raise Refusal(404, "BLOB_UNKNOWN", "blob unknown to registry")
        if request.method == "DELETE":
            async with self.changing:
                await asyncio.to_thread(self.repositories.remove_blob, holder, digest)
                await self.garbage.forget(digest)
            return Response(202)
        headers = {
            "content-type": "application/octet-stream",
            "docker-content-digest": digest,
            "accept-ranges": "bytes",
        }
        if request.method == "HEAD":  # a push asks so, and leaves out what is there
            await asyncio.to_thread(self.repositories.announce, holder, digest)
            return Response(200, b"", {**headers, "content-length": str(size)})
        start, end, status = _span(request.headers.get("range", ""), size)
        headers["content-length"] = str(end - start)
        if status == 206:
            headers["content-range"] = f"bytes {start}-{end - 1}/{size}"
        return Response(status, headers=headers, stream=self.blobs.read(digest, start, end))

    # Uploads

    async def _upload(self, request: Request, route: Route) -> Response:
        try:
            if request.method == "POST" and not route.rest:
                return await self._begin(request, route)
            _allow(request, "GET", "PATCH", "PUT", "DELETE")
            if request.method == "DELETE":
                await self.blobs.abandon(route.rest)
                return Response(204)
            if request.method != "GET":
                await self._take(request, route.rest)
            if request.method == "PUT":
                return await self._finish(route, route.rest, request.param("digest"))
            status = 202 if request.method == "PATCH" else 204
            return await self._progress(route, route.rest, status)
        except UploadUnknown as error:
            raise Refusal(404, "BLOB_UPLOAD_UNKNOWN", "blob upload unknown to registry") from error
        except WrongOffset as error:
            refusal = Refusal(416, "BLOB_UPLOAD_INVALID", str(error))
            refusal.headers = _upload_headers(route, route.rest, error.offset)
            raise refusal from error
        except DigestMismatch as error:
            raise Refusal(400, "DIGEST_INVALID", str(error)) from error

    async def _begin(self, request: Request, route: Route) -> Response:
        mount, source = request.param("mount"), request.param("from")
        if mount and await self._mounted(route.repository, mount, source):
            return _created(route.repository, "blobs", mount)
        upload = await self.blobs.begin()
        if not request.param("digest"):
            return await self._progress(route, upload, 202)
        await self._take(request, upload)
        return await self._finish(route, upload, request.param("digest"))

    async def _mounted(self, repository: str, digest: str, source: str) -> bool:
        """Take a blob over from ``source``, or from anywhere if that is empty."""
        if not DIGEST.fullmatch(digest) or (source and not is_name(source)):
            return False
        async with self.changing:
            if await self.blobs.size(digest) is None:
                return False
            if source and not self.repositories.has_blob(source, digest):
                return False
            await asyncio.to_thread(self.repositories.add_blob, repository, digest)
            return True

    async def _take(self, request: Request, upload: str) -> None:
        """Add the request's body to an upload."""
        await self.blobs.append(upload, _body(request), _chunk_start(request))

    async def _progress(self, route: Route, upload: str, status: int) -> Response:
        size = await self.blobs.offset(upload)
        return Response(status, b"", _upload_headers(route, upload, size))

    async def _finish(self, route: Route, upload: str, digest: str) -> Response:
        if not DIGEST.fullmatch(digest):
            raise Refusal(400, "DIGEST_INVALID", "this is no sha256 or sha512 digest")
        async with self.changing:
            await self.blobs.finish(upload, digest)
            await asyncio.to_thread(self.repositories.add_blob, route.repository, digest)
        return _created(route.repository, "blobs", digest)

    # Manifests and tags

    async def _manifest(self, request: Request, route: Route) -> Response:
        if not DIGEST.fullmatch(route.rest) and not is_tag(route.rest):
            code = "DIGEST_INVALID" if ":" in route.rest else "TAG_INVALID"
            raise Refusal(400, code, "the reference is neither a tag nor a sha256 digest")
        _allow(request, "GET", "HEAD", "PUT", "DELETE")
        if request.method == "PUT":
            content = b"".join([chunk async for chunk in _body(request)])
            return await self._put_manifest(request, route, content)
        for repository in _candidates(request, route):
            digest = self.repositories.digest_of(repository, route.rest)
            media_type = digest and self.repositories.media_type(repository, digest)
            if digest is None or media_type is None or await self.blobs.size(digest) is None:
                continue
            if request.method == "DELETE":
                return await self._delete_manifest(repository, route.rest, digest)
            content = await read_whole(self.blobs, digest)
            headers = {"content-type": media_type, "docker-content-digest": digest}
            return Response(200, content, headers)
        raise Refusal(404, "MANIFEST_UNKNOWN", f"manifest unknown: {route.rest}")

    async def _put_manifest(self, request: Request, route: Route, content: bytes) -> Response:
        if len(content) > MANIFEST_LIMIT:
            raise Refusal(413, "MANIFEST_INVALID", "the manifest is larger than 4 MiB")
        digest = digest_of(content, algorithm_of(route.rest))
        if DIGEST.fullmatch(route.rest) and route.rest != digest:
            raise Refusal(400, "DIGEST_INVALID", "provided digest did not match the manifest")
        try:
            named = named_by(content, request.headers.get("content-type", ""))
        except BadManifest as error:
            raise Refusal(400, "MANIFEST_INVALID", str(error)) from error
        tag = "" if route.rest == digest else route.rest
        async with self.changing:
            await self._check_named(route.repository, named)
            await self.keep_manifest(route.repository, content, named, tag, algorithm_of(digest))
        answer = _created(route.repository, "manifests", digest)
        if named.subject:
            answer.headers["oci-subject"] = named.subject
        return answer

    async def _check_named(self, repository: str, named: Named) -> None:
        """Every blob and manifest that a manifest names must be in the repository already."""
        known = self.repositories
        missing = [digest for digest in named.blobs if not known.has_blob(repository, digest)]
        missing += [d for d in named.manifests if known.media_type(repository, d) is None]
        missing += [
            digest
            for digest in (*named.blobs, *named.manifests)
            if await self.blobs.size(digest) is None
        ]
        if missing:
            raise Refusal(404, "MANIFEST_BLOB_UNKNOWN", f"{missing[0]} is unknown to registry")

    async def keep_manifest(
        self, repository: str, content: bytes, named: Named, tag: str, algorithm: str = "sha256"
    ) -> None:
        """Store a manifest whose blobs are here; the caller holds ``changing``."""
        digest = await self.blobs.put(content, algorithm)
        manifest = Manifest(digest, named.media_type, named.subject, named.descriptor(content))
        await asyncio.to_thread(self.repositories.add_manifest, repository, manifest, tag)
        await asyncio.to_thread(self.repositories.settle, repository, named.blobs)

    async def _delete_manifest(self, repository: str, reference: str, digest: str) -> Response:
        async with self.changing:
            if reference != digest:
                await asyncio.to_thread(self.repositories.remove_tag, repository, reference)
            else:
                await asyncio.to_thread(self.repositories.remove_manifest, repository, digest)
                await self.garbage.forget(digest)
                await self.garbage.collect(repository)
        return Response(202)

    async def _tags(self, request: Request, route: Route) -> Response:
        if route.rest != "list":
            raise Refusal(404, "UNSUPPORTED", "the operation is unsupported")
        _allow(request, "GET", "HEAD")
        found = [name for name in _candidates(request, route) if self.repositories.exists(name)]
        if not found:
            raise Refusal(404, "NAME_UNKNOWN", "repository name not known to registry")
        tags = sorted({tag for name in found for tag in self.repositories.tags(name)})
        return _page(request, {"name": route.repository}, "tags", tags)

    async def _referrers(self, request: Request, route: Route) -> Response:
        if not DIGEST.fullmatch(route.rest):
            raise Refusal(400, "DIGEST_INVALID", "this is no sha256 or sha512 digest")
        _allow(request, "GET", "HEAD")
        listed: dict[str, dict[str, Any]] = {}
        for name in _candidates(request, route):
            for entry in (
                *self.repositories.referrers(name, route.rest),
                *await self._by_fallback_tag(name, route.rest),
            ):
                listed.setdefault(entry["digest"], entry)
        found = list(listed.values())
        wanted = request.param("artifactType")
        if wanted:
            found = [entry for entry in found if entry.get("artifactType") == wanted]
        answer = _json(200, {"schemaVersion": 2, "mediaType": INDEX, "manifests": found}, INDEX)
        if wanted:
            answer.headers["oci-filters-applied"] = "artifactType"
        return answer

    async def _by_fallback_tag(self, repository: str, subject: str) -> list[dict[str, Any]]:
        """What clients of registries without referrers have listed in an index at the tag that
        is the subject's digest (distribution-spec, referrers tag schema)."""
        algorithm, _, encoded = subject.partition(":")
        digest = self.repositories.digest_of(repository, f"{algorithm[:32]}-{encoded[:64]}")
        if digest is None or await self.blobs.size(digest) is None:
            return []
        index = json.loads(await read_whole(self.blobs, digest))
        listed: list[dict[str, Any]] = index.get("manifests", [])
        return [
            entry
            for entry in listed
            if self.repositories.media_type(repository, entry["digest"]) is not None
        ]


def _candidates(request: Request, route: Route) -> list[str]:
    """The repositories that a request may mean, best first; changes mean the named one only."""
    if request.method not in ("GET", "HEAD"):
        return [route.repository]
    return list(dict.fromkeys(repositories_of(route.repository, request.param("ns"))))


def _allow(request: Request, *methods: str) -> None:
    if request.method not in methods:
        raise Refusal(405, "UNSUPPORTED", f"{request.method} is not allowed here")


async def _body(request: Request) -> AsyncIterator[bytes]:
    if request.body:
        yield request.body
    if request.stream is not None:
        async for chunk in request.stream:
            yield chunk


def _chunk_start(request: Request) -> int | None:
    """The byte at which an upload's chunk says that it starts; None where it does not say."""
    said = request.headers.get("content-range", "")
    if not said:
        return None
    span = re.fullmatch(r"(?:bytes )?(\d{1,18})-(\d{1,18})(?:/.*)?", said)
    if span is None:
        raise Refusal(400, "BLOB_UPLOAD_INVALID", f"{said!r} is no range of bytes")
    start, length = int(span[1]), request.headers.get("content-length", "")
    if length.isdigit() and int(length) != int(span[2]) - start + 1:
        raise Refusal(400, "SIZE_INVALID", f"{length} bytes were sent as {said}")
    return start


def _created(repository: str, kind: str, digest: str) -> Response:
    location = f"/v2/{repository}/{kind}/{digest}"
    return Response(201, b"", {"location": location, "docker-content-digest": digest})


def _upload_headers(route: Route, upload: str, size: int) -> dict[str, str]:
    return {
        "location": f"/v2/{route.repository}/blobs/uploads/{upload}",
        "docker-upload-uuid": upload,
        "range": f"0-{max(size - 1, 0)}",
    }


def _page(request: Request, head: dict[str, Any], member: str, items: list[str]) -> Response:
    """A page of names after ``last``, at most ``n``, with a Link to the next."""
    last, count = request.param("last"), request.param("n")
    if count and not re.fullmatch(r"[0-9]{1,9}", count):
        raise Refusal(400, "PAGINATION_NUMBER_INVALID", "n is no number of entries")
    limit = min(int(count), PAGE) if count else PAGE
    rest = [item for item in items if item > last]
    response = _json(200, {**head, member: rest[:limit]})
    if 0 < limit < len(rest):
        response.headers["link"] = f'<{request.path}?n={limit}&last={rest[limit - 1]}>; rel="next"'
    return response


def _json(status: int, value: object, media_type: str = "application/json") -> Response:
    return Response(status, json.dumps(value).encode(), {"content-type": media_type})


def _span(header: str, size: int) -> tuple[int, int, int]:
    """(start, end, status) of a Range header; one range is served, others are ignored."""
    match = re.fullmatch(r"bytes=(\d{0,18})-(\d{0,18})", header)
    if match is None or match.groups() == ("", ""):
        return 0, size, 200
    first, last = match.groups()
    start = int(first) if first else max(0, size - int(last))
    end = min(size, int(last) + 1) if first and last else size
    if start >= end:
        refusal = Refusal(416, "RANGE_INVALID", "the range lies outside of the blob")
        refusal.headers = {"content-range": f"bytes */{size}"}
        raise refusal
    return start, end, 206
