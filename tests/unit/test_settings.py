"""Settings that work: where they come from, which source goes first, and what they mean."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import tomllib
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest
from pydantic import ValidationError

from poller.decide.filter import DEFAULT_PATTERN
from poller.model import Position
from poller.settings import RouteSettings, Settings, describe, load
from poller.settings.sources import sections, variables
from poller.settings.units import format_duration, format_size, parse_duration, parse_size

CONFIG = Path(__file__).parents[2] / "config"
SMALLEST = {"POLLER_TABLE": "Uploads", "POLLER_QUEUE": "jobs"}

WriteFile = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path) -> WriteFile:
    def write_file(text: str) -> Path:
        path = tmp_path / "poller.toml"
        path.write_text(text, "utf-8")
        return path

    return write_file


def test_a_table_and_a_queue_are_enough() -> None:
    settings = load(SMALLEST, None)
    assert settings.stream.table_name == "Uploads"
    assert settings.lease_table == "Uploads-leases"
    assert settings.stream.start_position == Position("TRIM_HORIZON")
    assert settings.lease.duration_s == 10.0
    assert settings.polling.buffer_max_bytes == 64 * 1024 * 1024
    assert [(route.name, route.queue, route.filter) for route in settings.routes] == [("default", "jobs", None)]


def test_the_stream_may_be_named_by_its_arn_which_tells_table_and_region() -> None:
    arn = "arn:aws:dynamodb:eu-west-1:123456789012:table/Uploads/stream/2026-11-23T08:00:00.000"
    settings = load({"POLLER_STREAM_ARN": arn, "POLLER_QUEUE": "jobs"}, None)
    assert (settings.stream.table_name, settings.lease_table, settings.region) == (
        "Uploads",
        "Uploads-leases",
        "eu-west-1",
    )


def test_an_arn_of_dynamodb_local_names_no_region_and_contradicts_none() -> None:
    arn = "arn:aws:dynamodb:ddblocal:000000000000:table/Uploads/stream/2026-11-23T08:00:00.000"
    assert load({"POLLER_STREAM_ARN": arn, "POLLER_QUEUE": "jobs"}, None).region is None
    with_region = {"POLLER_STREAM_ARN": arn, "POLLER_QUEUE": "jobs", "POLLER_STREAM__REGION": "eu-west-1"}
    assert load(with_region, None).region == "eu-west-1"


def test_every_short_name_of_the_design_sets_its_setting() -> None:
    settings = load(
        SMALLEST
        | {
            "POLLER_DEAD_LETTER_QUEUE": "dead-jobs",
            "POLLER_FILTER": '{"eventName": ["INSERT"]}',
            "POLLER_LEASE_TABLE": "Places",
            "POLLER_START_POSITION": "LATEST",
            "POLLER_WORKER_ID": "worker 1",
            "POLLER_HTTP_HOST": "0.0.0.0",
            "POLLER_HTTP_PORT": "0",
            "POLLER_LOG_LEVEL": "DEBUG",
            "POLLER_LOG_FORMAT": "json",
            "POLLER_ALLOW_INSECURE_ENDPOINTS": "true",
        },
        None,
    )
    (route,) = settings.routes
    assert (route.dead_letter_queue, route.filter) == ("dead-jobs", ('{"eventName": ["INSERT"]}',))
    assert settings.lease_table == "Places"
    assert settings.stream.start_position == Position("LATEST")
    assert settings.lease.worker_id == "worker 1"
    assert (settings.http.host, settings.http.port) == ("0.0.0.0", 0)
    assert (settings.log.level, settings.log.format) == ("debug", "json")
    assert settings.aws.allow_insecure_endpoints


def test_every_other_setting_is_a_variable_of_section_and_name() -> None:
    settings = load(
        SMALLEST
        | {
            "POLLER_LEASE__DURATION": "30s",
            "POLLER_LEASE__MAX_LEASES": "4",
            "POLLER_POLLING__BUFFER_MAX": "1GiB",
            "POLLER_METRICS__PER_SHARD": "false",
            "POLLER_ROUTE__CHANGED": "phase, owner",
            "POLLER_ROUTE__ATTRIBUTES": '["eventID", "table"]',
            "POLLER_ROUTE__MAX_RECORD_AGE": "6h",
        },
        None,
    )
    assert (settings.lease.duration_s, settings.lease.max_leases) == (30.0, 4)
    assert settings.polling.buffer_max_bytes == 1 << 30
    assert not settings.metrics.per_shard
    assert settings.routes[0].changed == ("phase", "owner")
    assert settings.routes[0].attributes == ("eventID", "table")
    assert settings.routes[0].max_record_age_s == 21_600.0


def test_variables_of_others_are_none_of_our_business() -> None:
    assert load(SMALLEST | {"POLLERS": "x", "AWS_REGION": "eu-west-1", "poller_table": "y"}, None) is not None


def test_the_environment_goes_before_the_file_and_the_file_before_the_defaults(write: WriteFile) -> None:
    file = write('[stream]\ntable = "FromFile"\n[log]\nlevel = "error"\n[[route]]\nqueue = "file-jobs"\n')
    settings = load({"POLLER_TABLE": "FromEnvironment", "POLLER_QUEUE": "jobs"}, file)
    assert settings.stream.table == "FromEnvironment"
    assert settings.routes[0].queue == "jobs"
    assert settings.log.level == "error"
    assert settings.log.format == "auto"


def test_the_file_may_be_named_by_a_variable_and_the_command_line_goes_before_it(write: WriteFile) -> None:
    file = write('[stream]\ntable = "FromFile"\n')
    assert load({"POLLER_CONFIG": str(file), "POLLER_QUEUE": "jobs"}, None).stream.table == "FromFile"
    assert load({"POLLER_CONFIG": "/no/such/file", "POLLER_QUEUE": "jobs"}, file).stream.table == "FromFile"


@pytest.mark.parametrize(("before", "line_end"), [("\ufeff", "\n"), ("\ufeff", "\r\n"), ("", "\r\n")])
def test_a_file_may_be_as_editors_of_windows_write_it(before: str, line_end: str, tmp_path: Path) -> None:
    file = tmp_path / "poller.toml"
    file.write_bytes(f"{before}[stream]\ntable = 'Orders'\n".replace("\n", line_end).encode())
    row = next(
        row for row in describe(load({"POLLER_QUEUE": "jobs"}, file), DEFAULT_PATTERN) if row.setting == "stream.table"
    )
    assert (row.value, str(row.origin)) == ("Orders", "file poller.toml, line 2")


def test_a_file_may_have_several_routes_and_filters_in_json_or_toml(write: WriteFile) -> None:
    file = write("""
        [[route]]
        name = "uploads"
        queue = "https://sqs.eu-west-1.amazonaws.com/123456789012/uploads.fifo"
        filter = ['{"eventName": ["MODIFY"]}', { eventName = ["INSERT"] }]
        changed = ["phase"]
        batch_window = "50ms"
        [[route]]
        name = "audit"
        queue = "audit.fifo"
        message = "image"
        messages_per_second = 2.5
    """)
    uploads, audit = load({"POLLER_TABLE": "Uploads"}, file).routes
    assert uploads.filter == ('{"eventName": ["MODIFY"]}', {"eventName": ["INSERT"]})
    assert (uploads.changed, uploads.batch_window_s) == (("phase",), 0.05)
    assert (audit.message, audit.messages_per_second) == ("image", 2.5)


def test_a_variable_may_hold_several_patterns_and_no_digit_of_their_numbers_is_lost() -> None:
    patterns = '[{"a": [0.10000000000000000000000000000000000001]}, {"b": [12345678901234567890123456789012345678]}]'
    (route,) = load(SMALLEST | {"POLLER_FILTER": patterns}, None).routes
    assert route.filter == (
        {"a": [Decimal("0.10000000000000000000000000000000000001")]},
        {"b": [12345678901234567890123456789012345678]},
    )


def test_an_empty_list_of_patterns_is_not_the_default_pattern() -> None:
    (route,) = load(SMALLEST | {"POLLER_FILTER": "[]"}, None).routes
    assert route.filter == ()


@pytest.mark.parametrize(
    ("written", "timestamp_ms"),
    [
        ("2026-11-23T08:00:00Z", 1_795_420_800_000),
        ("2026-11-23T09:00:00.250+01:00", 1_795_420_800_250),
    ],
)
def test_the_start_may_be_a_time_with_its_zone(written: str, timestamp_ms: int, write: WriteFile) -> None:
    at = Position("AT_TIMESTAMP", timestamp_ms=timestamp_ms)
    later = timestamp_ms / 1000 + 1
    assert load(SMALLEST | {"POLLER_START_POSITION": written}, None, now=later).stream.start_position == at
    bare = write(f"[stream]\nstart_position = {written}\n")
    assert load(SMALLEST, bare, now=later).stream.start_position == at


def test_a_worker_is_named_after_its_host_and_process() -> None:
    assert load(SMALLEST, None).lease.worker_id == f"{socket.gethostname()}:{os.getpid()}"


def test_settings_cannot_be_changed_once_they_are_read() -> None:
    settings = load(SMALLEST, None)
    with pytest.raises(ValidationError, match="frozen"):
        settings.lease.duration_s = 1.0
    with pytest.raises(ValidationError, match="frozen"):
        settings.routes = ()


def test_importing_the_settings_judges_no_environment() -> None:
    subprocess.run([sys.executable, "-c", "import poller.settings"], env={"POLLER_NONSENSE": "x"}, check=True)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("0ms", 0), ("250ms", 0.25), ("1.5s", 1.5), ("10s", 10), ("2m", 120), ("6h", 21_600), ("1d", 86_400)],
)
def test_a_duration_is_a_number_and_its_unit(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds
    assert parse_duration(format_duration(seconds)) == seconds


@pytest.mark.parametrize(
    ("text", "size_bytes"), [("0B", 0), ("10B", 10), ("64KiB", 65_536), ("64MiB", 1 << 26), ("1GiB", 1 << 30)]
)
def test_a_size_is_a_whole_number_and_its_unit(text: str, size_bytes: int) -> None:
    assert parse_size(text) == size_bytes
    assert format_size(size_bytes) == text


def test_describing_names_each_value_as_its_user_would_write_it_and_where_it_comes_from(write: WriteFile) -> None:
    file = write('[stream]\ntable = "Uploads"\n\n[lease]\nduration = "120s"\n')
    rows = {row.setting: row for row in describe(load({"POLLER_QUEUE": "jobs"}, file), DEFAULT_PATTERN)}
    told = {name: (rows[name].value, str(rows[name].origin)) for name in rows}
    assert told["stream.table"] == ("Uploads", "file poller.toml, line 2")
    assert told["lease.duration"] == ("2m", "file poller.toml, line 5")
    assert told["lease.table"] == ("Uploads-leases", "default")
    assert told["lease.max_leases"] == ("-", "default")
    assert told["polling.buffer_max"] == ("64MiB", "default")
    assert told["route.0.queue"] == ("jobs", "environment variable POLLER_QUEUE")


def test_describing_has_a_row_for_every_setting() -> None:
    settings = {re.sub(r"\.\d+\.", ".", row.setting) for row in describe(load(SMALLEST, None), DEFAULT_PATTERN)}
    assert settings == set(variables())


def test_describing_masks_passwords_in_urls() -> None:
    queue = "https://user:secret@sqs.example.com/1/jobs"
    rows = {
        row.setting: row.value
        for row in describe(load({"POLLER_TABLE": "Uploads", "POLLER_QUEUE": queue}, None), DEFAULT_PATTERN)
    }
    assert rows["route.0.queue"] == "https://***@sqs.example.com/1/jobs"


# --- the files that are shipped ---------------------------------------------------------------------------------------


def test_the_shipped_file_loads() -> None:
    settings = load({}, CONFIG / "poller.toml")
    assert settings.stream.table == "AnalysisMetadataTable"
    assert settings.routes[0].queue == "analysis-jobs"


def test_the_shipped_file_shows_every_setting_with_its_true_default() -> None:
    shipped = load({}, CONFIG / "poller.toml")
    defaults = load({"POLLER_TABLE": "AnalysisMetadataTable", "POLLER_QUEUE": "analysis-jobs"}, None)
    in_force = {row.setting: row.value for row in describe(shipped, DEFAULT_PATTERN)}
    by_default = {row.setting: row.value for row in describe(defaults, DEFAULT_PATTERN)}
    worker = "lease.worker_id"
    assert in_force | {worker: ""} == by_default | {worker: ""}

    text = (CONFIG / "poller.toml").read_text("utf-8")
    active, all_of_them = tomllib.loads(text), tomllib.loads(re.sub(r"(?m)^# (?=\w+ = )", "", text))
    shown = {section: list(content[0] if section == "route" else content) for section, content in all_of_them.items()}
    assert shown == {section: list(names) for section, names in sections().items()}
    for setting, value in by_default.items():
        section, name = setting.replace(".0.", ".").split(".")
        # A filter has one, and stands there as an example as well, since an own one takes its place.
        has_fixed_default = value != "-" and setting not in (worker, "lease.table", "route.0.filter")
        table = active[section][0] if section == "route" else active[section]
        assert (name in table) == has_fixed_default, (
            f"{setting} must be {'in force' if has_fixed_default else 'an example'}"
        )


def test_the_examples_in_the_shipped_file_are_valid(write: WriteFile) -> None:
    text = re.sub(r"(?m)^# (?=\w+ = )", "", (CONFIG / "poller.toml").read_text("utf-8"))
    both_streams_named = text.replace('table = "AnalysisMetadataTable"\n', "", 1)
    settings = load({}, write(both_streams_named))
    assert settings.stream.table_name == "AnalysisMetadataTable"


def test_the_shipped_file_explains_each_setting_and_names_its_variable() -> None:
    section, comment = "", ""
    variable = variables()
    for line in (CONFIG / "poller.toml").read_text("utf-8").splitlines():
        if header := re.fullmatch(r"\[+(\w+)\]+", line):
            section, comment = header[1], ""
        elif setting := re.match(r"(?:# )?(\w+) = ", line):
            assert f"[{variable[f'{section}.{setting[1]}']}]" in comment, f"{section}.{setting[1]} lacks its variable"
            comment = ""
        else:
            comment += line


def test_the_file_for_a_local_machine_loads() -> None:
    settings = load({}, CONFIG / "local.toml")
    assert (settings.region, settings.log.format) == ("eu-west-1", "console")


def test_settings_can_be_built_without_environment_or_file() -> None:
    settings = Settings.model_validate({"stream": {"table": "Uploads"}, "route": [{"queue": "jobs"}]})
    assert settings.routes == (RouteSettings(queue="jobs"),)
    assert str(settings.origin("stream.table")) == "default"
