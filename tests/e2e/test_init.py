"""`poller init`: what it makes, what it leaves alone, and what it only says."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.e2e.command import Ended, endpoints, poller
from tests.e2e.story import dynamodb, sqs

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient
    from types_boto3_sqs import SQSClient


@dataclass
class Site:
    """Two servers, and names that nobody else has."""

    environment: dict[str, str]
    dynamodb: DynamoDBClient
    sqs: SQSClient
    table: str
    queue: str
    letters: str

    def init(self, *arguments: str, **settings: str) -> Ended:
        own = {"POLLER_TABLE": self.table, "POLLER_QUEUE": self.queue, "POLLER_DEAD_LETTER_QUEUE": self.letters}
        return poller("init", *arguments, environment={**self.environment, **own, **settings})

    def tables(self) -> list[str]:
        return [name for name in self.dynamodb.list_tables()["TableNames"] if name.startswith(self.table)]

    def queues(self) -> list[str]:
        urls = [url for name in (self.queue, self.letters) for url in self._urls(name)]
        return [url.rpartition("/")[2] for url in urls]

    def _urls(self, name: str) -> list[str]:
        return self.sqs.list_queues(QueueNamePrefix=name).get("QueueUrls", [])

    def attributes(self, queue: str) -> dict[str, str]:
        url = self.sqs.get_queue_url(QueueName=queue)["QueueUrl"]
        found = self.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
        return {str(name): value for name, value in found.items()}

    def redrive(self, queue: str) -> tuple[str, int] | None:
        """The queue's redrive policy: the target's name, and after how many receives."""
        text = self.attributes(queue).get("RedrivePolicy")
        if not text:
            return None
        policy = json.loads(text)
        return policy["deadLetterTargetArn"].rpartition(":")[2], int(policy["maxReceiveCount"])


@pytest.fixture
def make_site(unique: Callable[[str], str]) -> Callable[[str, str], Site]:
    def make(dynamodb_url: str, sqs_url: str) -> Site:
        environment = endpoints(dynamodb_url, sqs_url)
        names = (unique("Uploads"), unique("jobs"), unique("letters"))
        return Site(environment, dynamodb(dynamodb_url), sqs(sqs_url), *names)

    return make


@pytest.fixture
def real(make_site: Callable[[str, str], Site], dynamodb_local: str, elasticmq: str) -> Site:
    return make_site(dynamodb_local, elasticmq)


@pytest.fixture
def emulated(make_site: Callable[[str, str], Site], moto_server: str) -> Site:
    return make_site(moto_server, moto_server)


def words(lines: list[str]) -> list[str]:
    """The lines without their columns' widths."""
    return [" ".join(line.split()) for line in lines]


@pytest.mark.real
def test_a_dry_run_says_what_it_would_make_and_makes_nothing(real: Site) -> None:
    ended = real.init("--dry-run", "--story-table")

    assert (ended.code, ended.err) == (0, "")
    assert words(ended.lines) == [
        f"would make table {real.table}: key analysisRequestId (S), requestorId-gsi, stream NEW_IMAGE",
        f"would make lease table {real.table}-leases: key leaseKey (S), billed on demand",
        f"would make dead-letter queue {real.letters}: standard, keeps messages for 14 days",
        f"would make queue {real.queue}: standard",
        f"would set redrive policy {real.queue}: to {real.letters} after 5 receives",
    ]
    assert (real.tables(), real.queues()) == ([], [])


@pytest.mark.real
def test_it_makes_everything_once_and_leaves_it_alone_the_second_time(real: Site) -> None:
    first, second = real.init("--story-table"), real.init("--story-table")

    assert (first.code, second.code) == (0, 0)
    assert words(first.lines) == [
        f"made table {real.table}: key analysisRequestId (S), requestorId-gsi, stream NEW_IMAGE",
        f"made lease table {real.table}-leases: key leaseKey (S), billed on demand",
        f"made dead-letter queue {real.letters}: standard, keeps messages for 14 days",
        f"made queue {real.queue}: standard",
        f"set redrive policy {real.queue}: to {real.letters} after 5 receives",
    ]
    assert words(second.lines) == [
        f"exists table {real.table}: key analysisRequestId (S)",
        f"exists lease table {real.table}-leases: key leaseKey (S)",
        f"exists dead-letter queue {real.letters}: standard",
        f"exists queue {real.queue}: standard",
        f"exists redrive policy {real.queue}: to {real.letters}",
    ]
    assert sorted(real.tables()) == [real.table, f"{real.table}-leases"]
    assert real.redrive(real.queue) == (real.letters, 5)


@pytest.mark.real
def test_the_table_of_the_story_has_its_index_and_its_stream(real: Site) -> None:
    real.init("--story-table")

    table = real.dynamodb.describe_table(TableName=real.table)["Table"]
    assert [index["IndexName"] for index in table["GlobalSecondaryIndexes"]] == ["requestorId-gsi"]
    assert table["StreamSpecification"] == {"StreamEnabled": True, "StreamViewType": "NEW_IMAGE"}


@pytest.mark.real
def test_a_name_that_ends_in_fifo_is_a_fifo_queue(real: Site) -> None:
    real.queue, real.letters = f"{real.queue}.fifo", f"{real.letters}.fifo"
    ended = real.init()

    assert ended.code == 0
    assert f"made queue {real.queue}: FIFO" in words(ended.lines)
    assert real.attributes(real.queue)["FifoQueue"] == "true"
    assert real.redrive(real.queue) == (real.letters, 5)


