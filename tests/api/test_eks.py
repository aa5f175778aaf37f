"""EKS by its real clients: clusters made by aws, entered by kubectl with IAM's tokens, apart from
each other, and deleted without a trace."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.live import Proa, eventually

TRUST = json.dumps(
    {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Principal": {"Service": "eks.amazonaws.com", "AWS": "*"},
                "Action": "sts:AssumeRole",
            }
        ],
    }
)
NAMES = ("one", "two")
WEB = """
apiVersion: v1
kind: ConfigMap
metadata: {{name: page}}
data: {{index.html: "{name}"}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {{name: web}}
spec:
  selector: {{matchLabels: {{app: web}}}}
  template:
    metadata: {{labels: {{app: web}}}}
    spec:
      containers:
      - name: web
        image: nginx
        volumeMounts: [{{name: page, mountPath: /usr/share/nginx/html}}]
        readinessProbe: {{httpGet: {{port: 80}}, periodSeconds: 1}}
      volumes: [{{name: page, configMap: {{name: page}}}}]
---
apiVersion: v1
kind: Service
metadata: {{name: web}}
spec: {{selector: {{app: web}}, ports: [{{port: 80}}]}}
---
apiVersion: v1
kind: Pod
metadata: {{name: client}}
spec:
  terminationGracePeriodSeconds: 1
  containers: [{{name: c, image: busybox, command: [sleep, "3600"]}}]
"""


class Cluster:
    """kubectl in one cluster, as update-kubeconfig set it up. The token is taken once: the
    plugin takes a second at each call."""

    def __init__(self, proa: Proa, name: str, keys: dict[str, str] | None = None) -> None:
        self.proa, self.name = proa, name
        file = proa.data_dir / "home" / f"{name}-{(keys or {}).get('AWS_ACCESS_KEY_ID', '')}.yaml"
        self.environment = {**proa.environment, "KUBECONFIG": str(file), **(keys or {})}
        if not file.exists():
            command = f"aws eks update-kubeconfig --name {name} --kubeconfig {file}"
            proa.run(command)
        self.token = token_of(proa, name, keys)

    def kubectl(self, line: str, *, ok: bool = True, input: str | None = None) -> str:
        done = subprocess.run(
            ["kubectl", "--token", self.token, *line.split()],
            env=self.environment,
            input=input,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        if ok:
            assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
        return done.stdout + ("" if ok else done.stderr)


def token_of(proa: Proa, name: str, keys: dict[str, str] | None = None) -> str:
    """What ``aws eks get-token`` prints."""
    done = subprocess.run(
        ["aws", "eks", "get-token", "--cluster-name", name],
        env={**proa.environment, **(keys or {})},
        capture_output=True, text=True, timeout=20, check=True,
    )  # fmt: skip
    token: str = json.loads(done.stdout)["status"]["token"]
    return token


@pytest.fixture(scope="module")
def role(proa: Proa) -> str:
    iam = proa.boto("iam")
    arn: str = iam.create_role(RoleName="eks", AssumeRolePolicyDocument=TRUST)["Role"]["Arn"]
    return arn


@pytest.fixture(scope="module")
def subnets(proa: Proa) -> list[str]:
    found = proa.boto("ec2").describe_subnets()["Subnets"]
    return [subnet["SubnetId"] for subnet in found]


@pytest.fixture(scope="module")
def clusters(proa: Proa, role: str, subnets: list[str]) -> Iterator[dict[str, Cluster]]:
    """Two clusters, made at the same time."""
    eks = proa.boto("eks")
    for name in NAMES:
        made = eks.create_cluster(
            name=name,
            roleArn=role,
            version="1.35",
            resourcesVpcConfig={"subnetIds": subnets},
            accessConfig={"authenticationMode": "API_AND_CONFIG_MAP"},
        )
        assert made["cluster"]["status"] == "CREATING"
    for name in NAMES:
        proa.run(f"aws eks wait cluster-active --name {name}")
    yield {name: Cluster(proa, name) for name in NAMES}


def test_the_default_cluster_is_entered_like_any_other(proa: Proa) -> None:
    told = proa.aws("eks describe-cluster --name default")["cluster"]
    assert told["status"] == "ACTIVE" and "default" in proa.aws("eks list-clusters")["clusters"]
    cluster = Cluster(proa, "default")
    nodes = subprocess.run(
        ["kubectl", "get", "nodes"],
        env=cluster.environment, capture_output=True, text=True, timeout=20, check=True,
    ).stdout  # fmt: skip
    assert "ip-172-31" in nodes  # with a token by the plugin
    said = json.loads(cluster.kubectl("auth whoami -o json"))["status"]["userInfo"]
    assert "system:masters" in said["groups"]


def test_clusters_live_side_by_side(proa: Proa, clusters: dict[str, Cluster]) -> None:
    assert '"gitVersion": "v1.35.' in clusters["one"].kubectl("version -o json")
    everyone = {**clusters, "default": Cluster(proa, "default")}
    for name, cluster in everyone.items():
        cluster.kubectl("apply -f -", input=WEB.format(name=f"this is {name}"))

    def page(item: tuple[str, Cluster]) -> str:
        cluster = item[1]
        cluster.kubectl("wait --for=condition=Available deployment/web --timeout=40s")
        cluster.kubectl("wait --for=condition=Ready pod/client --timeout=40s")
        return cluster.kubectl("exec client -- wget -q -O - http://web.default.svc.cluster.local")

    with ThreadPoolExecutor() as pool:
        pages = list(pool.map(page, everyone.items()))
    assert pages == [f"this is {name}" for name in everyone]
    addresses = {cluster.kubectl("get svc web -o jsonpath={.spec.clusterIP}")
                 for cluster in everyone.values()}  # fmt: skip
    assert len(addresses) == 3
    nodes = {cluster.kubectl("get nodes -o name") for cluster in everyone.values()}
    assert len(nodes) == 3


def test_pods_reach_their_own_cluster_s_api(clusters: dict[str, Cluster]) -> None:
    """By the name, the authority and the token that are mounted into every pod."""
    issuers = set()
    for cluster in clusters.values():
        token = cluster.kubectl(
            "exec client -- cat /var/run/secrets/kubernetes.io/serviceaccount/token"
        )
        answer = subprocess.run(
            ["kubectl", "auth", "whoami", "-o", "json", "--token", token],
            env=cluster.environment, capture_output=True, text=True, timeout=20, check=False,
        )  # fmt: skip
        assert "system:serviceaccount:default:default" in answer.stdout, answer.stderr
        issuers.add(cluster.kubectl("get --raw /.well-known/openid-configuration"))
        reached = cluster.kubectl("exec client -- nc -w 2 kubernetes.default 443", ok=False)
        assert "refused" not in reached and "timed out" not in reached
    assert len(issuers) == 2
    stranger = subprocess.run(
        ["kubectl", "get", "pods", "--token", token],
        env=clusters["one"].environment, capture_output=True, text=True, timeout=20, check=False,
    )  # fmt: skip
    assert "Unauthorized" in stranger.stderr


def _someone(proa: Proa, name: str) -> tuple[str, dict[str, str]]:
    """The ARN and the keys of a new IAM user who may describe clusters."""
    iam = proa.boto("iam")
    arn: str = iam.create_user(UserName=name)["User"]["Arn"]
    statement = {"Effect": "Allow", "Action": "eks:Describe*", "Resource": "*"}
    document = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    iam.put_user_policy(UserName=name, PolicyName="eks", PolicyDocument=document)
    key = iam.create_access_key(UserName=name)["AccessKey"]
    return arn, {
        "AWS_ACCESS_KEY_ID": key["AccessKeyId"],
        "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"],
    }


def test_others_enter_by_access_entries(proa: Proa, clusters: dict[str, Cluster]) -> None:
    arn, keys = _someone(proa, "ann")
    ann, eks = Cluster(proa, "one", keys), proa.boto("eks")
    named = {"clusterName": "one", "principalArn": arn}
    assert "logged in" in ann.kubectl("get pods", ok=False)
    eks.create_access_entry(**named, kubernetesGroups=["readers"])
    assert "forbidden" in ann.kubectl("get pods", ok=False)
    eks.associate_access_policy(
        **named,
        policyArn="arn:aws:eks::aws:cluster-access-policy/AmazonEKSViewPolicy",
        accessScope={"type": "namespace", "namespaces": ["def*"]},
    )
    assert "client" in ann.kubectl("get pods")
    assert "forbidden" in ann.kubectl("get pods -n kube-system", ok=False)
    assert "forbidden" in ann.kubectl("delete pod client", ok=False)
    root = clusters["one"]
    root.kubectl("create clusterrolebinding readers --clusterrole=view --group=readers")
    assert "No resources" in ann.kubectl("get pods -n kube-system", ok=False)
    eks.delete_access_entry(**named)
    assert "client" not in ann.kubectl("get pods", ok=False)


def test_others_enter_by_aws_auth(proa: Proa, clusters: dict[str, Cluster]) -> None:
    arn, keys = _someone(proa, "ben")
    ben, root = Cluster(proa, "two", keys), clusters["two"]
    assert "client" not in ben.kubectl("get pods", ok=False)
    users = f"- userarn: {arn}\n  username: ben\n  groups: ['system:masters']\n"
    body = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "aws-auth", "namespace": "kube-system"},
        "data": {"mapUsers": users},
    }
    root.kubectl("apply -f -", input=json.dumps(body))
    assert json.loads(ben.kubectl("auth whoami -o json"))["status"]["userInfo"]["username"] == "ben"
    assert "client" in ben.kubectl("get pods")


def _status(cluster: Cluster, token: str) -> str:
    done = subprocess.run(
        ["kubectl", "get", "nodes", "--token", token],
        env=cluster.environment, capture_output=True, text=True, timeout=20, check=False,
    )  # fmt: skip
    return done.stdout + done.stderr


def test_a_token_is_for_one_cluster_and_any_other_is_refused(
    proa: Proa, clusters: dict[str, Cluster]
) -> None:
    good, one = token_of(proa, "one"), clusters["one"]
    assert "Ready" in _status(one, good)
    for token in (
        token_of(proa, "two"),
        good[:-4],
        good.replace("k8s-aws-v1.", "k8s-aws-v2."),
        "k8s-aws-v1.",
        "k8s-aws-v1." + "A" * 100,
        "nonsense",
    ):
        assert "Ready" not in _status(one, token)


def test_a_restarted_control_plane_brings_every_cluster_back(
    proa: Proa, clusters: dict[str, Cluster]
) -> None:
    before = proa.aws("eks describe-cluster --name two")["cluster"]["endpoint"]
    os.kill(proa.process("control"), 9)
    nodes = eventually(
        lambda: "Ready" in clusters["two"].kubectl("get nodes", ok=False), 30, "cluster two"
    )
    assert nodes
    assert proa.aws("eks describe-cluster --name two")["cluster"]["endpoint"] == before
    assert "Running" in clusters["two"].kubectl("get pods")


def test_deleted_clusters_leave_nothing(proa: Proa, clusters: dict[str, Cluster]) -> None:
    eks = proa.boto("eks")
    for name in NAMES:
        assert eks.delete_cluster(name=name)["cluster"]["status"] == "DELETING"
    eventually(lambda: proa.aws("eks list-clusters")["clusters"] == ["default"], 30)
    proa.run("aws eks wait cluster-deleted --name one")
    status: dict[str, Any] = proa.status()
    left = [item["cluster"] for item in status["instances"] if "/kube/" in item["cluster"]]
    assert left == ["/kube/default/"]
    pods = [item for item in status["sandboxes"] if item["api"] == "kubernetes"]
    assert {item["owner"].partition("-")[0] for item in pods} <= {"", "ReplicaSet/web"}
    assert len(pods) == 2
    groups = proa.boto("ec2").describe_security_groups()["SecurityGroups"]
    assert not [group for group in groups if group["GroupName"].startswith("eks-cluster-sg")]
    assert "refused" in clusters["one"].kubectl("get nodes", ok=False)
    proa.kubectl("delete deployment,svc,pod,cm web client page --ignore-not-found --wait=false")
    assert status["crashes"] == []
