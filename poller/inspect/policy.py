"""The IAM policy that these settings need, and nothing more: for the daemon, for `init`, for what people do. Pure.

One statement for each kind of thing. What a statement allows is what the code calls; a test runs the main job under it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal
from urllib.parse import urlsplit

from poller.run.message import store_prefix
from poller.settings import Settings
from poller.settings.sections import partition_of

Purpose = Literal["run", "init", "operate"]
PURPOSES: Final[tuple[Purpose, ...]] = ("run", "init", "operate")
Statement = dict[str, Any]

# AWS's own key for SQS allows everybody in the account who may use the queue; no policy has to name it.
_AWS_OWN_KEY: Final = "alias/aws/sqs"
_KEY_ID: Final = re.compile(r"[A-Za-z0-9-]{1,64}")
_QUEUE_PATH: Final = re.compile(r"/([0-9]{12})/([A-Za-z0-9_-]{1,75}(?:\.fifo)?|[A-Za-z0-9_-]{1,80})")

_READ_STREAM: Final = ("DescribeStream", "GetRecords", "GetShardIterator")
_LEASES: Final = {
    "run": ("DeleteItem", "DescribeTable", "GetItem", "PutItem", "Scan", "UpdateItem"),
    "init": ("CreateTable", "DescribeTable"),
    "operate": ("DescribeTable", "GetItem", "Scan", "UpdateItem"),
}
_TO_SEND: Final = ("kms:Decrypt", "kms:GenerateDataKey")
_TO_RECEIVE: Final = ("kms:Decrypt",)


@dataclass(frozen=True, slots=True)
class Home:
    """Where the settings' things are: what an ARN needs beside a name."""

    region: str
    account: str

    def arn(self, service: str, resource: str) -> str:
        return f"arn:{partition_of(self.region)}:{service}:{self.region}:{self.account}:{resource}"


@dataclass(frozen=True, slots=True)
class Keys:
    """The KMS keys of the encrypted queues, as the queues or their user name them: an ARN, an id or an alias."""

    queues: Collection[str] = ()
    letters: Collection[str] = ()


def policy(settings: Settings, home: Home, purpose: Purpose, keys: Keys) -> dict[str, Any]:
    """The document, as `aws iam create-policy` takes it. ValueError: a key's name is none."""
    made = {"run": _run, "init": _init, "operate": _operate}
    return {"Version": "2012-10-17", "Statement": list(made[purpose](settings, home, keys))}


def _run(settings: Settings, home: Home, keys: Keys) -> Iterator[Statement]:
    yield from _stream(settings, home)
    leases = [*_LEASES["run"], *(["CreateTable"] if settings.lease.create else [])]
    yield _statement("Leases", "dynamodb", leases, [_lease_table(settings, home)])
    yield _statement("Queues", "sqs", [*_finding(settings), "SendMessage"], _all_queues(settings, home))
    if objects := _objects(settings, home):
        yield _statement("LargeLetters", "s3", ["PutObject"], objects)
    yield from _key_statements("Keys", home, _TO_SEND, {*keys.queues, *keys.letters})


def _init(settings: Settings, home: Home, _keys: Keys) -> Iterator[Statement]:
    yield _statement("Leases", "dynamodb", _LEASES["init"], [_lease_table(settings, home)])
    yield _statement("Queues", "sqs", [*_finding(settings), "CreateQueue"], _all_queues(settings, home))
    redriven = [
        _queue_arn(home, route.queue)
        for route in settings.routes
        if route.dead_letter_queue and _fifo(route.queue) == _fifo(route.dead_letter_queue)
    ]
    if redriven:
        yield _statement("RedrivePolicies", "sqs", ["SetQueueAttributes"], redriven)


def _operate(settings: Settings, home: Home, keys: Keys) -> Iterator[Statement]:
    yield from _stream(settings, home)
    yield _statement("Leases", "dynamodb", _LEASES["operate"], [_lease_table(settings, home)])
    yield _statement("Queues", "sqs", [*_finding(settings), "SendMessage"], _queues(settings, home))
    if letters := _letter_queues(settings, home):
        actions = [*_finding(settings), "ReceiveMessage", "ChangeMessageVisibility", "DeleteMessage"]
        yield _statement("DeadLetters", "sqs", actions, letters)
    if objects := _objects(settings, home):
        yield _statement("LargeLetters", "s3", ["GetObject"], objects)
    yield from _key_statements("Keys", home, _TO_SEND, keys.queues)
    yield from _key_statements("DeadLetterKeys", home, _TO_RECEIVE, set(keys.letters) - set(keys.queues))


