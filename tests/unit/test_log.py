"""Log lines: one for each event that is logged, nothing that a value holds can break them, libraries included."""

from __future__ import annotations

import io
import json
import logging
import re
import select
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from poller import events
from poller.events import (
    DaemonStopping,
    Discovered,
    DiscoveryFailed,
    Event,
    LeaseLost,
    LeaseTaken,
    LoopLagged,
    ShardFinished,
    TaskFailed,
)
from poller.observe.fanout import Fanout
from poller.observe.lag import LagMeter
from poller.observe.log import LIBRARY_EVENT, Format, LogSink, capture_libraries, whereabouts

AT = 1_795_420_800.1234  # 2026-11-23T08:00:00.123Z
TAKEN = LeaseTaken(stream="Uploads", shard="shardId-1", reason="expired", previous_owner=None, checkpoint="42")
# What a hostile or broken service may put into an error's text.
HOSTILE = 'a\nb\r\x1b[31mred\x00\x7f\x9b1A\u2028\u202e"x"=\ud800é'


class Terminal(io.BytesIO):
    def isatty(self) -> bool:
        return True


def written(*events: Event, level: str = "info", form: Format = "json", stream: io.BytesIO | None = None) -> bytes:
    stream = stream or io.BytesIO()
    sink = LogSink(level, form, stream, now=lambda: AT)  # type: ignore[arg-type]  # the levels are tested as text
    for event in events:
        sink(event)
    return stream.getvalue()


def test_an_event_is_one_json_line_with_time_level_name_and_its_fields_in_this_order() -> None:
    assert written(TAKEN) == (
        b'{"ts":"2026-11-23T08:00:00.123Z","level":"info","event":"lease_taken","stream":"Uploads","shard":"shardId-1",'
        b'"reason":"expired","previous_owner":null,"checkpoint":"42"}\n'
    )


def in_one_of_several(*said: str, form: Format = "json") -> bytes:
    """The lines of a process that shares its output, for stops with these reasons."""
    stream = io.BytesIO()
    sink = LogSink("info", form, stream, process=2, now=lambda: AT)
    for reason in said:
        sink(DaemonStopping(reason=reason))
    return stream.getvalue()


def test_one_of_several_processes_says_which_one_it_is() -> None:
    assert list(json.loads(in_one_of_several("x")).items())[2:] == [
        ("event", "daemon_stopping"),
        ("process", 2),
        ("reason", "x"),
    ]
    assert in_one_of_several("x", form="console").endswith(b" daemon_stopping process=2 reason=x\n")


@pytest.mark.parametrize("form", ["json", "console"])
@pytest.mark.parametrize("text", ["x", "\x00", "\u2028", '"', "\U0001f600"])
def test_a_line_beside_others_is_one_that_a_pipe_takes_whole(text: str, form: Format) -> None:
    line = in_one_of_several(text * 10_000, form=form)

    assert select.PIPE_BUF // 4 < len(line) <= select.PIPE_BUF
    assert line.count(b"\n") == 1
    assert b'..."' in line or line.endswith(b"...\n")


def test_on_its_own_a_process_cuts_nothing() -> None:
    assert len(written(DaemonStopping(reason="x" * 10_000))) > 10_000


def test_lists_stay_lists_in_json() -> None:
    line = written(ShardFinished(stream="Uploads", shard="shardId-1", children=("shardId-2", "shardId-3")))
    assert json.loads(line)["children"] == ["shardId-2", "shardId-3"]


def test_what_only_counts_is_not_logged_even_in_debug() -> None:
    assert written(LoopLagged(seconds=1.0), level="debug") == b""


@pytest.mark.parametrize(
    ("level", "names"),
    [
        ("debug", ["discovered", "lease_taken", "lease_lost", "task_failed"]),
        ("info", ["lease_taken", "lease_lost", "task_failed"]),
        ("warning", ["lease_lost", "task_failed"]),
        ("error", ["task_failed"]),
    ],
)
def test_only_events_of_the_level_and_above_are_logged(level: str, names: list[str]) -> None:
    events = [
        Discovered(stream="Uploads", shards=1, created=0, seconds=0.1),
        TAKEN,
        LeaseLost(stream="Uploads", shard="shardId-1", reason="taken"),
        TaskFailed(stream="Uploads", task="reader", error="x", retry_in_s=1.0),
    ]
    lines = written(*events, level=level).splitlines()
    assert [json.loads(line)["event"] for line in lines] == names


