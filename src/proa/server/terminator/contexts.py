"""TLS settings of a server whose keys lie in no file."""

from __future__ import annotations

import contextlib
import os
import ssl
import tempfile
from collections.abc import Iterator

from proa.server.terminator.frames import Keys


def context_of(keys: Keys) -> ssl.SSLContext:
    """A client may present a certificate, which its authority must have signed. Raises
    ssl.SSLError for keys that are none."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with _memory_file(keys.certificate) as certificate, _memory_file(keys.key) as key:
        context.load_cert_chain(certificate, key)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_verify_locations(cadata=keys.client_authority.decode())
    context.verify_mode = ssl.CERT_OPTIONAL
    return context


@contextlib.contextmanager
def _memory_file(content: bytes) -> Iterator[str]:
    """A file that is gone afterwards, for ``ssl`` reads keys from files only: in memory where the
    system has such files (Linux), else readable by its owner alone."""
    if not hasattr(os, "memfd_create"):
        with tempfile.NamedTemporaryFile(prefix="proa-") as named:
            named.write(content)
            named.flush()
            yield named.name
        return
    descriptor = os.memfd_create("proa")
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        yield f"/proc/self/fd/{descriptor}"
