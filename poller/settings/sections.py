"""The sections of the settings: what each setting is called, its bounds and its default; frozen once read.

In Python a name carries its unit (`duration_s`), in the file the value does (`duration = "10s"`): hence the aliases.
What a setting is for, and why its default is what it is, stands in `config/poller.toml`.
"""

from __future__ import annotations

import re
from typing import Annotated, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from poller.model import TRIM_HORIZON, Position
from poller.settings.units import Duration, Size
from poller.settings.values import (
    AttributeNames,
    BucketName,
    HostName,
    LogLevel,
    MessageAttributes,
    Patterns,
    PlainText,
    Price,
    QueueName,
    Rate,
    RegionName,
    RouteName,
    StartPosition,
    TableName,
    Whole,
    WorkerId,
    default_worker_id,
)

# arn:PARTITION:dynamodb:REGION:ACCOUNT:table/TABLE/stream/LABEL
_STREAM_ARN: Final = re.compile(
    r"arn:aws[a-z-]*:dynamodb:(?P<region>[a-z0-9-]+):\d{12}:table/(?P<table>[A-Za-z0-9_.-]{3,255})/stream/[\w.:-]+",
    re.ASCII,
)
_LOCAL_REGION: Final = "ddblocal"  # the ARNs of DynamoDB Local name no real region
# By how the names of their regions begin (botocore's partitions.json); all others are of the partition `aws`.
_PARTITIONS: Final = {
    "cn-": "aws-cn",
    "us-gov-": "aws-us-gov",
    "us-iso-": "aws-iso",
    "us-isob-": "aws-iso-b",
    "us-isof-": "aws-iso-f",
    "eu-isoe-": "aws-iso-e",
    "eusc-": "aws-eusc",
}


def partition_of(region: str) -> str:
    """The part of AWS that a region is in, as ARNs name it."""
    return next((name for prefix, name in _PARTITIONS.items() if region.startswith(prefix)), "aws")


def refused(problem: str, setting: str = "") -> PydanticCustomError:
    """A fault between settings. `setting` is whose fault it is: a dotted path below the model that finds it."""
    return PydanticCustomError("refused", "{problem}", {"problem": problem, "setting": setting})


class Section(BaseModel):
    """A table of the file."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class StreamSettings(Section):
    """Which stream, and from where on."""

    table: TableName | None = None
    arn: str | None = None
    region: RegionName | None = None
    start_position: StartPosition = Position(TRIM_HORIZON)
    on_data_loss: Literal["stop", "skip"] = "stop"

    @model_validator(mode="after")
    def _exactly_one_stream(self) -> Self:
        if self.table is None and self.arn is None:
            raise refused(
                "not set; name the table, or give its stream's ARN as stream.arn (POLLER_STREAM_ARN)", "table"
            )
        if self.arn is None:
            return self
        if self.table is not None:
            raise refused("the table is set as well; leave one of the two out", "arn")
        if not _STREAM_ARN.fullmatch(self.arn):
            mend = "give the stream's, which ends in /stream/ and a time, or the table's name as stream.table"
            what = "a table's ARN" if re.search(r":table/[^/]*$", self.arn) else "not a stream's ARN"
            raise refused(f"{what}; {mend} (POLLER_TABLE)", "arn")
        if wrong := self._other_partition():
            raise refused(wrong, "arn")
        if self.region is not None and self.arn_region not in (None, self.region):
            raise refused(f"the stream's ARN is in {self.arn_region}; leave the region out", "region")
        return self

    def _other_partition(self) -> str | None:
        """What is wrong if the ARN's region is none of its partition's: such a stream is nowhere."""
        region, written = self.arn_region, (self.arn or "").split(":")[1]
        if region is None:
            return None
        partition = partition_of(region)
        if written == partition:
            return None
        mend = f"write arn:{partition}:..., or give the table's name as stream.table (POLLER_TABLE)"
        return f"{region} is a region of the partition {partition}, not of {written}; {mend}"

    @property
    def table_name(self) -> str:
        """The table's name, as given or as the ARN has it."""
        match = _STREAM_ARN.fullmatch(self.arn or "")
        return match["table"] if match else self.table or ""

    @property
    def arn_account(self) -> str | None:
        """The account that the stream's ARN names, None without an ARN."""
        return self.arn.split(":")[4] if self.arn else None

    @property
    def arn_region(self) -> str | None:
        """The region that the stream's ARN names, None without an ARN or in one of DynamoDB Local's."""
        match = _STREAM_ARN.fullmatch(self.arn or "")
        return match["region"] if match and match["region"] != _LOCAL_REGION else None


