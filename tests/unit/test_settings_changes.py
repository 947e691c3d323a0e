"""Settings that are read again: what is taken over at work, and what is only named."""

from __future__ import annotations

from pathlib import Path

import pytest

from poller.settings import Settings, load
from poller.settings.changes import compare

BASE = {"POLLER_TABLE": "Orders", "POLLER_QUEUE": "jobs"}


def settings(**variables: str) -> Settings:
    return load({**BASE, **variables}, None)


@pytest.mark.parametrize(
    ("variable", "value", "name"),
    [
        ("POLLER_LOG_LEVEL", "debug", "log.level"),
        ("POLLER_FILTER", '{"eventName": ["INSERT"]}', "route default.filter"),
        ("POLLER_ROUTE__MAX_ATTEMPTS", "3", "route default.max_attempts"),
        ("POLLER_ROUTE__MAX_RECORD_AGE", "1h", "route default.max_record_age"),
        ("POLLER_ROUTE__MESSAGES_PER_SECOND", "5", "route default.messages_per_second"),
        (
            "POLLER_POLLING__REQUESTS_PER_SECOND_PER_SHARD",
            "2",
            "polling.requests_per_second_per_shard",
        ),
    ],
)
def test_what_can_be_taken_over_is_in_force_and_can_be_taken_back(variable: str, value: str, name: str) -> None:
    old, new = settings(), settings(**{variable: value})
    there = compare(old, new)
    assert (there.applied, there.need_restart) == ((name,), ())
    back = compare(there.settings, old)
    assert (back.applied, back.need_restart) == ((name,), ())
    assert compare(back.settings, old).applied == ()


@pytest.mark.parametrize(
    ("variable", "value", "name"),
    [
        ("POLLER_QUEUE", "others", "route default.queue"),
        ("POLLER_LEASE__DURATION", "20s", "lease.duration"),
        ("POLLER_HTTP_PORT", "9000", "http.port"),
        ("POLLER_POLLING__BUFFER_MAX", "16MiB", "polling.buffer_max"),
    ],
)
def test_what_needs_a_restart_is_named_each_time_and_not_in_force(variable: str, value: str, name: str) -> None:
    old, new = settings(), settings(**{variable: value})
    changes = compare(old, new)
    assert (changes.applied, changes.need_restart) == ((), (name,))
    assert compare(changes.settings, new).need_restart == (name,)


def test_the_same_settings_are_no_change_though_defaults_are_made_anew_each_time() -> None:
    changes = compare(settings(), settings())
    assert (changes.applied, changes.need_restart) == ((), ())


def test_another_route_needs_a_restart() -> None:
    changes = compare(settings(), settings(POLLER_ROUTE__NAME="other", POLLER_ROUTE__MAX_ATTEMPTS="3"))
    assert (changes.applied, changes.need_restart) == ((), ("route",))


def test_what_is_taken_over_is_said_to_come_from_where_it_was_read(tmp_path: Path) -> None:
    file = tmp_path / "poller.toml"

    def read(text: str) -> Settings:
        file.write_text(f'[stream]\ntable = "Uploads"\n{text}[[route]]\nqueue = "jobs"\n', "utf-8")
        return load({}, file)

    def told(settings: Settings) -> tuple[str, str]:
        level, idle_max = settings.origin("log.level"), settings.origin("polling.idle_max")
        return str(level), str(idle_max)

    before = read("")
    there = compare(before, read('[log]\nlevel = "debug"\n[polling]\nidle_max = "5s"\n')).settings
    assert told(there) == ("file poller.toml, line 4", "default")  # of what needs a restart nothing has changed yet
    assert told(compare(there, before).settings) == ("default", "default")
