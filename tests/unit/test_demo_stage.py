"""The demo's environment, the messages and what is shown of them."""

from __future__ import annotations

import io
import json
from importlib.metadata import PackageNotFoundError

import pytest
from rich.console import Console

from poller.demo.children import Stop
from poller.demo.consumer import received
from poller.demo.display import Display, Outcome, counters, excerpt, verdict
from poller.demo.failure import DemoFailed
from poller.demo.ledger import Counts
from poller.demo.scenes import Say, Voice
from poller.demo.stage import daemon_settings, environment

URL = "http://127.0.0.1:1234"
RECORD = {
    "eventID": "e1",
    "eventName": "MODIFY",
    "dynamodb": {
        "Keys": {"analysisRequestId": {"S": "req-1"}},
        "NewImage": {
            "analysisRequestId": {"S": "req-1"},
            "phase": {"S": "FILE_UPLOAD_COMPLETE"},
            **{f"attribute{number}": {"N": f"{number}"} for number in range(20)},
        },
        "SequenceNumber": "1100000000017454423009",
    },
}


def counts(*, expected: int = 3, received: int = 3, in_flight: int = 0, unexpected: int = 0) -> Counts:
    return Counts(9, expected, received, 0, in_flight, unexpected, 0.6, 0.125, 1.5)


def outcome(counts: Counts, exit_code: int = 0) -> Outcome:
    return Outcome(counts, dead_letters=0, daemon=Stop(exit_code, 0.5))


def shown(*, living: bool = False) -> tuple[Display, io.StringIO]:
    out = io.StringIO()
    console = Console(file=out, highlight=False, soft_wrap=True, force_terminal=living, width=100)
    return Display(console, living=living), out


@pytest.mark.parametrize(
    "name",
    [
        "AWS_PROFILE",
        "AWS_ENDPOINT_URL_SQS",
        "AWS_SESSION_TOKEN",
        "AWS_USE_FIPS_ENDPOINT",
        "POLLER_TABLE",
        "POLLER_LEASE__DURATION",
        "HTTPS_PROXY",
        "http_proxy",
    ],
)
def test_nothing_in_the_environment_leads_to_a_real_account(name: str) -> None:
    assert name not in environment({name: "real"}, URL)


def test_the_environment_leads_to_the_emulator_even_if_it_led_elsewhere() -> None:
    real = {"AWS_ENDPOINT_URL": "https://real", "AWS_ACCESS_KEY_ID": "real", "AWS_REGION": "eu-west-1", "PATH": "/bin"}
    environ = environment(real, URL)

    assert environ["AWS_ENDPOINT_URL"] == URL
    assert environ["AWS_ACCESS_KEY_ID"] == "demo"
    assert environ["PATH"] == "/bin"
    assert "real" not in environ.values()


def test_the_daemon_is_given_table_queues_and_port() -> None:
    assert daemon_settings(9464) == {
        "POLLER_TABLE": "AnalysisMetadataTable",
        "POLLER_QUEUE": "analysis-jobs",
        "POLLER_DEAD_LETTER_QUEUE": "analysis-jobs-dead-letters",
        "POLLER_HTTP_PORT": "9464",
        "POLLER_LOG_FORMAT": "json",
    }


def test_a_worker_reads_item_phase_and_position_from_the_stream_record() -> None:
    job = received(json.dumps(RECORD), now_s=7.0)

    assert (job.request_id, job.phase, job.at_s) == ("req-1", "FILE_UPLOAD_COMPLETE", 7.0)
    assert job.sequence_number == "1100000000017454423009"


def test_an_excerpt_is_short_and_keeps_an_attribute_on_its_line() -> None:
    lines = excerpt(json.dumps(RECORD))

    assert '      "analysisRequestId": {"S": "req-1"},' in lines
    assert len(lines) == 15
    assert lines[-1].strip() == "..."


def test_a_short_record_is_shown_whole() -> None:
    assert excerpt('{"eventName": "REMOVE"}') == ["{", '  "eventName": "REMOVE"', "}"]


