"""The contract of `LetterBox`: what is received is hidden, in a FIFO queue with its group, until it is given back."""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable

import pytest

from poller.aws.errors import Target
from poller.aws.letter_box import BotoLetterBox
from poller.aws.pool import NEVER
from poller.aws.session import Aws
from poller.aws.sqs import find_queue
from poller.model import Message
from poller.operate.ports import LetterBox
from tests.contract.conftest import OpenAws
from tests.letters import body_of, letter_of
from tests.memory.clock import ManualClock
from tests.memory.letter_box import MemoryLetterBox

SERVERS = [pytest.param("elasticmq", marks=pytest.mark.real), "standin"]
MakeBox = Callable[[list[Message], bool], Awaitable[LetterBox]]


@pytest.fixture(params=["memory", *SERVERS])
async def box_of(request: pytest.FixtureRequest, open_aws: OpenAws, clock: ManualClock) -> MakeBox:
    """Makes a dead-letter queue with these letters, FIFO or standard."""
    aws = None if request.param == "memory" else await open_aws(request.getfixturevalue(request.param))

    async def make(letters: list[Message], fifo: bool) -> LetterBox:
        name = f"letters-{uuid.uuid4().hex}{'.fifo' if fifo else ''}"
        if aws is None:
            box = MemoryLetterBox(name, clock)
            box.put(*letters)
            return box
        return await _on_server(aws, name, letters)

    return make


async def _on_server(aws: Aws, name: str, letters: list[Message]) -> LetterBox:
    create, call = aws.sends.client.create_queue, aws.sends.pool.call
    if name.endswith(".fifo"):
        await call("CreateQueue", Target(name), NEVER, create, QueueName=name, Attributes={"FifoQueue": "true"})
    else:
        await call("CreateQueue", Target(name), NEVER, create, QueueName=name)
    queue = await find_queue(aws, name)
    for letter in letters:
        await queue.send([letter], float("inf"))
    return BotoLetterBox(aws, queue.info, request_timeout_s=1.0)


async def test_a_letter_comes_with_its_body_its_attributes_and_its_time(box_of: MakeBox) -> None:
    letter = letter_of(body_of("a", 1))
    box = await box_of([letter], False)
    (received,) = await box.receive(10, 60)

    assert (received.body, received.attributes) == (letter.body, letter.attributes)
    assert received.sent_s > 1_700_000_000
    assert await box.waiting() == 1


async def test_what_is_received_is_hidden_until_it_is_given_back(box_of: MakeBox) -> None:
    box = await box_of([letter_of(body_of(item, 1)) for item in "ab"], False)
    first = await box.receive(10, 60)
    while len(first) < 2:
        first = [*first, *await box.receive(10, 60)]
    assert await box.receive(10, 60) == []

    assert await box.hide([one.receipt for one in first], 0) == []
    again = await box.receive(10, 60)
    assert {one.message_id for one in again} <= {one.message_id for one in first}
    assert again


async def test_what_is_deleted_is_gone(box_of: MakeBox) -> None:
    box = await box_of([letter_of(body_of("a", 1))], False)
    (received,) = await box.receive(10, 60)

    assert await box.delete([received.receipt]) == []
    assert (await box.waiting(), await box.receive(10, 60)) == (0, [])


async def test_a_fifo_queue_gives_the_letters_of_a_group_in_order_and_holds_back_those_behind(box_of: MakeBox) -> None:
    box = await box_of([letter_of(body_of("a", number), fifo=True) for number in (1, 2)], True)
    (first,) = await box.receive(1, 60)
    assert '"event-a-1"' in first.body
    assert first.group_id is not None
    assert await box.receive(10, 60) == []

    await box.delete([first.receipt])
    (second,) = await box.receive(10, 60)
    assert '"event-a-2"' in second.body
