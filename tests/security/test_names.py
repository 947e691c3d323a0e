"""Names that others choose: in settings, lease rows and errors they can neither end a line, nor speak to a terminal."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner
from rich.console import Console

from poller.cli import Failure
from poller.errors import ConfigurationError, NotFound, PollerError
from poller.events import ApiCalled, LeaseLost, LeaseTaken, PageRead, SendFailed
from poller.model import Lease
from poller.observe.log import LogSink
from poller.observe.metrics import Metrics
from poller.observe.series import CODES_MAX
from poller.operate.display import draw
from poller.operate.fleet import fleet_of
from poller.operate.looks import Looks
from poller.operate.watch import Seen
from poller.settings import load

HOSTILE = 'a"} 1\npoller_ready 1\n# \x1b]0;owned\x07\x1b[31mred\r\x9b2J\u2028\u202eb\\'
NAMES = [
    "a\nb",
    "a\rb",
    'a"b',
    "a\x1b[31mb",
    "a\x00b",
    "a{b}",
    "a b",
    "a\u2028b",
    "\uff41",
    "a\ud800b",
    "a" * 300,
    "",
    "../../a",
]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("variable", ["POLLER_TABLE", "POLLER_QUEUE", "POLLER_DEAD_LETTER_QUEUE", "POLLER_LEASE_TABLE"])
def test_a_name_in_a_setting_is_one_that_aws_allows_or_is_refused_in_one_plain_line(variable: str, name: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        load({"POLLER_TABLE": "Uploads", "POLLER_QUEUE": "jobs", variable: name}, None)
    assert str(refused.value).isprintable()


@pytest.mark.parametrize("name", [*NAMES[:-2], "a.b"])
def test_a_routes_name_is_one_plain_word(name: str, tmp_path: Path) -> None:
    file = tmp_path / "poller.toml"
    written = json.dumps(name.encode("utf-8", "replace").decode())
    file.write_text(f'[stream]\ntable = "Uploads"\n[[route]]\nname = {written}\nqueue = "jobs"\n')
    with pytest.raises(ConfigurationError) as refused:
        load({}, file)
    assert str(refused.value).isprintable()


@pytest.mark.parametrize("name", ["a\nb", "a\x1b[31mb", "a\x9b2Jb", "a\u2028b", "\ud800", " "])
def test_a_workers_name_is_one_line(name: str) -> None:
    with pytest.raises(ConfigurationError):
        load({"POLLER_TABLE": "Uploads", "POLLER_QUEUE": "jobs", "POLLER_WORKER_ID": name}, None)


def hostile_events() -> list[LeaseTaken | LeaseLost]:
    return [
        LeaseTaken(stream="Uploads", shard=HOSTILE, reason=HOSTILE, previous_owner=HOSTILE, checkpoint=HOSTILE),
        LeaseLost(stream="Uploads", shard=HOSTILE, reason=HOSTILE, new_owner=HOSTILE),
    ]


@pytest.mark.parametrize("form", ["json", "console"])
def test_what_stands_in_lease_rows_makes_no_line_of_its_own_in_the_log(form: str) -> None:
    log = io.BytesIO()
    sink = LogSink("debug", form, log)  # type: ignore[arg-type]  # the forms are tested as text
    for event in hostile_events():
        sink(event)
    lines = log.getvalue().decode().removesuffix("\n").split("\n")
    assert len(lines) == 2
    assert all(line.isprintable() for line in lines)


def test_no_label_makes_a_sample_of_its_own() -> None:
    metrics = Metrics()
    metrics(ApiCalled(service="sqs", operation="SendMessageBatch", code=HOSTILE, seconds=0.1))
    metrics(SendFailed(stream="Uploads", route="default", code=HOSTILE, count=1))
    for event in hostile_events():
        metrics(event)
    text = metrics.render().decode()
    samples = [line for line in text.split("\n") if line and not line.startswith("#")]
    assert all(re.fullmatch(r'[a-z_]+(\{([a-z_]+="([^"\\\n]|\\.)*",?)*\})? [-+0-9.eInf]+', line) for line in samples)
    assert not [line for line in samples if line.startswith("poller_ready")]


def test_error_codes_that_somebody_makes_up_become_no_endless_series() -> None:
    metrics = Metrics()
    for number in range(CODES_MAX + 1_000):
        metrics(ApiCalled(service="sqs", operation="GetQueueUrl", code=f"Code{number}", seconds=0.1))
        metrics(SendFailed(stream="Uploads", route="default", code=f"Code{number}", count=1))
    text = metrics.render().decode()
    assert text.count("Code") == 2 * CODES_MAX
    assert text.count('code="other"') == 2


@pytest.mark.parametrize("terminal", [True, False])
def test_owners_and_shards_of_lease_rows_tell_a_terminal_nothing(terminal: bool) -> None:
    looks = Looks()
    rows = [Lease(HOSTILE, owner=HOSTILE, checkpoint=HOSTILE, parents=frozenset({HOSTILE})), Lease("shardId-1")]
    looks.look(rows, 0.0, 0.0)
    seen = Seen(fleet_of(rows, looks, 10.0), "Uploads-leases", 1, 0.0, 10.0, wall_s=0.0)
    paper = io.StringIO()
    console = Console(file=paper, force_terminal=terminal, color_system=None, width=200)
    console.print(draw(seen, console, everything=True))
    assert all(line.isprintable() for line in paper.getvalue().split("\n"))
    assert "\\x1b[31mred" in paper.getvalue()


@pytest.mark.parametrize("error", [PollerError(HOSTILE), NotFound(HOSTILE, operation="x", resource="y", code="z")])
def test_an_error_that_ends_a_command_is_one_plain_line(error: PollerError, capsys: pytest.CaptureFixture[str]) -> None:
    Failure(error).show()
    assert capsys.readouterr().err.removesuffix("\n").isprintable()


def test_the_runner_of_commands_is_as_careful() -> None:
    from poller.cli import commands

    done = CliRunner().invoke(commands, ["healthcheck", "--url", f"ftp://{HOSTILE}"])
    assert done.exit_code == 2
    assert done.output.removesuffix("\n").isprintable()


def test_pages_read_are_counted_without_any_name_of_an_item() -> None:
    assert {"keys", "image", "body"}.isdisjoint(PageRead.fields())
