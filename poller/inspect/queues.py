"""Looks at a route's queues: that they are there, their type, how much they take, how they are encrypted."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping

from poller.aws.session import Aws
from poller.aws.survey import queue_attributes
from poller.errors import ConfigurationError, PollerError
from poller.inspect.findings import Finding, fault, ok, warning
from poller.model import QueueInfo, StreamInfo
from poller.settings import Settings
from poller.startup import account_fault, find_route_queue

# A stream's record holds an item of up to 400 kB, once or twice; SQS's own limit was 256 KiB for years.
_SMALL_BYTES = 262_144


async def route_findings(settings: Settings, aws: Aws, index: int, stream: Awaitable[StreamInfo]) -> list[Finding]:
    """The queue and the dead-letter queue of one route, each on its own. `stream` may raise PollerError."""
    route = settings.routes[index]
    asked = [_queue_findings(settings, aws, stream, f"route.{index}.queue", f"queue of route {route.name}")]
    if route.dead_letter_queue is not None:
        setting, part = f"route.{index}.dead_letter_queue", f"dead-letter queue of route {route.name}"
        asked.append(_queue_findings(settings, aws, stream, setting, part))
    return [finding for findings in await asyncio.gather(*asked) for finding in findings]


async def _queue_findings(
    settings: Settings, aws: Aws, stream: Awaitable[StreamInfo], setting: str, part: str
) -> list[Finding]:
    _, index, name = setting.split(".")
    letters, name_or_url = name == "dead_letter_queue", getattr(settings.routes[int(index)], name)
    try:
        info = (await find_route_queue(settings, aws, setting, name_or_url)).info
        attributes = await queue_attributes(aws, info)
    except PollerError as error:
        return [fault(part, error)]
    if elsewhere := await _elsewhere(settings, stream, setting, info):
        return [fault(part, elsewhere)]
    findings = [ok(part, f"{info.name}: {_type(info)}, {_limit(info)}, {_encryption(attributes)}")]
    if letters:
        return findings + _waiting_letters(part, info, attributes)
    if info.message_bytes_max < _SMALL_BYTES:
        text = f"{info.name} takes no message above {info.message_bytes_max:,} bytes: larger records are dead letters"
        findings.append(warning(part, text, "raise its MaximumMessageSize, to at most 1,048,576"))
    return findings


async def _elsewhere(
    settings: Settings, stream: Awaitable[StreamInfo], setting: str, info: QueueInfo
) -> ConfigurationError | None:
    """The fault of a queue in another account; None as well if the stream's account is not known."""
    try:
        return account_fault(settings, await stream, setting, info)
    except PollerError:
        return None


def _waiting_letters(part: str, info: QueueInfo, attributes: Mapping[str, str]) -> list[Finding]:
    names = ("ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible")
    waiting = sum(int(attributes.get(name, 0)) for name in names)
    if not waiting:
        return [ok(part, f"{info.name} is empty")]
    letters = "1 dead letter waits" if waiting == 1 else f"{waiting:,} dead letters wait"
    mend = "see them: poller dead-letters; send them again: poller redrive"
    return [warning(part, f"{letters} in {info.name}", mend)]


def _type(info: QueueInfo) -> str:
    return "FIFO" if info.fifo else "standard"


def _limit(info: QueueInfo) -> str:
    return f"messages up to {info.message_bytes_max:,} bytes"


def _encryption(attributes: Mapping[str, str]) -> str:
    if key := attributes.get("KmsMasterKeyId"):
        return f"encrypted with the KMS key {key}, which must allow kms:GenerateDataKey and kms:Decrypt"
    if attributes.get("SqsManagedSseEnabled") == "true":
        return "encrypted by SQS"
    return "not encrypted at rest"
