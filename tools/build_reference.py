"""Writes docs/reference from the code: ``python tools/build_reference.py`` (``--check`` compares).

Commands come from click, operations of AWS services from the gateway of a control plane in
memory, against botocore's models, the long tail from its table and the cases of its test, and
Kubernetes resources from the kinds that a cluster serves. A test runs the comparison, so that
nothing is undocumented.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import botocore.session
import click

from proa.aws.longtail.table import REFUSED
from proa.base.clock import run_virtual
from proa.cli.main import main as proa
from proa.kube.schema.kinds import load_kinds
from proa.node.sim import Behaviour
from proa.server.assemble import ControlPlane
from proa.server.kube_bow import ACTED_ON
from proa.sim.world import World, schemas

TOP = Path(__file__).parent.parent
FOLDER = TOP / "docs" / "reference"
NOTE = "*Written from the code by `make reference`; do not edit.*"


def commands() -> Iterator[str]:
    """Every command with its usage and options, as ``proa COMMAND --help`` says them."""
    yield "# Commands\n"
    yield NOTE
    for path, command in _tree(proa, ("proa",)):
        context = click.Context(command, info_name=" ".join(path))
        usage = command.collect_usage_pieces(context)
        yield f"\n## {' '.join(path)}\n"
        yield (command.help or "").strip() + "\n"
        yield f"    {' '.join([*path, *usage])}\n"
        options = [
            record
            for parameter in command.get_params(context)
            if (record := parameter.get_help_record(context)) and "--help" not in record[0]
        ]
        if options:
            yield "| option | |\n|---|---|"
            yield from (f"| `{name}` | {_cell(text)} |" for name, text in options)


def _tree(
    group: click.Group, path: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    for name, command in sorted(group.commands.items()):
        if isinstance(command, click.Group):
            yield from _tree(command, (*path, name))
        else:
            yield (*path, name), command


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def operations(plane: ControlPlane) -> Iterator[str]:
    """Which operations of which AWS services are Proa's own."""
    yield "# AWS operations\n"
    yield NOTE
    yield (
        "\nServices whose state a container touches are Proa's own. An operation of theirs that "
        "is missing here\nanswers `NotImplementedException`. docs/reference/longtail.md lists the "
        "services behind the long tail."
    )
    assert plane.aws.gateway is not None, "the plane was started"
    session = botocore.session.get_session()
    for service, names in plane.aws.gateway.operations().items():
        known = session.get_service_model(service).operation_names
        yield f"\n## {service}: {len(names)} of {len(known)}\n"
        yield ", ".join(f"`{name}`" for name in sorted(names))


def long_tail() -> Iterator[str]:
    """Which services moto answers for, which nobody, and why."""
    yield "# The long tail\n"
    yield NOTE
    yield (
        "\nAWS services that Proa does not build itself are answered by moto, in a worker process "
        "of its own that\nstarts on first use. A change is durable before it is acknowledged: "
        "killing the worker loses nothing.\nThe rule of what is served: an answer may not claim "
        "that something runs which does not."
    )
    cases = json.loads((TOP / "tests" / "protocols" / "aws_longtail.json").read_text())
    yield "\n## Services that survive\n"
    yield "Told something, killed, and asked again by a test; S3's objects and bodies included.\n"
    yield ", ".join(f"`{case['service']}`" for case in cases)
    yield "\n## Services as moto has them\n"
    yield (
        "Whatever else moto knows is handed to it and kept in the same way, without a test of "
        "ours. An operation\nthat moto does not know answers `NotImplementedException`. RPC v2 "
        "CBOR is not spoken behind the long\ntail; these services also speak JSON."
    )
    yield "\n## Services that are refused\n"
    yield "| service | why |\n|---|---|"
    yield from (f"| {name} | {reason} |" for name, reason in sorted(REFUSED.items()))


def kinds() -> Iterator[str]:
    """Which Kubernetes resources are served, and which of them something acts on."""
    yield "# Kubernetes resources\n"
    yield NOTE
    yield "\nAll are stored, validated, patched, listed and watched. Where nothing acts, a write is"
    yield "answered with a `Warning`.\n"
    yield "| group/version | resource | kind | namespaced | subresources | acts |"
    yield "|---|---|---|---|---|---|"
    for resource in load_kinds(schemas()).resources():
        acts = "yes" if (resource.group, resource.name) in ACTED_ON else ""
        scope = "yes" if resource.namespaced else ""
        below = ", ".join(resource.subresources)
        yield (
            f"| {resource.api_version} | {resource.name} | {resource.kind} | {scope} "
            f"| {below} | {acts} |"
        )


def pages() -> dict[str, str]:
    """Every page by its file's name."""

    async def made() -> dict[str, str]:
        world = World("reference", lambda _container: Behaviour())
        await world.open()
        try:
            assert world.front is not None, "the world has a control plane"
            plane = world.front.plane
            return {
                "commands.md": "\n".join(commands()) + "\n",
                "aws.md": "\n".join(operations(plane)) + "\n",
                "longtail.md": "\n".join(long_tail()) + "\n",
                "kubernetes.md": "\n".join(kinds()) + "\n",
            }
        finally:
            await world.close()

    return run_virtual(made())


def main() -> int:
    """Write what differs; with ``--check`` only name it."""
    check = "--check" in sys.argv[1:]
    stale = []
    FOLDER.mkdir(exist_ok=True)
    for name, text in pages().items():
        path = FOLDER / name
        if not path.exists() or path.read_text() != text:
            stale.append(str(path.relative_to(FOLDER.parent.parent)))
            if not check:
                path.write_text(text)
    for path_name in stale:
        print(f"{path_name} {'is stale: make reference' if check else 'written'}")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
