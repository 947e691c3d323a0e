"""`poller leases`: who reads which shard and how far; a lease taken away, a checkpoint moved."""

from __future__ import annotations

import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.core import ParameterSource

from poller.cli.parameters import Duration, config_option
from poller.operate.names import printable

if TYPE_CHECKING:
    from rich.console import Console

    from poller.model import Lease, Position
    from poller.operate.move import Plan
    from poller.operate.site import Site
    from poller.operate.watch import Seen, Watch

T = TypeVar("T")

# Between two looks a living worker must have written something, and it writes every third of a lease's duration.
_LOOK_FOR_LEASES = 0.4

_json_option = click.option("--json", "as_json", is_flag=True, help="As one JSON document.")


class Target(click.ParamType["Position"]):
    """A place in a shard."""

    name = "place"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Position:
        from poller.operate.places import read_target  # noqa: PLC0415 - pydantic, which --help need not wait for

        try:
            return read_target(value)
        except ValueError as error:
            self.fail(f"{value!r}: {error}", param, ctx)


@click.group(
    invoke_without_command=True,
    short_help="Show who reads which shard and how far; take a lease away, move a checkpoint.",
)
@config_option
@click.option("--all", "everything", is_flag=True, help="All finished shards too, however many there are.")
@click.option("--watch", is_flag=True, help="Show it again and again, until Ctrl-C.")
@click.option(
    "--every",
    "every_s",
    type=Duration("200ms", "1h"),
    default=2.0,
    show_default="2s",
    metavar="2s",
    help="With --watch: how often to look.",
)
@click.option(
    "--look-for",
    "look_for_s",
    type=Duration("0s", "1h"),
    show_default="0.4 of lease.duration",
    metavar="4s",
    help="Without --watch: how long to look, at most, for a sign of life of every owner. 0s: look once.",
)
@_json_option
@click.pass_context
def command(
    ctx: click.Context,
    *,
    config: Path | None,
    everything: bool,
    watch: bool,
    every_s: float,
    look_for_s: float | None,
    as_json: bool,
) -> int:
    """Shows the lease table: each shard's state, owner, checkpoint, parents and children; unfinished ones first.

    A lease table holds no clock: whether a worker is at work shows only in its rows moving between two looks. So this
    looks until every owner was seen at work, at most a little longer than a living one leaves its rows alone. STILL is
    for how long the row has stood still, as far as was looked; WRITTEN is the age of the checkpoint. On a terminal,
    shard ids are shortened to what tells them apart; the commands below understand that. It writes nothing.

    \b
      poller leases
      poller leases --watch --every 1s
      poller leases --json | jq '.leases[] | select(.state == "expired") | .shard'
      poller leases release 7d3f2a1b
      poller leases set 7d3f2a1b --to TRIM_HORIZON
    """
    if ctx.invoked_subcommand is not None:
        _refuse_options(ctx)
        return 0
    _check_together(ctx, watch=watch)
    console = _console()

    async def show(site: Site) -> int:
        from poller.operate.watch import Watch  # noqa: PLC0415

        looks = Watch(site.table, site.clock, name=site.settings.lease_table, duration_s=site.duration_s)
        if watch:
            await _watch(looks, every_s, console, everything=everything, as_json=as_json)
        at_most_s = _LOOK_FOR_LEASES * site.duration_s if look_for_s is None else look_for_s
        _show(await looks.for_life(at_most_s), console, everything=everything, as_json=as_json)
        return 0

    try:
        return _with_site(config, show)
    except KeyboardInterrupt:
        if watch:
            return 0
        raise


