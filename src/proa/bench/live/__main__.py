"""``python -m proa.bench.live [name …] [--json]``: run benchmarks and print one object for each.

With ``--json`` each object is one line of JSON, else it is indented. All of them run without a
name. Needs root, as Proa does.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import signal
import sys

BENCHMARKS = {
    "start": ("proa.bench.live.start", "API call to running, one and 50 at once, beside bare CRI"),
    "api": ("proa.bench.live.api", "API reads and writes per second"),
    "memory": ("proa.bench.live.memory", "idle memory and processor time of Proa's processes"),
    "up": ("proa.bench.live.up", "proa up to ready"),
}


def main() -> int:
    """Run what was asked for; the exit code is 1 without root."""
    listed = "\n".join(f"  {name:8}{what}" for name, (_, what) in BENCHMARKS.items())
    parser = argparse.ArgumentParser(
        prog="python -m proa.bench.live",
        epilog=f"benchmarks:\n{listed}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="*", metavar="name", help="default: all")
    parser.add_argument("--json", action="store_true", help="one line of JSON a benchmark")
    parser.add_argument("--only", default="", metavar="LOAD", help="one load of api")
    parser.add_argument(
        "--beside", default="", metavar="KUBECONFIG", help="a Kubernetes API as a peer of api"
    )
    asked = parser.parse_args()
    unknown = [name for name in asked.names if name not in BENCHMARKS]
    if unknown:
        parser.error(f"no benchmark {unknown[0]}: choose from {', '.join(BENCHMARKS)}")
    if (asked.only or asked.beside) and asked.names != ["api"]:
        parser.error("--only and --beside are for api")
    if os.geteuid() != 0:
        print("bench: needs root, as proa up does", file=sys.stderr)
        return 1
    # as an exception, so that whatever runs is cleaned up
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    for name in asked.names or BENCHMARKS:
        options = [asked.only, asked.beside] if name == "api" else []
        try:
            result = importlib.import_module(BENCHMARKS[name][0]).run(*options)
        except ValueError as error:
            parser.error(str(error))
        print(json.dumps(result.as_json(), indent=None if asked.json else 1), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
