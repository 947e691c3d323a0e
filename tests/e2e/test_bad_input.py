"""What a user has got wrong ends `poller run` with exit code 2 and one line: the setting, its value, and the mend.

And nothing has been written to AWS by then. Faults in the settings themselves are met in this process; what takes an
answer of AWS to be seen is met by processes of their own, all of them before one stand-in.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pytest
from click.testing import CliRunner

from poller.cli import commands
from tests.e2e.daemon import Daemon
from tests.standin import Fault, Remote, StandInProcess

# However slow the machine: a process that is still there by then has not seen what is wrong.
PATIENCE_S = 60.0
WRITES = ("CreateTable", "PutItem", "UpdateItem", "DeleteItem", "CreateQueue", "SendMessage", "SendMessageBatch")

SMALLEST = {"POLLER_TABLE": "Uploads", "POLLER_QUEUE": "jobs"}
TABLE_ARN = "arn:aws:dynamodb:eu-west-1:123456789012:table/Uploads"
ARN = f"{TABLE_ARN}/stream/2026-11-23T08:00:00.000"
DURATION = 'not a duration; write a number and ms, s, m, h or d, such as "250ms" or "10s"'
START = "must be TRIM_HORIZON, LATEST or a time such as 2026-11-23T08:00:00Z"
NAME_THE_STREAM = (
    "give the stream's, which ends in /stream/ and a time, or the table's name as stream.table (POLLER_TABLE)"
)
TOO_DEEP = '{"a": ' * 100 + '["x"]' + "}" * 100
TOO_LARGE = '{"eventName": ["' + "x" * 70_000 + '"]}'
NAME_THE_TABLE = "or give the table's name as stream.table (POLLER_TABLE)"


class Slip(NamedTuple):
    """One thing to get wrong: what it is, the line that answers, the variables that say it, and a settings file.

    An empty variable is left out of the environment.
    """

    name: str
    line: str
    variables: Mapping[str, str]
    file: str = ""

    def __str__(self) -> str:
        return self.name


# --- in the settings --------------------------------------------------------------------------------------------------

SETTINGS = [
    # names and files
    Slip(
        "unknown variable",
        "POLLER_LEASE_DURATION: no such setting; did you mean POLLER_LEASE__DURATION?",
        {"POLLER_LEASE_DURATION": "10s"},
    ),
    Slip(
        "unknown setting",
        "polling.idle_maximum (poller.toml, line 2): no such setting; did you mean polling.idle_max?",
        {},
        "[polling]\nidle_maximum = '1s'\n",
    ),
    Slip(
        "missing file",
        'POLLER_CONFIG="/nowhere/poller.toml": no such file; create it, or name another',
        {"POLLER_CONFIG": "/nowhere/poller.toml"},
    ),
    Slip(
        "malformed TOML",
        'POLLER_CONFIG="{config}": not valid TOML:'
        " Expected '=' after a key in a key/value pair (at line 2, column 10)",
        {},
        "[lease]\nduration 10s\n",
    ),
    # the stream
    Slip(
        "no stream",
        "POLLER_TABLE: not set; name the table, or give its stream's ARN as stream.arn (POLLER_STREAM_ARN)",
        {"POLLER_TABLE": ""},
    ),
    Slip(
        "malformed stream ARN",
        f'POLLER_STREAM_ARN="Uploads": not a stream\'s ARN; {NAME_THE_STREAM}',
        {"POLLER_TABLE": "", "POLLER_STREAM_ARN": "Uploads"},
    ),
    Slip(
        "table ARN as stream ARN",
        f'POLLER_STREAM_ARN="{TABLE_ARN}": a table\'s ARN; {NAME_THE_STREAM}',
        {"POLLER_TABLE": "", "POLLER_STREAM_ARN": TABLE_ARN},
    ),
    Slip(
        "region against ARN",
        'POLLER_STREAM__REGION="us-east-1": the stream\'s ARN is in eu-west-1; leave the region out',
        {"POLLER_TABLE": "", "POLLER_STREAM_ARN": ARN, "POLLER_STREAM__REGION": "us-east-1"},
    ),
    Slip(
        "AWS_REGION against ARN",
        f'POLLER_STREAM_ARN="{ARN}": the stream is in eu-west-1, and AWS_REGION is us-east-1;'
        " set AWS_REGION=eu-west-1, or POLLER_STREAM__REGION=eu-west-1 to leave AWS_REGION as it is",
        {"POLLER_TABLE": "", "POLLER_STREAM_ARN": ARN, "AWS_REGION": "us-east-1"},
    ),
    Slip(
        "China's partition with a commercial region",
        f'POLLER_STREAM_ARN="{ARN.replace("aws", "aws-cn")}": eu-west-1 is a region of the partition aws,'
        f" not of aws-cn; write arn:aws:..., {NAME_THE_TABLE}",
        {"POLLER_TABLE": "", "POLLER_STREAM_ARN": ARN.replace("aws", "aws-cn")},
    ),
    Slip(
        "commercial partition with a region of China",
        f'POLLER_STREAM_ARN="{ARN.replace("eu-west-1", "cn-north-1")}": cn-north-1 is a region of the partition aws-cn,'
        f" not of aws; write arn:aws-cn:..., {NAME_THE_TABLE}",
        {"POLLER_TABLE": "", "POLLER_STREAM_ARN": ARN.replace("eu-west-1", "cn-north-1")},
    ),
    Slip(
        "start time in the future",
        'POLLER_START_POSITION="2999-01-01T00:00:00Z": is in the future; write LATEST for what happens from now on',
        {"POLLER_START_POSITION": "2999-01-01T00:00:00Z"},
    ),
    Slip(
        "malformed start time",
        f'POLLER_START_POSITION="yesterday": {START}',
        {"POLLER_START_POSITION": "yesterday"},
    ),
    # leases
    Slip(
        "lease table is the source table",
        'POLLER_LEASE_TABLE="Uploads": is the stream\'s own table; lease rows need a table of their own',
        {"POLLER_LEASE_TABLE": "Uploads"},
    ),
    Slip(
        "empty worker id",
        'lease.worker_id = "" (poller.toml, line 2): must be one line of 1 to 256 characters',
        {},
        "[lease]\nworker_id = ''\n",
    ),
    Slip(
        "multi-line worker id",
        'POLLER_WORKER_ID="one\\ntwo": must be one line of 1 to 256 characters',
        {"POLLER_WORKER_ID": "one\ntwo"},
    ),
    Slip(
        "no lease duration at all",
        'POLLER_LEASE__DURATION="0s": must be from "1s" to "1h"',
        {"POLLER_LEASE__DURATION": "0s"},
    ),
    Slip(
        "negative lease duration",
        f'POLLER_LEASE__DURATION="-10s": {DURATION}',
        {"POLLER_LEASE__DURATION": "-10s"},
    ),
    Slip(
        "lease duration below three request time-outs",
        'POLLER_LEASE__DURATION="9s": must be longer than three times aws.request_timeout (3s)',
        {"POLLER_LEASE__DURATION": "9s"},
    ),
    Slip("no leases", 'POLLER_LEASE__MAX_LEASES="0": must be at least 1', {"POLLER_LEASE__MAX_LEASES": "0"}),
    # numbers and durations
    Slip(
        "page limit above the service's",
        'POLLER_POLLING__PAGE_LIMIT="1001": must be at most 1000',
        {"POLLER_POLLING__PAGE_LIMIT": "1001"},
    ),
    Slip(
        "batch above the service's",
        'POLLER_ROUTE__BATCH_SIZE="11": must be at most 10',
        {"POLLER_ROUTE__BATCH_SIZE": "11"},
    ),
    Slip(
        "duration without its unit",
        'POLLER_LEASE__DURATION="10": a duration needs its unit; write "10s" or "10ms"',
        {"POLLER_LEASE__DURATION": "10"},
    ),
    Slip(
        "duration that is not a number",
        f"checkpoint.interval = NaN (poller.toml, line 2): {DURATION}",
        {},
        "[checkpoint]\ninterval = nan\n",
    ),
    Slip(
        "rate that is not a number",
        'POLLER_POLLING__REQUESTS_PER_SECOND_PER_SHARD="NaN": must be above 0',
        {"POLLER_POLLING__REQUESTS_PER_SECOND_PER_SHARD": "NaN"},
    ),
    Slip(
        "negative number",
        'POLLER_ROUTE__MAX_ATTEMPTS="-1": must be at least 1',
        {"POLLER_ROUTE__MAX_ATTEMPTS": "-1"},
    ),
    Slip("port out of range", 'POLLER_HTTP_PORT="65536": must be at most 65535', {"POLLER_HTTP_PORT": "65536"}),
    Slip(
        "unknown log level",
        'POLLER_LOG_LEVEL="loud": must be "debug", "info", "warning" or "error"',
        {"POLLER_LOG_LEVEL": "loud"},
    ),
    # routes and filters
    Slip(
        "two routes of one name",
        'route.name = "jobs" (poller.toml, line 5): another route is named "jobs";'
        " give each [[route]] a name of its own",
        {"POLLER_QUEUE": ""},
        "[[route]]\nname = 'jobs'\nqueue = 'jobs'\n[[route]]\nname = 'jobs'\nqueue = 'other-jobs'\n",
    ),
    Slip("no route", "POLLER_QUEUE: not set; name the queue that matches are sent to", {"POLLER_QUEUE": ""}),
    Slip(
        "empty list of routes",
        "route.queue (poller.toml, line 1): not set; name the queue that matches are sent to",
        {"POLLER_QUEUE": ""},
        "route = []\n",
    ),
    Slip(
        "bad filter",
        'POLLER_FILTER="{\\"dynamodb\\": {\\"NewImage\\": {\\"phase\\": {\\"S\\": [{\\"prefixx\\": \\"F\\"}]}}}}":'
        ' dynamodb.NewImage.phase.S[0].prefixx: no such operator; did you mean "prefix"?',
        {"POLLER_FILTER": '{"dynamodb": {"NewImage": {"phase": {"S": [{"prefixx": "F"}]}}}}'},
    ),
    Slip(
        "filter that is not JSON",
        'POLLER_FILTER="{\\"eventName\\": [\\"MODIFY\\"}": not JSON:'
        " Expecting ',' delimiter: line 1 column 24 (char 23)",
        {"POLLER_FILTER": '{"eventName": ["MODIFY"}'},
    ),
    Slip(
        "too deep a filter",
        f"POLLER_FILTER={json.dumps(TOO_DEEP)[:120]}...: {'.'.join('a' * 80)}: nested deeper than 80 levels",
        {"POLLER_FILTER": TOO_DEEP},
    ),
    Slip(
        "too large a filter",
        f"POLLER_FILTER={json.dumps(TOO_LARGE)[:120]}...: the pattern has more than 65,536 characters;"
        " use several routes",
        {"POLLER_FILTER": TOO_LARGE},
    ),
]


@pytest.fixture
def _own_signals() -> Iterator[None]:
    """`poller run` takes the signals of its process, which is the tests' own here."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("_own_signals")
