"""`poller filter test`: would this record be sent, and why."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import click

from poller.cli.parameters import config_option
from poller.errors import ConfigurationError

if TYPE_CHECKING:
    from poller.decide.filter import Filter
    from poller.inspect.verdicts import Verdict

# So many records are told one by one; of more, only how many, and what the others lacked.
_FEW = 10


@click.group(short_help="Try a filter on records.")
def command() -> None:
    """Filters, tried on records before they decide about real ones.

    \b
      poller filter test --route default --record record.json
      aws dynamodbstreams get-records ... | poller filter test --pattern '{"eventName": ["INSERT"]}' --record -
    """


@command.command(short_help="The verdict on each record, and why.")
@click.option("--pattern", "patterns", multiple=True, metavar="JSON", help="A pattern; of several, one must match.")
@click.option("--changed", multiple=True, metavar="NAME", help="With --pattern: an attribute that must have changed.")
@click.option("--route", metavar="NAME", help="The filter of this route of the settings; not needed for the only one.")
@config_option
@click.option(
    "--record",
    "records",
    type=click.File(encoding="utf-8"),
    required=True,
    metavar="FILE|-",
    help="Records as JSON: one, a list, one a line, or an object with Records.",
)
@click.option("--expect", type=click.Choice(["match", "no-match"]), help="Exit code 1 unless all records do so.")
@click.option("--json", "as_json", is_flag=True, help="All verdicts as JSON.")
def test(
    *,
    patterns: tuple[str, ...],
    changed: tuple[str, ...],
    route: str | None,
    config: Path | None,
    records: TextIO,
    expect: str | None,
    as_json: bool,
) -> int:
    """Says of each record whether the filter wants it, and why: name by name what was wanted and what is there.

    The records are read as a stream gives them and Lambda shows them: one object, a JSON list, one object a line, a
    whole answer of GetRecords or event of Lambda ({"Records": [...]}). Nothing is asked of AWS. Of more than 10 records
    only the counts are told, and which conditions failed how often. Exit code 0 whatever the verdict, unless --expect
    says otherwise; 2 for a filter or a file that cannot be used.

    \b
      poller filter test --pattern '{"eventName": ["MODIFY"]}' --record record.json
      poller filter test --config config/poller.toml --route default --record - < records.jsonl
    """
    if patterns and route is not None:
        raise click.UsageError("--pattern and --route exclude each other.")
    if changed and not patterns:
        raise click.UsageError("--changed goes with --pattern; a route has its own.")
    from poller.inspect.verdicts import UnreadableRecords, read_records, verdict_on  # noqa: PLC0415 - not for --help

    compiled = _of_patterns(patterns, changed) if patterns else _of_route(route, config)
    try:
        verdicts = [verdict_on(compiled, record) for record in read_records(records.read())]
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"--record {records.name}: not UTF-8 at byte {error.start + 1}") from error
    except UnreadableRecords as error:
        raise ConfigurationError(f"--record {records.name}: {error}") from error
    if as_json:
        _print_json(compiled, verdicts)
    else:
        _print(compiled, verdicts)
    return int(expect is not None and any(verdict.match is not (expect == "match") for verdict in verdicts))


def _of_patterns(patterns: tuple[str, ...], changed: tuple[str, ...]) -> Filter:
    from poller.decide.filter import PatternError, compile_filter  # noqa: PLC0415

    try:
        return compile_filter(patterns, changed)
    except PatternError as error:
        raise ConfigurationError(f"--pattern: {error}") from error


def _of_route(name: str | None, config: Path | None) -> Filter:
    from poller.filters import compile_filters  # noqa: PLC0415
    from poller.settings import load  # noqa: PLC0415

    settings = load(os.environ, config)
    names = [route.name for route in settings.routes]
    if name is None and len(names) == 1:
        name = names[0]
    if name not in names:
        problem = "which route?" if name is None else "there is no such route."
        raise click.UsageError(f"--route{'' if name is None else f' {name}'}: {problem} There are: {', '.join(names)}.")
    return compile_filters(settings)[names.index(name)]


# --- what is printed --------------------------------------------------------------------------------------------------


def _print(compiled: Filter, verdicts: list[Verdict]) -> None:
    from poller.filters import doubts  # noqa: PLC0415

    click.echo(f"filter: {compiled.text}")
    for doubt in doubts(compiled):
        click.echo(f"{click.style('warning', fg='yellow')}: {doubt}")
    if len(verdicts) <= _FEW:
        for number, verdict in enumerate(verdicts, 1):
            click.echo()
            click.echo("\n".join(_told(verdict, f"record {number}" if len(verdicts) > 1 else "record")))
    if len(verdicts) != 1:
        matched = sum(verdict.match for verdict in verdicts)
        click.echo(f"\n{len(verdicts)} records: {matched} matched, {len(verdicts) - matched} not matched")
    if len(verdicts) > _FEW:
        for path, count in _failures(verdicts):
            click.echo(f"  {count:>7}  not matched on {path}")


def _told(verdict: Verdict, name: str) -> Iterator[str]:
    event = " ".join(filter(None, (verdict.event_name, verdict.event_id)))
    word, colour = ("match", "green") if verdict.match else ("no match", "red")
    yield f"{name}{f' ({event})' if event else ''}: {click.style(word, fg=colour, bold=True)}"
    path_width = max((len(finding.path) for finding in verdict.findings), default=0)
    several = len({finding.pattern for finding in verdict.findings if finding.pattern is not None}) > 1
    for finding in verdict.findings:
        which = f"pattern {finding.pattern + 1}  " if several and finding.pattern is not None else ""
        sign = "yes" if finding.ok else "NO "
        yield f"  {sign}  {which}{finding.path:<{path_width}}  wanted {finding.wanted}, found {finding.found}"


def _failures(verdicts: list[Verdict]) -> list[tuple[str, int]]:
    """How many of the records that did not match failed on a path, the most frequent first."""
    from collections import Counter  # noqa: PLC0415

    return Counter(
        path
        for verdict in verdicts
        if not verdict.match
        for path in {finding.path for finding in verdict.findings if not finding.ok}
    ).most_common()


def _print_json(compiled: Filter, verdicts: list[Verdict]) -> None:
    import json  # noqa: PLC0415

    from poller.filters import doubts  # noqa: PLC0415

    matched = sum(verdict.match for verdict in verdicts)
    shown: dict[str, Any] = {
        "filter": compiled.text,
        "warnings": list(doubts(compiled)),
        "records": len(verdicts),
        "matched": matched,
        "not_matched": len(verdicts) - matched,
        "verdicts": [verdict.plain() for verdict in verdicts],
    }
    click.echo(json.dumps(shown, indent=2, ensure_ascii=False))
