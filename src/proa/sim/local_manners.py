"""How containers behave where nobody has said more: as their commands say, and Jobs end.

``proa up --runtime sim`` and ``proa sim hosts`` use it over the behaviour file's images. A command
of known programs (``sim.programs``) is played; another one, or the image's own, runs for ever in
a Deployment, a service or a task, and ends well after a moment where an end is waited for.
"""

from __future__ import annotations

import math

import msgspec

from proa.model.sandbox import Container, Sandbox
from proa.sim.crowd_behaviour import Manner, Manners
from proa.sim.programs import Outcome, command_of, outcome_of

ENDS_AFTER_S = 1.0  # of a container whose end is waited for, as kwok has it of Jobs


class LocalManners(Manners):
    """``Manners`` that know commands. What a container or its image says itself comes first."""

    def of(self, sandbox: Sandbox, container: Container) -> Manner:
        """See ``Manners.of``."""
        manner = super().of(sandbox, container)
        if manner.runs_s is not None:
            return manner
        outcome = played(sandbox, container)
        if outcome is not None:
            runs_s = None if math.isinf(outcome.runs_s) else outcome.runs_s
            code = manner.exit_code or outcome.exit_code
            return msgspec.structs.replace(manner, runs_s=runs_s, exit_code=code)
        awaited = container.init and container.restart != "Always"
        awaited = awaited or (sandbox.skin == "kube" and container.restart != "Always")
        return msgspec.structs.replace(manner, runs_s=ENDS_AFTER_S) if awaited else manner


def environment_of(sandbox: Sandbox, container: Container) -> dict[str, str]:
    """The variables that a command of the container sees."""
    name = sandbox.network.hostname or sandbox.name
    return {"HOSTNAME": name, **dict(container.environment)}


def played(sandbox: Sandbox, container: Container) -> Outcome | None:
    """What the container's own command does, where it is known."""
    return outcome_of(command_of(container), environment_of(sandbox, container))
