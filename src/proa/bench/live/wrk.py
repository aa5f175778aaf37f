"""Load by ``wrk``: a Lua script written for each kind of request, its figures read as JSON.

One thread and 32 connections, which stay open. ``{n}`` in a body becomes a number that no other
request of the run has. For client certificates a small library is preloaded.
"""

from __future__ import annotations

import itertools
import json
import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

CONNECTIONS = 32
_SOURCE = Path(__file__).parent / "client_certificate.c"
_SCRIPT = """
local count = 0
function request()
  count = count + 1
  return wrk.format(nil, nil, nil, (BODY:gsub("{n}", RUN .. "-" .. count)))
end
"""
_DONE = """
function done(summary, latency)
  local failed = summary.errors
  io.write(string.format('\\nFIGURES{"requests":%d,"us":%d,"p50":%d,"p99":%d,"failed":%d}\\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    failed.status + failed.connect + failed.read + failed.write + failed.timeout))
end
"""


@dataclass(slots=True, frozen=True)
class Figures:
    """One run: answers per second, and latencies in milliseconds."""

    per_second: float
    p50_ms: float
    p99_ms: float


@dataclass(slots=True)
class Load:
    """One kind of request; ``history`` holds the figures of every run."""

    url: str
    folder: Path
    method: str = "GET"
    headers: Mapping[str, str] = field(default_factory=dict)
    body: str = ""
    certificate: tuple[Path, Path] | None = None  # certificate chain and key
    history: list[Figures] = field(default_factory=list)
    _runs: itertools.count[int] = field(default_factory=itertools.count)

    def run(self, seconds: int) -> Figures:
        """Raises RuntimeError if a request failed."""
        script = self.folder / f"load-{id(self)}.lua"
        script.write_text(self._script(next(self._runs)))
        command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "--timeout", "10s"]
        command += ["-s", str(script), self.url]
        environment = dict(os.environ)
        if self.certificate:
            environment["LD_PRELOAD"] = str(_library(self.folder))
            environment["WRK_CERTIFICATE"], environment["WRK_KEY"] = map(str, self.certificate)
        done = subprocess.run(
            command,
            env=environment,
            capture_output=True,
            text=True,
            timeout=seconds + 60,
            check=False,
        )
        if "FIGURES" not in done.stdout:
            raise RuntimeError(f"wrk: {done.stdout[-500:]}{done.stderr[-500:]}")
        found = json.loads(done.stdout.split("FIGURES", 1)[1])
        if found["failed"] or not found["requests"]:
            raise RuntimeError(f"{self.method} {self.url}: {found}")
        figures = Figures(
            per_second=found["requests"] / found["us"] * 1e6,
            p50_ms=found["p50"] / 1000,
            p99_ms=found["p99"] / 1000,
        )
        self.history.append(figures)
        return figures

    def _script(self, run: int) -> str:
        lines = [f'wrk.method = "{self.method}"']
        lines += [
            f"wrk.headers[{_lua(name)}] = {_lua(value)}" for name, value in self.headers.items()
        ]
        if "{n}" in self.body:
            lines += [f"BODY, RUN = {_lua(self.body)}, {_lua(str(run))}", _SCRIPT]
        elif self.body:
            lines.append(f"wrk.body = {_lua(self.body)}")
        return "\n".join([*lines, _DONE])


def _lua(text: str) -> str:
    """A Lua string of printable ASCII; JSON's escapes of it are Lua's, too."""
    return json.dumps(text)


def _library(folder: Path) -> Path:
    """The preloaded library, compiled once a folder."""
    library = folder / "client_certificate.so"
    if not library.exists():
        command = ["cc", "-O2", "-shared", "-fPIC", "-o", str(library), str(_SOURCE), "-ldl"]
        subprocess.run(command, check=True, capture_output=True, timeout=60)
    return library