@pytest.mark.parametrize("slip", SETTINGS, ids=str)
def test_a_slip_in_the_settings_ends_with_2_and_one_line(slip: Slip, tmp_path: Path) -> None:
    config = tmp_path / "poller.toml"
    variables = {**SMALLEST, **slip.variables}
    if slip.file:
        config.write_text(slip.file, "utf-8")
        variables["POLLER_CONFIG"] = str(config)
    result = CliRunner().invoke(commands, ["run"], env={name: value or None for name, value in variables.items()})

    assert result.stderr == f"poller: {slip.line.replace('{config}', str(config))}\n"
    assert result.stdout == ""
    assert result.exit_code == 2


# --- in several files -------------------------------------------------------------------------------------------------

ORDERS = '[stream]\ntable = "Orders"\n[[route]]\nqueue = "orders"\n'
PAYMENTS = '[stream]\ntable = "Payments"\n[[route]]\nqueue = "payments"\n'
ONE_OF_THEM = "there are 2 files, and a variable does not say for which of them; write"
OVERWRITE = " and two applications with one overwrite each other's checkpoints; name another table"

# The second file; the first is ORDERS.
SEVERAL = [
    Slip(
        "variable for one of them",
        f'POLLER_TABLE="Uploads": {ONE_OF_THEM} stream.table into the one that is meant',
        {"POLLER_TABLE": "Uploads"},
        PAYMENTS,
    ),
    Slip(
        "variable for a route of one of them",
        f'POLLER_ROUTE__BATCH_SIZE="5": {ONE_OF_THEM} route.batch_size into the one that is meant',
        {"POLLER_ROUTE__BATCH_SIZE": "5"},
        PAYMENTS,
    ),
    Slip(
        "the same table twice",
        'stream.table = "Orders" ({second}, line 2): {first} reads a table of this name already;'
        " leave one out, or run it in another process",
        {},
        ORDERS,
    ),
    Slip(
        "one lease table for two",
        'lease.table = "Orders-leases" ({second}, line 6): Orders-leases is the lease table of {first},' + OVERWRITE,
        {},
        f'{PAYMENTS}[lease]\ntable = "Orders-leases"\n',
    ),
    Slip(
        "two ports for one process",
        "http.port = 9001 ({second}, line 6): {first}, line 6 says 9000, and there is only one for the whole process;"
        " leave it out of one of the files, or set POLLER_HTTP_PORT",
        {},
        f"{PAYMENTS}[http]\nport = 9001\n",
    ),
    Slip(
        "a fault in the second",
        "polling.idle_maximum ({second}, line 6): no such setting; did you mean polling.idle_max?",
        {},
        f'{PAYMENTS}[polling]\nidle_maximum = "1s"\n',
    ),
    Slip(
        "a filter in the second",
        'route.filter = "{}}" ({second}, line 5): not JSON: Extra data: line 1 column 3 (char 2)',
        {},
        PAYMENTS + 'filter = "{}}"\n',
    ),
]


