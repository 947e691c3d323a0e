"""The pages of the settings and of the commands are what the program says of itself."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from poller.cli import reference as of_commands
from poller.settings import reference as of_settings
from poller.settings.sources import variables

DOCS = Path(__file__).parents[2] / "docs"
SETTINGS_FILE = of_settings.FILE.read_text("utf-8")


def test_the_page_of_settings_is_the_model_with_the_words_of_the_file() -> None:
    made = of_settings.markdown(SETTINGS_FILE)
    assert (DOCS / "settings.md").read_text("utf-8") == made, "python -m poller.settings.reference > docs/settings.md"


def test_the_page_of_commands_is_what_their_help_prints(capsys: pytest.CaptureFixture[str]) -> None:
    of_commands.main()
    made = capsys.readouterr().out
    assert (DOCS / "commands.md").read_text("utf-8") == made, "python -m poller.cli.reference > docs/commands.md"


def test_every_setting_is_listed_once() -> None:
    listed = [row.path for row in of_settings.rows(of_settings.comments_of(SETTINGS_FILE))]
    assert listed == list(variables())


def test_a_setting_that_the_file_does_not_explain_has_no_page() -> None:
    with pytest.raises(KeyError, match=r"lease\.duration"):
        of_settings.markdown(SETTINGS_FILE.replace('\nduration = "10s"', ""))


def test_a_file_that_names_another_variable_is_found_out() -> None:
    with pytest.raises(KeyError, match=r"lease\.duration"):
        of_settings.markdown(SETTINGS_FILE.replace("[POLLER_LEASE__DURATION]", "[POLLER_LEASE_DURATION]"))


def test_the_defaults_on_the_page_are_those_that_the_file_shows() -> None:
    shown = dict(re.findall(r"^(\w+) = (.+)$", SETTINGS_FILE, re.MULTILINE))
    told = {row.path.partition(".")[2]: row.default for row in of_settings.rows(of_settings.comments_of(SETTINGS_FILE))}
    assert told["duration"] == f"`{shown['duration']}`"
    assert told["on_data_loss"] == f"`{shown['on_data_loss']}`"
    assert told["queue"] == "must be set"


def test_bounds_are_told_of_times_sizes_numbers_words_and_names() -> None:
    told = {row.path: row.bounds for row in of_settings.rows(of_settings.comments_of(SETTINGS_FILE))}
    assert told["lease.duration"] == "1s to 1h"
    assert told["polling.buffer_max"] == "1MiB to 64GiB"
    assert told["route.batch_size"] == "1 to 10"
    assert told["polling.requests_per_second_per_shard"] == "0.004 to 1000"
    assert told["log.level"] == '`"debug"`, `"info"`, `"warning"`, `"error"`'
    assert told["route.name"] == '1 to 64 of a-z, A-Z, 0-9, "_" and "-"'
    assert told["http.enabled"] == "`true`, `false`"


def test_the_page_marks_what_sighup_takes_over() -> None:
    at_work = {row.path for row in of_settings.rows(of_settings.comments_of(SETTINGS_FILE)) if row.at_work}
    assert at_work == {
        "log.level",
        "polling.requests_per_second_per_shard",
        "route.filter",
        "route.changed",
        "route.max_attempts",
        "route.max_record_age",
        "route.messages_per_second",
    }
