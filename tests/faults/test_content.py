"""What is in a record comes out as it went in, and several routes are served from one reading."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from poller.events import Delivered, QueueFailing, ReadFailing
from tests.faults.harness import Site, named
from tests.standin import Fault, Kind

DIGITS = "12345678901234567890123456789012345678"
CONTENTS: dict[str, dict[str, Any]] = {
    "38 digits": {"N": DIGITS},
    "38 digits behind the point": {"N": f"-0.{DIGITS}"},
    "trailing zeros": {"N": "1.500"},
    "an exponent": {"N": "1E+125"},
    "no number": {"N": "NaN"},
    "a set of numbers": {"NS": [DIGITS, "0.10", "-1E-130"]},
    "bytes": {"B": "AAEC/+8="},
    "a set of bytes": {"BS": ["AA==", "/w=="]},
    "nested": {"M": {"list": {"L": [{"M": {"deep": {"B": "AP8="}}}, {"NULL": True}, {"BOOL": False}, {"SS": ["é"]}]}}},
    "control characters": {"S": "\x00\x01\x1f\x7f"},
    "quotes and slashes": {"S": '"\\/\b\f\n\r\t'},
    "four bytes a character": {"S": "😀𝄞"},
    "an unknown type": {"ZZ": {"anything": [1, 2.50, None]}},
    "nothing": {"S": ""},
}


async def test_values_of_all_types_arrive_byte_for_byte(site: Site) -> None:
    stored = {name: site.upload(name, content=value).body for name, value in CONTENTS.items()}
    async with site.running():
        await site.until_received([f"{name}/1" for name in CONTENTS])
    arrived = {named(json.loads(body)).removesuffix("/1"): body.encode() for body in site.queue.bodies}
    assert arrived == stored


async def test_characters_that_the_queue_refuses_arrive_escaped_and_mean_the_same(site: Site) -> None:
    stored = site.upload("item", content={"S": "a\ufffeb\uffffc"})
    assert "\ufffe" in stored.body.decode()
    async with site.running():
        await site.until_received(["item/1"])
    (body,) = site.queue.bodies
    assert "\\ufffe" in body
    assert json.loads(body) == json.loads(stored.body)


async def test_half_a_surrogate_pair_stops_neither_its_record_nor_the_page(site: Site) -> None:
    before = site.uploads(1)
    whole = site.upload("half", content={"S": "HALF"}).body
    site.shard.put_raw(lambda number: whole.replace(b"HALF", b"\\ud800").replace(b'"1"', b'"2"'))
    after = site.uploads(1, first=2)
    expected = [*before, "half/1", "half/2", *after]
    async with site.running():
        await site.until_received(expected)
    assert site.heard_once(expected)
    (body,) = [body for body in site.queue.bodies if "\\ud800" in body]
    assert json.loads(body)["dynamodb"]["NewImage"]["content"] == {"S": "\ud800"}


@pytest.mark.parametrize(
    "body",
    [
        b'{"eventID":"e","eventName":"MODIFY","dynamodb":{"SequenceNumber":7}}',
        b'{"eventID":"e","eventName":"MODIFY","dynamodb":{"SequenceNumber":"SHARD_END","Keys":{"id":{"S":"a"}}}}',
        b'{"eventID":"e","eventName":"MODIFY","dynamodb":{"SequenceNumber":"x","ApproximateCreationDateTime":%s}}'
        % (b"9" * 400),
    ],
    ids=["a number for a place", "an end for a place", "a time beyond the calendar"],
)
async def test_a_record_that_cannot_be_understood_is_put_aside_and_its_neighbours_go_on(
    site: Site, body: bytes
) -> None:
    expected = site.uploads(1)
    site.shard.put_raw(lambda number: body)
    expected += site.uploads(1, first=2)
    async with site.running():
        await site.until_received(expected)
        await site.until(site.settled)
    assert [letter.body.encode() for letter in site.dead_letters.arrived] == [body]
    assert site.heard_once(expected)


# --- several routes ---------------------------------------------------------------------------------------------------

ROUTES = """
[[route]]
name = "analysis"
queue = "jobs"
dead_letter_queue = "dead-letters"

[[route]]
name = "audit"
queue = "audit.fifo"
filter = [{ eventName = ["MODIFY", "REMOVE"] }]
attributes = ["eventName", "sequenceNumber"]

[[route]]
name = "images"
queue = "images"
filter = [{ eventName = ["MODIFY"], dynamodb = { NewImage = { revision = { N = ["2"] } } } }]
message = "image"
"""


@pytest.fixture
def routes(site: Site, tmp_path: Path) -> Site:
    """The site with three routes from its one stream."""
    site.config = tmp_path / "poller.toml"
    site.config.write_text(ROUTES)
    for name in ("audit.fifo", "images"):
        site.world.queue(name)
    return site


async def test_several_routes_are_served_from_one_reading(routes: Site) -> None:
    site, audit, images = routes, routes.world.queue("audit.fifo"), routes.world.queue("images")
    expected = site.uploads(2)
    removed = site.shard.put("a", "REMOVE")
    async with site.running():
        await site.until_received(expected)
        await site.until(lambda: len(audit.arrived) == 13 and len(images.arrived) == 6)
        await site.until(site.settled)
    assert site.heard_once(expected)
    last = audit.arrived[-1]
    assert last.body.encode() == removed.body
    assert {name: value["StringValue"] for name, value in last.attributes.items()} == {
        "eventName": "REMOVE",
        "sequenceNumber": removed.sequence_number,
    }
    assert {json.loads(body)["revision"] for body in images.bodies} == {2}
    assert site.world.count("GetShardIterator") == 1


async def test_a_route_whose_queue_is_down_holds_up_the_checkpoint_and_no_other_route(routes: Site) -> None:
    site, audit = routes, routes.world.queue("audit.fifo")
    async with site.running():
        audit.down()
        first = site.shard.put("first")
        expected = site.uploads(2)
        await site.until_received(expected)
        await site.until(lambda: bool(site.said(QueueFailing)))
        assert not site.passed(first)
        audit.up()
        await site.until(lambda: len(audit.bodies) == 13)
        await site.until(site.settled)
    assert audit.bodies[0].encode() == first.body
    assert {event.route for event in site.said(QueueFailing)} == {"audit"}
    assert site.heard_once(expected)


async def test_a_damaged_page_reaches_no_route_in_part(routes: Site) -> None:
    site = routes
    site.fault(Fault(Kind.TRUNCATED, operation="GetRecords", times=2))
    expected = site.uploads(2)
    async with site.running():
        await site.until_received(expected)
        await site.until(site.settled)
    assert site.said(ReadFailing)
    assert {event.route for event in site.said(Delivered)} == {"analysis", "audit", "images"}
    assert len(site.world.queue("audit.fifo").arrived) == 12
    assert site.heard_once(expected)
