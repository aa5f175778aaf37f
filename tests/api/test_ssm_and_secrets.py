"""Parameter Store and Secrets Manager as the CLI and boto3 see them, and as a container does."""

from __future__ import annotations

import json

import botocore.exceptions
import pytest

from tests.live import Proa, eventually

PLAIN = "a-value-that-lies-nowhere-in-the-clear"
GROUP = "/api/secrets"


def words_of(call, **given) -> str:  # type: ignore[no-untyped-def]
    with pytest.raises(botocore.exceptions.ClientError) as raised:
        call(**given)
    return str(raised.value)


def test_the_cli_writes_reads_and_deletes_parameters(proa: Proa) -> None:
    proa.aws(f"ssm put-parameter --name /cli/secret --type SecureString --value {PLAIN}")
    ssm = proa.boto("ssm")
    ssm.put_parameter(Name="/cli/list", Type="StringList", Value="a,b")
    read = proa.aws("ssm get-parameters-by-path --path /cli --recursive --with-decryption")
    assert {one["Name"]: one["Value"] for one in read["Parameters"]} == {
        "/cli/list": "a,b", "/cli/secret": PLAIN
    }  # fmt: skip
    closed = ssm.get_parameter(Name="/cli/secret")["Parameter"]
    assert closed["Type"] == "SecureString" and PLAIN not in closed["Value"]
    gone = ssm.delete_parameters(Names=["/cli/secret", "/cli/list", "/cli/none"])
    assert gone["InvalidParameters"] == ["/cli/none"]
    missing = proa.run("aws ssm get-parameter --name /cli/secret", ok=False)
    assert "(ParameterNotFound)" in missing.stderr


def test_the_cli_turns_a_secret_over_and_deletes_it(proa: Proa) -> None:
    made = proa.aws(f"secretsmanager create-secret --name cli/db --secret-string {PLAIN}")
    secrets = proa.boto("secretsmanager")
    secrets.put_secret_value(SecretId="cli/db", SecretString="second")
    before = proa.aws(
        f"secretsmanager get-secret-value --secret-id {made['ARN']} --version-stage AWSPREVIOUS"
    )
    assert before["SecretString"] == PLAIN
    secrets.delete_secret(SecretId="cli/db")
    refused = proa.run("aws secretsmanager get-secret-value --secret-id cli/db", ok=False)
    assert "(InvalidRequestException)" in refused.stderr
    assert "because it was marked for deletion." in refused.stderr
    secrets.restore_secret(SecretId="cli/db")
    secrets.delete_secret(SecretId="cli/db", ForceDeleteWithoutRecovery=True)
    words = words_of(secrets.describe_secret, SecretId="cli/db")
    assert "Secrets Manager can't find the specified secret." in words


def test_values_lie_in_no_file_in_the_clear(proa: Proa) -> None:
    proa.boto("ssm").put_parameter(Name="/rest", Value=PLAIN, Type="SecureString")
    proa.boto("secretsmanager").create_secret(Name="rest", SecretString=PLAIN)
    holding = proa.run(f"grep -rlaF {PLAIN} '{proa.data_dir}' --include='*.db*' || true").stdout
    assert holding == ""
    found = proa.run(f"grep -rlaF /ssm/parameters/ '{proa.data_dir}' --include='*.db*'").stdout
    assert "store.db" in found  # so the search looked where values would lie
    proa.boto("ssm").delete_parameter(Name="/rest")
    proa.boto("secretsmanager").delete_secret(SecretId="rest", ForceDeleteWithoutRecovery=True)


def test_regions_keep_their_own_secrets(proa: Proa) -> None:
    far = proa.boto("secretsmanager", region_name="eu-west-1")
    arn = far.create_secret(Name="regional", SecretString="x")["ARN"]
    assert ":eu-west-1:" in arn
    words = words_of(proa.boto("secretsmanager").get_secret_value, SecretId="regional")
    assert "ResourceNotFoundException" in words
    far.delete_secret(SecretId="regional", ForceDeleteWithoutRecovery=True)


def test_a_container_gets_its_secrets_and_a_missing_one_ends_its_task(proa: Proa) -> None:
    iam, ecs, logs = proa.boto("iam"), proa.boto("ecs"), proa.boto("logs")
    ssm, secrets = proa.boto("ssm"), proa.boto("secretsmanager")
    ssm.put_parameter(Name="/task/word", Value="from-ssm", Type="SecureString")
    document = json.dumps({"user": "from-json"})
    arn = secrets.create_secret(Name="task/db", SecretString=document)["ARN"]
    role = iam.create_role(
        RoleName="secretExecution",
        AssumeRolePolicyDocument=json.dumps(
            {"Version": "2012-10-17", "Statement": [
                {"Effect": "Allow", "Action": "sts:AssumeRole",
                 "Principal": {"Service": "ecs-tasks.amazonaws.com"}}]}
        ),
    )["Role"]["Arn"]  # fmt: skip
    options = {
        "awslogs-group": GROUP, "awslogs-region": ecs.meta.region_name,
        "awslogs-stream-prefix": "t", "awslogs-create-group": "true",
    }  # fmt: skip
    container = {
        "name": "a", "image": "busybox", "memory": 32,
        "command": ["sh", "-c", "echo $WORD $DBUSER"],
        "logConfiguration": {"logDriver": "awslogs", "options": options},
        "secrets": [{"name": "WORD", "valueFrom": "/task/word"},
                    {"name": "DBUSER", "valueFrom": f"{arn}:user::"}],
    }  # fmt: skip
    ecs.register_task_definition(
        family="secretive", containerDefinitions=[container], executionRoleArn=role
    )

    def ended() -> tuple[str, str]:
        task = ecs.run_task(taskDefinition="secretive")["tasks"][0]["taskArn"]
        eventually(lambda: ecs.describe_tasks(tasks=[task])["tasks"][0]["lastStatus"] == "STOPPED")
        found = ecs.describe_tasks(tasks=[task])["tasks"][0]
        said = [found["stoppedReason"], *(one.get("reason", "") for one in found["containers"])]
        return task.rpartition("/")[2], " ".join(said)

    _, reason = ended()  # the role may not read them yet
    assert "ResourceInitializationError: unable to pull secrets or registry auth" in reason
    assert "is not authorized to perform: ssm:GetParameters" in reason
    allowed = {"Effect": "Allow", "Resource": "*",
               "Action": ["ssm:GetParameters", "secretsmanager:GetSecretValue"]}  # fmt: skip
    iam.put_role_policy(
        RoleName="secretExecution", PolicyName="read",
        PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [allowed]}),
    )  # fmt: skip
    id, _ = ended()
    stream = {"logGroupName": GROUP, "logStreamName": f"t/a/{id}"}
    lines = eventually(lambda: logs.get_log_events(**stream)["events"])
    assert [one["message"] for one in lines] == ["from-ssm from-json"]
    ssm.delete_parameter(Name="/task/word")
    _, reason = ended()
    assert "unable to retrieve secrets from ssm: invalid ssm parameters: /task/word" in reason
    secrets.delete_secret(SecretId="task/db", ForceDeleteWithoutRecovery=True)
