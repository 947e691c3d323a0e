"""`poller check`: what it finds, line by line, and with which exit code it ends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from poller.aws.lease_rows import item_of
from poller.model import SHARD_END, Lease, ViewType
from tests.e2e.command import Ended, endpoints, poller
from tests.e2e.story import Mailbox, Table, dynamodb, sqs
from tests.standin import Fault, World
from tests.standin.world import credentials

TABLE = "AnalysisMetadataTable"
LEASES = f"{TABLE}-leases"
DEFAULT = '{"eventName": ["MODIFY"], "dynamodb": {"NewImage": {"phase": {"S": ["FILE_UPLOAD_COMPLETE"]}}}}'
WRITES = "dynamodb:PutItem, dynamodb:UpdateItem, dynamodb:DeleteItem"
RUN_SETTINGS = {"POLLER_TABLE": TABLE, "POLLER_QUEUE": "jobs", "POLLER_DEAD_LETTER_QUEUE": "dead-letters"}
UNREACHABLE = "see that the endpoint is the right one and can be reached from here; `poller run` waits for it"
# Nothing that a check may call; a stand-in that heard one of these has been written to.
WRITING = ("CreateTable", "PutItem", "UpdateItem", "DeleteItem", "CreateQueue", "SetQueueAttributes")


class Site:
    """The stand-in with all that a daemon needs, and the check before it."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.stream = world.stream(TABLE)
        self.shard = self.stream.add_shard()
        self.queue = world.queue("jobs")
        self.letters = world.queue("dead-letters")

    async def check(self, *arguments: str, **settings: str) -> Ended:
        environment = {**credentials("us-east-1", "test"), "AWS_ENDPOINT_URL": self.world.url}
        given = {name: value for name, value in {**RUN_SETTINGS, **settings}.items() if value}
        ended = await asyncio.to_thread(poller, "check", *arguments, environment={**environment, **given})
        assert not any(self.world.count(operation) for operation in WRITING), "a check writes nothing"
        return ended

    def lease(self, key: str, **fields: Any) -> None:
        """A row of the lease table, which is made if need be."""
        table = self.world.tables.get(LEASES) or self.world.table(LEASES)
        item: Any = item_of(Lease(key, **fields))
        table.items[key] = item


@pytest.fixture
async def site(world: World) -> Site:
    return Site(world)


def told(ended: Ended, part: str) -> list[str]:
    """The lines about one part, each with its mend behind it."""
    lines: list[str] = []
    for line in ended.lines:
        if line.startswith("           mend: "):
            lines[-1] += f" | {line.strip()}"
        else:
            lines.append(" ".join(line.split()))
    return [line for line in lines if line.split(" ", 1)[-1].startswith(f"{part}: ")]


# --- all is well ------------------------------------------------------------------------------------------------------


