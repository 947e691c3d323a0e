"""One SQS queue: found by name or URL by boto3, and sent to in batches by the way of the hot calls.

A batch's answer becomes one outcome an entry; nothing is rebuilt, nothing is tried again here.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from poller.aws.errors import Target, clean, entry_refused, reading, unreadable
from poller.aws.pool import NEVER
from poller.aws.session import Aws
from poller.errors import ConfigurationError
from poller.model import Accepted, EntryOutcome, Message, QueueInfo, Refused, Trace

if TYPE_CHECKING:
    from types_boto3_sqs.type_defs import (
        MessageAttributeValueTypeDef,
        SendMessageBatchRequestEntryTypeDef,
        SendMessageBatchResultTypeDef,
    )

MESSAGE_BYTES_MAX: Final = 1_048_576  # the service's own limit; ElasticMQ tells none
_FIFO: Final = ".fifo"  # the name of every FIFO queue ends so, and no other queue's
_ACCEPTED: Final = Accepted()
_ACCOUNT: Final = re.compile(r"[0-9]{12}")
# sqs.REGION.amazonaws.com, vpce-1.sqs.REGION.vpce.amazonaws.com, sqs.REGION.api.aws, REGION.queue.amazonaws.com
_REGION_OF_HOST: Final = re.compile(
    r"(?:^|\.)sqs(?:-fips)?\.([a-z0-9-]+)\.(?:vpce\.)?(?:amazonaws\.com|api\.aws|api\.amazonwebservices\.com)"
    r"|^([a-z0-9-]+)\.queue\.amazonaws\.com"
)


class WrongQueue(ConfigurationError):
    """The queue cannot be the one that is meant. `problem` is the message without the queue's name or URL."""

    def __init__(self, name_or_url: str, problem: str) -> None:
        super().__init__(f"{clean(name_or_url)}: {problem}")
        self.problem = problem


class BotoQueue:
    """`poller.run.ports.Queue`."""

    def __init__(self, aws: Aws, info: QueueInfo) -> None:
        self._ask = aws.hot_sends.ask
        self._info = info
        self._target = Target(info.name, info.arn)

    @property
    def info(self) -> QueueInfo:
        return self._info

    async def send(self, batch: Sequence[Message], not_after: float) -> Sequence[EntryOutcome]:
        """One SendMessageBatch. botocore sends it to the client's endpoint, whatever host the queue's URL names."""
        request = {
            "QueueUrl": self._info.url,
            "Entries": [_entry(index, message) for index, message in enumerate(batch)],
        }
        answer = await self._ask("SendMessageBatch", self._target, not_after, request)
        with reading("SendMessageBatch", self._info.name):
            outcomes = _outcomes(answer, len(batch))
        if outcomes is None:
            raise unreadable("SendMessageBatch", self._info.name)
        return outcomes


async def find_queue(aws: Aws, name_or_url: str) -> BotoQueue:
    """The queue of that name in this account and region, or at that URL, with what it says of itself.

    WrongQueue: the URL is of another region or of a host that no request would go to. NotFound: no such queue.
    """
    call, client = aws.sends.pool.call, aws.sends.client
    if "://" in name_or_url:
        url, name = name_or_url, _name_in(name_or_url)
        _check_host(url, client.meta.endpoint_url, aws.region)
    else:
        name = name_or_url
        target = Target(name, f"arn:aws:sqs:{aws.region}:*:{name}")
        found = await call("GetQueueUrl", target, NEVER, client.get_queue_url, QueueName=name)
        with reading("GetQueueUrl", name):
            url = found["QueueUrl"]
    target = Target(name, f"arn:aws:sqs:{aws.region}:*:{name}")
    # All of them: some servers refuse the question for FifoQueue on a standard queue.
    answer = await call(
        "GetQueueAttributes", target, NEVER, client.get_queue_attributes, QueueUrl=url, AttributeNames=["All"]
    )
    with reading("GetQueueAttributes", name):
        attributes = answer["Attributes"]
        info = QueueInfo(
            name=name,
            url=url,
            arn=attributes["QueueArn"],
            fifo=name.endswith(_FIFO),
            message_bytes_max=int(attributes.get("MaximumMessageSize", MESSAGE_BYTES_MAX)),
        )
    return BotoQueue(aws, info)