@pytest.mark.usefixtures("_own_signals")
@pytest.mark.parametrize("slip", SEVERAL, ids=str)
def test_a_slip_in_one_of_several_files_ends_with_2_and_one_line_that_names_it(slip: Slip, tmp_path: Path) -> None:
    first, second = tmp_path / "orders.toml", tmp_path / "payments.toml"
    first.write_text(f"{ORDERS}[http]\nport = 9000\n", "utf-8")
    second.write_text(slip.file, "utf-8")
    result = CliRunner().invoke(commands, ["run", "--config", str(first), "--config", str(second)], env=slip.variables)

    line = slip.line.replace("{first}", str(first)).replace("{second}", str(second))
    assert result.stderr == f"poller: {line}\n"
    assert result.exit_code == 2


# --- in what the settings name ----------------------------------------------------------------------------------------

NO_SUCH_QUEUE = "there is no such queue in us-east-1; make it (`poller init`), or mend the name"
NOT_FOUND = "does not exist (ResourceNotFoundException): Requested resource not found"
CHECK_THE_NAME = "check its name, the region and the account"
NO_NEW_IMAGE = "it can never match; enable the stream with NEW_IMAGE or NEW_AND_OLD_IMAGES"
OTHER_ACCOUNT = "a queue of account 999999999999, but the stream is of account 000000000000: name one of that account"
CREDENTIALS = (
    "set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give the container or the instance a role"
)
USER_IS_NOT = "User: arn:aws:iam::000000000000:user/test is not authorized to perform this action"
DYNAMODB_DENIED = f"access denied (AccessDeniedException): {USER_IS_NOT}"
SQS_DENIED = f"access denied (AccessDenied): {USER_IS_NOT}"

