"""The command line: one click group; each command's work lives in a module of its own."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from proa import __version__
from proa.base.config import Config, load_config
from proa.cli.instance import default_data_dir

F = TypeVar("F", bound=Callable[..., Any])
DEFAULT = Config()


def data_dir_option(command: F) -> F:
    """Every command works on one Proa, named by its data directory."""
    return click.option(
        "--data-dir",
        type=click.Path(path_type=Path),
        default=default_data_dir,
        envvar="PROA_DATA_DIR",
        show_default=f"{DEFAULT.data_dir}; without root ~/.local/share/proa",
        help="Where this Proa keeps everything it owns.",
    )(command)


def json_option(command: F) -> F:
    """Machine-readable output."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(command)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="proa")
def main() -> None:
    """One container orchestrator with two APIs: Amazon ECS and Kubernetes."""


@main.command()
@click.option("--detach", is_flag=True, help="Return once both APIs answer.")
@data_dir_option
@click.option("--listen", default=DEFAULT.listen, show_default=True, help="Address of the APIs.")
@click.option("--aws-port", default=DEFAULT.aws_port, show_default=True)
@click.option("--kube-port", default=DEFAULT.kube_port, show_default=True)
@click.option("--registry-port", default=DEFAULT.registry_port, show_default=True)
@click.option("--region", default=DEFAULT.region, show_default=True)
@click.option("--vpc-cidr", help=f"Range of the default VPC.  [default: {DEFAULT.vpc_cidr}]")
@click.option(
    "--service-cidr", help=f"Range of Kubernetes' Services.  [default: {DEFAULT.service_cidr}]"
)
@click.option("--strict", is_flag=True, help="Never reserve more than the machine has.")
@click.option(
    "--store", default=DEFAULT.store, show_default=True, help="sqlite or etcd://HOST:PORT"
)
@click.option(
    "--runtime",
    type=click.Choice(["containerd", "sim"]),
    help="What runs containers; sim only simulates them and needs neither root nor Linux.  "
    "[default: containerd, or what the data directory was made with]",
)
@click.option("--hosts", default=1, show_default=True, help="Simulated hosts, with --runtime sim.")
@click.option("--behaviour", default="", metavar="FILE", help="How simulated images behave (YAML).")
def up(detach: bool, vpc_cidr: str | None, service_cidr: str | None, **options: Any) -> None:
    """Start Proa on this machine, or say that it runs already."""
    from proa.cli.up import up as run

    before = load_config(options["data_dir"].absolute())
    options["runtime"] = options["runtime"] or (before.runtime if before else DEFAULT.runtime)
    if options["behaviour"]:
        options["behaviour"] = str(Path(options["behaviour"]).absolute())
    sys.exit(run(Config(**options), vpc_cidr, service_cidr, detach=detach))


@main.command()
@data_dir_option
@click.option("--purge", is_flag=True, help="Remove the data as well.")
def down(data_dir: Path, purge: bool) -> None:
    """Stop everything; without --purge the next up brings the same workloads back."""
    config = load_config(data_dir.absolute())
    if config is not None and config.runtime == "sim":
        from proa.cli.sim_runtime import down as end

        sys.exit(end(config, purge=purge))
    from proa.cli.down import down as run

    sys.exit(run(data_dir, purge=purge))


@main.command()
@data_dir_option
@json_option
def status(data_dir: Path, as_json: bool) -> None:
    """What runs where, and what waits."""
    from proa.cli.status import status as run

    sys.exit(run(data_dir, as_json=as_json))


@main.command()
@data_dir_option
@click.argument("subject")
@click.option("--namespace", "-n", default="", help="Look in one Kubernetes namespace only.")
@json_option
def why(data_dir: Path, subject: str, namespace: str, as_json: bool) -> None:
    """What a TASK, POD, NODE or SERVICE waits for or why it ended, and what to do."""
    from proa.cli.why import why as run

    sys.exit(run(data_dir, subject, namespace=namespace, as_json=as_json))


@main.command()
@data_dir_option
@click.option("--once", is_flag=True, help="Print the present picture and end.")
@json_option
def watch(data_dir: Path, once: bool, as_json: bool) -> None:
    """A live table of services, deployments, tasks, pods and events of both APIs."""
    from proa.cli.watch import watch as run

    sys.exit(run(data_dir, as_json=as_json, once=once))


@main.command()
@data_dir_option
@click.option("--region", default="", help="Another region than Proa's own.")
@click.option(
    "--write", is_flag=True, help="Put a proa context and a proa AWS profile into your own files."
)
@json_option
def env(data_dir: Path, region: str, write: bool, as_json: bool) -> None:
    """Print the exports that point aws and kubectl at this Proa: eval "$(proa env)"."""
    from proa.cli.env import env as run

    sys.exit(run(data_dir, region=region, as_json=as_json, write=write))


@main.command()
@data_dir_option
@json_option
def doctor(data_dir: Path, as_json: bool) -> None:
    """Examine the host and the running system, and say what to do about each finding."""
    from proa.cli.doctor import doctor as run

    sys.exit(run(data_dir, as_json=as_json))


