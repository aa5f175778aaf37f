"""Two Proas on one machine: each with ports and ranges of its own, neither in the other's way."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network

import pytest

from tests.live import PROA, Proa, eventually, fetch, proa_at

VPC, SERVICES = "10.61.0.0/16", "10.62.0.0/20"
PORTS = (15566, 17443, 15510)
SHARED = "10.63.0.0/24"  # a VPC's range in both
MANIFEST = """
apiVersion: v1
kind: Pod
metadata: {name: twin, labels: {app: twin}}
spec:
  terminationGracePeriodSeconds: 0
  containers: [{name: web, image: nginx, ports: [{containerPort: 80}]}]
---
apiVersion: v1
kind: Service
metadata: {name: twin}
spec: {selector: {app: twin}, ports: [{port: 80}]}
"""


@pytest.fixture(scope="module")
def second(proa: Proa, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proa]:
    folder = tmp_path_factory.mktemp("second")
    with proa_at(folder, PORTS, "--vpc-cidr", VPC, "--service-cidr", SERVICES) as running:
        yield running


def pod_address(proa: Proa) -> str:
    return str(proa.objects("pods -l app=twin")[0]["status"].get("podIP", ""))


def cluster_address(proa: Proa) -> str:
    return str(proa.objects("services --field-selector metadata.name=twin")[0]["spec"]["clusterIP"])


def run_apart(proa: Proa) -> str:
    """A task in a VPC of its own whose range both Proas' users have chosen; its ARN."""
    ecs, ec2 = proa.boto("ecs"), proa.boto("ec2")
    vpc = ec2.create_vpc(CidrBlock=SHARED)["Vpc"]["VpcId"]
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock=SHARED)["Subnet"]["SubnetId"]
    ecs.register_task_definition(
        family="apart", networkMode="awsvpc", requiresCompatibilities=["FARGATE"], cpu="256",
        memory="512", containerDefinitions=[{"name": "a", "image": "nginx"}],
    )  # fmt: skip
    answer = ecs.run_task(
        taskDefinition="apart", launchType="FARGATE",
        networkConfiguration={"awsvpcConfiguration": {"subnets": [subnet]}},
    )  # fmt: skip
    return str(answer["tasks"][0]["taskArn"])


def status(proa: Proa, task: str) -> str:
    return str(proa.boto("ecs").describe_tasks(tasks=[task])["tasks"][0]["lastStatus"])


def test_a_second_proa_with_the_same_ranges_is_refused_in_a_line(
    proa: Proa, tmp_path_factory: pytest.TempPathFactory
) -> None:
    other = tmp_path_factory.mktemp("refused")
    names = ("--aws-port", "--kube-port", "--registry-port")
    flags = [word for name, port in zip(names, PORTS, strict=True) for word in (name, str(port))]
    done = proa.run([str(PROA), "up", "--detach", "--data-dir", str(other), *flags], ok=False)
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert "is routed over pv" in last and "choose another --vpc-cidr" in last
    assert not (other / "run").exists()


def test_two_proas_run_the_same_things_side_by_side(proa: Proa, second: Proa) -> None:
    both = (proa, second)
    for one in both:
        one.apply(MANIFEST)
    apart = [run_apart(one) for one in both]
    for one in both:
        eventually(lambda one=one: pod_address(one), what="the pod has an address")
        one.kubectl("wait --for=condition=Ready pod/twin --timeout=30s")
        for address in (pod_address(one), cluster_address(one)):
            eventually(lambda address=address: "nginx" in fetch(f"http://{address}"))
        named = one.kubectl("exec twin -- nslookup twin.default.svc.cluster.local")
        assert cluster_address(one) in named
    assert IPv4Address(pod_address(second)) in IPv4Network(VPC)
    assert IPv4Address(cluster_address(second)) in IPv4Network(SERVICES)
    assert IPv4Address(pod_address(proa)) in IPv4Network("172.31.0.0/16")
    for one, task in zip(both, apart, strict=True):
        eventually(lambda one=one, task=task: status(one, task) == "RUNNING")
        one.boto("ecs").stop_task(task=task)


def test_one_goes_and_the_other_stays(proa: Proa, second: Proa) -> None:
    address = cluster_address(proa)
    gone = second.down("--purge")
    assert "Traceback" not in gone.stderr
    assert "nginx" in fetch(f"http://{address}")
    assert proa.run(["ip", "route", "show", VPC]).stdout == ""
    tables = proa.run(["nft", "list", "tables"]).stdout
    assert tables.count("table ip proa_") == 1
    assert "1" in proa.run(["sysctl", "-n", "net.ipv4.ip_forward"]).stdout
    proa.kubectl("delete pod,service twin --wait=false")
