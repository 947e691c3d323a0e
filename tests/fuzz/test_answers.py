"""Any bytes for the answer of any call: what botocore's model says, or an unreadable answer, which is a failed call."""

from __future__ import annotations

import json
import zlib
from functools import cache
from typing import Any, Final

import botocore.session
import pytest
from botocore.model import OperationModel
from hypothesis import event, example, given
from hypothesis import strategies as st

from poller.aws.components import BODY, PageParserFactory
from poller.aws.errors import UnreadableAnswer
from tests.fuzz.effort import examples
from tests.fuzz.mutations import mutated

# An answer of every kind that is taken apart, whose parts hold every type of the services' models.
ANSWERS: Final[dict[tuple[str, str], dict[str, Any]]] = {
    ("dynamodbstreams", "GetRecords"): {"Records": [], "NextShardIterator": "x"},
    ("dynamodbstreams", "GetShardIterator"): {"ShardIterator": "x"},
    ("dynamodbstreams", "DescribeStream"): {
        "StreamDescription": {
            "StreamArn": "arn",
            "CreationRequestDateTime": 1.7e9,
            "Shards": [{"ShardId": "1", "SequenceNumberRange": {"StartingSequenceNumber": "1"}}],
        }
    },
    ("dynamodb", "GetItem"): {
        "Item": {"a": {"S": "x"}, "b": {"B": "AA=="}, "n": {"NULL": True}, "l": {"L": [{"N": "1"}]}}
    },
    ("dynamodb", "Scan"): {
        "Items": [{"leaseKey": {"S": "1"}}],
        "Count": 1,
        "LastEvaluatedKey": {"leaseKey": {"S": "1"}},
    },
    ("dynamodb", "DescribeTable"): {"Table": {"CreationDateTime": 1.7e9, "TableStatus": "ACTIVE", "ItemCount": 5}},
    ("sqs", "SendMessageBatch"): {
        "Successful": [{"Id": "0", "MessageId": "m", "MD5OfMessageBody": "x"}],
        "Failed": [{"Id": "1", "SenderFault": True, "Code": "c", "Message": "m"}],
    },
    ("sqs", "GetQueueAttributes"): {"Attributes": {"QueueArn": "arn"}},
}
ODD: Final = [
    None,
    True,
    5,
    -1.5,
    1e300,
    10**400,
    "",
    "x",
    "1e400",
    "2026-11-25",
    "9" * 30,
    "\ud800",
    [],
    [None],
    {},
    {"S": 5},
]


@cache
def model_of(service: str, operation: str) -> OperationModel:
    return botocore.session.get_session().get_service_model(service).operation_model(operation)


def parsed(service: str, operation: str, body: bytes, status: int, headers: dict[str, str]) -> dict[str, Any]:
    response = {
        "status_code": status,
        "headers": headers,
        "body": body,
        "context": {"operation_name": operation},
    }
    parser = PageParserFactory().create_parser("json")
    shape: Any = model_of(service, operation).output_shape
    answer: dict[str, Any] = parser.parse(response, shape)
    return answer


@st.composite
def altered(draw: st.DrawFn, value: Any) -> Any:
    """The value with something else in its place, or somewhere in it."""
    if draw(st.integers(0, 3)) == 0:
        return draw(st.sampled_from(ODD))
    if isinstance(value, dict):
        return {name: draw(altered(each)) for name, each in value.items()}
    if isinstance(value, list):
        return [draw(altered(each)) for each in value]
    return value


@given(st.sampled_from(sorted(ANSWERS)), st.data(), st.sampled_from([200, 200, 200, 400, 500]))
@examples(400)
def test_any_answer_is_read_or_unreadable(call: tuple[str, str], data: st.DataObject, status: int) -> None:
    whole = json.dumps(data.draw(altered(ANSWERS[call]))).encode()
    body = data.draw(st.one_of(st.just(whole), mutated(whole), st.binary(max_size=20)))
    try:
        answer = parsed(*call, body, status, {"content-length": str(len(body)), "x-amz-crc32": str(zlib.crc32(body))})
    except UnreadableAnswer:
        event("unreadable")
        return
    event("read")
    assert isinstance(answer, dict)
    if call[1] == "GetRecords" and status == 200:
        assert answer[BODY] is body


@pytest.mark.parametrize(
    "time", [1e300, -1e300, 10**400, "x", "9" * 30, [], "\ud800"], ids=lambda time: ascii(time)[:10]
)
@pytest.mark.parametrize(
    ("call", "part", "name"),
    [
        (("dynamodb", "DescribeTable"), "Table", "CreationDateTime"),
        (("dynamodbstreams", "DescribeStream"), "StreamDescription", "CreationRequestDateTime"),
    ],
)
def test_an_answer_with_a_time_that_is_none_is_unreadable(
    call: tuple[str, str], part: str, name: str, time: object
) -> None:
    with pytest.raises(UnreadableAnswer):
        parsed(*call, json.dumps({part: {name: time}}).encode(), 200, {})


@given(st.sampled_from(sorted(ANSWERS)), st.data())
@example(("dynamodb", "Scan"), None)
@examples(100)
def test_an_answer_that_came_otherwise_than_it_was_sent_is_unreadable(call: tuple[str, str], data: Any) -> None:
    body = json.dumps(ANSWERS[call]).encode()
    damaged = b"" if data is None else data.draw(mutated(body).filter(lambda changed: changed != body))

    with pytest.raises(UnreadableAnswer):
        parsed(*call, damaged, 200, {"x-amz-crc32": str(zlib.crc32(body))})