def test_no_value_can_end_a_json_line_or_speak_to_a_terminal() -> None:
    line = written(TaskFailed(stream="Uploads", task="reader", error=HOSTILE, retry_in_s=1.0))
    assert json.loads(line)["error"] == HOSTILE
    assert all(0x20 <= byte < 0x7F for byte in line.removesuffix(b"\n"))


def test_no_value_can_end_a_console_line_or_speak_to_a_terminal() -> None:
    line = written(TaskFailed(stream="Uploads", task="reader", error=HOSTILE, retry_in_s=1.0), form="console")
    assert line == (
        b"08:00:00.123 error   task_failed stream=Uploads task=reader "
        rb'error="a\nb\r\x1b[31mred\x00\x7f\x9b1A\u2028\u202e"x"=\ud800\xe9" retry_in_s=1.0' + b"\n"
    )


def test_the_console_quotes_what_has_blanks_and_marks_what_is_empty() -> None:
    events = [
        DiscoveryFailed(stream="Uploads", code="Throttled", error="too many calls", retry_in_s=0.5),
        DiscoveryFailed(stream="Uploads", code="", error="é", retry_in_s=0.5),
    ]
    assert written(*events, form="console").decode().splitlines() == [
        '08:00:00.123 warning discovery_failed stream=Uploads code=Throttled error="too many calls" retry_in_s=0.5',
        '08:00:00.123 warning discovery_failed stream=Uploads code="" error=é retry_in_s=0.5',
    ]


def test_auto_is_console_with_colours_on_a_terminal_and_json_elsewhere() -> None:
    assert written(TAKEN, form="auto", stream=Terminal()).startswith(
        b"08:00:00.123 \x1b[32minfo   \x1b[0m lease_taken "
    )
    assert written(TAKEN, form="auto").startswith(b'{"ts":')
    assert written(TAKEN, form="json", stream=Terminal()).startswith(b'{"ts":')
    assert written(TAKEN, form="console").startswith(b"08:00:00.123 info    lease_taken ")


