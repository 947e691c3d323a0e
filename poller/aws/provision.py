"""Makes tables and queues for `poller init`, one call each; what is there already is the caller's to find out."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, cast

from poller.aws.errors import Target, reading
from poller.aws.pool import NEVER
from poller.aws.session import Aws
from poller.aws.survey import queue_attributes
from poller.errors import AwsError
from poller.model import QueueInfo

if TYPE_CHECKING:
    from types_boto3_sqs.literals import QueueAttributeNameType

REDRIVE: Final = "RedrivePolicy"


async def create_table(aws: Aws, definition: Mapping[str, Any]) -> bool:
    """Asks for the table that the arguments of `CreateTable` describe; False: somebody else is making it."""
    name = definition["TableName"]
    target = Target(name, f"arn:aws:dynamodb:{aws.region}:*:table/{name}")
    lane = aws.leases
    try:
        await lane.pool.call("CreateTable", target, NEVER, lane.client.create_table, **definition)
    except AwsError as error:
        if error.code == "ResourceInUseException":
            return False
        raise
    return True


async def create_queue(aws: Aws, name: str, attributes: Mapping[str, str]) -> str:
    """The new queue's URL. A queue of that name with the same attributes is as good as a new one."""
    lane = aws.sends
    answer = await lane.pool.call(
        "CreateQueue",
        _target(aws, name),
        NEVER,
        lane.client.create_queue,
        QueueName=name,
        Attributes=cast("Mapping[QueueAttributeNameType, str]", attributes),
    )
    with reading("CreateQueue", name):
        return answer["QueueUrl"]


async def redrive_target(aws: Aws, queue: QueueInfo) -> str | None:
    """The ARN of the queue to which SQS moves what this queue's consumers fail on; None: it has no redrive policy."""
    policy = (await queue_attributes(aws, queue)).get(REDRIVE)
    if not policy:
        return None
    with reading("GetQueueAttributes", queue.name):
        return str(json.loads(policy)["deadLetterTargetArn"])


async def set_redrive(aws: Aws, queue: QueueInfo, target_arn: str, receives_max: int) -> None:
    """Has SQS move a message to the target once it was received so often without being deleted."""
    lane = aws.sends
    await lane.pool.call(
        "SetQueueAttributes",
        _target(aws, queue.name),
        NEVER,
        lane.client.set_queue_attributes,
        QueueUrl=queue.url,
        Attributes={REDRIVE: redrive_policy(target_arn, receives_max)},
    )


def redrive_policy(target_arn: str, receives_max: int) -> str:
    return json.dumps({"deadLetterTargetArn": target_arn, "maxReceiveCount": receives_max})


def _target(aws: Aws, queue: str) -> Target:
    return Target(queue, f"arn:aws:sqs:{aws.region}:*:{queue}")