@pytest.mark.real
def test_on_real_servers_it_says_what_is_there_line_by_line(
    dynamodb_local: str, elasticmq: str, unique: Callable[[str], str]
) -> None:
    table = Table(dynamodb(dynamodb_local), unique("Uploads"))
    jobs, dead = Mailbox(sqs(elasticmq), unique("jobs")), Mailbox(sqs(elasticmq), unique("letters"))
    arn = table.client.describe_table(TableName=table.name)["Table"]["LatestStreamArn"]
    shard = one_shard(dynamodb_local, arn)
    own = {"POLLER_TABLE": table.name, "POLLER_QUEUE": jobs.name, "POLLER_DEAD_LETTER_QUEUE": dead.name}
    ended = poller("check", environment={**endpoints(dynamodb_local, elasticmq), **own})

    assert (ended.code, ended.err) == (0, "")
    assert ended.lines == [
        "ok       settings: valid, 1 route",
        f"ok       filter of route default: wants {DEFAULT}",
        "-        credentials: found; not asked who they belong to, since DynamoDB's endpoint is not AWS's own",
        "ok       region: us-east-1",
        f"ok       endpoint: DynamoDB: {dynamodb_local} (AWS_ENDPOINT_URL_DYNAMODB)",
        f"ok       endpoint: DynamoDB Streams: {dynamodb_local} (AWS_ENDPOINT_URL_DYNAMODB_STREAMS)",
        f"ok       endpoint: SQS: {elasticmq} (AWS_ENDPOINT_URL_SQS)",
        f"ok       stream: {arn}, enabled",
        "ok       view type: NEW_IMAGE: it has what the routes read",
        "ok       shards: 1: 1 open, 0 closed",
        f"ok       shards: {shard} can be read",
        (
            f"ok       lease table: {table.name}-leases: not there yet;"
            " `poller init` or the first `poller run` makes it (dynamodb:CreateTable)"
        ),
        (
            f"ok       queue of route default: {jobs.name}: standard, messages up to 1,048,576 bytes,"
            " not encrypted at rest"
        ),
        (
            f"ok       dead-letter queue of route default: {dead.name}: standard, messages up to 1,048,576 bytes,"
            " not encrypted at rest"
        ),
        f"ok       dead-letter queue of route default: {dead.name} is empty",
        (
            "ok       permissions: allowed: dynamodb:DescribeStream, dynamodb:DescribeTable, dynamodb:GetRecords,"
            " dynamodb:GetShardIterator, dynamodb:ListStreams, sqs:GetQueueAttributes, sqs:GetQueueUrl"
        ),
        (
            f"-        permissions: not probed, since that would write: {WRITES} on {table.name}-leases;"
            f" sqs:SendMessage on {', '.join(sorted((jobs.name, dead.name)))}"
        ),
        "",
        "0 faults, 0 warnings: nothing is wrong",
    ]
    assert f"{table.name}-leases" not in table.client.list_tables()["TableNames"]


def one_shard(url: str, stream_arn: str) -> str:
    import boto3

    client: Any = boto3.client(
        "dynamodbstreams",
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
    )
    (shard,) = client.describe_stream(StreamArn=stream_arn)["StreamDescription"]["Shards"]
    client.close()
    name: str = shard["ShardId"]
    return name


def test_where_somebody_says_so_it_tells_who_the_credentials_belong_to(
    moto_server: str, unique: Callable[[str], str]
) -> None:
    own = {"POLLER_TABLE": unique("Uploads"), "POLLER_QUEUE": "q", "AWS_ENDPOINT_URL": moto_server}
    ended = poller("check", environment=own)

    assert told(ended, "credentials") == ["ok credentials: arn:aws:sts::123456789012:user/moto"]


async def test_json_has_the_same_findings(site: Site) -> None:
    ended = await site.check("--json")

    assert ended.code == 0
    assert {"level": "ok", "part": "region", "text": "us-east-1", "mend": None} in ended.json
    assert {finding["level"] for finding in ended.json} == {"ok", "unknown"}


# --- the stream -------------------------------------------------------------------------------------------------------


async def test_a_table_that_is_not_there_hides_none_of_the_rest(site: Site) -> None:
    ended = await site.check(POLLER_TABLE="Nowhere")

    assert ended.code == 2
    (line,) = told(ended, "stream")
    assert line.startswith('FAULT stream: POLLER_TABLE="Nowhere": there is no such thing in us-east-1: ')
    assert line.endswith(" | mend: check its name, the region and the account")
    assert told(ended, "lease table")
    assert told(ended, "dead-letter queue of route default")[-1].endswith("dead-letters is empty")
    assert ended.lines[-1] == "1 fault, 0 warnings: with these settings `poller run` would not start"


async def test_a_view_type_without_what_the_filter_reads_is_a_fault(site: Site) -> None:
    site.world.replace_stream(TABLE, ViewType.KEYS_ONLY)
    ended = await site.check(POLLER_ROUTE__CHANGED="phase")

    assert ended.code == 2
    assert told(ended, "view type") == [
        (
            "FAULT view type: POLLER_FILTER: reads NewImage, and the stream's view type is KEYS_ONLY: it can never"
            " match | mend: enable the stream with NEW_IMAGE or NEW_AND_OLD_IMAGES"
        ),
        (
            "warning view type: route default: changed = ['phase'] needs old images, and the stream's view type is"
            " KEYS_ONLY: every MODIFY counts as a change | mend: enable the stream with NEW_AND_OLD_IMAGES"
        ),
    ]


