"""The peer of the API benchmark: nginx, one worker, answering the same bytes from a file.

It authenticates the same client certificate handshake, keeps nothing and decides nothing: the
rate at which this machine's kernel, TLS and ``wrk`` can move such answers at all.
"""

from __future__ import annotations

import contextlib
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from proa.bench.live.instance import free_ports
from proa.bench.live.measure import wait_until


@dataclass(slots=True, frozen=True)
class Yardstick:
    """``plain`` and ``secure`` are URLs; each has /read, which answers 200 with the bytes, and
    /create, which answers 201."""

    plain: str
    secure: str
    certificate: tuple[Path, Path]


_CONFIG = """
user root;
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/nginx.log;
events {{ worker_connections 256; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  keepalive_requests 100000000;
  default_type application/json;
  root {folder};
  error_page 405 =200 $uri;
  server {{
    listen 127.0.0.1:{plain};
    listen 127.0.0.1:{secure} ssl;
    ssl_certificate {folder}/bench.pem;
    ssl_certificate_key {folder}/bench.key;
    ssl_client_certificate {folder}/bench.pem;
    ssl_verify_client on;
    location = /create {{ return 201; }}
  }}
}}
"""


@contextlib.contextmanager
def yardstick(folder: Path, body: bytes) -> Iterator[Yardstick]:
    """nginx for the length of a block; everything it needs lies in ``folder``."""
    plain, secure = free_ports(2)
    certificate, key = folder / "bench.pem", folder / "bench.key"
    _make_certificate(certificate, key)
    (folder / "read").write_bytes(body)
    config = folder / "nginx.conf"
    config.write_text(_CONFIG.format(folder=folder, plain=plain, secure=secure))
    process = subprocess.Popen(
        ["nginx", "-e", str(folder / "nginx.log"), "-c", str(config)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_until(lambda: _listens(secure), 10, "nginx listens")
        host = "127.0.0.1"
        yield Yardstick(f"http://{host}:{plain}", f"https://{host}:{secure}", (certificate, key))
    finally:
        process.terminate()
        process.wait(timeout=10)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _make_certificate(certificate: Path, key: Path) -> None:
    """One self-signed certificate: server, client and authority of this run."""
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1"
    names = ["-subj", "/CN=bench", "-addext", "subjectAltName=IP:127.0.0.1"]
    files = ["-out", str(certificate), "-keyout", str(key)]
    subprocess.run([*command.split(), *names, *files], check=True, capture_output=True, timeout=30)
