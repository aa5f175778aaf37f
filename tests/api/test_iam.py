"""IAM and STS by the real CLI: a new user's key, refused, then allowed."""

from __future__ import annotations

import json
import shlex
from typing import Any

from tests.live import Proa


def as_key(proa: Proa, key: dict[str, Any]) -> Proa:
    """The same Proa with somebody's credentials."""
    environment = {
        **proa.environment,
        "AWS_ACCESS_KEY_ID": key["AccessKeyId"],
        "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"],
    }
    if "SessionToken" in key:
        environment["AWS_SESSION_TOKEN"] = key["SessionToken"]
    return Proa(proa.data_dir, environment)


def policy(**statement: Any) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": {"Effect": "Allow", **statement}})


def test_new_user_is_refused_until_a_policy_allows_it(proa: Proa) -> None:
    proa.aws("iam create-user --user-name iam-ann")
    key = proa.aws("iam create-access-key --user-name iam-ann")["AccessKey"]
    hers = as_key(proa, key)
    assert hers.aws("sts get-caller-identity")["Arn"].endswith(":user/iam-ann")
    refused = hers.run(["aws", "ecs", "list-clusters"], ok=False).stderr
    assert (
        "An error occurred (AccessDeniedException) when calling the ListClusters operation: User: "
        "arn:aws:iam::000000000000:user/iam-ann is not authorized to perform: ecs:ListClusters on "
        "resource: * because no identity-based policy allows the ecs:ListClusters action"
    ) in refused
    allow = policy(Action=["ecs:List*", "s3:ListAllMyBuckets"], Resource="*")
    proa.aws(
        "iam put-user-policy --user-name iam-ann --policy-name p --policy-document "
        + shlex.quote(allow)
    )
    assert "clusterArns" in hers.aws("ecs list-clusters")
    hers.run("aws s3 ls")
    denied = hers.run("aws s3 mb s3://iam-anns-own", ok=False).stderr
    assert "AccessDenied" in denied and "s3:CreateBucket" in denied
    used = proa.aws(f"iam get-access-key-last-used --access-key-id {key['AccessKeyId']}")
    assert used["UserName"] == "iam-ann"
    assert used["AccessKeyLastUsed"]["ServiceName"] == "s3"


def test_simulator_says_what_would_be_decided(proa: Proa) -> None:
    iam = proa.boto("iam")
    arn = iam.create_user(UserName="iam-sim")["User"]["Arn"]
    allow = policy(Action="s3:GetObject", Resource="arn:aws:s3:::shelf/*")
    iam.put_user_policy(UserName="iam-sim", PolicyName="p", PolicyDocument=allow)
    answer = proa.aws(
        f"iam simulate-principal-policy --policy-source-arn {arn} "
        "--action-names s3:GetObject s3:PutObject --resource-arns arn:aws:s3:::shelf/k"
    )
    results = answer["EvaluationResults"]
    assert [item["EvalDecision"] for item in results] == ["allowed", "implicitDeny"]
    assert results[0]["MatchedStatements"][0]["SourcePolicyId"] == "user_iam-sim_p"


def test_assumed_role_acts_and_its_refusal_is_ec2s(proa: Proa) -> None:
    trust = policy(Action="sts:AssumeRole", Principal={"AWS": "000000000000"})
    made = proa.boto("iam").create_role(RoleName="iam-web", AssumeRolePolicyDocument=trust)
    arn = made["Role"]["Arn"]
    answer = proa.aws(f"sts assume-role --role-arn {arn} --role-session-name s1")
    session = as_key(proa, answer["Credentials"])
    assert session.aws("sts get-caller-identity")["Arn"].endswith("assumed-role/iam-web/s1")
    refused = session.run(["aws", "ec2", "describe-vpcs"], ok=False).stderr
    assert "(UnauthorizedOperation)" in refused
    encoded = refused.partition("Encoded authorization failure message: ")[2].strip()
    said = proa.aws(f"sts decode-authorization-message --encoded-message {encoded}")
    assert json.loads(said["DecodedMessage"])["context"]["action"] == "ec2:DescribeVpcs"


def test_service_account_of_a_cluster_assumes_a_role(proa: Proa) -> None:
    """IAM roles for service accounts: the cluster's issuer is registered, its token is taken."""
    issuer = json.loads(proa.kubectl("get --raw /.well-known/openid-configuration"))["issuer"]
    provider = proa.aws(
        f"iam create-open-id-connect-provider --url {issuer} --client-id-list sts.amazonaws.com "
        f"--thumbprint-list {'a' * 40}"
    )["OpenIDConnectProviderArn"]
    subject = {f"{issuer.removeprefix('https://')}:sub": "system:serviceaccount:default:default"}
    trust = policy(
        Action="sts:AssumeRoleWithWebIdentity", Principal={"Federated": provider},
        Condition={"StringEquals": subject},
    )  # fmt: skip
    made = proa.boto("iam").create_role(RoleName="iam-pod", AssumeRolePolicyDocument=trust)
    arn = made["Role"]["Arn"]
    token = proa.kubectl("create token default --audience sts.amazonaws.com").strip()
    call = f"sts assume-role-with-web-identity --role-arn {arn} --role-session-name pod"
    answer = proa.aws(f"{call} --web-identity-token {token}")
    assert answer["SubjectFromWebIdentityToken"] == "system:serviceaccount:default:default"
    session = as_key(proa, answer["Credentials"])
    assert session.aws("sts get-caller-identity")["Arn"].endswith("assumed-role/iam-pod/pod")
    other = proa.kubectl("create token default --audience another").strip()
    refused = proa.run(["aws", *call.split(), "--web-identity-token", other], ok=False).stderr
    assert "(InvalidIdentityToken)" in refused
