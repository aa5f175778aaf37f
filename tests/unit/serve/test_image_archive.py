"""Image archives of every writer, and files that are none."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import json
import lzma
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from proa.base.errors import CallerFault
from proa.serve.image_archive import Image, open_archive
from proa.serve.registry_manifests import named_by
from proa.store.blobs import digest_of

LAYERS = (b"first layer", b"second layer")
DIFFS = [digest_of(layer) for layer in LAYERS]
CONFIG = json.dumps({"os": "linux", "rootfs": {"type": "layers", "diff_ids": DIFFS}}).encode()
OCI = "application/vnd.oci.image."
Files = dict[str, bytes | str]  # contents, or the target of a symbolic link


def written(path: Path, files: Files) -> Path:
    with tarfile.open(path, "w") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            if isinstance(content, str):
                info.type, info.linkname = tarfile.SYMTYPE, content
                tar.addfile(info)
            else:
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    return path


def docker(names: list[str] | None = None, **files: bytes | str) -> Files:
    """As docker save wrote it for years."""
    layers = ["a/layer.tar", "b/layer.tar"]
    entry = {"Config": "c.json", "RepoTags": names, "Layers": layers}
    content = {"a/layer.tar": LAYERS[0], "b/layer.tar": LAYERS[1], "c.json": CONFIG}
    return {**content, "manifest.json": json.dumps([entry]).encode(), **files}


def blob(content: bytes) -> Files:
    return {f"blobs/{digest_of(content).replace(':', '/')}": content}


def layout(annotations: dict[str, str] | None = None) -> Files:
    """As skopeo and podman write OCI archives."""
    manifest: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": f"{OCI}manifest.v1+json",
        "config": {"mediaType": f"{OCI}config.v1+json", "digest": digest_of(CONFIG)},
        "layers": [{"mediaType": f"{OCI}layer.v1.tar", "digest": each} for each in DIFFS],
    }
    content = json.dumps(manifest).encode()
    entry = {"digest": digest_of(content), "annotations": annotations}
    files = blob(content) | blob(CONFIG) | blob(LAYERS[0]) | blob(LAYERS[1])
    index = {"schemaVersion": 2, "manifests": [entry]}
    return {"oci-layout": b"{}", "index.json": json.dumps(index).encode(), **files}


def contents(image: Image) -> list[bytes]:
    found = []
    for each in image.blobs:
        with each.open() as file:
            found.append(file.read())
        assert (digest_of(found[-1]), len(found[-1])) == (each.digest, each.size)
    return found


def test_docker_archive_becomes_a_manifest_over_its_layers(tmp_path: Path) -> None:
    with open_archive(written(tmp_path / "x", docker(["app:v1", "app:v2"]))) as (image,):
        assert image.names == ("app:v1", "app:v2")
        assert contents(image) == [CONFIG, *LAYERS]
        named = named_by(image.manifest, image.media_type)
        assert named.blobs == tuple(each.digest for each in image.blobs)


def test_layers_that_are_links_are_followed(tmp_path: Path) -> None:
    files = docker(["app:v1"], **{"z/layer.tar": LAYERS[0], "a/layer.tar": "../z/layer.tar"})
    with open_archive(written(tmp_path / "x", files)) as (image,):
        assert contents(image) == [CONFIG, *LAYERS]


def test_oci_archive_keeps_its_digests_and_names(tmp_path: Path) -> None:
    name = {"org.opencontainers.image.ref.name": "docker.io/library/app:v1"}
    files = layout(name)
    with open_archive(written(tmp_path / "x", files)) as (image,):
        assert image.names == ("docker.io/library/app:v1",)
        assert f"blobs/{image.digest.replace(':', '/')}" in files
        assert contents(image) == [CONFIG, *LAYERS]
    with open_archive(
        written(tmp_path / "y", layout({"org.opencontainers.image.ref.name": "v1"}))
    ) as (image,):
        assert image.names == (), "a tag alone names nothing"


def test_archive_of_both_kinds_is_read_as_oci_under_dockers_names(tmp_path: Path) -> None:
    with open_archive(written(tmp_path / "x", docker(["app:v1"]) | layout())) as (image,):
        assert image.media_type == f"{OCI}manifest.v1+json" and image.names == ("app:v1",)


def test_archive_whose_other_platforms_were_not_saved_is_read_as_dockers(tmp_path: Path) -> None:
    missing = {"digest": digest_of(b"elsewhere"), "mediaType": f"{OCI}manifest.v1+json"}
    index = json.dumps({"schemaVersion": 2, "manifests": [missing]}).encode()
    outer = {"schemaVersion": 2, "manifests": [{"digest": digest_of(index)}]}
    files = docker(["app:v1"]) | blob(index) | {"index.json": json.dumps(outer).encode()}
    with open_archive(written(tmp_path / "x", files)) as (image,):
        assert image.names == ("app:v1",) and contents(image) == [CONFIG, *LAYERS]


def test_index_comes_with_its_parts(tmp_path: Path) -> None:
    inner = layout()
    listed = json.loads(bytes(inner["index.json"]))["manifests"]
    index = json.dumps({"schemaVersion": 2, "manifests": listed}).encode()
    name = {"io.containerd.image.name": "quay.io/a/b:v1"}
    entry = {"digest": digest_of(index), "annotations": name}
    outer = json.dumps({"schemaVersion": 2, "manifests": [entry]}).encode()
    with open_archive(written(tmp_path / "x", inner | blob(index) | {"index.json": outer})) as (
        image,
    ):
        assert (image.names, image.digest) == (("quay.io/a/b:v1",), digest_of(index))
        assert [part.digest for part in image.parts] == [listed[0]["digest"]]
        assert contents(image.parts[0]) == [CONFIG, *LAYERS]


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress])
def test_packed_archive_is_read_like_a_plain_one(
    tmp_path: Path, pack: Callable[[bytes], bytes]
) -> None:
    path = written(tmp_path / "x", docker(["app:v1"]))
    packed = tmp_path / "packed"
    packed.write_bytes(pack(path.read_bytes()))
    with open_archive(path) as (plain,), open_archive(packed) as (image,):
        assert image.digest == plain.digest and contents(image) == [CONFIG, *LAYERS]
    packed.write_bytes(pack(path.read_bytes())[:-20])
    with pytest.raises(CallerFault), open_archive(packed):
        pass


def test_packed_layers_of_a_docker_archive_are_said_to_be_packed(tmp_path: Path) -> None:
    files = docker(["app:v1"], **{"a/layer.tar": gzip.compress(LAYERS[0])})
    with open_archive(written(tmp_path / "x", files)) as (image,):
        kinds = [layer["mediaType"] for layer in json.loads(image.manifest)["layers"]]
        assert [kind.endswith(".tar.gzip") for kind in kinds] == [True, False]


BAD: dict[str, Files] = {
    "no archive": {"hello": b"world"},
    "a layer is missing": {k: v for k, v in docker().items() if k != "b/layer.tar"},
    "a layer is another": docker(**{"b/layer.tar": b"another"}),
    "a link leads nowhere": docker(**{"b/layer.tar": "../../etc/passwd"}),
    "no configuration": {k: v for k, v in docker().items() if k != "c.json"},
    "a configuration without layers": docker(**{"c.json": b"{}"}),
    "manifest.json is no list": docker(**{"manifest.json": b"7"}),
    "manifest.json is no JSON": docker(**{"manifest.json": b"\xff{"}),
    "index.json is no index": {"index.json": b"[]"},
    "a blob is missing": {k: v for k, v in layout().items() if "blobs" not in k},
    "a digest is a path": {
        "index.json": b'{"manifests": [{"digest": "sha256:../../../etc/passwd"}]}',
    },
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_no_whole_archive_is_refused_by_name(tmp_path: Path, case: str) -> None:
    path = written(tmp_path / "bad.tar", BAD[case])
    with pytest.raises(CallerFault, match=r"bad\.tar"), open_archive(path):
        pass


@pytest.mark.parametrize("content", [b"", b"hello", hashlib.sha512(b"x").digest() * 40])
def test_what_is_no_tar_file_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "bad.tar"
    path.write_bytes(content)
    with pytest.raises(CallerFault, match="not a tar file"), open_archive(path):
        pass
    with pytest.raises(CallerFault, match="No such file"), open_archive(tmp_path / "none"):
        pass