def check_account(queue: QueueInfo, stream_arn: str) -> None:
    """A queue given by its URL may be of another account than the stream: WrongQueue, since that is a slip of the pen.

    The ARNs of local servers name no real region (`ddblocal`, `elasticmq`), and then their accounts mean nothing.
    """
    stream_region, stream_account = stream_arn.split(":")[3:5]
    queue_region = queue.arn.split(":")[3]
    account = urlsplit(queue.url).path.split("/")[1]
    if queue_region != stream_region or not _ACCOUNT.fullmatch(account) or account == stream_account:
        return
    problem = f"a queue of account {account}, but the stream is of account {stream_account}: name one of that account"
    raise WrongQueue(queue.url, problem)


def _name_in(url: str) -> str:
    try:
        name = urlsplit(url).path.rpartition("/")[2]
    except ValueError:
        name = ""
    if not name:
        raise WrongQueue(url, "not the URL of a queue: write it as https://HOST/ACCOUNT/NAME")
    return name


def _check_host(url: str, endpoint_url: str, region: str) -> None:
    """A queue's URL does not say where requests go to: the endpoint does. Refuses what would surprise."""
    host, endpoint_host = urlsplit(url).hostname or "", urlsplit(endpoint_url).hostname or ""
    match = _REGION_OF_HOST.search(host)
    other = match and next(filter(None, match.groups()))
    if other and other != region:
        raise WrongQueue(url, f"a queue of {other}, but the region is {region}: name one of {region}")
    if not other and host != endpoint_host and _REGION_OF_HOST.search(endpoint_host):
        origin = url[: url.find("/", url.find("://") + 3)]
        raise WrongQueue(url, f"requests go to {endpoint_host}: set AWS_ENDPOINT_URL_SQS={clean(origin)}")


def _entry(index: int, message: Message) -> SendMessageBatchRequestEntryTypeDef:
    entry: SendMessageBatchRequestEntryTypeDef = {"Id": str(index), "MessageBody": message.body}
    if message.group_id is not None:
        entry["MessageGroupId"] = message.group_id
    if message.deduplication_id is not None:
        entry["MessageDeduplicationId"] = message.deduplication_id
    if message.attributes:
        entry["MessageAttributes"] = {name: _attribute(value) for name, value in message.attributes.items()}
    if message.trace is not None:
        entry["MessageSystemAttributes"] = {"AWSTraceHeader": _attribute(trace_header(message.trace))}
    return entry


def trace_header(trace: Trace) -> str:
    """X-Ray's tracing header, in which the first 32 bits of a trace's number are its time."""
    number = f"{trace.trace_id:032x}"
    return f"Root=1-{number[:8]}-{number[8:]};Parent={trace.span_id:016x};Sampled={trace.sampled:d}"


def _attribute(value: str) -> MessageAttributeValueTypeDef:
    return {"DataType": "String", "StringValue": value}


def _outcomes(answer: SendMessageBatchResultTypeDef | dict[str, Any], count: int) -> list[EntryOutcome] | None:
    """One outcome an entry; None if the answer knows nothing of any of them.

    A server that forgets an entry has not accepted it as far as anybody knows: it counts as refused.
    """
    outcomes: list[EntryOutcome | None] = [None] * count
    for accepted in answer.get("Successful", ()):
        outcomes[int(accepted["Id"])] = _ACCEPTED
    for failed in answer.get("Failed", ()):
        outcomes[int(failed["Id"])] = entry_refused(
            failed["Code"], failed.get("Message", ""), sender_fault=failed["SenderFault"]
        )
    if not any(outcomes):
        return None
    return [outcome or _NO_OUTCOME for outcome in outcomes]


_NO_OUTCOME: Final = Refused("NoOutcome", "the answer does not name this entry", sender_fault=False)
