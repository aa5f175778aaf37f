"""The control plane's process: ``python -m proa.server.control DATA_DIR``.

Opens the real store, keys and files, starts the control plane, and serves the AWS API, the
Kubernetes API, the hull's API and the image registry. SIGTERM ends it; nothing acknowledged is
lost when it is killed instead.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path

from proa.aws.eks.records import DEFAULT
from proa.aws.longtail.process import MotoProcess
from proa.base.aio import Tasks
from proa.base.chance import Chance
from proa.base.clock import Clock, SystemClock
from proa.base.config import Config
from proa.base.errors import CallerFault
from proa.base.http import Handler, Request, Response
from proa.base.telemetry import get_logger
from proa.cloud.secrets import Sealer
from proa.kube import pki
from proa.kube.schema.cache import SchemaCache
from proa.kube.sealed import SealingStore
from proa.reconcile.leader import Election
from proa.serve.images import build
from proa.serve.registry import Registry
from proa.serve.registry_images import Images
from proa.serve.registry_import import import_layout
from proa.server.assemble import ControlPlane, Outside
from proa.server.core import local_name
from proa.server.doors import Door
from proa.server.event_files import EventFiles
from proa.server.http import Shell
from proa.server.http_doors import HttpDoors
from proa.server.http_fetch import fetch
from proa.server.kube_cluster import API_NAMES, KubeSecrets, server_addresses
from proa.server.node_link import LocalNodeLink
from proa.server.process import FAILED_CODE, run_process, stop_when_failed
from proa.store.api import Store
from proa.store.append import AppendFiles
from proa.store.blobs import FileBlobs
from proa.store.sqlite import SqliteStore
from proa.store.upgrade import Upgraders, UpgradingStore

log = get_logger(__name__)
AWS_BODY = 64 * 1024 * 1024  # an S3 object in one request; larger ones come in parts


async def open_store(config: Config, clock: Clock) -> Store:
    """The store that the configuration names. Who changes the form of stored bodies registers
    an upgrader here; none has changed yet."""
    upgraders = Upgraders()
    if config.store == "sqlite":
        file = config.data_dir / "store.db"
        return UpgradingStore(await SqliteStore.open(file, clock), upgraders)
    if config.store.startswith("etcd://"):
        from proa.store.etcd import EtcdStore  # gRPC is as large as the rest of a store

        return UpgradingStore(await EtcdStore.open(config.store, clock), upgraders)
    raise CallerFault(f"there is no store {config.store!r}")


def write_private(path: Path, text: str) -> None:
    """Replace a file that only its owner may read, at once."""
    partial = path.with_name(path.name + ".partial")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    partial.rename(path)


def private_folder(path: Path) -> None:
    """A folder that only its owner may enter, whatever it was before."""
    path.mkdir(parents=True, exist_ok=True)
    path.chmod(0o700)


def public_keys(config: Config, clock: Clock) -> pki.Files:
    """The cluster's keys and certificates, made on first start."""
    addresses = server_addresses(config.service_cidr, config.listen)
    return pki.ensure(
        config.data_dir / "pki", names=API_NAMES, addresses=addresses, now=clock.now()
    )


async def open_registry(config: Config, clock: Clock, chance: Chance) -> Registry:
    """The image registry, with the demo images under every name they are asked for by."""
    folder = config.data_dir / "registry"
    registry = Registry(FileBlobs(folder, chance), folder, clock)
    for references, layout in build(config.data_dir / "images"):
        await import_layout(registry, layout, references)
    return registry


