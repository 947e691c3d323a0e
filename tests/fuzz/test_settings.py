"""Any environment and any file: valid settings, or one line a fault that names the setting and keeps secrets."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path
from typing import Final

import pytest
from hypothesis import event, example, given
from hypothesis import strategies as st

from poller.decide.filter import DEFAULT_PATTERN
from poller.errors import ConfigurationError
from poller.settings import InvalidSettings, Settings, describe, load, load_all
from poller.settings.sources import sections, variables
from tests.fuzz.effort import examples
from tests.fuzz.mutations import mutated

NOW: Final = 1_795_420_800.0
SECRET: Final = "c0rrect-h0rse"
SMALLEST: Final = {"POLLER_TABLE": "Uploads", "POLLER_QUEUE": "jobs"}

# Whatever an environment can hold: no U+0000, and of bytes that are no text their surrogates.
odd_texts = st.text(st.characters(exclude_characters="\0") | st.sampled_from("\n\r\u2028\x1b\udcff\ud800"), max_size=12)
texts = st.one_of(
    odd_texts,
    st.sampled_from(
        [
            *(
                "",
                " ",
                "0",
                "-1",
                "1.5",
                "1e3",
                "nan",
                "inf",
                "1_0",
                "٣",
                "9" * 30,
                "9" * 5_000,
                "true",
                "on",
                "[]",
                "{}",
            ),
            *("10s", "0s", "1.0005s", "999999999d", "64MiB", "1GiB", "999999999999GiB", "5 s", "٣s", "10S", "-5s"),
            *(
                "LATEST",
                "TRIM_HORIZON",
                "2026-01-01T00:00:00Z",
                "0001-01-01T00:00:00+14:00",
                "9999-12-31T23:59:59-14:00",
            ),
            *("1969-12-31T23:59:59Z", "2026-01-01T00:00:00+23:59", "20260101T000000Z", "2026-W01-1T00:00+00:00:00.1"),
            *("Uploads", "jobs", "jobs.fifo", "a,b", "a,,a", '["a\nb","a\nb"]', '["\\ud800","\\ud800"]', "[" * 5_000),
            *(
                '{"eventName":["INSERT"]}',
                '[{"a\\nb":1,"a\\nb":2}]',
                "[1e999]",
                '["' + "x" * 500 + '"]',
                "[" + "9" * 5_000 + "]",
            ),
            *(f"https://user:{SECRET}@host/q", f"https://user:{SECRET}/x@host", f"https://user:{SECRET}@x@host/q"),
            *(f"http://u:{SECRET} y@host", f'https://u:"{SECRET}@host', f"https://{SECRET}@host", f"x://:{SECRET}\n@h"),
            *("arn:aws:dynamodb:eu-west-1:123456789012:table/Uploads/stream/2026", "::1", "a:b", "é", "debug", "image"),
        ]
    ),
)


def one_line(text: str) -> bool:
    return text != "" and text.isprintable()


def faults_of(refusal: ConfigurationError) -> list[str]:
    return [str(refusal), *(refusal.faults if isinstance(refusal, InvalidSettings) else ())]


def check_line(line: str, names: Collection[str]) -> None:
    assert one_line(line), ascii(line)
    assert SECRET not in line
    assert any(name in line for name in names), line


def check_settings(settings: Settings) -> None:
    """They can be shown, and what is shown keeps the secrets."""
    for row in describe(settings, DEFAULT_PATTERN):
        assert SECRET not in row.value
        assert str(row.origin)


known = st.sampled_from(sorted(variables().values()))
unknown = st.text(st.characters(exclude_characters="\0=", exclude_categories=["Cs"]), max_size=10).map(
    "POLLER_".__add__
)


environments = st.one_of(
    st.dictionaries(known, texts, min_size=1, max_size=1),
    st.dictionaries(st.one_of(known, known, unknown), texts, max_size=4),
)


@given(environments, st.booleans())
@example({"POLLER_START_POSITION": "0001-01-01T00:00:00+14:00"}, True)
@example({"POLLER_START_POSITION": "1969-12-31T23:59:59Z"}, True)
@example({"POLLER_ROUTE__CHANGED": '["a\nb","a\nb"]'}, True)
@example({"POLLER_FILTER": '[{"a\\nb":1,"a\\nb":2}]'}, True)
@example({"POLLER_\n": "x"}, True)
@example({"POLLER_QUEUE": f"https://user:{SECRET}/x@host"}, True)
@examples(400)
def test_any_environment_is_refused_in_one_line_or_makes_settings(environ: dict[str, str], smallest: bool) -> None:
    environ = (SMALLEST if smallest else {}) | environ
    environ.pop("POLLER_CONFIG", None)
    try:
        settings = load(environ, None, now=NOW)
    except ConfigurationError as refusal:
        lines = faults_of(refusal)
    else:
        event("settings")
        check_settings(settings)
        return
    event("refused")
    for line in lines:
        check_line(line, ["POLLER_"])


# --- files ------------------------------------------------------------------------------------------------------------

toml_scalars = st.one_of(
    texts.map(lambda text: json.dumps(text.encode("utf-8", "replace").decode())),
    st.sampled_from(
        [
            *(
                "0",
                "-1",
                "10",
                "1.5",
                "nan",
                "-inf",
                "1e400",
                "true",
                "false",
                "9" * 5_000,
                "0x" + "f" * 5_000,
                "1_000",
            ),
            *("2026-01-01", "07:32:00", "2026-01-01T00:00:00", "2026-01-01T00:00:00Z", "0001-01-01T00:00:00+14:00"),
            f'["https://user:{SECRET}/x@host", {{ a = "x://:{SECRET}@x@h" }}]',
            *("[]", "{}", "[[]]", '["a", "a"]', "[1, 2]", '[{a = 1}, "{}"]', '{a = [{"b c" = nan}]}', "'''\n'''"),
        ]
    ),
)
toml_names = st.one_of(
    st.sampled_from(sorted({name for names in sections().values() for name in names})),
    st.sampled_from(
        ['""', '"a\\nb"', '"0.queue"', '"route.0.1.queue"', "a.b", "queue.x", "é", "0", '"lease.table"', "-"]
    ),
)
toml_headers = st.one_of(
    st.sampled_from(
        [f"[{name}]" for name in sections()] + ["[[route]]"] * 4 + ["[route]", "[[lease]]", "[x.y]", '[""]', "["]
    ),
)


@st.composite
def files(draw: st.DrawFn) -> str:
    lines: list[str] = []
    for _ in range(draw(st.integers(0, 4))):
        lines.append(draw(toml_headers))
        pairs = draw(st.dictionaries(toml_names, toml_scalars, max_size=3))
        lines += [f"{name} = {value}" for name, value in pairs.items()]
    return "\n".join(draw(st.permutations(lines)) if draw(st.integers(0, 4)) == 0 else lines) + "\n"


@given(
    st.one_of(files().map(str.encode), files().map(str.encode).flatmap(mutated), st.binary(max_size=40)), st.booleans()
)
@example(b"[lease]\nmax_leases = " + b"9" * 5_000, True)
@example(b"[lease]\nmax_leases = 0x" + b"f" * 5_000, True)
@example(b"[polling]\nrequests_per_second_per_shard = 0x" + b"f" * 5_000, True)
@example(b"[lease]\nduration = 0x" + b"f" * 5_000, True)
@example(b"x = " + b"[" * 5_000, True)
@example(b'"" = 1', True)
@example(b"[stream]\nstart_position = 0001-01-01T00:00:00+14:00\n", True)
@example(b'[[route]]\nqueue = "a"\n"a\\nb" = 1\n', False)
@examples(300)
def test_any_file_is_refused_in_one_line_or_makes_settings(folder: Path, content: bytes, smallest: bool) -> None:
    file = folder / "poller.toml"
    file.write_bytes(content)
    for environ in (SMALLEST if smallest else {}, {"POLLER_TABLE": "Uploads"}):
        try:
            settings = load(environ, file, now=NOW)
        except ConfigurationError as refusal:
            event("refused")
            for line in faults_of(refusal):
                check_line(line, ["poller.toml", "POLLER_"])
        else:
            event("settings")
            check_settings(settings)


@given(files().map(str.encode), files().map(str.encode))
@examples(100)
def test_any_two_files_are_refused_in_one_line_or_make_settings(folder: Path, one: bytes, other: bytes) -> None:
    paths = [folder / "one.toml", folder / "other.toml"]
    paths[0].write_bytes(b'stream.table = "One"\n[[route]]\nqueue = "jobs"\n' + one)
    paths[1].write_bytes(b'stream.table = "Other"\n[[route]]\nqueue = "jobs"\n' + other)
    try:
        settings = load_all({}, paths, now=NOW)
    except ConfigurationError as refusal:
        event("refused")
        for line in faults_of(refusal):
            check_line(line, ["one.toml", "other.toml"])
    else:
        event("settings")
        assert len(settings) == 2


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One for all examples, which overwrite each other's file."""
    return tmp_path_factory.mktemp("settings")
