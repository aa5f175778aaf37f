"""Whatever EC2, Parameter Store and Secrets Manager are told, the answer is theirs: a result or
an error of the caller's, never an internal one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from proa.aws.ec2.service import OPERATIONS as EC2
from proa.aws.ec2.service import build as build_ec2
from proa.aws.iam.authorize import Authority
from proa.aws.secretsmanager import records as secret_records
from proa.aws.secretsmanager import service as secrets_service
from proa.aws.secretsmanager.shared import SecretsDesk
from proa.aws.ssm import records as parameter_records
from proa.aws.ssm import service as ssm_service
from proa.aws.ssm.shared import SsmDesk
from proa.base.config import Config
from proa.cloud.compute import INSTANCES
from proa.cloud.network import NETWORK_TABLES, bootstrap_network
from tests.unit.aws.realm import ACCOUNT, REGION, Realm
from tests.unit.aws.shapes import Drawer

CALLS = 120


def services(realm: Realm) -> list[Any]:
    parts = (realm.store, realm.view, realm.chance)
    return [
        build_ec2(*parts),
        ssm_service.build(SsmDesk(*parts, realm.sealer)),
        secrets_service.build(SecretsDesk(*parts, realm.sealer, Authority(realm.view))),
    ]


@pytest.fixture(scope="module")
def realm() -> Iterator[Realm]:
    tables = (*NETWORK_TABLES, INSTANCES, *parameter_records.TABLES, *secret_records.TABLES)
    made = Realm(tables, services)
    made.run(made.store.commit(bootstrap_network(ACCOUNT, REGION, Config())))
    yield made
    made.close()


def ids_of(realm: Realm) -> list[str]:
    """The ids of one of everything that EC2 can make without machines."""
    ec2 = realm.client("ec2")
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.0.0.0/24")["Subnet"]["SubnetId"]
    gateway = ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
    ec2.attach_internet_gateway(InternetGatewayId=gateway, VpcId=vpc)
    address = ec2.allocate_address()
    made = [vpc, subnet, gateway, address["AllocationId"], address["PublicIp"]]
    for table in NETWORK_TABLES:
        rows = list(realm.view.rows(table).scan())
        made += [str(getattr(row.value, "id", "")) for row in rows[:3]]
    made += [
        rule.id
        for row in realm.view.rows(NETWORK_TABLES[2]).scan()
        for rule in (*row.value.ingress, *row.value.egress)
    ]
    return [id for id in made if id]


def untold(realm: Realm, service: str, operations: list[str], known: list[str], seed: int) -> Any:
    """What ended in an error of ours."""
    client = realm.client(service)
    drawer, broken = Drawer(seed, known), []
    methods = {client.meta.method_to_api_mapping[m]: m for m in client.meta.method_to_api_mapping}
    for _ in range(CALLS):
        operation = drawer.operation(operations)
        given = drawer.input(client.meta.service_model.operation_model(operation).input_shape)
        try:
            getattr(client, methods[operation])(**given)
        except ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] >= 500:
                broken.append((operation, given, str(error)))
    return broken


@pytest.mark.parametrize("seed", [1, 2])
def test_no_input_of_ec2_is_an_internal_error(realm: Realm, seed: int) -> None:
    slow = {"CreateKeyPair"}
    assert untold(realm, "ec2", sorted(set(EC2) - slow), ids_of(realm), seed) == []


@pytest.mark.parametrize("service", ["ssm", "secretsmanager"])
def test_no_input_of_the_secret_stores_is_an_internal_error(realm: Realm, service: str) -> None:
    built = next(one for one in services(realm) if one.name == service)
    realm.client("ssm").put_parameter(Name="/app/x", Value="v", Type="String", Overwrite=True)
    known = ["/app/x", "/app", "s", "a" * 32, "b" * 40]
    assert untold(realm, service, sorted(built.operations), known, 7) == []
