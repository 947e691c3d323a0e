"""What goes over the wire: answers, the services' errors, and how each service writes them.

Bodies are bytes in parts, so that a page of records is joined once and never copied again.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

if TYPE_CHECKING:
    from tests.standin.world import World

JSON_TYPE: Final = "application/x-amz-json-1.0"

# Errors that the services' common framework raises live in its namespaces, all others in the service's own.
_FRAMEWORK: Final = {
    "ValidationException": "com.amazon.coral.validate",
    "ThrottlingException": "com.amazon.coral.availability",
    "AccessDeniedException": "com.amazon.coral.service",
    "ExpiredTokenException": "com.amazon.coral.service",
    "InternalFailure": "com.amazon.coral.service",
    "InvalidParameterValueException": "com.amazon.coral.service",
    "InvalidSignatureException": "com.amazon.coral.service",
    "MissingRequiredParameterException": "com.amazon.coral.service",
    "SerializationException": "com.amazon.coral.service",
    "ServiceUnavailableException": "com.amazon.coral.service",
    "UnknownOperationException": "com.amazon.coral.service",
    "UnrecognizedClientException": "com.amazon.coral.service",
}

# SQS once spoke XML; its JSON answers name the old error codes in a header, and boto3 reports those.
_SQS_QUERY_CODES: Final = {
    "AccessDeniedException": "AccessDenied",
    "BatchEntryIdsNotDistinct": "AWS.SimpleQueueService.BatchEntryIdsNotDistinct",
    "BatchRequestTooLong": "AWS.SimpleQueueService.BatchRequestTooLong",
    "EmptyBatchRequest": "AWS.SimpleQueueService.EmptyBatchRequest",
    "ExpiredTokenException": "ExpiredToken",
    "InvalidBatchEntryId": "AWS.SimpleQueueService.InvalidBatchEntryId",
    "InvalidParameterValueException": "InvalidParameterValue",
    "MissingRequiredParameterException": "MissingParameter",
    "QueueDoesNotExist": "AWS.SimpleQueueService.NonExistentQueue",
    "QueueNameExists": "QueueAlreadyExists",
    "ServiceUnavailableException": "ServiceUnavailable",
    "TooManyEntriesInBatchRequest": "AWS.SimpleQueueService.TooManyEntriesInBatchRequest",
    "UnsupportedOperation": "AWS.SimpleQueueService.UnsupportedOperation",
}


class ServiceError(Exception):
    """A service's refusal: error code, HTTP status, message, and further members of its body."""

    def __init__(
        self, code: str, message: str = "", *, status: int = 400, members: dict[str, Any] | None = None
    ) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.status = status
        self.members = members or {}


def invalid(message: str) -> ServiceError:
    return ServiceError("ValidationException", message)


def not_found(message: str) -> ServiceError:
    return ServiceError("ResourceNotFoundException", message)


class Params(dict[str, Any]):
    """A call's parameters; one that is required and missing is the caller's fault."""

    def __missing__(self, key: str) -> Any:
        raise invalid(f"Value null at '{key}' failed to satisfy constraint: Member must not be null")


@dataclass(frozen=True, slots=True)
class Answer:
    """One HTTP answer. `parts` are its body; `crc32` is sent as `x-amz-crc32` where the service sends one."""

    status: int
    parts: tuple[bytes, ...]
    content_type: str = JSON_TYPE
    crc32: int | None = None
    headers: tuple[tuple[str, str], ...] = ()

    @property
    def size_bytes(self) -> int:
        return sum(map(len, self.parts))


def json_answer(members: Any, *, status: int = 200) -> Answer:
    return Answer(status, (msgspec.json.encode(members),))


def with_crc32(answer: Answer) -> Answer:
    """The answer with the checksum that DynamoDB and its streams send; kept if it was computed already."""
    if answer.crc32 is not None:
        return answer
    checksum = 0
    for part in answer.parts:
        checksum = zlib.crc32(part, checksum)
    return replace(answer, crc32=checksum)


def error_answer(service: str, error: ServiceError) -> Answer:
    """The error as the service writes it. `service` is `dynamodb` or `sqs`."""
    own = "com.amazonaws.sqs" if service == "sqs" else "com.amazonaws.dynamodb.v20120810"
    kind = f"{_FRAMEWORK.get(error.code, own)}#{error.code}"
    body = msgspec.json.encode({"__type": kind, "message": error.message, **error.members})
    if service != "sqs":
        return Answer(error.status, (body,))
    at_fault = "Sender" if error.status < 500 else "Receiver"
    query_code = _SQS_QUERY_CODES.get(error.code, error.code)
    return Answer(error.status, (body,), headers=(("x-amzn-query-error", f"{query_code};{at_fault}"),))


class Subject(NamedTuple):
    """What a call is about: a stream's or lease table's `table`, a `shard`, a `queue`, an item's `key`; "" = none."""

    table: str = ""
    shard: str = ""
    queue: str = ""
    key: str = ""


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation of a service: what it is about, and what it does in the world for which access key."""

    subject: Callable[[World, Params], Subject]
    run: Callable[[World, Params, str], Answer]