async def test_a_filter_on_old_images_is_a_fault_where_there_are_none(site: Site) -> None:
    ended = await site.check(POLLER_FILTER='{"dynamodb": {"OldImage": {"phase": {"S": ["A"]}}}}')

    assert ended.code == 2
    assert "reads OldImage, and the stream's view type is NEW_IMAGE: it can never match" in ended.out


async def test_changed_without_old_images_is_a_warning(site: Site) -> None:
    ended = await site.check(POLLER_ROUTE__CHANGED="phase")

    assert ended.code == 0
    assert told(ended, "view type")[0].startswith(
        "warning view type: route default: changed = ['phase'] needs old images"
    )
    assert ended.lines[-1] == "0 faults, 1 warning: nothing is wrong, but read the warnings"


async def test_a_disabled_stream_with_nothing_left_to_read_is_a_fault(site: Site) -> None:
    site.stream.disable()
    site.lease("shard-1", checkpoint=SHARD_END, stream_arn=site.stream.arn)
    ended = await site.check()

    assert ended.code == 2
    assert told(ended, "stream") == [
        (
            f"warning stream: {site.stream.arn}, disabled: what is in it can be read for 24 hours, changes are not"
            " recorded any more | mend: enable it again with NEW_IMAGE or NEW_AND_OLD_IMAGES"
        ),
        (
            f'FAULT stream: POLLER_TABLE="{TABLE}": the stream is disabled, and {LEASES} has no unfinished lease on it'
            " | mend: enable the stream, or name another"
        ),
    ]


async def test_a_disabled_stream_that_is_not_yet_read_to_its_end_is_a_warning(site: Site) -> None:
    site.stream.disable()
    site.lease(site.shard.shard_id, stream_arn=site.stream.arn)
    ended = await site.check()

    assert ended.code == 0
    assert told(ended, "stream")[0].startswith("warning stream: ")


async def test_open_and_closed_shards_are_counted(site: Site) -> None:
    site.stream.split(site.shard)
    ended = await site.check()

    assert told(ended, "shards")[0] == "ok shards: 3: 2 open, 1 closed"


async def test_a_shard_that_has_readers_enough_is_no_fault(site: Site) -> None:
    site.world.faults.add(Fault.throttle("LimitExceededException", operation="GetRecords"))
    ended = await site.check()

    assert ended.code == 0
    assert f"- shards: {site.shard.shard_id} was not read from: " in told(ended, "shards")[1]


async def test_a_right_that_is_missing_is_named_with_its_resource(site: Site) -> None:
    site.world.faults.add(Fault.access_denied(operation="GetRecords"))
    ended = await site.check()

    assert ended.code == 2
    assert told(ended, "shards")[1].startswith(f"FAULT shards: GetRecords on {TABLE}: access denied")
    assert told(ended, "shards")[1].endswith(f" | mend: allow dynamodb:GetRecords on {site.stream.arn}")
    assert "dynamodb:GetRecords" not in told(ended, "permissions")[0]


# --- the lease table --------------------------------------------------------------------------------------------------


async def test_it_says_who_holds_how_many_leases(site: Site) -> None:
    arn = site.stream.arn
    for number, owner in enumerate(["a", "a", "b", None]):
        site.lease(f"shard-{number}", owner=owner, poller_owner=owner, stream_arn=arn)
    site.lease("shard-9", checkpoint=SHARD_END, stream_arn=arn)
    ended = await site.check()

    assert told(ended, "lease table") == [
        f"ok lease table: {LEASES}: ACTIVE, key leaseKey (S)",
        "ok lease table: 5 rows: 1 finished, 1 held by nobody, 3 held by a (2), b (1)",
        "ok lease table: it belongs to this stream",
    ]
    assert "dynamodb:GetItem" in told(ended, "permissions")[0]