async def serve(config: Config, stopping: asyncio.Event) -> None:
    """Run the control plane until ``stopping`` is set."""
    clock, chance = SystemClock(), Chance()
    sealer = Sealer.from_file(config.data_dir / "sealing.key", chance)
    store = SealingStore(await open_store(config, clock), sealer)
    keys = public_keys(config, clock)
    for name in ("events", "registry", "logs"):  # what tasks write, pushed images, our own words
        private_folder(config.data_dir / name)
    files = AppendFiles(config.data_dir / "events")
    doors = HttpDoors(config.listen)
    node_link = LocalNodeLink(config.agent_socket)
    outside = Outside(
        sealer=sealer,
        events=EventFiles(files),
        kube_secrets=KubeSecrets(keys.ca_pem.decode(), keys.token_key_pem),
        schemas=SchemaCache.open(config.data_dir / "schemas.cache"),
        node_link=node_link,
        long_tail=MotoProcess(config.data_dir, clock),
        fetch=fetch,
        doors=doors,
    )
    tasks = Tasks()
    if config.store != "sqlite":  # several control planes may share an etcd; one leads
        election = Election(store, clock, "control", chance.uid())
        await election.win()
        tasks.spawn(_lead(election, stopping), "leader")
    plane = ControlPlane(config, store, clock, chance, outside)
    tasks.spawn(stop_when_failed(plane.failed, stopping), "health")
    node_link.where = plane.kube.agent_of
    access_key, secret_key = await plane.start()
    registry = await open_registry(config, clock, chance)
    credentials = json.dumps({"access_key": access_key, "secret_key": secret_key})
    write_private(config.data_dir / "credentials.json", credentials)
    write_private(config.data_dir / "kubeconfig", _kubeconfig(config, keys))
    shells = [
        aws := Shell(plane.aws.handle, max_body=AWS_BODY, oversized=plane.aws.oversized),
        images := Shell(registry.handle, streams=_is_upload, oversized=registry.oversized),
        hull := Shell(
            _beside(plane.hull.handle, registry, Images(registry, config.registry_port)),
            max_body=64 * 1024 * 1024,
            streams=_is_upload,
        ),
    ]
    tasks.spawn(registry.garbage.run(), "registry garbage")
    await aws.start(config.listen, config.aws_port)
    await doors.open(_first_door(config, keys, plane))
    await doors.reach(DEFAULT, plane.kube.addresses(DEFAULT))
    await plane.eks.open_doors()
    await images.start("127.0.0.1", config.registry_port)
    await hull.start_unix(config.hull_socket)
    log.info("control plane ready")
    tasks.spawn(asyncio.to_thread(plane.aws.warm), "codecs")
    try:
        await stopping.wait()
    finally:
        for shell in shells:
            await shell.close()
        await doors.close_all()
        await plane.close()
        await outside.long_tail.close()
        await tasks.close()
        await store.close()
        files.close()
    if plane.failed.is_set():
        sys.exit(FAILED_CODE)


async def _lead(election: Election, stopping: asyncio.Event) -> None:
    """Renew the lead; whoever loses it stops, and contends again when it is started anew."""
    await election.keep()
    log.error("the lead is lost")
    stopping.set()


def _first_door(config: Config, keys: pki.Files, plane: ControlPlane) -> Door:
    """The first cluster's, whose keys lie in files."""
    certificate, key = keys.server_certificate.read_bytes(), keys.server_key.read_bytes()
    handler = plane.kube.handle
    return Door(DEFAULT, config.kube_port, handler, certificate, key, keys.ca_pem)


def _beside(hull: Handler, registry: Registry, images: Images) -> Handler:
    """The hull's socket serves the registry too, for ``proa image``."""

    async def handle(request: Request) -> Response:
        if request.path.startswith("/v2/"):
            return await registry.handle(request)
        return await (images.handle if request.path == "/v1/images" else hull)(request)

    return handle


def _is_upload(method: str, path: str) -> bool:
    return method in ("PATCH", "PUT", "POST") and "/blobs/uploads/" in path


def _kubeconfig(config: Config, keys: pki.Files) -> str:
    url = f"https://{local_name(config.listen)}:{config.kube_port}"
    return pki.kubeconfig(url, keys.ca_pem, keys.admin_pem, keys.admin_key_pem)


if __name__ == "__main__":
    run_process(Path(sys.argv[1]), serve)