@command.command(short_help="Take a lease away from whoever holds it.")
@click.argument("shard")
@config_option
@click.option("--force", is_flag=True, help="Also from a holder that is at work; does not wait to find out.")
@_json_option
@click.pass_context
def release(ctx: click.Context, *, shard: str, config: Path | None, force: bool, as_json: bool) -> int:
    """Takes the lease of SHARD away from its holder, so that any worker takes it and goes on at its checkpoint.

    SHARD may be the beginning or the end of a shard's id, if it is the only one of that kind. Whether the holder is
    still at work is found out as the workers do: it is gone if none of its rows moves for as long as a lease lasts. A
    holder that is at work keeps its lease; with --force it loses it. It notices at its next look or write, some
    seconds later; until then it may go on sending beside the next holder, so that records are sent twice and for that
    time out of order. Nothing is lost.

    \b
      poller leases release 7d3f2a1b
      poller leases release shardId-00000001712345678901-7d3f2a1b --force
    """

    async def work(site: Site) -> int:
        from poller.operate import documents, words  # noqa: PLC0415
        from poller.operate.release import release as take_away  # noqa: PLC0415

        lease, _ = await site.find(shard)
        result = await take_away(site.table, site.clock, lease, duration_s=site.duration_s, force=force, say=site.say)
        if as_json:
            _print_json(documents.released_document(result, site.settings.lease_table))
        else:
            click.echo(printable(words.released(result)))
        return 0

    return _with_site(_config(ctx, config), work)


@command.command("set", short_help="Move a shard's checkpoint.")
@click.argument("shard")
@click.option(
    "--to",
    "target",
    type=Target(),
    required=True,
    metavar="PLACE",
    help="TRIM_HORIZON, LATEST, a time such as 2026-11-23T08:00:00Z, or a sequence number.",
)
@config_option
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--force", is_flag=True, help="Also under a holder that is at work; does not wait to find out.")
@_json_option
@click.pass_context
def set_(
    ctx: click.Context,
    *,
    shard: str,
    target: Position,
    config: Path | None,
    yes: bool,
    force: bool,
    as_json: bool,
) -> int:
    """Moves the checkpoint of SHARD: back, and records are read again; ahead, and records are skipped.

    SHARD may be the beginning or the end of a shard's id, if it is the only one of that kind. TRIM_HORIZON is the
    oldest record that the stream still has of it. LATEST is now, by the service's clock, also for whoever begins to
    read it later. A time is that of the records' creation. A sequence number is that of the last record that counts
    as settled: reading goes on after it.

    It shows where the checkpoint stands, where it will stand and how many records lie between, and asks. Under a
    holder that is at work it refuses, but for --force; the lease is nobody's afterwards. Exit code 1: it was refused
    or declined, and nothing was written.

    \b
      poller leases set 7d3f2a1b --to TRIM_HORIZON
      poller leases set 7d3f2a1b --to LATEST --yes
      poller leases set 7d3f2a1b --to 2026-11-23T08:00:00Z
      poller leases set 7d3f2a1b --to 112200000000012345678
    """

    from poller.operate import documents, words  # noqa: PLC0415

    config = _config(ctx, config)

    async def find_out(site: Site) -> tuple[Plan, str]:
        planned = await _plan(site, shard, target, force=force)
        for name, text in words.plan(planned, site.clock.wall()):
            click.echo(f"{name:<8} {printable(text)}", err=as_json)
        return planned, site.settings.lease_table

    planned, table = _with_site(config, find_out)
    after = None
    # It is asked between two event loops: one that runs would keep Ctrl-C to itself until there is an answer.
    if yes or _asked(err=as_json):
        after = _with_site(config, lambda site: _move(site, planned))
    else:
        click.echo("poller: nothing was written", err=True)
    if as_json:
        _print_json(documents.moved_document(planned, after, table))
    elif after is not None:
        click.echo(printable(words.moved_to(after)))
    return 1 if after is None else 0


async def _plan(site: Site, shard: str, target: Position, *, force: bool) -> Plan:
    from poller.operate.between import ShardRecords  # noqa: PLC0415
    from poller.operate.hold import free_row  # noqa: PLC0415
    from poller.operate.move import plan_move  # noqa: PLC0415

    lease, rows = await site.find(shard)
    if not force:
        lease = await free_row(site.table, site.clock, lease, site.duration_s, site.say)
    source = await site.source_of(lease)
    records = ShardRecords(source, lease.shard_id, site.clock)
    return await plan_move(records, lease, rows, target, now_s=await site.now_s(source), force=force)