async def test_it_says_what_a_kcl_application_holds_and_when_that_is_taken(site: Site) -> None:
    for number, owner in enumerate(["host-a", "host-a", "host-b", None]):
        site.lease(f"shard-{number}", owner=owner)
    site.lease("shard-8", owner="host-a", checkpoint=SHARD_END)
    site.lease("shard-9", owner="ours", poller_owner="ours", stream_arn=site.stream.arn)
    for name in ("CoordinatorState", "WorkerMetricStats"):
        site.world.table(f"{LEASES}-{name}", "key")
    ended = await site.check(POLLER_LEASE__DURATION="20s")

    assert ended.code == 0
    assert told(ended, "lease table") == [
        f"ok lease table: {LEASES}: ACTIVE, key leaseKey (S)",
        "ok lease table: 6 rows: 1 finished, 1 held by nobody, 4 held by host-a (2), host-b (1), ours (1)",
        (
            "ok lease table: 3 leases are held by workers of a KCL application, host-a (2), host-b (1); `poller run`"
            " takes only what they give back, or have not renewed for 20 s: keep lease.duration equal to the"
            " application's failoverTimeMillis"
        ),
        (
            f"ok lease table: KCL 3 has {LEASES}-CoordinatorState and {LEASES}-WorkerMetricStats beside it;"
            " `poller` leaves them alone"
        ),
        ("ok lease table: 5 rows name no stream, as a KCL application leaves them; taken over from the checkpoint on"),
    ]


async def test_a_right_to_what_kcl_keeps_beside_the_table_is_not_needed(site: Site) -> None:
    site.lease("shard-1", owner="host-a")
    site.world.table(f"{LEASES}-CoordinatorState", "key")
    site.world.faults.add(Fault.access_denied(operation="DescribeTable", table=f"{LEASES}-CoordinatorState"))
    ended = await site.check()

    assert ended.code == 0
    assert "CoordinatorState" not in ended.out


async def test_a_lease_table_of_another_stream_is_a_fault(site: Site) -> None:
    other = site.world.stream("Other").arn
    site.lease("shard-1", stream_arn=other)
    ended = await site.check()

    assert ended.code == 2
    (line,) = (line for line in told(ended, "lease table") if line.startswith("FAULT"))
    assert line.endswith(f"{LEASES} belongs to another stream ({other}) | mend: name another table")


async def test_a_table_that_is_no_lease_table_is_a_fault(site: Site) -> None:
    site.world.table("Things", "id")
    ended = await site.check(POLLER_LEASE_TABLE="Things")

    assert ended.code == 2
    assert told(ended, "lease table") == [
        (
            "FAULT lease table: POLLER_LEASE_TABLE=Things: its key is id (S), a lease table's is leaseKey (S)"
            " | mend: name another table"
        )
    ]


async def test_a_lease_table_that_is_missing_and_must_not_be_made_is_a_fault(site: Site) -> None:
    ended = await site.check(POLLER_LEASE__CREATE="false")

    assert ended.code == 2
    assert told(ended, "lease table")[0].startswith(
        "FAULT lease table: POLLER_LEASE_TABLE=AnalysisMetadataTable-leases"
    )


async def test_a_row_that_is_no_lease_is_a_warning(site: Site) -> None:
    site.world.table(LEASES).items["stray"] = {"leaseKey": {"S": "stray"}}
    ended = await site.check()

    assert ended.code == 0
    assert "the row stray is no lease" in told(ended, "lease table")[-1]


# --- the queues -------------------------------------------------------------------------------------------------------


async def test_a_queue_that_is_missing_is_a_fault_and_its_neighbour_is_looked_at(site: Site) -> None:
    ended = await site.check(POLLER_QUEUE="nowhere")

    assert ended.code == 2
    assert told(ended, "queue of route default") == [
        (
            'FAULT queue of route default: POLLER_QUEUE="nowhere": there is no such queue in us-east-1'
            " | mend: make it (`poller init`), or mend the name"
        )
    ]
    assert told(ended, "dead-letter queue of route default")[0].startswith("ok ")