def test_the_line_of_counters_names_every_one() -> None:
    assert counters(counts(expected=4, in_flight=1)) == (
        "written 9  expected 4  received 3  duplicates 0  in flight 1  0.6/s  latency 0.12 s (99 %: 1.50 s)"
    )


def test_it_is_good_when_everything_arrived_and_the_daemon_ended_well() -> None:
    good = outcome(counts())

    assert good.good
    assert "Everything that was expected has arrived." in verdict(good)


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (outcome(counts(in_flight=2, received=1)), "missing: 2 of 3 expected messages"),
        (outcome(counts(unexpected=1)), "received and not asked for: 1 messages"),
        (outcome(counts(), exit_code=-9), "the daemon ended with exit code -9"),
    ],
)
def test_it_is_not_good_when_anything_is_wrong(bad: Outcome, words: str) -> None:
    assert not bad.good
    assert f"Failed: {words}." in verdict(bad)


def test_in_a_pipe_the_counters_are_a_plain_line_every_two_seconds() -> None:
    display, out = shown()
    with display.counting():
        for tenth in range(61):
            display.counts(counts(), now_s=100 + tenth / 10)

    assert out.getvalue().splitlines() == [counters(counts())] * 3


def test_on_a_terminal_the_counters_live_on_one_line_that_is_gone_at_the_end() -> None:
    display, out = shown(living=True)
    with display.counting():
        display.counts(counts(), now_s=0.0)
        display.counts(counts(received=2), now_s=0.1)

    assert "received 3" in out.getvalue()
    assert out.getvalue().count("\n") <= 1
    assert out.getvalue().endswith("\x1b[2K")


def test_the_keys_have_a_line_of_their_own_below_the_counters() -> None:
    display, out = shown(living=True)
    with display.counting():
        display.hint("q ends")
        display.counts(counts(), now_s=0.0)

    assert out.getvalue().index("received 3") < out.getvalue().index("q ends")


def test_what_happens_is_told_with_who_says_so() -> None:
    display, out = shown()
    display.told(Say(Voice.PAGE, "Queue [jobs] has refused everything."))
    display.told(Say(Voice.GOOD, "Recovered."))

    assert out.getvalue() == "  page  Queue [jobs] has refused everything.\n  good  Recovered.\n"


def test_a_good_end_leads_to_ones_own_table_and_a_bad_one_does_not() -> None:
    display, out = shown()
    display.summary(outcome(counts()))
    for command in ("check", "init", "run"):
        assert f"\n  poller {command} " in out.getvalue()

    display, out = shown()
    display.summary(outcome(counts(in_flight=1)))
    assert "poller" not in out.getvalue()


@pytest.mark.parametrize("installed", [True, False])
def test_where_it_is_not_installed_the_way_to_ones_own_table_begins_with_that(
    installed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def distribution(name: str) -> None:
        if not installed:
            raise PackageNotFoundError(name)

    monkeypatch.setattr("poller.demo.display.distribution", distribution)
    display, out = shown()
    display.summary(outcome(counts()))
    assert ("\n  pip install . " in out.getvalue()) is not installed


def test_the_summary_has_every_figure_and_the_verdict() -> None:
    display, out = shown()
    display.summary(outcome(counts(in_flight=1)))
    lines = {" ".join(line.split()) for line in out.getvalue().splitlines()}

    assert {"written to the table 9", "expected in the queue 3", "received 3", "duplicates 0", "missing 1"} <= lines
    assert {"dead letters 0", "daemon's exit code 0", "daemon's stop took 0.50 s"} <= lines


def test_a_failure_is_shown_with_the_last_lines_of_the_log_as_they_are() -> None:
    display, out = shown()
    display.failed(DemoFailed("the daemon ended by itself", ['{"event": "[bold]odd[/]"}']))

    assert out.getvalue().splitlines() == [
        "Failed: the daemon ended by itself",
        "Its last words:",
        '  {"event": "[bold]odd[/]"}',
    ]
