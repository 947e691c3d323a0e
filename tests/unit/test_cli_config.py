"""`poller config show`: what is in force and where it comes from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from poller import cli

FILE = """[stream]
table = "Orders"

[lease]
duration = "20s"

[[route]]
name = "ready"
queue = "https://me:secret@sqs.example/1/jobs"
filter = ['{"eventName": ["INSERT"]}']
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "poller.toml"
    path.write_text(FILE, encoding="utf-8")
    return path


def show(*arguments: str, **environ: str) -> Result:
    return CliRunner().invoke(cli.commands, ("config", "show", *arguments), env=environ, prog_name="poller")


def shown(result: Result) -> dict[str, Any]:
    assert result.exit_code == 0, result.output
    return {row["setting"]: row for row in json.loads(result.stdout)}


def line(result: Result, setting: str) -> str:
    (found,) = (line for line in result.stdout.splitlines() if line.split()[0] == setting)
    return " ".join(found.split())


def test_each_setting_has_its_value_and_where_it_comes_from(config: Path) -> None:
    result = show("--config", str(config), POLLER_TABLE="Uploads", POLLER_LEASE__MAX_LEASES="7")

    assert result.exit_code == 0
    assert line(result, "stream.table") == "stream.table Uploads environment variable POLLER_TABLE"
    assert line(result, "lease.max_leases") == "lease.max_leases 7 environment variable POLLER_LEASE__MAX_LEASES"
    assert line(result, "lease.duration") == "lease.duration 20s file poller.toml, line 5"
    assert line(result, "polling.idle_max") == "polling.idle_max 1s default"
    assert line(result, "route.0.filter").endswith("file poller.toml, line 10")


def test_the_columns_stand_in_line(config: Path) -> None:
    lines = show("--config", str(config)).stdout.splitlines()

    starts = {line.index(word) for line in lines for word in ("Orders ", "20s ") if word in line}
    assert len(starts) == 1


def test_a_route_without_a_filter_shows_the_one_that_is_in_force() -> None:
    row = shown(show("--json", POLLER_TABLE="Orders", POLLER_QUEUE="jobs"))["route.0.filter"]

    assert json.loads(row["value"])[0]["dynamodb"]["NewImage"] == {"phase": {"S": ["FILE_UPLOAD_COMPLETE"]}}
    assert row["origin"] == "default"


def test_json_names_variable_file_and_line(config: Path) -> None:
    rows = shown(show("--json", "--config", str(config), POLLER_TABLE="Uploads"))

    assert rows["stream.table"] == {
        "setting": "stream.table",
        "value": "Uploads",
        "origin": "environment",
        "variable": "POLLER_TABLE",
        "file": None,
        "line": None,
    }
    assert (rows["lease.duration"]["file"], rows["lease.duration"]["line"]) == ("poller.toml", 5)


def test_no_secret_is_shown(config: Path) -> None:
    secrets = {
        "AWS_ACCESS_KEY_ID": "AKIAVERYSECRETKEY",
        "AWS_SECRET_ACCESS_KEY": "very-secret",
        "AWS_SESSION_TOKEN": "very-secret",
        "AWS_ENDPOINT_URL": "http://me:very-secret@127.0.0.1:8000",
    }
    for form in ((), ("--json",)):
        result = show("--config", str(config), *form, **secrets)

        assert result.exit_code == 0
        assert "secret" not in result.stdout.lower().replace("aws_secret_access_key", "")
    assert (
        line(show("--config", str(config), **secrets), "AWS_ACCESS_KEY_ID") == "AWS_ACCESS_KEY_ID ***TKEY environment"
    )


def test_the_file_may_be_named_by_the_variable(config: Path) -> None:
    assert shown(show("--json", POLLER_CONFIG=str(config)))["stream.table"]["value"] == "Orders"


def test_settings_that_cannot_be_used_are_one_line_and_exit_code_2() -> None:
    result = show(POLLER_TABLE="Orders", POLLER_QUEUE="jobs", POLLER_LEASE__DURATION="10")

    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == ('poller: POLLER_LEASE__DURATION="10": a duration needs its unit; write "10s" or "10ms"\n')


def test_a_filter_that_cannot_be_used_is_one_too() -> None:
    result = show(POLLER_TABLE="Orders", POLLER_QUEUE="jobs", POLLER_FILTER='{"eventName": "INSERT"}')

    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith('poller: POLLER_FILTER="{')
    assert result.stderr.count("\n") == 1


def test_its_help_has_an_example() -> None:
    assert "  POLLER_LEASE__DURATION=20s poller config show --config" in show("--help").output


def test_of_several_files_each_has_a_block_and_what_is_of_all_of_them_comes_last(config: Path, tmp_path: Path) -> None:
    other = tmp_path / "payments.toml"
    other.write_text('[stream]\ntable = "Payments"\n[http]\nport = 0\n[[route]]\nqueue = "payments"\n', "utf-8")
    files = ("--config", str(config), "--config", str(other))
    lines = show(*files, AWS_REGION="eu-west-1").stdout.splitlines()
    rows = json.loads(show(*files, "--json", AWS_REGION="eu-west-1").stdout)

    headings = [line for line in lines if line.startswith("--- ")]
    assert headings == [f"--- {config}: stream Orders", f"--- {other}: stream Payments", "--- for all of them"]
    assert ["AWS_REGION", "eu-west-1", "environment"] in [line.split() for line in lines[lines.index(headings[2]) :]]
    ports = [(row["stream"], row["value"], row["file"]) for row in rows if row["setting"] == "http.port"]
    assert ports == [("Orders", "0", str(other)), ("Payments", "0", str(other))]
    assert [row["stream"] for row in rows if row["setting"] == "AWS_REGION"] == [None]
