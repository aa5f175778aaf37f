"""``proa image``: images from tar files into the registry of the running Proa; what it has.

Speaks the registry's own API over the control plane's socket, which only root may use. A loaded
image runs under the name it was saved with, in pods and tasks alike.
"""

from __future__ import annotations

import http.client
import json
from contextlib import closing
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote

import click
import grpc

from proa.base.config import Config, load_config
from proa.base.errors import CallerFault
from proa.cli.connection import UnixConnection
from proa.pb import cri_pb2 as cri
from proa.pb import cri_pb2_grpc as cri_grpc
from proa.serve.image_archive import Blob, Image, open_archive
from proa.serve.references import Reference, parse

CALL_S = 600.0
NODE_S = 10.0


class Caller:
    """Asks one Proa's control plane."""

    def __init__(self, data_dir: Path) -> None:
        config = load_config(data_dir)
        if config is None or not config.hull_socket.exists():
            raise CallerFault(f"nothing runs from {data_dir}: start it with proa up")
        self.config: Config = config

    def ask(
        self, method: str, path: str, body: bytes | IO[bytes] = b"", **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        """(status, headers, body). Raises CallerFault where nobody answers."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        try:
            with closing(UnixConnection(self.config.hull_socket, CALL_S)) as connection:
                connection.request(method, path, body, named)
                answer = connection.getresponse()
                found = {name.lower(): value for name, value in answer.getheaders()}
                return answer.status, found, answer.read()
        except (OSError, http.client.HTTPException) as error:
            where = self.config.data_dir
            raise CallerFault(
                f"the Proa of {where} does not answer ({error!r}): proa up"
            ) from error

    def must(self, method: str, path: str, body: bytes | IO[bytes] = b"", **headers: str) -> Any:
        """The decoded answer. Raises CallerFault with the refusal's words."""
        status, _, content = self.ask(method, path, body, **headers)
        if status >= 400:
            raise CallerFault(_words(status, content))
        return json.loads(content) if content else {}

    # Pushing, as distribution-spec 1.1 has it

    def push(self, image: Image, place: Reference) -> None:
        """An image with all it is made of; the tag moves last."""
        for part in image.parts:
            self.push(part, Reference(place.host, place.path, digest=part.digest))
        for blob in image.blobs:
            self._push_blob(blob, place.repository)
        path = f"/v2/{place.repository}/manifests/{place.tag or place.digest}"
        self.must("PUT", path, image.manifest, content_type=image.media_type)

    def _push_blob(self, blob: Blob, repository: str) -> None:
        if self.ask("HEAD", f"/v2/{repository}/blobs/{blob.digest}")[0] == 200:
            return
        begin = f"/v2/{repository}/blobs/uploads/?mount={blob.digest}"
        status, headers, content = self.ask("POST", begin)
        if status == 201:  # another repository had it
            return
        if status != 202:
            raise CallerFault(_words(status, content))
        path = f"{headers['location']}?digest={blob.digest}"
        with blob.open() as file:
            self.must("PUT", path, file, content_length=str(blob.size))


def _words(status: int, content: bytes) -> str:
    try:
        told = json.loads(content)
        return str(told["message"] if "message" in told else told["errors"][0]["message"])
    except (ValueError, KeyError, IndexError, TypeError):
        return f"the registry answers {status}"


def load(data_dir: Path, file: Path, names: tuple[str, ...]) -> int:
    """Put a file's images into the registry, under ``names`` instead of their own if given."""
    try:
        caller = Caller(data_dir)
        with open_archive(file) as images:
            places = [_places(caller, file, images, image, names) for image in images]
            for image, found in zip(images, places, strict=True):
                for place in found:
                    caller.push(image, place)
                    click.echo(f"loaded {_full(place)} {image.digest}")
    except CallerFault as error:
        return _refused(error)
    return 0


def _places(
    caller: Caller, file: Path, images: list[Image], image: Image, names: tuple[str, ...]
) -> list[Reference]:
    """Where an image goes. Raises CallerFault where nobody says."""
    if names and len(images) > 1:
        raise CallerFault(f"{file} holds {len(images)} images: --name fits one only")
    chosen = names or image.names
    if not chosen:
        raise CallerFault(f"{file} does not say what its image is called: give --name")
    places = [parse(name, caller.config.registry_port) for name in chosen]
    if any(place.digest for place in places):
        raise CallerFault("an image is loaded under a tag, not under a digest")
    return places


def _full(place: Reference) -> str:
    return f"{place.host}/{place.path}:{place.tag}".removeprefix("/")


def show(data_dir: Path, *, as_json: bool) -> int:
    """Every reference with its digest, size and platforms."""
    try:
        images = Caller(data_dir).must("GET", "/v1/images")["images"]
    except CallerFault as error:
        return _refused(error)
    if as_json:
        click.echo(json.dumps(images, indent=1))
        return 0
    rows = [("REFERENCE", "DIGEST", "SIZE", "PLATFORMS")]
    for image in images:
        size = f"{image['size'] / 1e6:.1f} MB"
        short = image["digest"][:19]
        rows.append((image["reference"], short, size, " ".join(image["platforms"])))
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        click.echo("   ".join([*cells, row[3]]).rstrip())
    return 0


def remove(data_dir: Path, references: tuple[str, ...]) -> int:
    """Remove references, here and on the node, and free what only they kept; what a container
    runs from stays on the node. The exit code is 1 where one of them is unknown."""
    code = 0
    for reference in references:
        try:
            caller = Caller(data_dir)
            path = f"/v1/images?reference={quote(reference, safe='')}"
            freed = caller.must("DELETE", path)["freed"]
            _forget_on_node(caller.config, reference)
            click.echo(f"removed {reference}; {freed / 1e6:.1f} MB freed")
        except CallerFault as error:
            code = _refused(error)
    return code


def _forget_on_node(config: Config, reference: str) -> None:
    """The node's own copy, so that the next container of this name pulls anew."""
    place = parse(reference, config.registry_port)
    host = place.host or f"localhost:{config.registry_port}"
    end = f":{place.tag}" if place.tag else f"@{place.digest}"
    spec = cri.ImageSpec(image=f"{host}/{place.path}{end}")
    try:
        with grpc.insecure_channel(f"unix://{config.containerd_socket}") as channel:
            images = cri_grpc.ImageServiceStub(channel)
            found = images.ImageStatus(cri.ImageStatusRequest(image=spec), timeout=NODE_S).image
            runtime = cri_grpc.RuntimeServiceStub(channel)
            listing = runtime.ListContainers(cri.ListContainersRequest(), timeout=NODE_S)
            used = any(container.image_ref == found.id for container in listing.containers)
            if found.id and not used:
                images.RemoveImage(cri.RemoveImageRequest(image=spec), timeout=NODE_S)
    except grpc.RpcError as error:
        text = error.details() if isinstance(error, grpc.Call) else str(error)
        raise CallerFault(
            f"{reference} is gone from the registry, not from the node: {text}"
        ) from error


def _refused(error: CallerFault) -> int:
    click.echo(f"proa: {error}", err=True)
    return 1