async def test_a_queue_of_another_account_is_a_fault(site: Site) -> None:
    ended = await site.check(POLLER_QUEUE=f"{site.world.url}/999999999999/jobs")

    assert ended.code == 2
    assert "a queue of account 999999999999, but the stream is of account 000000000000" in ended.out


async def test_type_size_limit_and_encryption_of_a_queue_are_told(site: Site) -> None:
    site.world.queue(
        "ordered.fifo", {"FifoQueue": "true", "MaximumMessageSize": "2048", "KmsMasterKeyId": "alias/jobs"}
    )
    site.world.queue("sealed", {"SqsManagedSseEnabled": "true"})
    ended = await site.check(POLLER_QUEUE="ordered.fifo", POLLER_DEAD_LETTER_QUEUE="sealed")

    assert ended.code == 0
    assert told(ended, "queue of route default") == [
        (
            "ok queue of route default: ordered.fifo: FIFO, messages up to 2,048 bytes, encrypted with the KMS key"
            " alias/jobs, which must allow kms:GenerateDataKey and kms:Decrypt"
        ),
        (
            "warning queue of route default: ordered.fifo takes no message above 2,048 bytes: larger records are dead"
            " letters | mend: raise its MaximumMessageSize, to at most 1,048,576"
        ),
    ]
    assert told(ended, "dead-letter queue of route default")[0].endswith(", encrypted by SQS")


async def test_dead_letters_that_wait_are_a_warning(site: Site) -> None:
    for _ in range(3):
        await asyncio.to_thread(send, site.world.url, "dead-letters")
    ended = await site.check()

    assert ended.code == 0
    assert told(ended, "dead-letter queue of route default")[-1] == (
        "warning dead-letter queue of route default: 3 dead letters wait in dead-letters"
        " | mend: see them: poller dead-letters; send them again: poller redrive"
    )


def send(url: str, queue: str) -> None:
    client = sqs(url)
    client.send_message(QueueUrl=client.get_queue_url(QueueName=queue)["QueueUrl"], MessageBody="a letter")
    client.close()


async def test_a_route_without_a_dead_letter_queue_is_a_warning(site: Site) -> None:
    ended = await site.check(POLLER_DEAD_LETTER_QUEUE="")

    assert ended.code == 0
    assert told(ended, "settings")[0].startswith("warning settings: route default has no dead-letter queue: ")


async def test_a_bucket_without_a_dead_letter_queue_is_a_warning(site: Site) -> None:
    ended = await site.check(POLLER_DEAD_LETTER_QUEUE="", POLLER_ROUTE__DEAD_LETTER_BUCKET="letters")

    assert ended.code == 0
    assert told(ended, "settings")[1] == (
        "warning settings: route default: dead_letter_bucket is not written to without a dead_letter_queue, whose"
        " letters say what lies in it | mend: name a dead_letter_queue"
    )


async def test_two_routes_to_one_fifo_queue_are_a_warning(site: Site, tmp_path: Path) -> None:
    config = tmp_path / "poller.toml"
    route = '[[route]]\nname = "{}"\nqueue = "{}"\ndead_letter_queue = "dead-letters"\n'
    site.world.queue("jobs.fifo")
    of_the_route = {"POLLER_QUEUE": "", "POLLER_DEAD_LETTER_QUEUE": ""}
    config.write_text(route.format("a", "jobs.fifo") + route.format("b", "jobs") + route.format("c", "jobs"), "utf-8")
    assert "warning" not in told(await site.check("--config", str(config), **of_the_route), "settings")[0]
    config.write_text(route.format("a", "jobs.fifo") + route.format("b", "jobs.fifo"), "utf-8")
    ended = await site.check("--config", str(config), **of_the_route)

    assert ended.code == 0
    [line] = told(ended, "settings")
    assert line.startswith("warning settings: routes a, b send to one FIFO queue, jobs.fifo: ")
    assert line.endswith(" | mend: give them one route, with several patterns in its filter, or a queue each")


