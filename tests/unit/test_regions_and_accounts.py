"""Regions, partitions and accounts: which of a stream's ARN, AWS_REGION and a queue go together, and which do not."""

from __future__ import annotations

import pytest

from poller.aws.sqs import WrongQueue, check_account
from poller.errors import ConfigurationError
from poller.model import QueueInfo
from poller.settings import Settings, load


def settings_for(region: str, partition: str = "aws", **variables: str) -> Settings:
    arn = f"arn:{partition}:dynamodb:{region}:123456789012:table/Uploads/stream/2026-11-23T08:00:00.000"
    return load({"POLLER_STREAM_ARN": arn, "POLLER_QUEUE": "jobs", **variables}, None)


def queue(account: str, region: str = "eu-west-1") -> QueueInfo:
    url = f"https://sqs.{region}.amazonaws.com/{account}/jobs"
    return QueueInfo(name="jobs", url=url, arn=f"arn:aws:sqs:{region}:{account}:jobs", fifo=False, message_bytes_max=1)


def stream_arn(region: str = "eu-west-1") -> str:
    return f"arn:aws:dynamodb:{region}:123456789012:table/Uploads/stream/2026-11-23T08:00:00.000"


@pytest.mark.parametrize(
    ("region", "partition"),
    [
        ("eu-west-1", "aws"),
        ("mx-central-1", "aws"),
        ("cn-north-1", "aws-cn"),
        ("us-gov-east-1", "aws-us-gov"),
        ("us-iso-east-1", "aws-iso"),
        ("us-isob-east-1", "aws-iso-b"),
        ("us-isof-south-1", "aws-iso-f"),
        ("eu-isoe-west-1", "aws-iso-e"),
        ("eusc-de-east-1", "aws-eusc"),
    ],
)
def test_a_region_goes_with_its_own_partition_only(region: str, partition: str) -> None:
    assert settings_for(region, partition).region == region
    other = "aws-cn" if partition == "aws" else "aws"
    with pytest.raises(ConfigurationError, match=f"{region} is a region of the partition {partition}, not of {other};"):
        settings_for(region, other)


def test_the_partitions_are_those_that_boto3_knows() -> None:
    import boto3

    session = boto3.Session()
    for partition in session.get_available_partitions():
        for region in session.get_available_regions("dynamodb", partition):
            assert settings_for(region, partition).region == region


@pytest.mark.parametrize("same", [{}, {"AWS_REGION": ""}, {"AWS_REGION": "eu-west-1"}, {"AWS_DEFAULT_REGION": "x"}])
def test_an_arn_has_the_say_where_nobody_says_otherwise(same: dict[str, str]) -> None:
    assert settings_for("eu-west-1", **same).region == "eu-west-1"


def test_where_the_arn_and_aws_region_differ_the_setting_decides() -> None:
    decided = settings_for("eu-west-1", AWS_REGION="us-east-1", POLLER_STREAM__REGION="eu-west-1")
    assert decided.region == "eu-west-1"


def test_an_arn_of_dynamodb_local_names_no_region() -> None:
    assert settings_for("ddblocal", AWS_REGION="us-east-1").region is None


def test_a_queue_of_the_streams_account_is_right_and_another_is_not() -> None:
    check_account(queue("123456789012"), stream_arn())
    with pytest.raises(WrongQueue) as wrong:
        check_account(queue("210987654321"), stream_arn())
    mend = "a queue of account 210987654321, but the stream is of account 123456789012: name one of that account"
    assert wrong.value.problem == mend
    assert str(wrong.value) == f"https://sqs.eu-west-1.amazonaws.com/210987654321/jobs: {mend}"


@pytest.mark.parametrize(("of_stream", "of_queue"), [("ddblocal", "elasticmq"), ("us-east-1", "elasticmq")])
def test_the_accounts_of_local_servers_mean_nothing(of_stream: str, of_queue: str) -> None:
    check_account(queue("000000000000", of_queue), stream_arn(of_stream))
