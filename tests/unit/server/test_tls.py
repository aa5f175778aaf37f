"""TLS of keys that lie in no file."""

from __future__ import annotations

import os
import ssl
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import pytest

from proa.kube import pki
from proa.server.terminator.contexts import context_of
from proa.server.terminator.frames import Keys


@pytest.mark.parametrize("system", ["in memory", "as files"])
def test_keys_serve_and_leave_no_file(
    system: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    if system == "as files":  # as on macOS
        monkeypatch.delattr(os, "memfd_create", raising=False)
    keys = pki.ensure(
        tmp_path, names=("localhost",), addresses=["127.0.0.1"], now=datetime.now(UTC).timestamp()
    )
    used = tmp_path / "temporary"
    used.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(used))
    own = (keys.server_certificate.read_bytes(), keys.server_key.read_bytes())
    context = context_of(Keys(*own, keys.ca_pem))
    assert context.verify_mode is ssl.CERT_OPTIONAL
    assert context.get_ca_certs()[0]["subject"]
    assert not list(used.iterdir())
    with pytest.raises(ssl.SSLError):
        context_of(Keys(b"no certificate", b"no key", keys.ca_pem))
    assert not list(used.iterdir())
