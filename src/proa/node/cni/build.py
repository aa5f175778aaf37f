"""Compiles the CNI forwarder.

``cli.main`` (and tests) call ``build`` before containerd starts. The binary's name carries
nothing; a stamp beside it tells whether source and socket path are still the same.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
from pathlib import Path

from proa.base.errors import CallerFault

_SOURCE = Path(__file__).with_name("forwarder.c")
_BUILD_TIMEOUT_S = 60


def build(out_dir: Path, socket: Path, compiler: str = "cc") -> Path:
    """Make ``out_dir/proa``, a static binary that talks to ``socket``; returns its path.

    Does nothing when it is up to date. Raises CallerFault when there is no compiler or the
    socket's path is longer than 107 bytes."""
    if len(os.fsencode(socket)) > 107:
        raise CallerFault(f"{socket}: a socket's path may be at most 107 bytes long")
    out_dir.mkdir(parents=True, exist_ok=True)
    target, stamp = out_dir / "proa", out_dir.parent / "proa.stamp"
    wanted = hashlib.sha256(_SOURCE.read_bytes() + os.fsencode(socket)).hexdigest()
    if target.exists() and stamp.exists() and stamp.read_text() == wanted:
        return target
    partial = out_dir.parent / "proa.partial"
    command = [compiler, "-O2", "-static", "-Wall", f'-DPROA_CNI_SOCKET="{socket}"']
    try:
        subprocess.run(
            [*command, "-o", str(partial), str(_SOURCE)],
            check=True,
            capture_output=True,
            text=True,
            timeout=_BUILD_TIMEOUT_S,
        )
    except FileNotFoundError as error:
        raise CallerFault(f"no C compiler ({compiler}): install gcc and libc6-dev") from error
    except subprocess.CalledProcessError as error:
        raise CallerFault(f"the CNI forwarder does not compile: {error.stderr}") from error
    partial.rename(target)
    stamp.write_text(wanted)
    return target
