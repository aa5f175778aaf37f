"""Compiles our small static binaries: the CNI forwarder and the init of containers.

``node.cni.build`` and ``node.init.build`` call ``compile_static``. A stamp beside the binary tells
whether source and definitions are still the same, so that a second call costs a read.
"""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Mapping
from pathlib import Path

from proa.base.errors import CallerFault

_BUILD_TIMEOUT_S = 60


def compile_static(
    source: Path, target: Path, stamp: Path, definitions: Mapping[str, str], compiler: str
) -> Path:
    """Make ``target`` from one C file; string ``definitions`` become macros. Raises CallerFault
    where there is no compiler or the source does not compile."""
    text = "".join(f"{name}={value}\n" for name, value in sorted(definitions.items()))
    wanted = hashlib.sha256(source.read_bytes() + text.encode()).hexdigest()
    if target.exists() and stamp.exists() and stamp.read_text() == wanted:
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = stamp.with_suffix(".partial")
    macros = [f'-D{name}="{value}"' for name, value in definitions.items()]
    command = [compiler, "-O2", "-static", "-Wall", *macros, "-o", str(partial), str(source)]
    try:
        subprocess.run(
            command, check=True, capture_output=True, text=True, timeout=_BUILD_TIMEOUT_S
        )
    except FileNotFoundError as error:
        raise CallerFault(f"no C compiler ({compiler}): install gcc and libc6-dev") from error
    except subprocess.CalledProcessError as error:
        raise CallerFault(f"{source.name} does not compile: {error.stderr}") from error
    partial.rename(target)
    stamp.write_text(wanted)
    return target