# --- parts ------------------------------------------------------------------------------------------------------------


def _statement(sid: str, service: str, actions: Iterable[str], resources: Iterable[str]) -> Statement:
    named = sorted({f"{service}:{action}" for action in actions})
    return {"Sid": sid, "Effect": "Allow", "Action": named, "Resource": sorted(set(resources))}


def _stream(settings: Settings, home: Home) -> Iterator[Statement]:
    """One stream by its ARN; of a table by name whichever stream it has, since the next one is read after it."""
    if settings.stream.arn is not None:
        yield _statement("Stream", "dynamodb", _READ_STREAM, [settings.stream.arn])
        return
    table = home.arn("dynamodb", f"table/{settings.stream.table_name}")
    yield _statement("Table", "dynamodb", ["DescribeTable"], [table])
    yield _statement("Stream", "dynamodb", [*_READ_STREAM, "ListStreams"], [f"{table}/stream/*"])


def _lease_table(settings: Settings, home: Home) -> str:
    return home.arn("dynamodb", f"table/{settings.lease_table}")


def _queues(settings: Settings, home: Home) -> list[str]:
    return [_queue_arn(home, route.queue) for route in settings.routes]


def _letter_queues(settings: Settings, home: Home) -> list[str]:
    return [_queue_arn(home, route.dead_letter_queue) for route in settings.routes if route.dead_letter_queue]


def _all_queues(settings: Settings, home: Home) -> list[str]:
    return [*_queues(settings, home), *_letter_queues(settings, home)]


def _finding(settings: Settings) -> list[str]:
    """A queue by its URL need not be looked up."""
    names = [name for route in settings.routes for name in (route.queue, route.dead_letter_queue) if name]
    by_name = any("://" not in name for name in names)
    return ["GetQueueAttributes", *(["GetQueueUrl"] if by_name else [])]


def _queue_arn(home: Home, name_or_url: str) -> str:
    """By URL the account may stand in it; of a local server's it does not."""
    if "://" not in name_or_url:
        return home.arn("sqs", name_or_url)
    path = urlsplit(name_or_url).path
    match = _QUEUE_PATH.fullmatch(path)
    if match is None:
        return home.arn("sqs", path.rpartition("/")[2])
    return Home(home.region, match[1]).arn("sqs", match[2])


def _fifo(name_or_url: str) -> bool:
    return name_or_url.endswith(".fifo")


def _objects(settings: Settings, home: Home) -> list[str]:
    """The records of large letters, by bucket, table and route."""
    partition, table = partition_of(home.region), settings.stream.table_name
    return [
        f"arn:{partition}:s3:::{route.dead_letter_bucket}/{store_prefix(table, route.name)}/*"
        for route in settings.routes
        if route.dead_letter_bucket
    ]


def _key_statements(sid: str, home: Home, actions: Sequence[str], names: Collection[str]) -> Iterator[Statement]:
    """Keys by ARN in one statement; an alias says nothing in a `Resource`, it is a condition on whatever key has it."""
    wanted = sorted({name for name in names if not name.endswith(_AWS_OWN_KEY)})
    aliases = sorted({name.rpartition(":")[2] for name in wanted if name.rpartition(":")[2].startswith("alias/")})
    arns = sorted({key_arn(home, name) for name in wanted if name.rpartition(":")[2] not in aliases})
    if arns:
        yield {"Sid": sid, "Effect": "Allow", "Action": list(actions), "Resource": arns}
    if aliases:
        yield {
            "Sid": f"{sid}ByAlias",
            "Effect": "Allow",
            "Action": list(actions),
            "Resource": [home.arn("kms", "key/*")],
            "Condition": {"ForAnyValue:StringEquals": {"kms:ResourceAliases": aliases}},
        }


def key_arn(home: Home, name: str) -> str:
    """ValueError: neither an ARN nor a key's id."""
    if re.fullmatch(r"arn:aws[a-z-]*:kms:[a-z0-9-]+:\d{12}:key/[A-Za-z0-9-]+", name):
        return name
    if not _KEY_ID.fullmatch(name):
        raise ValueError(f"{name!r}: neither a key's ARN nor its id nor an alias (alias/NAME)")
    return home.arn("kms", f"key/{name}")
