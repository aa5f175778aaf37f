"""The demo images, built on this machine from Debian's binaries: ``build(folder)``.

``proa up`` and the tests call it. Each image becomes an OCI layout folder whose digests depend
on its content only (fixed times, sorted entries), so that nothing is built twice and every
machine with the same packages has the same images. ``registry_import`` puts them into the
registry under ``Image.references``.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import shutil
import stat
import subprocess
import tarfile
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from proa.base.errors import CallerFault

HERE = Path(__file__).parent
BUSYBOX = Path("/usr/bin/busybox")
NGINX = Path("/usr/sbin/nginx")
CREATED = "2026-01-01T00:00:00Z"
_PAGE = b"""<!doctype html>
<title>Welcome to nginx!</title>
<h1>Welcome to nginx!</h1>
<p>This page is served by a container that Proa runs.</p>
"""


@dataclass(slots=True)
class Tree:
    """A root file system in the making: absolute paths to (mode, content or link target)."""

    entries: dict[str, tuple[int, bytes | str]] = field(default_factory=dict)

    def file(self, path: str, content: bytes, mode: int = 0o644) -> None:
        self.entries[path] = (mode, content)

    def link(self, path: str, target: str) -> None:
        self.entries[path] = (0o777, target)

    def folder(self, path: str, mode: int = 0o755) -> None:
        self.entries[path + "/"] = (mode, b"")

    def copy(self, source: Path, path: str = "") -> None:
        self.file(path or str(source), source.read_bytes(), stat.S_IMODE(source.stat().st_mode))

    def layer(self) -> bytes:
        """An uncompressed tar, the same for the same entries."""
        folders = {
            str(parent) + "/"
            for path in self.entries
            for parent in Path(path).parents
            if str(parent) != "/"
        }
        entries = {**dict.fromkeys(folders, (493, b"")), **self.entries}
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
            for path in sorted(entries):
                mode, content = entries[path]
                info = tarfile.TarInfo(path.strip("/"))
                info.mode = mode
                if path.endswith("/"):
                    info.type = tarfile.DIRTYPE
                    tar.addfile(info)
                elif isinstance(content, str):
                    info.type, info.linkname = tarfile.SYMTYPE, content
                    tar.addfile(info)
                else:
                    info.size = len(content)
                    tar.addfile(info, io.BytesIO(content))
        return buffer.getvalue()


@dataclass(slots=True, frozen=True)
class Image:
    """One image on its way: what it contains, how it runs, and under which names."""

    name: str
    references: tuple[str, ...]
    tree: Tree
    command: tuple[str, ...]
    entrypoint: tuple[str, ...] = ()
    ports: tuple[int, ...] = ()
    stop_signal: str = ""
    environment: tuple[str, ...] = (
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    )


def _base_tree() -> Tree:
    tree = Tree()
    tree.folder("/tmp", 0o1777)
    tree.folder("/root", 0o700)
    for name in ("/proc", "/sys", "/dev", "/run", "/var/log", "/etc"):
        tree.folder(name)
    tree.file("/etc/passwd", b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n")
    tree.file("/etc/group", b"root:x:0:\nnogroup:x:65534:\n")
    return tree


def _with_busybox(tree: Tree) -> Tree:
    if not BUSYBOX.exists():
        raise CallerFault("no busybox: apt-get install busybox-static")
    tree.copy(BUSYBOX, "/bin/busybox")
    names = subprocess.run([str(BUSYBOX), "--list"], capture_output=True, text=True, check=True)
    for name in sorted({*names.stdout.split()} - {"busybox"}):
        tree.link(f"/bin/{name}", "busybox")
    return tree


def _compiled(source: str, *flags: str) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "program"
        command = ["cc", "-O2", "-static", "-Wall", "-o", str(target), str(HERE / source), *flags]
        try:
            subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
        except FileNotFoundError as error:
            raise CallerFault("no C compiler: apt-get install gcc libc6-dev") from error
        subprocess.run(["strip", str(target)], check=False, capture_output=True)
        return target.read_bytes()


def _libraries(binary: Path) -> list[tuple[Path, str]]:
    """Shared libraries of a binary: (file, path to put it at)."""
    shown = subprocess.run(["ldd", str(binary)], capture_output=True, text=True, check=True).stdout
    found = [word for line in shown.splitlines() for word in line.split() if word.startswith("/")]
    return [(Path(os.path.realpath(path)), path) for path in found]


def _nginx() -> Tree:
    if not NGINX.exists():
        raise CallerFault("no nginx: apt-get install nginx-light")
    tree = _with_busybox(_base_tree())
    tree.copy(NGINX)
    for source, path in _libraries(NGINX):
        tree.copy(source, path)
    for folder in ("/var/lib/nginx", "/var/log/nginx"):
        tree.folder(folder)
    tree.file("/etc/passwd", b"root:x:0:0:root:/root:/bin/sh\nwww-data:x:33:33::/:/bin/false\n")
    tree.file("/etc/group", b"root:x:0:\nwww-data:x:33:\n")
    tree.file("/etc/nginx/nginx.conf", (HERE / "nginx.conf").read_bytes())
    tree.file("/usr/share/nginx/html/index.html", _PAGE)
    return tree


def images() -> list[Image]:
    """Every demo image. Raises CallerFault where the machine lacks what it is made of."""
    echo = _with_busybox(_base_tree())
    echo.file("/bin/echo-server", _compiled("echo.c", "-pthread"), 0o755)
    pause = Tree()
    pause.file("/pause", _compiled("pause.c"), 0o755)
    nginx = ("nginx", "-c", "/etc/nginx/nginx.conf")
    return [
        Image("pause", ("registry.k8s.io/pause:3.9",), pause, (), ("/pause",)),
        Image(
            "busybox",
            ("docker.io/library/busybox:latest", "docker.io/library/busybox:1.36"),
            _with_busybox(_base_tree()),
            ("sh",),
        ),
        Image(
            "nginx",
            (
                "docker.io/library/nginx:alpine",
                "docker.io/library/nginx:latest",
                "123456789.dkr.ecr.ap-northeast-2.amazonaws.com/web:latest",
            ),
            _nginx(),
            nginx,
            ports=(80,),
            stop_signal="SIGQUIT",
        ),
        Image(
            "echo",
            (
                "docker.io/proa/echo:latest",
                "123456789.dkr.ecr.us-east-1.amazonaws.com/web-app:v1.2.3",
            ),
            echo,
            ("/bin/echo-server",),
            ports=(3000,),
        ),
    ]


def build(folder: Path) -> list[tuple[tuple[str, ...], Path]]:
    """Write each image as an OCI layout below ``folder``; (references, layout) of each. What is
    there with the same recipe is left alone."""
    folder.mkdir(parents=True, exist_ok=True)
    recipe, cached = _recipe(), folder / "images.json"
    if cached.exists():
        known = json.loads(cached.read_text())
        if known["recipe"] == recipe:
            return [(tuple(names), folder / name) for name, names in known["images"].items()]
    made = images()
    for image in made:
        partial = folder / f"{image.name}.partial"
        shutil.rmtree(partial, ignore_errors=True)
        write_layout(image, partial)
        shutil.rmtree(folder / image.name, ignore_errors=True)
        partial.rename(folder / image.name)
    listed = {image.name: image.references for image in made}
    cached.write_text(json.dumps({"recipe": recipe, "images": listed}))
    return [(image.references, folder / image.name) for image in made]


def _recipe() -> str:
    """Changes with everything the images are made of."""
    digest = hashlib.sha256()
    for path in (*sorted(HERE.iterdir()), BUSYBOX, NGINX):
        if path.is_file():
            digest.update(path.read_bytes())
    return digest.hexdigest()


def write_layout(image: Image, folder: Path) -> None:
    """One image as an OCI layout (image-spec 1.0): one layer, configuration, manifest, index."""
    blobs = folder / "blobs" / "sha256"
    blobs.mkdir(parents=True)

    def blob(content: bytes, media_type: str) -> dict[str, object]:
        digest = hashlib.sha256(content).hexdigest()
        (blobs / digest).write_bytes(content)
        return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(content)}

    layer = image.tree.layer()
    configuration: dict[str, object] = {"Env": list(image.environment)}
    if image.command:
        configuration["Cmd"] = list(image.command)
    if image.entrypoint:
        configuration["Entrypoint"] = list(image.entrypoint)
    if image.ports:
        configuration["ExposedPorts"] = {f"{port}/tcp": {} for port in image.ports}
    if image.stop_signal:
        configuration["StopSignal"] = image.stop_signal
    config = {
        "architecture": "amd64" if os.uname().machine == "x86_64" else "arm64",
        "os": "linux",
        "created": CREATED,
        "config": configuration,
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]},
        "history": [{"created": CREATED, "created_by": "proa"}],
    }
    packed = gzip.compress(layer, 6, mtime=0)
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": blob(_json(config), "application/vnd.oci.image.config.v1+json"),
        "layers": [blob(packed, "application/vnd.oci.image.layer.v1.tar+gzip")],
    }
    entry = blob(_json(manifest), "application/vnd.oci.image.manifest.v1+json")
    (folder / "oci-layout").write_bytes(_json({"imageLayoutVersion": "1.0.0"}))
    (folder / "index.json").write_bytes(_json({"schemaVersion": 2, "manifests": [entry]}))


def _json(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
