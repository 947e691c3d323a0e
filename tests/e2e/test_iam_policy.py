"""`poller iam-policy`: what it prints is enough for the whole job, and nothing in it is too much."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest

from poller.aws.lease_rows import item_of
from poller.filters import compile_filters
from poller.inspect.check import check
from poller.inspect.findings import Finding
from poller.model import Lease
from poller.run.clock import SystemClock
from poller.settings import load
from tests.e2e.command import Ended, in_process
from tests.e2e.daemon import Daemon, wait_until
from tests.letters import TABLE, body_of, letter_of, put
from tests.standin import Fault, Kind, World
from tests.standin.policy import allows
from tests.standin.records import MATCHING_PHASE
from tests.standin.world import credentials

ACCOUNT = "000000000000"
KEY = f"arn:aws:kms:us-east-1:{ACCOUNT}:key/0a1b2c3d"
SETTINGS = {
    "POLLER_TABLE": TABLE,
    "POLLER_QUEUE": "jobs",
    "POLLER_DEAD_LETTER_QUEUE": "letters",
    "POLLER_ROUTE__DEAD_LETTER_BUCKET": "letters-bucket",
    "POLLER_LEASE__DISCOVERY_INTERVAL": "1s",
    "POLLER_LEASE__DURATION": "3s",
    "POLLER_AWS__REQUEST_TIMEOUT": "900ms",
    "POLLER_AWS__CONNECT_TIMEOUT": "900ms",
}
Policy = dict[str, Any]


def environment(world: World, access_key: str, **settings: str) -> dict[str, str]:
    return {**credentials("us-east-1", access_key), "AWS_ENDPOINT_URL": world.url, **SETTINGS, **settings}


async def run(world: World, *arguments: str, access_key: str = "test", **settings: str) -> Ended:
    return await asyncio.to_thread(in_process, *arguments, environment=environment(world, access_key, **settings))


async def printed(world: World, purpose: str, **settings: str) -> Policy:
    ended = await run(world, "iam-policy", "--for", purpose, "--account", ACCOUNT, **settings)
    assert (ended.code, ended.err) == (0, "")
    return ended.document


def unused(policy: Policy, world: World) -> list[tuple[str, str]]:
    """Statements and actions without which everything would have gone as it did."""
    found = []
    for statement in policy["Statement"]:
        for action in statement["Action"]:
            alone = {"Statement": [{**statement, "Action": [action]}]}
            if not any(allows(alone, need) for need in world.policies.used):
                found.append((statement["Sid"], action))
    return found


def without(policy: Policy, sid: str, action: str | None = None) -> Policy:
    """The policy without a statement, or without one of its actions."""
    statements = []
    for statement in policy["Statement"]:
        if statement["Sid"] != sid:
            statements.append(statement)
        elif action is not None:
            statements.append({**statement, "Action": [name for name in statement["Action"] if name != action]})
    return {**policy, "Statement": statements}


# --- enough, and nothing too much ----------------------------------------------------------------------------------


async def test_the_main_job_is_done_with_it_and_needs_every_statement_and_action_of_it(
    world: World, tmp_path: Path
) -> None:
    stream = world.stream(TABLE)
    shard = stream.add_shard()
    jobs = world.queue("jobs", {"KmsMasterKeyId": KEY, "MaximumMessageSize": "2048"})
    letters = world.queue("letters", {"MaximumMessageSize": "1024"})
    world.buckets["letters-bucket"] = {}
    policy = await printed(world, "run")
    world.policies.set("worker", policy)
    matching = {"phase": {"S": MATCHING_PHASE}}

    with Daemon(environment(world, "worker"), tmp_path / "log") as daemon:
        await asyncio.to_thread(daemon.wait_for, "daemon_ready")
        shard.put("a", new_image=matching)
        shard.put("large", new_image={**matching, "padding": {"S": "x" * 4_000}})
        await asyncio.to_thread(wait_until, lambda: bool(letters.bodies and jobs.bodies), daemon.tail)
        world.faults.add(Fault(Kind.LOST, operation="UpdateItem", times=1))
        await asyncio.to_thread(wait_until, lambda: world.count("GetItem") > 0, daemon.tail)
        world.replace_stream(TABLE)
        next(iter(world.latest_stream(TABLE).shards.values())).put("b", new_image=matching)  # type: ignore[union-attr]
        await asyncio.to_thread(wait_until, lambda: len(jobs.bodies) == 2, daemon.tail)
        await asyncio.to_thread(wait_until, lambda: world.count("DeleteItem") > 0, daemon.tail)
        code, _ = await asyncio.to_thread(daemon.terminate)

    assert (code, world.policies.denied) == (0, [])
    assert len(world.buckets["letters-bucket"]) == 1
    assert unused(policy, world) == []
    for statement in policy["Statement"]:
        less = without(policy, statement["Sid"])
        assert any(not allows(less, need) for need in world.policies.used), "without it some call had failed"


async def test_init_makes_everything_with_its_own(world: World) -> None:
    world.stream(TABLE)
    policy = await printed(world, "init")
    world.policies.set("maker", policy)
    ended = await run(world, "init", access_key="maker")

    assert (ended.code, ended.err, world.policies.denied) == (0, "", [])
    assert set(world.queues) == {"jobs", "letters"}
    assert unused(policy, world) == []


async def test_what_people_do_is_done_with_theirs(world: World) -> None:
    stream = world.stream(TABLE)
    shard = stream.add_shard()
    world.queue("jobs", {"KmsMasterKeyId": KEY})
    letters = world.queue("letters", {"KmsMasterKeyId": KEY + "-letters"})
    policy = await printed(world, "operate")
    world.policies.set("person", policy)
    table = world.table(f"{TABLE}-leases")
    row: Any = item_of(Lease(shard.shard_id, stream_arn=stream.arn))
    table.items[shard.shard_id] = row
    kept = shard.put("in-the-stream", new_image={"padding": {"S": "x" * 4_000}})
    where: Any = {"shard_id": shard.shard_id, "stream_arn": stream.arn}
    put(letters, letter_of(kept.body, limit_bytes=1_200, **where))
    stored = body_of("in-s3", 1, padding=4_000)
    name = f"{TABLE}/default/2026/11/25/event.json"
    world.buckets["letters-bucket"] = {name: stored}
    put(letters, letter_of(stored, limit_bytes=1_024, stored_at=f"s3://letters-bucket/{name}"))

    for arguments in (
        ["check"],
        ["leases", "--look-for", "0s"],
        ["leases", "set", shard.shard_id, "--to", "TRIM_HORIZON", "--yes"],
        ["dead-letters"],
        ["redrive", "--yes"],
    ):
        ended = await run(world, *arguments, access_key="person")
        assert ended.code == 0, (arguments, ended)
    assert world.policies.denied == []
    assert unused(policy, world) == []


# --- check ------------------------------------------------------------------------------------------------------------


async def findings(world: World, monkeypatch: pytest.MonkeyPatch) -> list[Finding]:
    environ = environment(world, "worker")
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    settings = load(environ, None)
    return await check(settings, compile_filters(settings), os.environ, SystemClock())


async def test_check_needs_no_more_than_the_daemon_and_names_whatever_is_missing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = world.stream(TABLE)
    stream.add_shard()
    world.queue("jobs")
    world.queue("letters")
    table = world.table(f"{TABLE}-leases")
    row: Any = item_of(Lease("shard", stream_arn=stream.arn))
    table.items["shard"] = row
    policy = await printed(world, "run")
    world.policies.set("worker", policy)

    whole = await findings(world, monkeypatch)
    assert ([one for one in whole if one.level == "fault"], world.policies.denied) == ([], [])
    (allowed,) = [one.text for one in whole if one.text.startswith("allowed: ")]
    for statement in policy["Statement"]:
        for action in statement["Action"]:
            if action not in allowed:
                continue
            world.policies.set("worker", without(policy, statement["Sid"], action))
            found = await findings(world, monkeypatch)
            mends = [one.mend or "" for one in found if one.level in ("fault", "warning")]
            assert any(f"allow {action} on " in mend for mend in mends), (statement["Sid"], action, found)


# --- whose account it is ----------------------------------------------------------------------------------------------


async def test_without_an_account_it_is_asked_of_sts_and_said_if_nobody_answers(world: World) -> None:
    world.stream(TABLE)
    ended = await run(world, "iam-policy")

    assert (ended.code, ended.out) == (2, "")
    assert "say --account ID" in ended.err


def test_the_account_is_asked_of_sts(moto_server: str) -> None:
    own = {"POLLER_TABLE": "Orders", "POLLER_QUEUE": "jobs", "AWS_ENDPOINT_URL": moto_server}
    ended = in_process("iam-policy", environment=own)

    assert ended.code == 0
    assert ended.document["Statement"][0]["Resource"] == ["arn:aws:dynamodb:us-east-1:123456789012:table/Orders"]
    assert "it is not known whether a queue is encrypted" in ended.err
