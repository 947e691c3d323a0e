"""Settings that cannot work: each is refused with one line that names the setting, its value and the mend."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from poller.errors import ConfigurationError
from poller.settings import InvalidSettings, load
from poller.settings.origins import masked

SMALLEST = {"POLLER_TABLE": "Uploads", "POLLER_QUEUE": "jobs"}
NOW = 1_795_420_800.0  # 2026-11-23T08:00:00Z
ARN = "arn:aws:dynamodb:eu-west-1:123456789012:table/Uploads"
ATTRIBUTES = '"eventName", "eventID", "table", "sequenceNumber" and "shardId"'

DURATION = 'not a duration; write a number and ms, s, m, h or d, such as "250ms" or "10s"'
QUEUE = 'neither a queue\'s name nor its URL; a name is 1 to 80 of a-z, A-Z, 0-9, "_" and "-"'
TABLE = 'not a table\'s name: 3 to 255 of a-z, A-Z, 0-9, "_", "-" and "."'
KUBERNETES = (
    'Kubernetes sets it for a service named "poller": '
    "set enableServiceLinks to false in the pod's spec, or name the service otherwise"
)
NOT_A_LIST = "not a valid JSON list: Expecting property name enclosed in double quotes at"
START = "must be TRIM_HORIZON, LATEST or a time such as 2026-11-23T08:00:00Z"

ENVIRONMENT: list[tuple[dict[str, str], str]] = [
    # names
    ({"POLLER_TABEL": "x"}, "POLLER_TABEL: no such setting; did you mean POLLER_TABLE?"),
    ({"POLLER_DLQ_NAME_X": "x"}, "POLLER_DLQ_NAME_X: no such setting; config/poller.toml lists them all"),
    ({"POLLER_LEASE_DURATION": "x"}, "POLLER_LEASE_DURATION: no such setting; did you mean POLLER_LEASE__DURATION?"),
    ({"POLLER_STREAM__TABLE": "x"}, "POLLER_STREAM__TABLE: no such setting; did you mean POLLER_TABLE?"),
    ({"POLLER_STREAM_TABLE": "x"}, "POLLER_STREAM_TABLE: no such setting; did you mean POLLER_TABLE?"),
    ({"POLLER_ROUTE_QUEUE": "x"}, "POLLER_ROUTE_QUEUE: no such setting; did you mean POLLER_QUEUE?"),
    ({"POLLER_CONFG": "x"}, "POLLER_CONFG: no such setting; did you mean POLLER_CONFIG?"),
    ({"POLLER_PORT_9464_TCP": "tcp://10.0.0.1:9464"}, f"POLLER_PORT_9464_TCP: no such setting; {KUBERNETES}"),
    # durations and sizes
    (
        {"POLLER_LEASE__DURATION": "10"},
        'POLLER_LEASE__DURATION="10": a duration needs its unit; write "10s" or "10ms"',
    ),
    ({"POLLER_LEASE__DURATION": ""}, f'POLLER_LEASE__DURATION="": {DURATION}'),
    ({"POLLER_LEASE__DURATION": "-10s"}, f'POLLER_LEASE__DURATION="-10s": {DURATION}'),
    ({"POLLER_LEASE__DURATION": "NaN"}, f'POLLER_LEASE__DURATION="NaN": {DURATION}'),
    ({"POLLER_LEASE__DURATION": "infs"}, f'POLLER_LEASE__DURATION="infs": {DURATION}'),
    ({"POLLER_LEASE__DURATION": "10 sec"}, f'POLLER_LEASE__DURATION="10 sec": {DURATION}'),
    ({"POLLER_LEASE__DURATION": "0s"}, 'POLLER_LEASE__DURATION="0s": must be from "1s" to "1h"'),
    ({"POLLER_LEASE__DURATION": "2d"}, 'POLLER_LEASE__DURATION="2d": must be from "1s" to "1h"'),
    (
        {"POLLER_LEASE__DURATION": "9s"},
        'POLLER_LEASE__DURATION="9s": must be longer than three times aws.request_timeout (3s)',
    ),
    (
        {"POLLER_AWS__CONNECT_TIMEOUT": "4s"},
        'POLLER_AWS__CONNECT_TIMEOUT="4s": must be below a third of lease.duration (10s)',
    ),
    (
        {"POLLER_AWS__REQUEST_TIMEOUT": "4s"},
        'POLLER_AWS__REQUEST_TIMEOUT="4s": must be below a third of lease.duration (10s)',
    ),
    (
        {"POLLER_POLLING__IDLE_MIN": "2s"},
        'POLLER_POLLING__IDLE_MIN="2s": polling.idle_min must not be longer than polling.idle_max',
    ),
    (
        {"POLLER_POLLING__IDLE_MAX": "1ms"},
        'POLLER_POLLING__IDLE_MAX="1ms": polling.idle_min must not be longer than polling.idle_max',
    ),
    (
        {"POLLER_POLLING__BUFFER_MAX": "64"},
        'POLLER_POLLING__BUFFER_MAX="64": a size needs its unit; write "64MiB" or "64KiB"',
    ),
    (
        {"POLLER_POLLING__BUFFER_MAX": "67108864"},
        'POLLER_POLLING__BUFFER_MAX="67108864": a size needs its unit; write "67108864B"',
    ),
    (
        {"POLLER_POLLING__BUFFER_MAX": "64MB"},
        'POLLER_POLLING__BUFFER_MAX="64MB": not a size; write a whole number and B, KiB, MiB or GiB, such as "64MiB"',
    ),
    ({"POLLER_POLLING__BUFFER_MAX": "1KiB"}, 'POLLER_POLLING__BUFFER_MAX="1KiB": must be from "1MiB" to "64GiB"'),
    # numbers and words
    ({"POLLER_LEASE__MAX_LEASES": "0"}, 'POLLER_LEASE__MAX_LEASES="0": must be at least 1'),
    ({"POLLER_LEASE__MAX_LEASES": "two"}, 'POLLER_LEASE__MAX_LEASES="two": must be a whole number'),
    ({"POLLER_POLLING__PAGE_LIMIT": "1001"}, 'POLLER_POLLING__PAGE_LIMIT="1001": must be at most 1000'),
    ({"POLLER_POLLING__PAGE_LIMIT": "1.5"}, 'POLLER_POLLING__PAGE_LIMIT="1.5": must be a whole number'),
    (
        {"POLLER_POLLING__REQUESTS_PER_SECOND_PER_SHARD": "nan"},
        'POLLER_POLLING__REQUESTS_PER_SECOND_PER_SHARD="nan": must be above 0',
    ),
    (
        {"POLLER_POLLING__REQUESTS_PER_SECOND_PER_SHARD": "0"},
        'POLLER_POLLING__REQUESTS_PER_SECOND_PER_SHARD="0": must be above 0',
    ),
    (
        {"POLLER_POLLING__REQUESTS_PER_SECOND_PER_SHARD": "1001"},
        'POLLER_POLLING__REQUESTS_PER_SECOND_PER_SHARD="1001": must be at most 1000',
    ),
    ({"POLLER_ROUTE__MESSAGES_PER_SECOND": "inf"}, 'POLLER_ROUTE__MESSAGES_PER_SECOND="inf": must be a finite number'),
    ({"POLLER_ROUTE__BATCH_SIZE": "11"}, 'POLLER_ROUTE__BATCH_SIZE="11": must be at most 10'),
    ({"POLLER_HTTP_PORT": "65536"}, 'POLLER_HTTP_PORT="65536": must be at most 65535'),
    ({"POLLER_HTTP_PORT": "-1"}, 'POLLER_HTTP_PORT="-1": must be at least 0'),
    ({"POLLER_HTTP_HOST": "a b"}, 'POLLER_HTTP_HOST="a b": not a host name or address, such as "127.0.0.1"'),
    ({"POLLER_LOG_LEVEL": "loud"}, 'POLLER_LOG_LEVEL="loud": must be "debug", "info", "warning" or "error"'),
    ({"POLLER_LOG_FORMAT": "xml"}, 'POLLER_LOG_FORMAT="xml": must be "auto", "json" or "console"'),
    ({"POLLER_METRICS__PER_SHARD": "perhaps"}, 'POLLER_METRICS__PER_SHARD="perhaps": must be true or false'),
    ({"POLLER_ALLOW_INSECURE_ENDPOINTS": ""}, 'POLLER_ALLOW_INSECURE_ENDPOINTS="": must be true or false'),
    # names of things
    ({"POLLER_TABLE": ""}, f'POLLER_TABLE="": {TABLE}'),
    ({"POLLER_TABLE": "a b c"}, f'POLLER_TABLE="a b c": {TABLE}'),
    ({"POLLER_QUEUE": "jobs.fif"}, f'POLLER_QUEUE="jobs.fif": {QUEUE}'),
    ({"POLLER_QUEUE": "arn:aws:sqs:eu-west-1:1:jobs"}, f'POLLER_QUEUE="arn:aws:sqs:eu-west-1:1:jobs": {QUEUE}'),
    (
        {"POLLER_QUEUE": "http://[::1/1/jobs"},
        'POLLER_QUEUE="http://[::1/1/jobs": not the URL of a queue: write it as https://HOST/ACCOUNT/NAME',
    ),
    (
        {"POLLER_DEAD_LETTER_QUEUE": "jobs"},
        'POLLER_DEAD_LETTER_QUEUE="jobs": is the route\'s queue itself; name another one',
    ),
    (
        {"POLLER_DEAD_LETTER_QUEUE": "http://127.0.0.1:9324/1/jobs"},
        'POLLER_DEAD_LETTER_QUEUE="http://127.0.0.1:9324/1/jobs": is the route\'s queue itself; name another one',
    ),
    (
        {"POLLER_LEASE_TABLE": "Uploads"},
        'POLLER_LEASE_TABLE="Uploads": is the stream\'s own table; lease rows need a table of their own',
    ),
    ({"POLLER_WORKER_ID": ""}, 'POLLER_WORKER_ID="": must be one line of 1 to 256 characters'),
    ({"POLLER_WORKER_ID": " "}, 'POLLER_WORKER_ID=" ": must be one line of 1 to 256 characters'),
    ({"POLLER_WORKER_ID": "a\nb"}, 'POLLER_WORKER_ID="a\\nb": must be one line of 1 to 256 characters'),
    (
        {"POLLER_ROUTE__DEAD_LETTER_BUCKET": "A"},
        'POLLER_ROUTE__DEAD_LETTER_BUCKET="A": not a bucket\'s name: 3 to 63 of a-z, 0-9, "-" and "."',
    ),
    (
        {"POLLER_ROUTE__NAME": "my route"},
        'POLLER_ROUTE__NAME="my route": must be 1 to 64 of a-z, A-Z, 0-9, "_" and "-"',
    ),
    ({"POLLER_ROUTE__CHANGED": "phase,phase"}, 'POLLER_ROUTE__CHANGED="phase,phase": names "phase" twice'),
    (
        {"POLLER_ROUTE__CHANGED": '["phase"'},
        'POLLER_ROUTE__CHANGED="[\\"phase\\"": not a valid JSON list: Expecting \',\' delimiter at character 9',
    ),
    (
        {"POLLER_ROUTE__ATTRIBUTES": "eventid"},
        f'POLLER_ROUTE__ATTRIBUTES="eventid": "eventid" is none of {ATTRIBUTES}',
    ),
    (
        {"POLLER_ROUTE__ATTRIBUTES": "eventName,foo"},
        f'POLLER_ROUTE__ATTRIBUTES="eventName,foo": "foo" is none of {ATTRIBUTES}',
    ),
    # stream and start
    (
        {"POLLER_STREAM_ARN": f"{ARN}/stream/2026"},
        f'POLLER_STREAM_ARN="{ARN}/stream/2026": the table is set as well; leave one of the two out',
    ),
    ({"POLLER_START_POSITION": "latest"}, f'POLLER_START_POSITION="latest": {START}'),
    ({"POLLER_START_POSITION": "2026-13-01T00:00:00Z"}, f'POLLER_START_POSITION="2026-13-01T00:00:00Z": {START}'),
    (
        {"POLLER_START_POSITION": "2026-11-23T07:00:00"},
        'POLLER_START_POSITION="2026-11-23T07:00:00": a time needs its zone, such as 2026-11-23T08:00:00Z',
    ),
    (
        {"POLLER_START_POSITION": "2026-11-23T08:00:01Z"},
        'POLLER_START_POSITION="2026-11-23T08:00:01Z": is in the future; write LATEST for what happens from now on',
    ),
    (
        {"POLLER_START_POSITION": "0001-01-01T00:00:00+14:00"},
        'POLLER_START_POSITION="0001-01-01T00:00:00+14:00": is before 1970; write TRIM_HORIZON for all that there is',
    ),
    # filter
    ({"POLLER_FILTER": "[1]"}, 'POLLER_FILTER="[1]": a pattern is a JSON object, such as {"eventName": ["INSERT"]}'),
    ({"POLLER_FILTER": "[{]"}, f'POLLER_FILTER="[{{]": {NOT_A_LIST} character 3'),
    ({"POLLER_FILTER": '[{"a": [NaN]}]'}, 'POLLER_FILTER="[{\\"a\\": [NaN]}]": NaN is no JSON value'),
    ({"POLLER_ROUTE__CHANGED": "a\nb,a\nb"}, 'POLLER_ROUTE__CHANGED="a\\nb,a\\nb": names "a\\nb" twice'),
    ({"POLLER_FILTER": '[{"a": [1], "a": [2]}]'}, 'POLLER_FILTER="[{\\"a\\": [1], \\"a\\": [2]}]": names "a" twice'),
]


@pytest.mark.parametrize(("variables", "line"), ENVIRONMENT, ids=[line[:60] for _, line in ENVIRONMENT])
def test_a_bad_variable_is_refused_with_one_line(variables: dict[str, str], line: str) -> None:
    with pytest.raises(ConfigurationError) as refusal:
        load(SMALLEST | variables, None, now=NOW)
    assert str(refusal.value) == line


FILES: list[tuple[str, str]] = [
    (
        "[lease]\nduration = 10\n",
        'lease.duration = 10 (poller.toml, line 2): a duration needs its unit; write "10s" or "10ms"',
    ),
    ("[lease]\nduration = nan\n", f"lease.duration = NaN (poller.toml, line 2): {DURATION}"),
    (
        "[lease]\nduraton = '10s'\n",
        "lease.duraton (poller.toml, line 2): no such setting; did you mean lease.duration?",
    ),
    (
        "[lease]\ninterval = '10s'\n",
        "lease.interval (poller.toml, line 2): no such setting; did you mean checkpoint.interval?",
    ),
    ("[leases]\ntable = 'x'\n", "leases (poller.toml, line 1): no such setting; did you mean lease?"),
    ("table = 'x'\n", "table (poller.toml, line 1): no such setting; did you mean stream.table?"),
    ('"a\\nb" = 1\n', '"a\\nb" (poller.toml): no such setting; config/poller.toml lists them all'),
    ('"" = 1\n', '"" (poller.toml): no such setting; config/poller.toml lists them all'),
    ("lease = 5\n", "lease (poller.toml, line 1): must be a table: write [lease]"),
    ("[route]\nqueue = 'x'\n", "route (poller.toml, line 1): must be a table: write [[route]]"),
    ("lease.max_leases = 0\n", "lease.max_leases = 0 (poller.toml, line 1): must be at least 1"),
    ("[lease]\nmax_leases = true\n", "lease.max_leases = true (poller.toml, line 2): must be a number"),
    ("[http]\nhost = 5\n", "http.host = 5 (poller.toml, line 2): must be text"),
    (
        "[[route]]\n[[route]]\nqeue = 'x'\n",
        "route.qeue (poller.toml, line 3): no such setting; did you mean route.queue?",
    ),
    (
        "[stream]\n\n[[route]]\nname = 'a'\nqueue = 'a'\n[[route]]\nname = 'a'\nqueue = 'b'\n",
        'route.name = "a" (poller.toml, line 7): another route is named "a"; give each [[route]] a name of its own',
    ),
    (
        "[[route]]\nqueue = 'a'\n[[route]]\nqueue = 'b'\n",
        'route.name (poller.toml, line 3): another route is named "default"; give each [[route]] a name of its own',
    ),
    (
        "[[route]]\nqueue = 'a'\n[[route]]\nname = 'b'\n",
        "route.queue (poller.toml, line 3): not set; name the queue that matches are sent to",
    ),
    (
        "[[route]]\nqueue = 'a'\nfilter = ['{}', 5]\n",
        'route.filter = ["{}", 5] (poller.toml, line 3): a pattern is a JSON object, such as {"eventName": ["INSERT"]}',
    ),
]


@pytest.mark.parametrize(("text", "line"), FILES, ids=[line[:60] for _, line in FILES])
def test_a_bad_setting_in_the_file_is_refused_with_its_line(text: str, line: str, tmp_path: Path) -> None:
    file = tmp_path / "poller.toml"
    file.write_text(text, "utf-8")
    with pytest.raises(ConfigurationError) as refusal:
        load({"POLLER_TABLE": "Uploads"} if "[[route]]" in text else SMALLEST, file, now=NOW)
    assert str(refusal.value) == line


STREAM_MEND = "give the stream's, which ends in /stream/ and a time, or the table's name as stream.table (POLLER_TABLE)"
STREAMS: list[tuple[dict[str, str], str]] = [
    ({}, "POLLER_TABLE: not set; name the table, or give its stream's ARN as stream.arn (POLLER_STREAM_ARN)"),
    ({"POLLER_STREAM_ARN": ARN}, f'POLLER_STREAM_ARN="{ARN}": a table\'s ARN; {STREAM_MEND}'),
    ({"POLLER_STREAM_ARN": "Uploads"}, f'POLLER_STREAM_ARN="Uploads": not a stream\'s ARN; {STREAM_MEND}'),
    (
        {"POLLER_STREAM_ARN": f"{ARN}/stream/2026", "POLLER_STREAM__REGION": "us-east-1"},
        'POLLER_STREAM__REGION="us-east-1": the stream\'s ARN is in eu-west-1; leave the region out',
    ),
]


@pytest.mark.parametrize(("variables", "line"), STREAMS, ids=[line[:60] for _, line in STREAMS])
def test_a_stream_that_is_not_named_well_is_refused(variables: dict[str, str], line: str) -> None:
    with pytest.raises(ConfigurationError) as refusal:
        load({"POLLER_QUEUE": "jobs"} | variables, None, now=NOW)
    assert str(refusal.value) == line


def test_a_queue_that_is_missing_is_asked_for_where_its_user_writes_settings(tmp_path: Path) -> None:
    file = tmp_path / "poller.toml"
    file.write_text("[log]\n", "utf-8")
    for config, where in ((None, "POLLER_QUEUE"), (file, "route.queue (poller.toml)")):
        with pytest.raises(ConfigurationError) as refusal:
            load({"POLLER_TABLE": "Uploads"}, config)
        assert str(refusal.value) == f"{where}: not set; name the queue that matches are sent to"


def test_a_variable_for_a_route_is_refused_when_there_are_several(tmp_path: Path) -> None:
    file = tmp_path / "poller.toml"
    file.write_text("[[route]]\nname = 'a'\nqueue = 'a'\n[[route]]\nname = 'b'\nqueue = 'b'\n", "utf-8")
    with pytest.raises(ConfigurationError) as refusal:
        load(SMALLEST, file)
    assert str(refusal.value) == (
        'POLLER_QUEUE="jobs": poller.toml has 2 routes and a variable does not say which; '
        "set it in the [[route]] that is meant"
    )


def test_malformed_toml_is_refused_with_its_line(tmp_path: Path) -> None:
    file = tmp_path / "poller.toml"
    file.write_text("[lease]\nduration 10s\n", "utf-8")
    with pytest.raises(ConfigurationError) as refusal:
        load(SMALLEST, file)
    told = str(refusal.value)
    assert told.startswith(f"--config {file}: not valid TOML: ")
    assert "(at line 2, column 10)" in told


@pytest.mark.parametrize("integer", ["9" * 5_000, "0x" + "f" * 5_000])
def test_an_integer_longer_than_python_reads_or_writes_is_refused(integer: str, tmp_path: Path) -> None:
    file = tmp_path / "poller.toml"
    file.write_text(f"[lease]\nmax_leases = {integer}\n", "utf-8")
    with pytest.raises(ConfigurationError) as refusal:
        load(SMALLEST, file)
    assert str(refusal.value) == f"--config {file}: not valid TOML: an integer has thousands of digits"


def test_a_file_that_cannot_be_read_is_refused_by_the_name_its_user_gave(tmp_path: Path) -> None:
    missing, latin = tmp_path / "missing.toml", tmp_path / "latin.toml"
    latin.write_bytes(b'[lease]\ntable = "\xe9"\n')
    refusals: list[tuple[dict[str, str], Path | None, str]] = [
        ({}, missing, f"--config {missing}: no such file; create it, or name another"),
        (
            {"POLLER_CONFIG": str(missing)},
            None,
            f'POLLER_CONFIG="{missing}": no such file; create it, or name another',
        ),
        (
            {"POLLER_CONFIG": str(missing)},
            missing,
            f'POLLER_CONFIG="{missing}": no such file; create it, or name another',
        ),
        ({"POLLER_CONFIG": ""}, None, 'POLLER_CONFIG="": empty; name a TOML file, or do not set it'),
        ({}, tmp_path, f"--config {tmp_path}: cannot be read: Is a directory"),
        ({}, latin, f"--config {latin}: not UTF-8 at byte 18; TOML is UTF-8 text"),
    ]
    for environ, config, line in refusals:
        with pytest.raises(ConfigurationError) as refusal:
            load(SMALLEST | environ, config)
        assert str(refusal.value) == line


def test_several_faults_are_one_line_that_counts_them_and_a_list_that_names_them() -> None:
    with pytest.raises(InvalidSettings) as refusal:
        load(SMALLEST | {"POLLER_LOG_LEVEL": "loud", "POLLER_HTTP_PORT": "x"}, None)
    assert str(refusal.value) == 'POLLER_HTTP_PORT="x": must be a whole number (and 1 more)'
    assert refusal.value.faults == (
        'POLLER_HTTP_PORT="x": must be a whole number',
        'POLLER_LOG_LEVEL="loud": must be "debug", "info", "warning" or "error"',
    )


def test_the_value_of_an_unknown_variable_is_not_repeated_since_it_may_be_a_secret() -> None:
    with pytest.raises(ConfigurationError) as refusal:
        load(SMALLEST | {"POLLER_SECRET_ACCESS_KEY": "hunter2"}, None)
    assert "hunter2" not in str(refusal.value)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://user:pass/word@host/q", "https://***@host/q"),
        ("https://user:p@ss@word@host/q", "https://***@host/q"),
        ("https://user:pass word@host/q", "https://***@host/q"),
        ('https://user:pass"word@host/q', "https://***@host/q"),
        (" https://pass/word@host/q", " https://***@host/q"),
        ("see https://user:word@host/q", "see https://***@host/q"),
        ("https://host/q", "https://host/q"),
        ("someone@host", "someone@host"),
    ],
)
def test_whatever_stands_before_the_host_of_a_url_is_masked(url: str, shown: str) -> None:
    assert masked(url) == shown
    assert masked(json.dumps([url, "a@b"])) == json.dumps([shown, "a@b"])


def test_passwords_in_a_refused_value_are_masked_and_long_values_cut() -> None:
    with pytest.raises(ConfigurationError) as refusal:
        load(SMALLEST | {"POLLER_QUEUE": "https://user:hunter2@host/ with spaces"}, None)
    assert str(refusal.value) == f'POLLER_QUEUE="https://***@host/ with spaces": {QUEUE}'
    with pytest.raises(ConfigurationError) as refusal:
        load(SMALLEST | {"POLLER_WORKER_ID": "w" * 1000}, None)
    assert str(refusal.value) == f'POLLER_WORKER_ID="{"w" * 119}...: must be one line of 1 to 256 characters'


def test_a_setting_that_proves_wrong_later_is_named_as_its_user_wrote_it(tmp_path: Path) -> None:
    file = tmp_path / "poller.toml"
    file.write_text("[stream]\n[[route]]\nfilter = ['{\"a\": 1}']\n", "utf-8")
    settings = load(SMALLEST, file)
    assert str(settings.fault("route.0.filter", "a is no list; write [1]")) == (
        'route.filter = ["{\\"a\\": 1}"] (poller.toml, line 3): a is no list; write [1]'
    )
    assert str(settings.fault("route.0.queue", "no such queue")) == 'POLLER_QUEUE="jobs": no such queue'
