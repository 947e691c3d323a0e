"""`poller check`: what the daemon would meet if it were started now."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from poller.cli.parameters import config_option

if TYPE_CHECKING:
    from poller.inspect.findings import Finding

_SIGNS = {
    "ok": click.style("ok     ", fg="green"),
    "warning": click.style("warning", fg="yellow"),
    "fault": click.style("FAULT  ", fg="red", bold=True),
    "unknown": "-      ",
}


@click.command(short_help="Connect, look at everything that is named, say what is wrong.")
@config_option
@click.option("--json", "as_json", is_flag=True, help="The findings as a JSON list.")
def command(config: Path | None, as_json: bool) -> int:
    """Says line by line what it finds: settings, filters, credentials, endpoints, stream, lease table, queues, rights.

    It writes nothing and makes nothing, and may run beside the daemon. Exit code 0: nothing is wrong, though there may
    be warnings; 1: something is wrong or does not answer; 2: with these settings `poller run` would not start.

    \b
      poller check
      poller check --config config/poller.toml --json
    """
    import asyncio  # noqa: PLC0415 - as is boto3, which --help need not wait for

    from poller.inspect.check import check  # noqa: PLC0415
    from poller.inspect.findings import exit_code  # noqa: PLC0415
    from poller.run.clock import SystemClock  # noqa: PLC0415
    from poller.settings import load  # noqa: PLC0415
    from poller.startup import compile_filters  # noqa: PLC0415

    settings = load(os.environ, config)
    findings = asyncio.run(check(settings, compile_filters(settings), os.environ, SystemClock()))
    code = exit_code(findings)
    if as_json:
        _print_json(findings)
    else:
        _print(findings, code)
    return code


def _print_json(findings: list[Finding]) -> None:
    import json  # noqa: PLC0415

    fields = ("level", "part", "text", "mend")
    rows = [{name: getattr(finding, name) for name in fields} for finding in findings]
    click.echo(json.dumps(rows, indent=2, ensure_ascii=False))


def _print(findings: list[Finding], code: int) -> None:
    for finding in findings:
        click.echo(f"{_SIGNS[finding.level]}  {finding.part}: {finding.text}")
        if finding.mend:
            click.echo(f"           mend: {finding.mend}")
    ends = ("nothing is wrong", "something is wrong", "with these settings `poller run` would not start")
    click.echo(f"\n{_counted(findings, 'fault')}, {_counted(findings, 'warning')}: {ends[code]}")


def _counted(findings: list[Finding], level: str) -> str:
    count = sum(finding.level == level for finding in findings)
    return f"{count} {level}{'' if count == 1 else 's'}"
