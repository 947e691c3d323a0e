"""The alert rules, their cases and the runbook hold together, and what each of them names is there."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import click
import pytest

from poller import events
from poller.aws import errors as aws_errors
from poller.cli import commands
from poller.decide.pacing import STRETCHED_MAX_S
from poller.errors import ConfigurationError, Throttled
from poller.events import Event
from poller.model import Lease
from poller.observe import fleet_metrics, record_metrics
from poller.observe.exposition import merged
from poller.observe.metrics import Metrics
from poller.observe.status import Report
from poller.observe.watch import Watch
from poller.run.clock import SystemClock
from poller.run.moments import SPREAD, TICK_MAX_S
from poller.settings import load
from poller.settings.sources import variables

ROOT = Path(__file__).parents[2]
RULES = ROOT / "config/prometheus/alerts.yml"
CASES = ROOT / "config/prometheus/alerts_test.yml"
RUNBOOK = (ROOT / "docs/runbook.md").read_text("utf-8")
# What the design asks for, and two without which restarts, and a process that stands still, would hide all others.
NAMES = [
    "Absent",
    "NotReady",
    "Restarting",
    "ProcessSilent",
    "RetryingTooLong",
    "DataLossSoon",
    "DataLost",
    "Behind",
    "NotPolled",
    "Unowned",
    "DeadLettering",
    "CheckpointStuck",
    "SinkErrors",
    "Throttled",
    "LeaseFlapping",
    "FilterMatchesNothing",
]


LEAST = {"POLLER_TABLE": "Uploads", "POLLER_QUEUE": "jobs"}


def yaml(path: Path) -> Any:
    return import_module("yaml").safe_load(path.read_text("utf-8"))


def rules() -> dict[str, dict[str, Any]]:
    return {rule["alert"]: rule for group in yaml(RULES)["groups"] for rule in group["rules"]}


def cases() -> list[dict[str, Any]]:
    """All questions of the cases: which alert, when, what is expected."""
    return [one for test in yaml(CASES)["tests"] for one in test["alert_rule_test"]]


def series_names() -> set[str]:
    """Every name that can stand in a query."""
    names: set[str] = set()
    for family in Metrics().registry.collect():
        name = f"{family.name}_total" if family.type == "counter" else family.name
        names |= {f"{name}_info"} if family.type == "info" else {name}
        names |= {f"{name}_{part}" for part in ("bucket", "sum", "count") if family.type == "histogram"}
    return names | {"poller_ready"} | set(re.findall(r"^# TYPE (\w+)", merged({1: None}).decode(), re.MULTILINE))


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", RUNBOOK, re.DOTALL)


# --- rules and cases --------------------------------------------------------------------------------------------------


def test_promtool_finds_no_fault_in_the_rules(promtool: str) -> None:
    checked = subprocess.run([promtool, "check", "rules", RULES], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_every_rule_rings_when_it_must_and_only_then(promtool: str) -> None:
    checked = subprocess.run([promtool, "test", "rules", CASES], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_every_rule_has_a_case_in_which_it_rings_and_one_in_which_it_does_not() -> None:
    assert set(rules()) == {f"Poller{name}" for name in NAMES}
    assert {one["alertname"] for one in cases() if one["exp_alerts"]} == set(rules())
    assert {one["alertname"] for one in cases() if not one["exp_alerts"]} == set(rules())


@pytest.mark.parametrize("name", NAMES)
def test_a_rule_says_how_bad_it_is_and_where_to_read_on(name: str) -> None:
    rule = rules()[f"Poller{name}"]
    assert rule["labels"]["severity"] in ("critical", "warning")
    assert set(rule["annotations"]) == {"summary", "description", "runbook_url"}
    assert rule["annotations"]["runbook_url"] == f"docs/runbook.md#poller{name.lower()}"


def test_the_rules_name_only_metrics_that_there_are() -> None:
    used = {name for rule in rules().values() for name in re.findall(r"\bpoller_\w+", rule["expr"])}
    assert used <= series_names()
    assert used == set(re.findall(r"series: '(poller_\w+)", CASES.read_text("utf-8")))


def test_a_rule_is_about_streams_and_shards_not_about_whoever_tells_of_them() -> None:
    for name, rule in rules().items():
        groups = {
            label.strip() for by in re.findall(r"\b(?:by|on) \(([^)]+)\)", rule["expr"]) for label in by.split(",")
        }
        assert {"job", "namespace"} <= groups, name
        of_a_service = name in ("PollerNotReady", "PollerRestarting", "PollerProcessSilent")
        assert ("instance" in groups) is of_a_service, name
        assert ("process" in groups) is (name == "PollerProcessSilent"), name


def test_a_shard_that_is_polled_as_seldom_as_can_be_is_polled() -> None:
    longest_s = STRETCHED_MAX_S * (1 + SPREAD) + TICK_MAX_S / 2
    with pytest.raises(ConfigurationError, match="IDLE_MAX"):
        load({**LEAST, "POLLER_POLLING__IDLE_MAX": "301s"}, None)
    seldom = f"{1 / (STRETCHED_MAX_S + 1):.6f}"
    with pytest.raises(ConfigurationError, match="must be at least"):
        load({**LEAST, "POLLER_POLLING__REQUESTS_PER_SECOND_PER_SHARD": seldom}, None)
    [over_s] = re.findall(r"> (\d+)", rules()["PollerNotPolled"]["expr"])
    # A call that is given up and made again is no reason either.
    assert int(over_s) >= longest_s + 30
    alarm = import_module("yaml").safe_load((ROOT / "config/cloudwatch/alarms.yml").read_text("utf-8"))
    assert alarm["Resources"]["PollerNotPolled"]["Properties"]["Threshold"] == int(over_s)


def test_every_code_by_which_aws_throttles_counts_as_throttling() -> None:
    [pattern] = re.findall(r'code=~"([^"]+)"', rules()["PollerThrottled"]["expr"])
    by_kind = aws_errors._CLASSES
    assert [code for code in by_kind[Throttled] if not re.fullmatch(pattern, code)] == []
    others = [code for kind, codes in by_kind.items() if kind is not Throttled for code in codes]
    assert [code for code in others if re.fullmatch(pattern, code)] == []


# --- the runbook ------------------------------------------------------------------------------------------------------


def test_the_runbook_has_an_entry_for_every_rule_and_for_nothing_else() -> None:
    entries = dict(re.findall(r"^## (\w+)$(.*?)(?=^## |\Z)", RUNBOOK, re.MULTILINE | re.DOTALL))
    assert [*entries] == [*rules()]
    for name, text in entries.items():
        assert re.findall(r"^\*\*(\w+)\.\*\*", text, re.MULTILINE) == ["Means", "Look", "Do"], name
        assert "```" in text, f"{name} names no command"


def test_a_link_of_the_runbook_leads_somewhere() -> None:
    anchors = {heading.lower() for heading in re.findall(r"^#+ (\w+)$", RUNBOOK, re.MULTILINE)}
    links = re.findall(r"\]\(([^)]+)\)", RUNBOOK)
    assert [link for link in links if link.startswith("#") and link[1:] not in anchors] == []
    assert [link for link in links if not link.startswith("#") and not (ROOT / "docs" / link).exists()] == []


def parse(command: click.Command, arguments: list[str]) -> None:
    """As the command line does it, up to the moment at which the command would begin."""
    while isinstance(command, click.Group) and arguments and not arguments[0].startswith("-"):
        _, found, arguments = command.resolve_command(click.Context(command), arguments)
        assert found is not None
        command = found
    # With the settings of the whole: a command keeps the first help option that it was asked for.
    command.make_context("poller", arguments, **commands.context_settings).close()


def commands_of_the_runbook() -> list[str]:
    lines = [line for block in blocks("sh") for line in block.splitlines()]
    return [line for line in lines if line.startswith("poller ")]


@pytest.mark.parametrize("line", sorted(set(commands_of_the_runbook())))
def test_a_command_of_the_runbook_is_one_with_options_that_it_has(
    line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("record.json").write_text("{}", "ascii")
    parse(commands, shlex.split(line, comments=True)[1:])


def test_a_command_that_is_none_would_be_found() -> None:
    for line in ("leases --whatever", "leases set SHARD", "nothing"):
        with pytest.raises(click.UsageError):
            parse(commands, line.split())


def test_the_runbooks_queries_name_only_metrics_that_there_are() -> None:
    assert {name for query in blocks("promql") for name in re.findall(r"\bpoller_\w+", query)} <= series_names()


def fields(document: Any, path: str = "") -> Iterator[str]:
    """`routes[].error` and so on: every place in a document."""
    if isinstance(document, dict):
        for name, value in document.items():
            yield f"{path}{name}"
            yield from fields(value, f"{path}{name}.")
    elif isinstance(document, list):
        for one in document:
            yield from fields(one, f"{path.removesuffix('.')}[].")


def status_fields() -> set[str]:
    """Those of `/status`, of a daemon that reads a shard and is not ready."""
    clock = SystemClock()
    settings = load({"POLLER_TABLE": "Uploads", "POLLER_QUEUE": "jobs"}, None)
    watch = Watch(("default",), clock.monotonic)
    lease = Lease("shardId-1", owner="me", checkpoint="TRIM_HORIZON")
    watch(events.LeaseTaken(stream="Uploads", shard="shardId-1", reason="unowned", previous_owner=None, checkpoint="1"))
    seen = events.SeenLease(lease, "reading")
    watch(events.FleetSeen(stream="Uploads", shards={}, held=1, workers=1, rows=(seen,)))
    document = import_module("json").loads(Report(watch.known, settings, clock).status().body)
    return set(fields(document))


def test_what_the_runbook_calls_by_name_is_there() -> None:
    prose = re.sub(r"```.*?```", "", RUNBOOK, flags=re.DOTALL)
    words = set(re.findall(r"`([a-z_.\[\]]+)`", prose))
    dotted = {word for word in words if "." in word}
    settings = {*variables()} - {"POLLER_CONFIG"}
    assert dotted <= status_fields() | settings
    leaves = {setting.rpartition(".")[2] for setting in settings}
    logged = {kind.name() for kind in vars(events).values() if isinstance(kind, type) and issubclass(kind, Event)}
    labels = {*fleet_metrics.LOST, *record_metrics.LOSSES, *record_metrics.DEAD_LETTERS}
    parts = {"start", "streams", "route", "process"}
    assert words - dotted <= leaves | logged | labels | parts
