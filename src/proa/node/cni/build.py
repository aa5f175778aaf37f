"""Compiles the CNI plugins: the forwarder and the loopback plugin that containerd always calls.

``cli.main`` (and tests) call ``build`` before containerd starts; it does nothing when source and
socket path are still the same.
"""

from __future__ import annotations

import os
from pathlib import Path

from proa.base.errors import CallerFault
from proa.node.compiler import compile_static

_FORWARDER = Path(__file__).with_name("forwarder.c")
_LOOPBACK = Path(__file__).with_name("loopback.c")


def build(out_dir: Path, socket: Path, compiler: str = "cc") -> Path:
    """Make ``out_dir/proa``, a static binary that talks to ``socket``, and ``out_dir/loopback``;
    returns the former's path.

    Raises CallerFault when there is no compiler or the socket's path is longer than 107 bytes."""
    if len(os.fsencode(socket)) > 107:
        raise CallerFault(f"{socket}: a socket's path may be at most 107 bytes long")
    stamps = out_dir.parent
    compile_static(_LOOPBACK, out_dir / "loopback", stamps / "loopback.stamp", {}, compiler)
    definitions = {"PROA_CNI_SOCKET": str(socket)}
    return compile_static(
        _FORWARDER, out_dir / "proa", stamps / "proa.stamp", definitions, compiler
    )
