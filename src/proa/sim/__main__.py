"""``python -m proa.sim SCENARIO.yaml [SEED …]``: play a scenario and tell what came of it.

With one seed the whole trace is written out, to replay a failure that a test has named; with
several, one line for each. The exit code is 1 where a seed had a problem.
"""

from __future__ import annotations

import sys
from pathlib import Path

from proa.sim.scenario import load, run


def main(arguments: list[str]) -> int:
    """The exit code."""
    scenario, seeds = load(Path(arguments[0])), arguments[1:] or ["0"]
    failed = False
    for seed in seeds:
        result = run(scenario, seed)
        failed = failed or bool(result.problems)
        if len(seeds) == 1:
            sys.stdout.write("\n".join(result.trace) + "\n")
        told = "; ".join(result.problems) or "all is well"
        sys.stdout.write(f"seed {seed}: {told} ({result.trace_sha256})\n")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