class LeaseSettings(Section):
    """How workers divide the shards among them. The table's name is `Settings.lease_table`."""

    table: TableName | None = None
    create: bool = True
    duration_s: Annotated[float, Duration("1s", "1h")] = Field(default=10.0, alias="duration")
    max_leases: Annotated[Whole, Field(ge=1)] | None = None
    worker_id: WorkerId = Field(default_factory=default_worker_id)
    discovery_interval_s: Annotated[float, Duration("1s", "1h")] = Field(default=60.0, alias="discovery_interval")


class PollingSettings(Section):
    """How often and how much is read."""

    idle_min_s: Annotated[float, Duration("1ms", "5m")] = Field(default=0.25, alias="idle_min")
    idle_max_s: Annotated[float, Duration("1ms", "5m")] = Field(default=1.0, alias="idle_max")
    page_limit: Annotated[Whole, Field(ge=1, le=1000)] = 1000
    requests_per_second_per_shard: Annotated[Rate, Field(ge=0.004, le=1000)] = 5.0
    buffer_max_bytes: Annotated[int, Size("1MiB", "64GiB")] = Field(default=64 << 20, alias="buffer_max")
    concurrency: Annotated[Whole, Field(ge=1, le=1000)] = 32

    @model_validator(mode="after")
    def _idle_times_in_order(self) -> Self:
        if self.idle_min_s > self.idle_max_s:
            blamed = "idle_min" if "idle_min_s" in self.model_fields_set else "idle_max"
            raise refused("polling.idle_min must not be longer than polling.idle_max", blamed)
        return self


class CheckpointSettings(Section):
    """How often progress is stored."""

    interval_s: Annotated[float, Duration("10ms", "10m")] = Field(default=1.0, alias="interval")


class AwsSettings(Section):
    """How calls to AWS are made; credentials, region and endpoints come from the usual AWS_* variables and files."""

    request_timeout_s: Annotated[float, Duration("10ms", "5m")] = Field(default=3.0, alias="request_timeout")
    connect_timeout_s: Annotated[float, Duration("10ms", "5m")] = Field(default=2.0, alias="connect_timeout")
    allow_insecure_endpoints: bool = False
    calls: Literal["direct", "boto3"] = "direct"


class HttpSettings(Section):
    """Where metrics and health are served."""

    enabled: bool = True
    host: HostName = "127.0.0.1"
    port: Annotated[Whole, Field(ge=0, le=65535)] = 9464


class LogSettings(Section):
    """How loudly and in which form it is logged."""

    level: LogLevel = "info"
    format: Literal["auto", "json", "console"] = "auto"
    embedded_metrics: bool = False


class MetricsSettings(Section):
    """What is counted."""

    per_shard: bool = True


class TraceSettings(Section):
    """Spans for OpenTelemetry; where they go, and how many of them, say its own OTEL_* variables."""

    enabled: bool = False


class CostSettings(Section):
    """What AWS takes for what is asked of it, and how much a month may cost. Prices in US dollars."""

    monthly_budget_usd: Rate | None = None
    prices_from: PlainText = "us-east-1, 2026-11"
    get_records_per_100k_usd: Price = 0.02
    lease_read_per_million_usd: Price = 0.125
    lease_write_per_million_usd: Price = 0.625
    queue_request_per_million_usd: Price = 0.40
    fifo_request_per_million_usd: Price = 0.50


class RouteSettings(Section):
    """Which records go where, and what becomes of those that cannot.

    `filter`: patterns as they were written, for `poller.decide.filter` to compile; None: the shipped default one.
    """

    name: RouteName = "default"
    filter: Patterns | None = None
    changed: AttributeNames = ()
    queue: QueueName
    dead_letter_queue: QueueName | None = None
    dead_letter_bucket: BucketName | None = None
    message: Literal["record", "image"] = "record"
    attributes: MessageAttributes = ()
    group_by: Literal["auto", "item"] = "auto"
    max_attempts: Annotated[Whole, Field(ge=1, le=10_000)] = 10
    max_record_age_s: Annotated[float, Duration("1s", "7d")] | None = Field(default=None, alias="max_record_age")
    batch_size: Annotated[Whole, Field(ge=1, le=10)] = 10
    batch_window_s: Annotated[float, Duration("0ms", "5m")] = Field(default=0.0, alias="batch_window")
    batches_in_flight: Annotated[Whole, Field(ge=1, le=1000)] = 8
    messages_per_second: Rate | None = None

    @model_validator(mode="after")
    def _dead_letters_go_elsewhere(self) -> Self:
        # By name or by URL: queues of another account or region are refused, so that one name is one queue.
        if self.dead_letter_queue and self.dead_letter_queue.rpartition("/")[2] == self.queue.rpartition("/")[2]:
            raise refused("is the route's queue itself; name another one", "dead_letter_queue")
        return self
