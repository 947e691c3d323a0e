"""What `poller iam-policy` prints for which settings, without asking anybody; and what is wrong input."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
from click.testing import CliRunner, Result

from poller import cli

OFFLINE = ("--offline", "--account", "123456789012", "--region", "eu-west-1")
SETTINGS = {"POLLER_TABLE": "Orders", "POLLER_QUEUE": "jobs"}


def iam_policy(*arguments: str, **environment: str) -> Result:
    return CliRunner().invoke(cli.commands, ["iam-policy", *arguments], env=environment, prog_name="poller")


def document(*arguments: str, **environment: str) -> dict[str, Any]:
    result = iam_policy(*arguments, **environment)
    assert (result.exit_code, result.stderr) == (0, "")
    policy: dict[str, Any] = json.loads(result.stdout)
    return policy


def by_sid(policy: Mapping[str, Any]) -> dict[str, tuple[list[str], list[str]]]:
    return {one["Sid"]: (one["Action"], one["Resource"]) for one in policy["Statement"]}


def test_it_names_each_action_and_each_resource() -> None:
    assert by_sid(document(*OFFLINE, **SETTINGS)) == {
        "Table": (["dynamodb:DescribeTable"], ["arn:aws:dynamodb:eu-west-1:123456789012:table/Orders"]),
        "Stream": (
            [f"dynamodb:{name}" for name in ("DescribeStream", "GetRecords", "GetShardIterator", "ListStreams")],
            ["arn:aws:dynamodb:eu-west-1:123456789012:table/Orders/stream/*"],
        ),
        "Leases": (
            [
                f"dynamodb:{name}"
                for name in ("CreateTable", "DeleteItem", "DescribeTable", "GetItem", "PutItem", "Scan", "UpdateItem")
            ],
            ["arn:aws:dynamodb:eu-west-1:123456789012:table/Orders-leases"],
        ),
        "Queues": (
            ["sqs:GetQueueAttributes", "sqs:GetQueueUrl", "sqs:SendMessage"],
            ["arn:aws:sqs:eu-west-1:123456789012:jobs"],
        ),
    }


def test_a_stream_and_a_queue_by_their_own_names_need_less() -> None:
    arn = "arn:aws:dynamodb:eu-west-1:123456789012:table/Orders/stream/2026-11-25T00:00:00.000"
    statements = by_sid(
        document(
            "--offline",
            POLLER_STREAM_ARN=arn,
            POLLER_QUEUE="https://sqs.eu-west-1.amazonaws.com/123456789012/jobs",
            POLLER_LEASE__CREATE="false",
        )
    )
    assert set(statements) == {"Stream", "Leases", "Queues"}
    assert statements["Stream"][1] == [arn]
    assert "dynamodb:ListStreams" not in statements["Stream"][0]
    assert "dynamodb:CreateTable" not in statements["Leases"][0]
    assert statements["Queues"] == (
        ["sqs:GetQueueAttributes", "sqs:SendMessage"],
        ["arn:aws:sqs:eu-west-1:123456789012:jobs"],
    )


def test_a_key_is_named_by_its_arn_and_an_alias_is_a_condition() -> None:
    policy = document(*OFFLINE, "--kms-key", "0a1b", "--kms-key", "alias/jobs", **SETTINGS)
    statements = {one["Sid"]: one for one in policy["Statement"]}

    assert statements["Keys"]["Resource"] == ["arn:aws:kms:eu-west-1:123456789012:key/0a1b"]
    assert statements["KeysByAlias"]["Condition"] == {
        "ForAnyValue:StringEquals": {"kms:ResourceAliases": ["alias/jobs"]}
    }


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("--offline", "--region", "eu-west-1"), "the settings do not tell the account; say --account ID"),
        (("--account", "12"), "is not an account's id"),
        ((*OFFLINE, "--region", "eu west"), "is not a region's name, such as eu-west-1"),
        ((*OFFLINE, "--kms-key", "a b"), "neither a key's ARN nor its id"),
        (("--for", "everything"), "'everything' is not one of"),
    ],
)
def test_wrong_input_is_refused_with_code_2(arguments: tuple[str, ...], text: str) -> None:
    result = iam_policy(*arguments, **SETTINGS)

    assert (result.exit_code, result.stdout) == (2, "")
    assert text in result.stderr
