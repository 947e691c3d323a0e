"""`poller filter test`: the verdict on records from a file, and why."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from poller import cli
from poller.decide.filter import DEFAULT_PATTERN

COMPLETE = json.dumps(DEFAULT_PATTERN)


def record(phase: str, event_id: str = "e-1", **more: Any) -> dict[str, Any]:
    return {
        "eventID": event_id,
        "eventName": "MODIFY",
        "dynamodb": {"Keys": {"id": {"S": "a"}}, "NewImage": {"phase": {"S": phase}}, "SequenceNumber": "1", **more},
    }


DONE, STARTED = record("FILE_UPLOAD_COMPLETE"), record("FILE_UPLOAD_STARTED", "e-2")


def run(*arguments: str, records: str | list[Any] = "", **environ: str) -> Result:
    """The command with its records on standard input: text, or one JSON value a line."""
    text = records if isinstance(records, str) else "\n".join(map(json.dumps, records))
    options = ("filter", "test", "--record", "-", *arguments)
    return CliRunner().invoke(cli.commands, options, input=text, env=environ, prog_name="poller")


def of_pattern(*arguments: str, records: str | list[Any]) -> Result:
    return run("--pattern", COMPLETE, *arguments, records=records)


def test_the_verdict_comes_with_what_was_wanted_and_what_is_there() -> None:
    result = of_pattern(records=[STARTED])

    assert result.exit_code == 0
    assert result.stdout == (
        f"filter: {COMPLETE}\n"
        "\n"
        "record (MODIFY e-2): no match\n"
        '  yes  eventName                  wanted ["MODIFY"], found "MODIFY"\n'
        '  NO   dynamodb.NewImage.phase.S  wanted ["FILE_UPLOAD_COMPLETE"], found "FILE_UPLOAD_STARTED"\n'
    )


def test_a_record_that_is_wanted_matches_in_every_line() -> None:
    lines = of_pattern(records=[DONE]).stdout.splitlines()

    assert "record (MODIFY e-1): match" in lines
    assert [line.split()[0] for line in lines if line.startswith("  ")] == ["yes", "yes"]


@pytest.mark.parametrize(
    "text",
    [
        json.dumps(DONE) + "\n" + json.dumps(STARTED) + "\n",
        json.dumps([DONE, STARTED], indent=2),
        json.dumps({"Records": [DONE, STARTED], "NextShardIterator": "AAA"}),
        json.dumps(DONE, indent=2) + json.dumps(STARTED, indent=2),
        "\ufeff" + json.dumps({"Records": [DONE]}) + "\n\n" + json.dumps({"Records": [STARTED]}),
    ],
    ids=["lines", "list", "answer of GetRecords", "one after the other", "several events of Lambda"],
)
def test_records_come_in_every_usual_form(text: str) -> None:
    result = of_pattern(records=text)

    assert result.exit_code == 0
    assert result.stdout.splitlines()[-1] == "2 records: 1 matched, 1 not matched"


def test_of_many_records_only_the_counts_are_told_and_what_the_others_lacked() -> None:
    result = of_pattern(records=[DONE] * 4 + [STARTED] * 8)

    assert result.stdout.splitlines()[1:] == [
        "",
        "12 records: 4 matched, 8 not matched",
        "        8  not matched on dynamodb.NewImage.phase.S",
    ]


def test_json_has_every_verdict() -> None:
    told = json.loads(of_pattern("--json", records=[DONE] * 10 + [STARTED]).stdout)

    assert (told["records"], told["matched"], told["not_matched"], told["warnings"]) == (11, 10, 1, [])
    assert [verdict["match"] for verdict in told["verdicts"]] == [True] * 10 + [False]
    assert told["verdicts"][10]["findings"][1] == {
        "path": "dynamodb.NewImage.phase.S",
        "wanted": '["FILE_UPLOAD_COMPLETE"]',
        "found": '"FILE_UPLOAD_STARTED"',
        "ok": False,
        "pattern": 0,
    }


@pytest.mark.parametrize(
    ("records", "expect", "exit_code"),
    [
        ([DONE], "match", 0),
        ([DONE], "no-match", 1),
        ([STARTED], "match", 1),
        ([STARTED], "no-match", 0),
        ([DONE, STARTED], "match", 1),
        ([DONE, STARTED], "no-match", 1),
    ],
)
def test_the_exit_code_says_whether_all_do_as_expected(records: list[Any], expect: str, exit_code: int) -> None:
    assert of_pattern("--expect", expect, records=records).exit_code == exit_code


def test_of_several_patterns_one_is_enough_and_each_line_says_which_it_is_of() -> None:
    result = run("--pattern", '{"eventName": ["INSERT"]}', "--pattern", COMPLETE, records=[DONE])

    assert "record (MODIFY e-1): match" in result.stdout
    assert '  NO   pattern 1  eventName                  wanted ["INSERT"], found "MODIFY"' in result.stdout
    assert '  yes  pattern 2  eventName                  wanted ["MODIFY"], found "MODIFY"' in result.stdout


def test_changed_compares_the_images() -> None:
    same = record("FILE_UPLOAD_COMPLETE", OldImage={"phase": {"S": "FILE_UPLOAD_COMPLETE"}})
    result = of_pattern("--changed", "phase", records=[same])

    assert "record (MODIFY e-1): no match" in result.stdout
    assert "  NO   dynamodb.NewImage.phase    wanted changed, found" in result.stdout


def test_the_filter_of_a_route_is_that_of_the_settings(tmp_path: Path) -> None:
    config = tmp_path / "poller.toml"
    config.write_text(
        '[stream]\ntable = "t-1"\n'
        '[[route]]\nname = "all"\nqueue = "q"\nfilter = []\n'
        '[[route]]\nname = "done"\nqueue = "q"\n',
        encoding="utf-8",
    )
    options = ("--config", str(config), "--route")

    assert "record (MODIFY e-2): match" in run(*options, "all", records=[STARTED]).stdout
    assert "record (MODIFY e-2): no match" in run(*options, "done", records=[STARTED]).stdout
    unknown = run(*options, "dun", records=[STARTED])
    assert unknown.exit_code == 2
    assert "--route dun: there is no such route. There are: all, done." in unknown.stderr
    assert "--route: which route? There are: all, done." in run(*options[:2], records=[STARTED]).stderr


def test_the_only_route_need_not_be_named() -> None:
    result = run(records=[DONE], POLLER_TABLE="t-1", POLLER_QUEUE="q", POLLER_FILTER='{"eventName": ["REMOVE"]}')

    assert "record (MODIFY e-1): no match" in result.stdout


@pytest.mark.parametrize(
    ("pattern", "fault"),
    [
        ('{"eventName": "MODIFY"}', 'eventName: needs a list of values, ["MODIFY"], or an object of names'),
        ('{"eventName": [{"prefix": 1}]}', "eventName[0].prefix: "),
        ("{", "not JSON: "),
    ],
)
def test_a_bad_pattern_is_one_line_with_the_path_to_the_fault(pattern: str, fault: str) -> None:
    result = run("--pattern", pattern, records=[DONE])

    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith(f"poller: --pattern: {fault}")
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "holds no record"),
        ('{"Records": []}', "holds no record"),
        ('{"eventName": "MODIFY"}\n{"eventName"', "line 2: not JSON: Expecting ':' delimiter (column 13)"),
        ("\n\n[{}, 7]", "line 3, element 2: a record is a JSON object, as GetRecords gives it"),
        ('{"Records": {}}', "line 1: Records is not a list"),
        ("[" * 100_000, "line 1: nested too deep"),
    ],
)
def test_a_file_without_records_is_one_line_that_says_where(text: str, fault: str) -> None:
    result = of_pattern(records=text)

    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == f"poller: --record <stdin>: {fault}\n"


def test_a_file_that_is_no_text_is_one_line(tmp_path: Path) -> None:
    file = tmp_path / "records.bin"
    file.write_bytes(b"{}\xff")
    result = CliRunner().invoke(cli.commands, ("filter", "test", "--pattern", "{}", "--record", str(file)))

    assert (result.exit_code, result.stderr) == (2, f"poller: --record {file}: not UTF-8 at byte 3\n")


def test_who_wants_no_colours_gets_none() -> None:
    command = ("filter", "test", "--pattern", "{}", "--record", "-")
    for value, coloured in (("", True), ("1", False)):
        result = CliRunner().invoke(cli.commands, command, input="{}", env={"NO_COLOR": value}, color=True)
        assert ("\x1b" in result.stdout) is coloured


def test_a_file_that_is_not_there_is_wrong_usage() -> None:
    result = CliRunner().invoke(cli.commands, ("filter", "test", "--pattern", "{}", "--record", "no.json"))

    assert result.exit_code == 2
    assert "'no.json': No such file" in result.stderr


@pytest.mark.parametrize(
    ("pattern", "doubt"),
    [
        (
            '{"detail": {"phase": ["X"]}}',
            "reads detail, which no record has: it can never match; a record has awsRegion, dynamodb,",
        ),
        (
            '{"dynamodb": {"newImage": {"a": {"S": ["X"]}}}}',
            "reads dynamodb.newImage, which no record has: it can never",
        ),
        (
            '{"eventSourceARN": [{"exists": false}]}',
            "reads eventSourceARN, which no record has: that part of it decides",
        ),
        ('{"eventName": ["Modify"]}', 'wants eventName ["Modify"]: no record has that; it is one of INSERT, MODIFY'),
        (
            '{"dynamodb": {"NewImage": {"size": {"M": {"N": ["5"]}}}}}',
            (
                "reads dynamodb.NewImage.size.M.N, where no item has a value: it can never match;"
                ' put the type of the attribute around its values: {"N": {"S": [...]}}'
            ),
        ),
        (
            '{"dynamodb": {"OldImage": {"tags": {"L": {"M": {"name": [{"exists": false}]}}}}}}',
            (
                "reads dynamodb.OldImage.tags.L.M.name, where no item has a value: that part of it decides nothing;"
                ' put the type of the attribute around its values: {"name": {"S": [...]}}'
            ),
        ),
        (
            '{"dynamodb": {"NewImage": {"meta": {"kind": ["X"]}}}}',
            (
                "reads dynamodb.NewImage.meta.kind, where no item has a value: it can never match;"
                " where kind stands belongs a type, one of S, N, B, BOOL, NULL, SS, NS, BS, M, L"
            ),
        ),
        (
            '{"dynamodb": {"Keys": {"id": {"S": {"S": ["X"]}}}}}',
            "reads dynamodb.Keys.id.S.S, where no item has a value: it can never match; below S stand values",
        ),
        (
            '{"dynamodb": {"NewImage": {"meta": {"M": ["X"]}}}}',
            (
                "reads dynamodb.NewImage.meta.M, where no item has a value: it can never match;"
                ' below M belongs an attribute and its type: {"name": {"S": [...]}}'
            ),
        ),
        (
            '{"dynamodb": {"NewImage": {"tags": {"L": ["X"]}}}}',
            (
                "reads dynamodb.NewImage.tags.L, where no item has a value: it can never match;"
                ' below L belongs the elements\' type: {"S": [...]}'
            ),
        ),
    ],
)
def test_what_no_record_can_have_is_warned_of(pattern: str, doubt: str) -> None:
    assert f"\nwarning: {doubt}" in run("--pattern", pattern, records=[DONE]).stdout


@pytest.mark.parametrize(
    "pattern",
    [
        COMPLETE,
        "{}",
        '{"eventName": [{"anything-but": ["REMOVE"]}]}',
        '{"dynamodb": {"NewImage": {"N": {"M": {"N": {"N": [5]}, "M": {"M": {"S": {"S": ["X"]}}}}}}}}',
        '{"dynamodb": {"NewImage": {"tags": {"L": {"S": ["X"], "L": {"M": {"a": {"NULL": [true]}}}}}}}}',
    ],
)
def test_a_filter_that_can_match_is_not_warned_of(pattern: str) -> None:
    assert "warning" not in run("--pattern", pattern, records=[DONE]).stdout


def test_a_filter_that_is_wrong_throughout_is_warned_of_in_a_few_lines() -> None:
    plain = {"dynamodb": {"NewImage": {f"a{number}": {"kind": ["X"]} for number in range(1_000)}}}
    bare = {f"a{number}": ["X"] for number in range(1_000)}

    for pattern in (plain, bare):
        assert run("--pattern", json.dumps(pattern), records=[DONE]).stdout.count("\nwarning: ") == 10


def test_pattern_and_route_exclude_each_other() -> None:
    assert run("--pattern", "{}", "--route", "a", records=[DONE]).exit_code == 2
    assert run("--changed", "a", records=[DONE]).exit_code == 2


def test_its_help_has_an_example() -> None:
    output = CliRunner().invoke(cli.commands, ("filter", "test", "--help")).output

    assert '  poller filter test --pattern \'{"eventName": ["MODIFY"]}\' --record record.json' in output