def _move(site: Site, planned: Plan) -> Awaitable[Lease]:
    from poller.operate.move import move  # noqa: PLC0415

    return move(site.table, site.clock, planned)


def _asked(*, err: bool) -> bool:
    """The answer of whoever sits there; nobody is no answer."""
    if not sys.stdin.isatty():
        click.echo("poller: nobody is there to be asked; say --yes", err=True)
        return False
    return click.confirm("Move it?", default=False, err=err)


# --- showing ----------------------------------------------------------------------------------------------------------


async def _watch(looks: Watch, every_s: float, console: Console, *, everything: bool, as_json: bool) -> None:
    """In place on a terminal; elsewhere one after the other. Never returns."""
    from rich.live import Live  # noqa: PLC0415

    from poller.operate.display import draw  # noqa: PLC0415

    if as_json or not console.is_terminal or console.is_dumb_terminal:
        async for seen in looks.endless(every_s):
            _show(seen, console, everything=everything, as_json=as_json, one_of_many=True)
    with Live(console=console, auto_refresh=False, vertical_overflow="ellipsis") as live:
        async for seen in looks.endless(every_s):
            live.update(draw(seen, console, everything=everything), refresh=True)


def _show(seen: Seen, console: Console, *, everything: bool, as_json: bool, one_of_many: bool = False) -> None:
    from poller.operate.display import draw  # noqa: PLC0415
    from poller.operate.documents import fleet_document  # noqa: PLC0415
    from poller.operate.words import utc  # noqa: PLC0415

    if as_json:
        _print_json(fleet_document(seen), indent=None if one_of_many else 2)
        return
    if one_of_many:
        console.print(utc(seen.wall_s))
    console.print(draw(seen, console, everything=everything), soft_wrap=not console.is_terminal)
    if one_of_many:
        console.print()


def _console() -> Console:
    from rich.console import Console  # noqa: PLC0415

    return Console(highlight=False)


def _print_json(document: dict[str, Any], indent: int | None = 2) -> None:
    import json  # noqa: PLC0415

    click.echo(json.dumps(document, indent=indent, ensure_ascii=False))


# --- around it --------------------------------------------------------------------------------------------------------


def _with_site(config: Path | None, work: Callable[[Site], Awaitable[T]]) -> T:
    """Reads the settings, opens what they name, does the work and closes it again."""
    import asyncio  # noqa: PLC0415 - as is boto3, which --help need not wait for

    from poller.operate.site import open_site  # noqa: PLC0415
    from poller.run.clock import SystemClock  # noqa: PLC0415
    from poller.settings import load  # noqa: PLC0415

    settings = load(os.environ, config)

    async def run() -> T:
        async with open_site(settings, SystemClock(), say=lambda text: click.echo(text, err=True)) as site:
            return await work(site)

    return asyncio.run(run())


def _config(ctx: click.Context, own: Path | None) -> Path | None:
    """`poller leases --config FILE release ...` means the same as with the option behind `release`."""
    if ctx.get_parameter_source("config") is ParameterSource.COMMANDLINE or ctx.parent is None:
        return own
    above: Path | None = ctx.parent.params["config"]
    return above


def _given(ctx: click.Context, name: str) -> bool:
    return ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE


def _refuse_options(ctx: click.Context) -> None:
    names = {"everything": "--all", "watch": "--watch", "every_s": "--every", "look_for_s": "--look-for"}
    for name, option in names.items():
        if _given(ctx, name):
            raise click.UsageError(f"{option} shows the table; it does not go with `{ctx.invoked_subcommand}`.")
    if _given(ctx, "as_json"):
        raise click.UsageError(f"--json belongs behind `poller leases {ctx.invoked_subcommand}`.")


def _check_together(ctx: click.Context, *, watch: bool) -> None:
    if watch and _given(ctx, "look_for_s"):
        raise click.UsageError("--look-for goes without --watch, which looks until Ctrl-C.")
    if not watch and _given(ctx, "every_s"):
        raise click.UsageError("--every goes with --watch.")
