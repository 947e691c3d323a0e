"""The stand-in's policies: who may do what, and what a refusal looks like."""

from __future__ import annotations

from asyncio import to_thread
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.standin import World
from tests.standin.clients import Clients
from tests.standin.policy import Need, allows

KEY = "arn:aws:kms:us-east-1:000000000000:key/k"


def policy(*statements: tuple[str, str]) -> dict[str, Any]:
    return {"Statement": [{"Effect": "Allow", "Action": [action], "Resource": what} for action, what in statements]}


@pytest.mark.parametrize(
    ("pattern", "resource", "allowed"),
    [
        ("arn:a:table/T", "arn:a:table/T", True),
        ("arn:a:table/T", "arn:a:table/T/stream/1", False),
        ("arn:a:table/T/stream/*", "arn:a:table/T/stream/1", True),
        ("arn:a:table/T/stream/*", "arn:a:table/T2/stream/1", False),
        ("arn:a:t.ble/T", "arn:a:table/T", False),
    ],
)
def test_a_resource_is_named_whole_but_for_its_wildcards(pattern: str, resource: str, allowed: bool) -> None:
    assert allows(policy(("s:Do", pattern)), Need("s:Do", resource)) is allowed
    assert not allows(policy(("s:Do", pattern)), Need("s:Undo", resource))


async def test_whoever_has_a_policy_may_do_nothing_else(world: World, clients: Callable[..., Clients]) -> None:
    queue = world.queue("q")
    world.policies.set("worker", policy(("sqs:GetQueueUrl", queue.arn)))
    worker, anybody = clients(world.url, access_key="worker"), clients(world.url)

    await to_thread(worker.sqs.get_queue_url, QueueName="q")
    await to_thread(anybody.sqs.send_message, QueueUrl="q", MessageBody="a")
    with pytest.raises(ClientError) as refused:
        await to_thread(worker.sqs.send_message, QueueUrl="q", MessageBody="b")
    assert refused.value.response["Error"]["Code"] == "AccessDenied"
    assert (queue.bodies, world.policies.denied) == (["a"], [Need("sqs:SendMessage", queue.arn)])


async def test_an_encrypted_queue_needs_its_key_as_well(world: World, clients: Callable[..., Clients]) -> None:
    queue = world.queue("q", {"KmsMasterKeyId": KEY})
    worker = clients(world.url, access_key="worker")
    world.policies.set("worker", policy(("sqs:SendMessage", queue.arn), ("kms:Decrypt", KEY)))
    with pytest.raises(ClientError, match="KmsAccessDenied"):
        await to_thread(worker.sqs.send_message, QueueUrl="q", MessageBody="a")

    allowed = policy(("sqs:SendMessage", queue.arn), ("kms:Decrypt", KEY), ("kms:GenerateDataKey", KEY))
    world.policies.set("worker", allowed)
    await to_thread(worker.sqs.send_message, QueueUrl="q", MessageBody="a")
    assert queue.bodies == ["a"]