NAMED = [
    # table and stream
    Slip(
        "table missing",
        'POLLER_TABLE="Nowhere": there is no such thing in us-east-1: DescribeTable on Nowhere: '
        f"{NOT_FOUND}: Table: Nowhere not found; {CHECK_THE_NAME}",
        {"POLLER_TABLE": "Nowhere"},
    ),
    Slip(
        "table without a stream",
        'POLLER_TABLE="NoStream": the table has no stream; enable one with NEW_AND_OLD_IMAGES',
        {"POLLER_TABLE": "NoStream"},
    ),
    Slip(
        "stream missing",
        'POLLER_STREAM_ARN="{arn}-not": there is no such thing in us-east-1: DescribeStream on Uploads: '
        f"{NOT_FOUND}: Stream: {{arn}}-not not found; {CHECK_THE_NAME}",
        {"POLLER_TABLE": "", "POLLER_STREAM_ARN": "{arn}-not"},
    ),
    Slip(
        "stream disabled",
        'POLLER_TABLE="Disabled": the stream is disabled, and Disabled-leases has no unfinished lease on it;'
        " enable the stream, or name another",
        {"POLLER_TABLE": "Disabled"},
    ),
    Slip(
        "stream disabled and read to its end",
        'POLLER_TABLE="Disabled": the stream is disabled, and Finished-leases has no unfinished lease on it;'
        " enable the stream, or name another",
        {"POLLER_TABLE": "Disabled", "POLLER_LEASE_TABLE": "Finished-leases"},
    ),
    Slip(
        "image filter on keys",
        f"POLLER_FILTER: reads NewImage, and the stream's view type is KEYS_ONLY: {NO_NEW_IMAGE}",
        {"POLLER_TABLE": "KeysOnly"},
    ),
    Slip(
        "image filter on old images",
        f"POLLER_FILTER: reads NewImage, and the stream's view type is OLD_IMAGE: {NO_NEW_IMAGE}",
        {"POLLER_TABLE": "OldImage"},
    ),
    Slip(
        "image filter and changed on keys",
        f"POLLER_FILTER: reads NewImage, and the stream's view type is KEYS_ONLY: {NO_NEW_IMAGE}",
        {"POLLER_TABLE": "KeysOnly", "POLLER_ROUTE__CHANGED": "phase"},
    ),
    Slip(
        "image message of keys",
        'POLLER_ROUTE__MESSAGE="image": the stream\'s view type is KEYS_ONLY: it has no new image; write "record",'
        " or enable the stream with NEW_IMAGE or NEW_AND_OLD_IMAGES",
        {"POLLER_TABLE": "KeysOnly", "POLLER_FILTER": "{}", "POLLER_ROUTE__MESSAGE": "image"},
    ),
    # the lease table
    Slip(
        "lease table with another key",
        "POLLER_LEASE_TABLE=KeysOnly: its key is analysisRequestId (S), a lease table's is leaseKey (S):"
        " name another table",
        {"POLLER_LEASE_TABLE": "KeysOnly"},
    ),
    Slip(
        "lease table of another stream",
        f'POLLER_LEASE_TABLE="Foreign-leases": Foreign-leases belongs to another stream ({ARN}); name another table',
        {"POLLER_LEASE_TABLE": "Foreign-leases"},
    ),
    Slip(
        "lease table that must be there",
        "POLLER_LEASE_TABLE=Uploads-leases: there is no such table in us-east-1: make it with the key leaseKey (S),"
        " or set POLLER_LEASE__CREATE=true",
        {"POLLER_LEASE__CREATE": "false"},
    ),
    # queues
    Slip("queue missing", f'POLLER_QUEUE="jbos": {NO_SUCH_QUEUE}', {"POLLER_QUEUE": "jbos"}),
    Slip(
        "queue missing by URL",
        'POLLER_QUEUE="{url}/000000000000/jbos": there is no such queue in us-east-1; make it, or mend the URL',
        {"POLLER_QUEUE": "{url}/000000000000/jbos"},
    ),
    Slip(
        "dead-letter queue missing",
        f'POLLER_DEAD_LETTER_QUEUE="dead-lettres": {NO_SUCH_QUEUE}',
        {"POLLER_DEAD_LETTER_QUEUE": "dead-lettres"},
    ),
    Slip(
        "queue of another region",
        'POLLER_QUEUE="https://sqs.eu-west-1.amazonaws.com/000000000000/jobs": a queue of eu-west-1,'
        " but the region is us-east-1: name one of us-east-1",
        {"POLLER_QUEUE": "https://sqs.eu-west-1.amazonaws.com/000000000000/jobs"},
    ),
    Slip(
        "queue of another account",
        f'POLLER_QUEUE="{{url}}/999999999999/jobs": {OTHER_ACCOUNT}',
        {"POLLER_QUEUE": "{url}/999999999999/jobs"},
    ),
    Slip(
        "dead-letter queue of another account",
        f'POLLER_DEAD_LETTER_QUEUE="{{url}}/999999999999/dead-letters": {OTHER_ACCOUNT}',
        {"POLLER_DEAD_LETTER_QUEUE": "{url}/999999999999/dead-letters"},
    ),
    # endpoints and ports
    Slip(
        "plain http to another host",
        "AWS_ENDPOINT_URL=http://10.0.0.1:8000: plain http to another host: use https,"
        " or set POLLER_ALLOW_INSECURE_ENDPOINTS=true",
        {"AWS_ENDPOINT_URL": "http://10.0.0.1:8000"},
    ),
    Slip(
        "link-local endpoint",
        "AWS_ENDPOINT_URL_SQS=https://169.254.169.254: a link-local address, where instances keep their credentials:"
        " name the service's own endpoint",
        {"AWS_ENDPOINT_URL_SQS": "https://169.254.169.254"},
    ),
    Slip(
        "plain http to another host's buckets",
        "AWS_ENDPOINT_URL_S3=http://10.0.0.1:9000: plain http to another host: use https,"
        " or set POLLER_ALLOW_INSECURE_ENDPOINTS=true",
        {"AWS_ENDPOINT_URL_S3": "http://10.0.0.1:9000", "POLLER_ROUTE__DEAD_LETTER_BUCKET": "letters"},
    ),
    Slip(
        "metrics port taken",
        "http.port = {port}: another process listens there on 127.0.0.1; choose another one (POLLER_HTTP_PORT),"
        " or 0 for any that is free",
        {"POLLER_HTTP_PORT": "{port}"},
    ),
    Slip(
        "metrics on another machine",
        'http.host = "192.0.2.1": not an address of this machine; choose one that is, such as "127.0.0.1"',
        {"POLLER_HTTP_HOST": "192.0.2.1"},
    ),
    # credentials and permissions
    Slip(
        "no region",
        "AWS_REGION is not set, and no profile names a region: set it, for instance AWS_REGION=eu-west-1",
        {"AWS_REGION": "", "AWS_DEFAULT_REGION": ""},
    ),
    Slip(
        "no credentials",
        f"no AWS credentials were found: {CREDENTIALS}",
        {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""},
    ),
    Slip(
        "half of the credentials",
        "GetCredentials on AWS: no usable AWS credentials (PartialCredentialsError):"
        f" Partial credentials found in env, missing: AWS_SECRET_ACCESS_KEY; {CREDENTIALS}",
        {"AWS_SECRET_ACCESS_KEY": ""},
    ),
    Slip(
        "unknown profile",
        "AWS_PROFILE=nobody: The config profile (nobody) could not be found: name another or mend the file",
        {"AWS_PROFILE": "nobody"},
    ),
    Slip(
        "expired credentials",
        "DescribeTable on Uploads: the credentials have expired (ExpiredTokenException):"
        " The security token included in the request is expired; renew them, and check this machine's clock",
        {},
    ),
    Slip(
        "wrong credentials",
        "DescribeTable on Uploads: the credentials are not accepted (UnrecognizedClientException):"
        " The security token included in the request is invalid;"
        " check the access key, the region and this machine's clock",
        {},
    ),
    Slip(
        "table denied",
        f"DescribeTable on Uploads: {DYNAMODB_DENIED};"
        " allow dynamodb:DescribeTable on arn:aws:dynamodb:us-east-1:*:table/Uploads",
        {},
    ),
    Slip(
        "stream denied",
        f"DescribeStream on Uploads: {DYNAMODB_DENIED}; allow dynamodb:DescribeStream on {{arn}}",
        {"POLLER_TABLE": "", "POLLER_STREAM_ARN": "{arn}"},
    ),
    Slip(
        "queue denied",
        f"GetQueueUrl on jobs: {SQS_DENIED}; allow sqs:GetQueueUrl on arn:aws:sqs:us-east-1:*:jobs",
        {},
    ),
    Slip(
        "queue's attributes denied",
        f"GetQueueAttributes on jobs: {SQS_DENIED}; allow sqs:GetQueueAttributes on arn:aws:sqs:us-east-1:*:jobs",
        {},
    ),
    Slip(
        "making the lease table denied",
        f"CreateTable on Uploads-leases: {DYNAMODB_DENIED};"
        " allow dynamodb:CreateTable on arn:aws:dynamodb:us-east-1:*:table/Uploads-leases",
        {},
    ),
    Slip(
        "reading the lease table denied",
        f"Scan on Finished-leases: {DYNAMODB_DENIED};"
        " allow dynamodb:Scan on arn:aws:dynamodb:us-east-1:*:table/Finished-leases",
        {"POLLER_LEASE_TABLE": "Finished-leases"},
    ),
]


