"""Compiles the init of containers (``Container.init_process``), when the first one asks for it."""

from __future__ import annotations

from pathlib import Path

from proa.node.compiler import compile_static

_SOURCE = Path(__file__).with_name("init.c")


def build_init(out_dir: Path, compiler: str = "cc") -> Path:
    """Make ``out_dir/proa-init``, a static binary; returns its path. Raises CallerFault when
    there is no compiler."""
    return compile_static(_SOURCE, out_dir / "proa-init", out_dir / "init.stamp", {}, compiler)
