"""Who answers for an AWS service that no slice of Proa serves: moto, or nobody, and why.

Decided per service, never per operation. The rule: moto answers where keeping and giving back
what it is told is the service. It does not where an answer would claim that something runs, so
that somebody would connect to it or wait for its result. Slices of Proa come before this table.
"""

from __future__ import annotations

from collections.abc import Mapping

_PLANNED = "it is to be Proa's own and is not built yet"

# botocore's name → why nobody serves it.
REFUSED: Mapping[str, str] = {
    "application-autoscaling": f"{_PLANNED}; nothing would scale",
    "autoscaling": f"{_PLANNED}; groups would hold instances that are not there",
    "cloudformation": f"{_PLANNED}; stacks would be made of resources that are not Proa's",
    "ecr": f"{_PLANNED}; repositories would hold no images",
    "eks-auth": _PLANNED,
    "elb": "nothing would be balanced",
    "elbv2": f"{_PLANNED}; nothing would be balanced",
    "events": f"{_PLANNED}; rules would start nothing",
    "lambda": f"{_PLANNED}; functions would not run",
    "scheduler": f"{_PLANNED}; schedules would start nothing",
    "servicediscovery": f"{_PLANNED}; names would not be answered",
    **dict.fromkeys(
        ("dax", "docdb", "elasticache", "memorydb", "neptune", "rds", "rds-data", "redshift",
         "redshift-data", "timestream-influxdb", "timestream-query", "timestream-write"),
        "no database would run",
    ),
    **dict.fromkeys(
        ("es", "opensearch", "opensearchserverless", "osis"), "no search engine would run"
    ),
    **dict.fromkeys(("kafka", "mq", "ivs", "medialive", "mediaconnect"), "no broker would run"),
    **dict.fromkeys(
        ("batch", "codebuild", "codedeploy", "codepipeline", "databrew", "datapipeline",
         "elasticbeanstalk", "emr", "emr-containers", "emr-serverless", "fis", "glue",
         "sagemaker", "sagemaker-metrics", "stepfunctions", "swf", "synthetics", "kinesisanalytics",
         "kinesisanalyticsv2"),
        "jobs would not run",
    ),
    **dict.fromkeys(("athena", "s3tables"), "queries would have no results"),
    **dict.fromkeys(
        ("bedrock", "bedrock-agent", "bedrock-agentcore", "bedrock-agentcore-control",
         "bedrock-runtime", "comprehend", "forecast", "inspector2", "lexv2-models", "personalize",
         "polly", "rekognition", "sagemaker-runtime", "textract", "transcribe"),
        "results would be made up",
    ),
    **dict.fromkeys(
        ("apigateway", "apigatewaymanagementapi", "apigatewayv2", "appmesh", "appsync",
         "cloudfront", "network-firewall", "networkmanager", "transfer", "vpc-lattice"),
        "no traffic would be served",
    ),
    **dict.fromkeys(("ebs", "efs", "fsx", "datasync"), "no file system would be there"),
    **dict.fromkeys(
        ("connect", "connectcampaigns", "connectcampaignsv2", "connectscheduling", "ds",
         "ec2-instance-connect", "managedblockchain", "workspaces", "workspaces-web"),
        "no machine would be there",
    ),
}  # fmt: skip

# How operations begin that change nothing that must survive.
_READS = (
    "BatchGet", "Check", "Count", "Decode", "Describe", "Decrypt", "Encrypt", "Estimate", "Filter",
    "Get", "Head", "List", "Lookup", "Preview", "Query", "Scan", "Search", "Select", "Simulate",
    "Test", "TransactGet", "Validate", "View",
)  # fmt: skip
_NO_READS = frozenset({"GetOpenIdToken", "GetId", "GetFederationToken"})


def refusal(service: str) -> str | None:
    """Why a service is not served, as a whole sentence; None where moto may be asked."""
    reason = REFUSED.get(service)
    return f"Proa does not serve {service!r}: {reason}." if reason else None


def mutates(operation: str) -> bool:
    """Whether an operation may change state. When in doubt it does, which costs a snapshot."""
    return operation in _NO_READS or not operation.startswith(_READS)