@pytest.mark.real
def test_without_the_option_the_streams_table_is_not_made(real: Site) -> None:
    assert real.init().code == 0
    assert real.tables() == [f"{real.table}-leases"]


def test_queues_of_two_types_get_no_redrive_policy_and_that_is_said(emulated: Site) -> None:
    emulated.queue += ".fifo"
    ended = emulated.init()

    assert ended.code == 0
    assert words(ended.lines)[-1] == (
        f"left redrive policy {emulated.queue}: none: {emulated.letters} is a standard queue, this is a FIFO one"
    )
    assert emulated.redrive(emulated.queue) is None


def test_dead_letters_are_kept_for_as_long_as_sqs_can(emulated: Site) -> None:
    emulated.init()

    assert emulated.attributes(emulated.letters)["MessageRetentionPeriod"] == "1209600"


def test_a_redrive_policy_that_is_there_stays(emulated: Site, unique: Callable[[str], str]) -> None:
    other = unique("other")
    url = emulated.sqs.create_queue(QueueName=other)["QueueUrl"]
    arn = emulated.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    policy = json.dumps({"deadLetterTargetArn": arn, "maxReceiveCount": 2})
    emulated.sqs.create_queue(QueueName=emulated.queue, Attributes={"RedrivePolicy": policy})
    ended = emulated.init()

    assert words(ended.lines)[-2:] == [
        f"exists queue {emulated.queue}: standard",
        f"exists redrive policy {emulated.queue}: to {other}",
    ]
    assert emulated.redrive(emulated.queue) == (other, 2)


def test_a_queue_that_has_no_redrive_policy_yet_gets_one(emulated: Site) -> None:
    emulated.sqs.create_queue(QueueName=emulated.queue)
    ended = emulated.init()

    assert words(ended.lines)[-2:] == [
        f"exists queue {emulated.queue}: standard",
        f"set redrive policy {emulated.queue}: to {emulated.letters} after 5 receives",
    ]
    assert emulated.redrive(emulated.queue) == (emulated.letters, 5)


def test_json_has_the_same_steps(emulated: Site) -> None:
    ended = emulated.init("--json", "--dry-run")

    assert ended.json[0] == {
        "outcome": "would make",
        "what": "lease table",
        "name": f"{emulated.table}-leases",
        "detail": "key leaseKey (S), billed on demand",
    }
    assert [step["what"] for step in ended.json] == ["lease table", "dead-letter queue", "queue", "redrive policy"]


def test_a_table_that_is_no_lease_table_is_left_alone_and_ends_it(emulated: Site) -> None:
    emulated.init("--story-table")
    ended = emulated.init(POLLER_TABLE=f"{emulated.table}-2", POLLER_LEASE_TABLE=emulated.table)

    assert ended.code == 2
    assert ended.err == (
        f"poller: POLLER_LEASE_TABLE={emulated.table}: its key is analysisRequestId (S),"
        " a lease table's is leaseKey (S):"
        " name another table\n"
    )


def test_a_queue_that_is_named_by_its_url_is_not_made(emulated: Site) -> None:
    url = f"{emulated.environment['AWS_ENDPOINT_URL_SQS']}/123456789012/nowhere"
    ended = emulated.init(POLLER_QUEUE=url)

    assert ended.code == 2
    assert ended.err == (
        f'poller: POLLER_QUEUE="{url}": there is no such queue, and none is made by its URL; give its name\n'
    )


def test_a_bad_filter_is_refused_before_anything_is_made(emulated: Site) -> None:
    ended = emulated.init(POLLER_FILTER='{"eventName": "MODIFY"}')

    assert ended.code == 2
    assert ended.err.count("\n") == 1
    assert (emulated.tables(), emulated.queues()) == ([], [])


def test_a_server_that_does_not_answer_is_one_line_and_exit_code_1(emulated: Site) -> None:
    ended = emulated.init(AWS_ENDPOINT_URL_DYNAMODB="http://127.0.0.1:1")

    assert (ended.code, ended.out) == (1, "")
    assert ended.err.startswith(
        f"poller: DescribeTable on {emulated.table}-leases: no answer (EndpointConnectionError)"
    )
    assert ended.err.count("\n") == 1


def test_of_several_files_it_makes_what_each_names(emulated: Site, tmp_path: Path) -> None:
    files = {name: tmp_path / f"{name}.toml" for name in ("First", "Second")}
    for name, path in files.items():
        stream = f'[stream]\ntable = "{emulated.table}{name}"\n'
        path.write_text(f'{stream}[[route]]\nqueue = "{emulated.queue}{name}"\n', "utf-8")
    arguments = [argument for path in files.values() for argument in ("--config", str(path))]
    ended = poller("init", *arguments, environment=emulated.environment)

    assert (ended.code, ended.err) == (0, "")
    assert sorted(emulated.tables()) == [f"{emulated.table}{name}-leases" for name in files]
    assert sorted(emulated.queues()) == [f"{emulated.queue}{name}" for name in files]


def test_its_help_has_an_example() -> None:
    assert "  poller init --dry-run" in poller("init", "--help", environment={}).out
