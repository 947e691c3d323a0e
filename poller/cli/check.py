"""`poller check`: what the daemon would meet if it were started now."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from poller.cli.parameters import configs_option
from poller.operate.names import printable

if TYPE_CHECKING:
    from poller.inspect.findings import Finding
    from poller.settings import Settings

_SIGNS = {
    "ok": click.style("ok     ", fg="green"),
    "warning": click.style("warning", fg="yellow"),
    "fault": click.style("FAULT  ", fg="red", bold=True),
    "unknown": "-      ",
}


@click.command(short_help="Connect, look at everything that is named, say what is wrong.")
@configs_option
@click.option("--json", "as_json", is_flag=True, help="The findings as a JSON list.")
def command(configs: tuple[Path, ...], as_json: bool) -> int:
    """Says line by line what it finds: settings, filters, credentials, endpoints, stream, lease table, queues, rights.

    It writes nothing and makes nothing, and may run beside the daemon. Exit code 0: nothing is wrong, though there may
    be warnings; 1: something is wrong or does not answer; 2: with these settings `poller run` would not start.

    \b
      poller check
      poller check --config config/poller.toml --json
      poller check --config orders.toml --config payments.toml
    """
    import asyncio  # noqa: PLC0415 - as is boto3, which --help need not wait for

    from poller.inspect.findings import exit_code  # noqa: PLC0415
    from poller.settings import load_all  # noqa: PLC0415

    settings = load_all(os.environ, configs)
    findings = asyncio.run(_check(settings))
    everything = [finding for one in findings for finding in one]
    code = exit_code(everything)
    if as_json:
        _print_json(settings, findings)
    else:
        for one, found in zip(settings, findings, strict=True):
            if len(settings) > 1:
                click.echo(f"--- {one.file}: stream {one.stream.table_name}")
            _print(found)
        _print_end(everything, code)
    return code


async def _check(settings: Sequence[Settings]) -> list[list[Finding]]:
    """What is found of each application, all of them asked at once."""
    import asyncio  # noqa: PLC0415

    from poller.filters import compile_filters  # noqa: PLC0415
    from poller.inspect.check import check  # noqa: PLC0415
    from poller.run.clock import SystemClock  # noqa: PLC0415

    filters = [compile_filters(one) for one in settings]
    clock = SystemClock()
    return await asyncio.gather(
        *(check(one, compiled, os.environ, clock) for one, compiled in zip(settings, filters, strict=True))
    )


def _print_json(settings: Sequence[Settings], findings: list[list[Finding]]) -> None:
    """One list; of several applications each finding has its `stream`."""
    import json  # noqa: PLC0415

    fields = ("level", "part", "text", "mend")
    rows = []
    for one, found in zip(settings, findings, strict=True):
        stream = {"stream": one.stream.table_name} if len(settings) > 1 else {}
        rows += [stream | {name: getattr(finding, name) for name in fields} for finding in found]
    click.echo(json.dumps(rows, indent=2, ensure_ascii=False))


def _print(findings: list[Finding]) -> None:
    for finding in findings:
        click.echo(f"{_SIGNS[finding.level]}  {finding.part}: {printable(finding.text)}")
        if finding.mend:
            click.echo(f"           mend: {printable(finding.mend)}")


def _print_end(findings: list[Finding], code: int) -> None:
    ends = ["nothing is wrong", "something is wrong", "with these settings `poller run` would not start"]
    if any(finding.level == "warning" for finding in findings):
        ends[0] = "nothing is wrong, but read the warnings"
    click.echo(f"\n{_counted(findings, 'fault')}, {_counted(findings, 'warning')}: {ends[code]}")


def _counted(findings: list[Finding], level: str) -> str:
    count = sum(finding.level == level for finding in findings)
    return f"{count} {level}{'' if count == 1 else 's'}"