@main.command()
@data_dir_option
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--images/--no-images", default=True, help="The registry's images as well.")
@click.option("--logs/--no-logs", default=True, help="The events of CloudWatch Logs as well.")
def backup(data_dir: Path, file: Path, images: bool, logs: bool) -> None:
    """Write everything this Proa knows into FILE; it may run meanwhile. Keep FILE safe: it holds
    keys and secrets."""
    from proa.cli.backup import backup as run

    sys.exit(run(data_dir, file, images=images, logs=logs))


@main.command()
@data_dir_option
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option(
    "--store", default=DEFAULT.store, show_default=True, help="sqlite or etcd://HOST:PORT"
)
def restore(data_dir: Path, file: Path, store: str) -> None:
    """Bring a backup back into an empty data directory; proa up then starts from it."""
    from proa.cli.backup import restore as run

    sys.exit(run(Config(data_dir=data_dir, store=store), file))


@main.command("rotate-key")
@data_dir_option
def rotate_key(data_dir: Path) -> None:
    """Give secrets at rest a new key; a Proa must be down for it. Old secrets stay readable."""
    from proa.cli.keys import rotate_key as run

    sys.exit(run(data_dir))


@main.command()
@data_dir_option
@click.argument("component", required=False, default="")
@click.option("--follow", "-f", is_flag=True)
@click.option("--tail", default=50, show_default=True, help="Lines from the end.")
def logs(data_dir: Path, component: str, follow: bool, tail: int) -> None:
    """Proa's own logs: control, agent, containerd or supervisor (default: all)."""
    from proa.cli.logs import logs as run

    sys.exit(run(data_dir, component, follow=follow, tail=tail))


@main.group()
def image() -> None:
    """The images that Proa's own registry keeps."""