async def test_a_filter_that_can_never_match_is_a_warning(site: Site) -> None:
    ended = await site.check(POLLER_FILTER='{"detail": {"phase": ["X"]}}')

    assert ended.code == 0
    assert told(ended, "filter of route default")[1].startswith(
        "warning filter of route default: reads detail, which no record has: it can never match"
    )


# --- who does not answer ----------------------------------------------------------------------------------------------


async def test_queues_that_cannot_be_reached_hide_nothing_and_end_it_with_1(site: Site) -> None:
    ended = await site.check(AWS_ENDPOINT_URL_SQS="http://127.0.0.1:1")

    assert ended.code == 1
    (line,) = told(ended, "queue of route default")
    assert line.startswith("FAULT queue of route default: GetQueueUrl on jobs: no answer (EndpointConnectionError)")
    assert line.endswith(f" | mend: {UNREACHABLE}")
    assert told(ended, "shards")[0] == "ok shards: 1: 1 open, 0 closed"
    assert ended.lines[-1] == "2 faults, 0 warnings: something is wrong"


async def test_a_service_that_fails_is_a_fault_that_may_pass(site: Site) -> None:
    site.world.faults.add(Fault.internal(operation="Scan"))
    site.world.table(LEASES)
    ended = await site.check()

    assert ended.code == 1
    assert told(ended, "lease table")[0].endswith(" | mend: try again in a while")


async def test_one_endpoint_of_two_for_dynamodb_is_a_warning(site: Site) -> None:
    ended = await site.check(
        AWS_ENDPOINT_URL="",
        AWS_ENDPOINT_URL_DYNAMODB=site.world.url,
        AWS_ENDPOINT_URL_DYNAMODB_STREAMS="https://streams.dynamodb.us-east-1.amazonaws.com",
        AWS_ENDPOINT_URL_SQS=site.world.url,
        HTTPS_PROXY="http://127.0.0.1:1",
    )

    assert ended.code == 1
    assert told(ended, "endpoint")[-1] == (
        "warning endpoint: DynamoDB and its streams have an endpoint each, and only one of them is AWS's own"
        " | mend: set AWS_ENDPOINT_URL_DYNAMODB_STREAMS too"
    )


async def test_an_endpoint_of_s3_that_must_not_be_used_is_a_fault_where_there_is_a_bucket(site: Site) -> None:
    endpoint = {"AWS_ENDPOINT_URL_S3": "http://10.0.0.1:9000"}
    assert (await site.check(**endpoint)).code == 0
    ended = await site.check(**endpoint, POLLER_ROUTE__DEAD_LETTER_BUCKET="letters")
    assert "AWS_ENDPOINT_URL_S3=http://10.0.0.1:9000: plain http to another host" in told(ended, "endpoint")[-1]
    assert ended.code != 0


def test_without_credentials_it_says_so_and_what_it_could_not_look_at() -> None:
    none = {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}
    ended = poller("check", environment={**none, **RUN_SETTINGS})

    assert ended.code == 2
    assert told(ended, "credentials")[0].startswith(
        "FAULT credentials: no AWS credentials were found | mend: set AWS_PROF"
    )
    assert told(ended, "AWS") == ["- AWS: nothing else could be looked at"]


async def test_expired_credentials_are_said_with_their_mend(site: Site) -> None:
    site.world.faults.add(Fault.expired_token())
    ended = await site.check()

    assert ended.code == 2
    assert told(ended, "stream")[0].endswith(" | mend: renew them, and check this machine's clock")


def test_settings_that_cannot_be_used_are_one_line_and_exit_code_2() -> None:
    ended = poller("check", environment={**RUN_SETTINGS, "POLLER_FILTER": '{"eventName": "MODIFY"}'})

    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith("poller: POLLER_FILTER=")
    assert ended.err.count("\n") == 1


def test_its_help_has_an_example() -> None:
    assert "  poller check --config config/poller.toml --json" in poller("check", "--help", environment={}).out
