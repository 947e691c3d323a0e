"""Typed boto3 clients for tests: static credentials, no retries, short time-outs, made when first asked for.

Their calls block; in a test whose loop carries the stand-in itself, make them with `asyncio.to_thread`.
"""

from __future__ import annotations

from functools import cache, cached_property
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient
    from types_boto3_dynamodbstreams import DynamoDBStreamsClient
    from types_boto3_sqs import SQSClient


@cache
def _session() -> boto3.Session:
    """One for all: most of a client's making is the reading of its model, which a session does once."""
    return boto3.Session()


class Clients:
    """Clients of the three services at one address."""

    def __init__(
        self, url: str, *, access_key: str = "test", region: str = "us-east-1", read_timeout_s: float = 30.0
    ) -> None:
        config = Config(retries={"total_max_attempts": 1}, connect_timeout=5, read_timeout=read_timeout_s)
        self._arguments: dict[str, Any] = {
            "endpoint_url": url,
            "region_name": region,
            "aws_access_key_id": access_key,
            "aws_secret_access_key": "test",
            "config": config,
        }

    @cached_property
    def streams(self) -> DynamoDBStreamsClient:
        return _session().client("dynamodbstreams", **self._arguments)

    @cached_property
    def dynamodb(self) -> DynamoDBClient:
        return _session().client("dynamodb", **self._arguments)

    @cached_property
    def sqs(self) -> SQSClient:
        return _session().client("sqs", **self._arguments)

    def close(self) -> None:
        for name in ("streams", "dynamodb", "sqs"):
            if name in self.__dict__:
                self.__dict__[name].close()
