"""The stage: the table and the two queues of the story, and an environment that leads to nothing but the emulator.

What AWS needs to be told of it (names, endpoint, credentials) is here; who acts on it is not.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import boto3
from botocore.config import Config

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient
    from types_boto3_sqs import SQSClient

TABLE: Final = "AnalysisMetadataTable"
QUEUE: Final = "analysis-jobs"
DEAD_LETTER_QUEUE: Final = "analysis-jobs-dead-letters"

# The dead-letter queue of the story takes no more: a record that does not fit goes there as its keys and position.
DEAD_LETTER_BYTES_MAX: Final = 2048

_FOREIGN_PREFIXES: Final = ("AWS_", "POLLER_")
_PROXIES: Final = frozenset({"http_proxy", "https_proxy", "all_proxy"})


def environment(environ: Mapping[str, str], endpoint_url: str | None) -> dict[str, str]:
    """`environ` without anything that leads to a real account: profile, configuration file, endpoint, proxy.

    Every process of the demo runs in it, so none of its calls can reach AWS, whatever its user has set. Also the
    emulator, with no `endpoint_url`: moto reads the same settings, and fails over a profile that is not there.
    """
    kept = {
        name: value
        for name, value in environ.items()
        if not name.startswith(_FOREIGN_PREFIXES) and name.lower() not in _PROXIES
    }
    endpoint = {} if endpoint_url is None else {"AWS_ENDPOINT_URL": endpoint_url}
    return kept | {
        **endpoint,
        "AWS_ACCESS_KEY_ID": "demo",
        "AWS_SECRET_ACCESS_KEY": "demo",
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
    }


def daemon_settings(http_port: int) -> dict[str, str]:
    """The environment variables that `poller run` is started with, besides `environment`."""
    return {
        "POLLER_TABLE": TABLE,
        "POLLER_QUEUE": QUEUE,
        "POLLER_DEAD_LETTER_QUEUE": DEAD_LETTER_QUEUE,
        "POLLER_HTTP_PORT": str(http_port),
        "POLLER_LOG_FORMAT": "json",
    }


@dataclass(frozen=True, slots=True)
class Clients:
    """The user's own clients; boto3's clients may be shared by threads."""

    dynamodb: DynamoDBClient
    sqs: SQSClient


@dataclass(frozen=True, slots=True)
class Queues:
    """The URLs of the two queues."""

    jobs: str
    dead_letters: str


def connect() -> Clients:
    """Clients for the endpoint that `environment` has set."""
    # Standard: a second attempt after a dropped connection; longer than any long poll here.
    config = Config(retries={"mode": "standard", "total_max_attempts": 3}, connect_timeout=5, read_timeout=15)
    return Clients(boto3.client("dynamodb", config=config), boto3.client("sqs", config=config))


def build(clients: Clients) -> Queues:
    """Makes the table with its stream, and the queues."""
    clients.dynamodb.create_table(
        TableName=TABLE,
        AttributeDefinitions=[
            {"AttributeName": "analysisRequestId", "AttributeType": "S"},
            {"AttributeName": "requestorId", "AttributeType": "S"},
        ],
        KeySchema=[{"AttributeName": "analysisRequestId", "KeyType": "HASH"}],
        GlobalSecondaryIndexes=[
            {
                "IndexName": "requestorId-gsi",
                "KeySchema": [{"AttributeName": "requestorId", "KeyType": "HASH"}],
                "Projection": {"ProjectionType": "ALL"},
            }
        ],
        BillingMode="PAY_PER_REQUEST",
        StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_IMAGE"},
    )
    jobs = clients.sqs.create_queue(QueueName=QUEUE)
    dead_letters = clients.sqs.create_queue(
        QueueName=DEAD_LETTER_QUEUE, Attributes={"MaximumMessageSize": str(DEAD_LETTER_BYTES_MAX)}
    )
    return Queues(jobs["QueueUrl"], dead_letters["QueueUrl"])


def dead_letters(clients: Clients, queues: Queues) -> int:
    """How many messages lie in the dead-letter queue, which nobody reads here."""
    answer = clients.sqs.get_queue_attributes(
        QueueUrl=queues.dead_letters, AttributeNames=["ApproximateNumberOfMessages"]
    )
    return int(answer["Attributes"]["ApproximateNumberOfMessages"])