class Outcome(NamedTuple):
    """What became of a process."""

    exit_code: int
    stderr: str


class Place:
    """The stand-in with everything that the slips are about. Each slip has an access key of its own: its name."""

    def __init__(self, remote: Remote) -> None:
        self.remote = remote
        arn = remote.stream("Uploads").arn
        self.placeholders = {"{arn}": arn, "{url}": remote.url, "{port}": remote.url.rpartition(":")[2]}
        for table, view_type in (("KeysOnly", "KEYS_ONLY"), ("OldImage", "OLD_IMAGE"), ("Disabled", "NEW_IMAGE")):
            remote.stream(table, view_type=view_type)
        remote.disable("Disabled")
        for queue in ("jobs", "dead-letters"):
            remote.queue(queue)
        for table, row in (
            ("NoStream", {}),
            ("Foreign-leases", {"checkpoint": "TRIM_HORIZON", "streamArn": ARN}),
            ("Finished-leases", {"checkpoint": "SHARD_END"}),
        ):
            item = {name: {"S": value} for name, value in {"leaseKey": "shardId-1", **row}.items()}
            remote.do("put_row", table=table, item={**item, "leaseCounter": {"N": "1"}})
        self._deny()

    def _deny(self) -> None:
        for fault in (
            # Of all the requests that are refused, the one that is answered first is told of: only one shall be.
            Fault.expired_token(operation="DescribeTable", access_key="expired credentials"),
            Fault(
                operation="DescribeTable",
                code="UnrecognizedClientException",
                status=400,
                message="The security token included in the request is invalid.",
                access_key="wrong credentials",
            ),
            Fault.access_denied(operation="DescribeTable", table="Uploads", access_key="table denied"),
            Fault.access_denied(operation="DescribeStream", access_key="stream denied"),
            Fault.access_denied(operation="GetQueueUrl", status=403, access_key="queue denied"),
            Fault.access_denied(operation="GetQueueAttributes", status=403, access_key="queue's attributes denied"),
            Fault.access_denied(operation="CreateTable", access_key="making the lease table denied"),
            Fault.access_denied(operation="Scan", access_key="reading the lease table denied"),
        ):
            self.remote.fault(fault)

    def filled(self, text: str) -> str:
        for placeholder, value in self.placeholders.items():
            text = text.replace(placeholder, value)
        return text

    def environment(self, name: str, variables: Mapping[str, str]) -> dict[str, str]:
        """The environment of a process with that access key."""
        usual = {**self.remote.env(name), **SMALLEST, "POLLER_DEAD_LETTER_QUEUE": "dead-letters"}
        usual |= {"POLLER_HTTP_PORT": "0", "PATH": os.environ["PATH"]}
        usual |= {name: self.filled(value) for name, value in variables.items()}
        return {name: value for name, value in usual.items() if value}

    def run(self, slip: Slip) -> Outcome:
        process = subprocess.run(
            [sys.executable, "-m", "poller", "run"],
            env=self.environment(slip.name, slip.variables),
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
        return Outcome(process.returncode, process.stderr)

    def written(self, name: str) -> list[str]:
        """The operations by which a process with that access key has changed something."""
        calls = (call for operation in WRITES for call in self.remote.calls(operation))
        return [call.operation for call in calls if call.access_key == name and call.outcome == "OK"]


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    with StandInProcess() as remote:
        yield Place(remote)


@pytest.fixture(scope="module")
def outcome(place: Place, request: pytest.FixtureRequest) -> Iterator[Callable[[Slip], Outcome]]:
    """What became of a slip's process. All that are wanted run at the same time, a few at once."""
    wanted = [item.callspec.params.get("named") for item in request.session.items if hasattr(item, "callspec")]
    with ThreadPoolExecutor(max_workers=3) as threads:
        runs: dict[str, Future[Outcome]] = {
            slip.name: threads.submit(place.run, slip) for slip in wanted if isinstance(slip, Slip)
        }
        yield lambda slip: runs[slip.name].result()


@pytest.mark.parametrize("named", NAMED, ids=str)
def test_a_slip_in_what_the_settings_name_ends_with_2_and_one_line(
    named: Slip, place: Place, outcome: Callable[[Slip], Outcome]
) -> None:
    assert outcome(named) == Outcome(2, f"poller: {place.filled(named.line)}\n")
    assert place.written(named.name) == []


def test_a_filter_on_a_name_that_no_record_has_is_a_warning(place: Place, tmp_path: Path) -> None:
    pattern = '{"dynamodb": {"newImage": {"phase": {"S": ["FILE_UPLOAD_COMPLETE"]}}}}'
    with Daemon(place.environment("misspelt", {"POLLER_FILTER": pattern}), tmp_path / "log.jsonl") as daemon:
        daemon.wait_for("daemon_ready")
        daemon.terminate()

    [doubt] = daemon.events("settings_doubtful")
    assert doubt["text"].startswith(
        "the filter of route default reads dynamodb.newImage, which no record has: it can never match; a record has"
    )


def test_changed_without_old_images_is_a_warning(place: Place, tmp_path: Path) -> None:
    with Daemon(place.environment("changed", {"POLLER_ROUTE__CHANGED": "phase"}), tmp_path / "log.jsonl") as daemon:
        daemon.wait_for("daemon_ready")
        daemon.wait_for("lease_taken")
        code, _ = daemon.terminate()

    [doubt] = daemon.events("settings_doubtful")
    assert doubt["text"] == (
        "route default: changed = ['phase'] needs old images, and the stream's view type is NEW_IMAGE:"
        " every MODIFY counts as a change"
    )
    assert code == 0
    assert place.written("changed")  # so that those who have written nothing have been looked at rightly