@image.command("load")
@data_dir_option
@click.argument("tar", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--name", "-n", "names", multiple=True, help="Call it so, instead of as it says.")
def image_load(data_dir: Path, tar: Path, names: tuple[str, ...]) -> None:
    """Load the images of TAR, as docker save, podman save or skopeo write it."""
    from proa.cli.image import load as run

    sys.exit(run(data_dir, tar, names))


@image.command("list")
@data_dir_option
@json_option
def image_list(data_dir: Path, as_json: bool) -> None:
    """Every image with its digest, size and platforms."""
    from proa.cli.image import show as run

    sys.exit(run(data_dir, as_json=as_json))


@image.command("rm")
@data_dir_option
@click.argument("references", nargs=-1, required=True)
def image_rm(data_dir: Path, references: tuple[str, ...]) -> None:
    """Remove references, and what only they kept."""
    from proa.cli.image import remove as run

    sys.exit(run(data_dir, references))


@main.group()
def systemd() -> None:
    """The unit that starts Proa with the machine."""


@systemd.command()
@data_dir_option
@click.option("--now", is_flag=True, help="Start it at once as well.")
def install(data_dir: Path, now: bool) -> None:
    """Write and enable proa.service for this data directory, with the flags it last ran with."""
    from proa.cli.systemd import install as run

    sys.exit(run(data_dir, now=now))


@systemd.command()
def uninstall() -> None:
    """Disable and remove proa.service; what runs goes on."""
    from proa.cli.systemd import uninstall as run

    sys.exit(run())


@main.group()
def sim() -> None:
    """Simulated hosts and containers."""


@sim.command("hosts")
@data_dir_option
@click.option("--count", type=int, default=0, help="How many join; without it those there are.")
@click.option("--name", default="sim", show_default=True, help="They are called NAME-00000 …")
@click.option("--zones", default=3, show_default=True, help="Availability zones, in turn.")
@click.option("--instance-type", default="m5.2xlarge", show_default=True)
@click.option("--vcpu", type=float, default=0.0, help="Instead of the type's.")
@click.option("--memory", "memory_mib", default=0, help="MiB, instead of the type's.")
@click.option("--pods", default=110, show_default=True, help="Pods or tasks that each takes.")
@click.option("--label", "labels", multiple=True, metavar="KEY=VALUE", help="Of the Nodes.")
@click.option("--taint", "taints", multiple=True, metavar="KEY=VALUE:EFFECT", help="Of the Nodes.")
@click.option(
    "--cluster",
    "clusters",
    multiple=True,
    metavar="ecs/NAME|eks/NAME",
    help="Join these only, instead of the default ECS and every Kubernetes cluster.",
)
@click.option("--behaviour", default="", metavar="FILE", help="How images behave (YAML).")
@click.option("--detach", is_flag=True, help="Return once they have joined.")
@click.option("--stop", is_flag=True, help="Those called NAME leave.")
@click.option("--kill", metavar="HOST", default="", help="One loses its power.")
@click.option("--restore", metavar="HOST", default="", help="It is switched on again, empty.")
@json_option
def sim_hosts(**options: Any) -> None:
    """Simulated hosts join this Proa: thousands of nodes, whose containers are modelled."""
    from proa.cli import sim_options

    sys.exit(sim_options.hosts(**options))


@sim.command("run")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--seed", default="0", show_default=True, help="Decides all that is left to chance.")
@click.option("--report", type=click.Path(dir_okay=False, path_type=Path), help="Write a page.")
@click.option(
    "--trace", type=click.Path(dir_okay=False, path_type=Path), help="Write every event's line."
)
@json_option
def sim_run(file: Path, seed: str, report: Path | None, trace: Path | None, as_json: bool) -> None:
    """Play a scenario (hosts, workloads, load, faults) through virtual time."""
    from proa.cli.sim_run import run

    sys.exit(run(file, seed=seed, report=report, trace=trace, as_json=as_json))


@sim.command("fuzz")
@click.option("--seeds", default=100, show_default=True, help="How many histories.")
@click.option("--from", "first", default=0, show_default=True, help="The first one's seed.")
@click.option("--jobs", default=2, show_default=True, help="Processes that share the work.")
@click.option(
    "--keep",
    type=click.Path(path_type=Path, file_okay=False),
    help="Write each that finds something into this folder, as a scenario.",
)
@json_option
def sim_fuzz(seeds: int, first: int, jobs: int, keep: Path | None, as_json: bool) -> None:
    """Play histories drawn from seeds: the whole control plane in virtual time, under faults."""
    from proa.cli.sim_fuzz import fuzz as run

    sys.exit(run(first, seeds, jobs, keep, as_json=as_json))


@sim.command("replay")
@click.argument("what", metavar="SEED|FILE")
@click.option("--quiet", "-q", is_flag=True, help="Only what came of it.")
def sim_replay(what: str, quiet: bool) -> None:
    """Play one history again, a seed of fuzz or a scenario's file, with its whole trace."""
    from proa.cli.sim_fuzz import replay as run

    sys.exit(run(what, quiet=quiet))


@main.command()
@click.argument("workload", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--seed", default="1", show_default=True, help="Decides all that is left to chance.")
@click.option(
    "--prices",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Rates of your own, in the form of the shipped file.",
)
@click.option(
    "--report", type=click.Path(dir_okay=False, path_type=Path), help="Write an HTML page."
)
@json_option
def compare(
    workload: Path, seed: str, prices: Path | None, report: Path | None, as_json: bool
) -> None:
    """Run WORKLOAD on ECS Fargate, ECS EC2, Kubernetes nodes and Kubernetes on Fargate through
    virtual time; show costs, packing and cold starts side by side."""
    from proa.cli.compare import compare as run

    sys.exit(run(workload, seed=seed, prices=prices, report=report, as_json=as_json))


@main.group(invoke_without_command=True)
@click.option("--only", multiple=True, metavar="NAME", help="These only; may be repeated.")
@click.option("--list", "listing", is_flag=True, help="Name what there is, and run nothing.")
@click.option("--report", type=click.Path(dir_okay=False, path_type=Path), help="Write a page.")
@click.option("--save", type=click.Path(dir_okay=False, path_type=Path), help="Write a baseline.")
@click.option(
    "--baseline", type=click.Path(dir_okay=False, path_type=Path), help="Compare with a saved run."
)
@json_option
@click.pass_context
def bench(context: click.Context, /, as_json: bool, **options: Any) -> None:
    """Measure this machine's Proa, in processes of its own: the whole suite, or one of these."""
    if context.invoked_subcommand is None:
        from proa.cli.bench import suite as run

        sys.exit(run(as_json=as_json, **options))


@bench.command("scheduling")
@click.option("--nodes", type=click.IntRange(min=0), default=0, help="0: the workload's own.")
@click.option("--pods", type=click.IntRange(min=0), default=0, help="0: the workload's own.")
@click.option("--workload", "names", multiple=True, default=("basic",), show_default=True,
              help="By name, may be repeated; all: every one.")  # fmt: skip
@json_option
def bench_scheduling(nodes: int, pods: int, names: tuple[str, ...], as_json: bool) -> None:
    """Pods bound a second, beside what kube-scheduler's own tests ask for."""
    from proa.cli.bench import scheduling as run

    sys.exit(run(names, nodes, pods, as_json=as_json))


@bench.command("ecs")
@click.option("--nodes", type=click.IntRange(min=1), default=1000, show_default=True)
@click.option("--tasks", type=click.IntRange(1, 5000), default=5000, show_default=True)
@click.option("--strategy", "names", multiple=True, default=("all",), show_default=True,
              help="By name, may be repeated; all: every one.")  # fmt: skip
@json_option
def bench_ecs(nodes: int, tasks: int, names: tuple[str, ...], as_json: bool) -> None:
    """Tasks placed and bound a second under each placement strategy."""
    from proa.cli.bench import ecs as run

    sys.exit(run(names, nodes, tasks, as_json=as_json))


@main.command()
@json_option
def version(as_json: bool) -> None:
    """The versions of Proa and of the Kubernetes API it serves."""
    if as_json:
        click.echo(f'{{"proa":"{__version__}","kubernetes":"{DEFAULT.kube_version}"}}')
    else:
        click.echo(f"proa {__version__} (Kubernetes {DEFAULT.kube_version})")


if __name__ == "__main__":
    main()