def test_who_wants_no_colours_gets_none_on_a_terminal_either(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    assert written(TAKEN, form="auto", stream=Terminal()).startswith(b"08:00:00.123 info    lease_taken ")


def test_no_field_of_an_event_hides_what_every_line_has() -> None:
    kinds = [kind for kind in vars(events).values() if isinstance(kind, type) and issubclass(kind, Event)]
    kinds.remove(Event)
    assert len(kinds) > 40
    for kind in kinds:
        assert not {*kind.fields()} & {"ts", "level", "event"}
        assert kind.name() != LIBRARY_EVENT


# --- libraries --------------------------------------------------------------------------------------------------------


@contextmanager
def library_lines() -> Iterator[io.BytesIO]:
    """What libraries log while the daemon logs at debug."""
    stream = io.BytesIO()
    undo = capture_libraries(LogSink("debug", "json", stream, now=lambda: AT))
    try:
        yield stream
    finally:
        undo()


def test_a_librarys_warning_is_a_line_of_ours() -> None:
    with library_lines() as lines:
        logging.getLogger("urllib3.connectionpool").warning("retrying %s", "x\ny")
    assert json.loads(lines.getvalue()) == {
        "ts": "2026-11-23T08:00:00.123Z",
        "level": "warning",
        "event": "library_logged",
        "logger": "urllib3.connectionpool",
        "message": "retrying x\ny",
    }


@pytest.mark.parametrize(
    "name", ["botocore.endpoint", "boto3.resources", "urllib3.connectionpool", "aiohttp", "asyncio"]
)
def test_no_librarys_debug_is_ever_logged(name: str) -> None:
    logger = logging.getLogger(name)
    before = logger.level
    with library_lines() as lines:
        logger.debug("the wire")
        logger.setLevel(logging.DEBUG)
        logger.debug("the wire")
    logger.setLevel(before)
    assert lines.getvalue() == b""


def test_an_error_in_a_library_is_told_by_kind_and_place_since_its_text_may_quote_an_item() -> None:
    def read(item: str) -> int:
        return int(item)

    with library_lines() as lines:
        try:
            read("a customer's name")
        except ValueError:
            logging.getLogger("asyncio").exception(
                "Task failed\nfuture: <Task exception=ValueError(a customer's name)>"
            )
    (line,) = lines.getvalue().splitlines()
    assert json.loads(line)["message"] == "Task failed"
    assert re.fullmatch(
        r"ValueError in test_log.py:\d+ test_an_error_in_a_\w+ > test_log.py:\d+ read", json.loads(line)["error"]
    )
    assert b"customer" not in line


def test_an_error_in_a_group_is_told_by_itself() -> None:
    assert whereabouts(ExceptionGroup("several", [KeyError("a customer's name")])) == "KeyError"


def test_what_a_library_says_again_and_again_is_one_line_a_minute() -> None:
    stream, seconds = io.BytesIO(), iter([0.0, 0.1, 59.0, 60.0, 61.0, 62.0])
    undo = capture_libraries(LogSink("info", "json", stream, now=lambda: AT), monotonic=lambda: next(seconds))
    for _ in range(5):
        logging.getLogger("botocore.credentials").warning("expired")
    logging.getLogger("botocore.credentials").warning("another")
    undo()
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [(line["message"], line.get("repeated")) for line in lines] == [
        ("expired", None),
        ("expired", 2),
        ("another", None),
    ]


def test_a_library_that_misuses_its_logger_is_still_heard() -> None:
    with library_lines() as lines:
        logging.getLogger("aiohttp").error("%d", "one")
    assert json.loads(lines.getvalue())["message"] == "%d"


def test_pythons_warnings_are_lines_of_ours() -> None:
    with warnings.catch_warnings(), library_lines() as lines:
        warnings.simplefilter("always")
        warnings.warn("old ways", DeprecationWarning, stacklevel=1)
    assert "old ways" in json.loads(lines.getvalue())["message"]


def test_undoing_gives_the_libraries_their_own_logging_back() -> None:
    root, before = logging.getLogger(), (logging.getLogger().handlers[:], logging.getLogger().level)
    capture_libraries(LogSink("error", "json", io.BytesIO()))()
    assert (root.handlers, root.level) == before


def test_a_library_is_not_disturbed_by_a_log_that_cannot_be_written() -> None:
    stream = io.BytesIO()
    undo = capture_libraries(LogSink("info", "json", stream))
    stream.close()
    logging.getLogger("aiohttp").error("unheard")
    undo()


# --- fanout and lag ---------------------------------------------------------------------------------------------------


def test_every_sink_hears_every_event_even_when_another_fails() -> None:
    heard: list[Event] = []
    stderr = io.StringIO()

    def broken(event: Event) -> None:
        raise BrokenPipeError("the pipe\nis gone")

    emit = Fanout([broken, heard.append], stderr)
    emit(TAKEN)
    emit(TAKEN)
    assert heard == [TAKEN, TAKEN]
    assert (
        stderr.getvalue()
        == "poller: 'function failed on lease_taken: BrokenPipeError: the pipe\\nis gone'; said once\n"
    )


def test_a_failing_sink_is_no_trouble_when_stderr_is_gone_too() -> None:
    stderr = io.StringIO()
    stderr.close()

    def broken(event: Event) -> None:
        raise BrokenPipeError

    Fanout([broken], stderr)(TAKEN)


async def test_the_lag_is_how_much_later_than_asked_the_loop_wakes() -> None:
    now = [100.0]
    late = iter([0.0, 0.25])
    told: list[Event] = []

    async def sleep(seconds: float) -> None:
        now[0] += seconds + next(late)

    meter = LagMeter(told.append, lambda: now[0], sleep, interval_s=0.5)
    await meter.step()
    await meter.step()
    assert told == [LoopLagged(seconds=0.0), LoopLagged(seconds=0.25)]


async def test_the_lag_is_measured_again_and_again() -> None:
    told: list[Event] = []

    class Enough(Exception):
        pass

    async def sleep(seconds: float) -> None:
        if len(told) == 3:
            raise Enough

    with pytest.raises(Enough):
        await LagMeter(told.append, lambda: 0.0, sleep).run()
    assert len(told) == 3
