"""`poller iam-policy`: what AWS must allow, and nothing more."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

import click

from poller.cli.parameters import config_option

if TYPE_CHECKING:
    from poller.inspect.home import Asked
    from poller.inspect.policy import Home, Keys
    from poller.settings import Settings

_REGION = re.compile(r"[a-z0-9-]{1,32}")


@click.command(short_help="Print the IAM policy that these settings need.")
@config_option
@click.option(
    "--for",
    "purpose",
    type=click.Choice(["run", "init", "operate"]),
    default="run",
    show_default=True,
    help="The daemon and `check`; `init`; or what people do: leases, dead-letters, redrive, replay, tap.",
)
@click.option("--account", metavar="ID", help="The account, 12 digits. Default: the stream ARN's, or asked of AWS.")
@click.option("--region", metavar="NAME", help="Default: that of the settings.")
@click.option(
    "--kms-key",
    "kms_keys",
    multiple=True,
    metavar="KEY",
    help="The key of encrypted queues: ARN, id or alias. Default: as the queues say; repeatable.",
)
@click.option("--offline", is_flag=True, help="Ask AWS nothing.")
@click.option("--json", "as_json", is_flag=True, help="As JSON, which it is in any case.")
def command(
    *,
    config: Path | None,
    purpose: str,
    account: str | None,
    region: str | None,
    kms_keys: tuple[str, ...],
    offline: bool,
    as_json: bool,  # noqa: ARG001 - the same for every command
) -> int:
    """Prints a policy document for these settings: each action that is called, each resource by its ARN.

    The queues are asked whether a KMS key encrypts them. With lease.create = false the daemon's has no
    dynamodb:CreateTable; a stream by its ARN needs fewer actions than a table by its name, whose next stream is
    followed.

    \b
      poller iam-policy > policy.json
      aws iam put-role-policy --role-name poller --policy-name poller --policy-document "$(poller iam-policy)"
      poller iam-policy --for operate --offline --account 123456789012 --region eu-west-1
    """
    import json  # noqa: PLC0415

    from poller.inspect.policy import Keys, key_arn, policy  # noqa: PLC0415
    from poller.settings import load  # noqa: PLC0415

    settings = load(os.environ, config)
    _check_account(account)
    _check_region(region)
    # Whoever gives the keys, or makes the queues, need not be told.
    keys_wanted = purpose != "init" and not kms_keys
    home, keys = _at_home(settings, region, account, offline=offline, keys_wanted=keys_wanted)
    if kms_keys:
        keys = Keys(kms_keys, kms_keys)
    for key in kms_keys:
        try:
            key.rpartition(":")[2].startswith("alias/") or key_arn(home, key)
        except ValueError as error:
            raise click.UsageError(f"--kms-key: {error}") from error
    click.echo(json.dumps(policy(settings, home, purpose, keys), indent=2))  # type: ignore[arg-type]  # a Choice's
    return 0


def _check_account(account: str | None) -> None:
    if account is not None and not (account.isascii() and account.isdecimal() and len(account) == 12):
        raise click.UsageError(f"--account: {account!r} is not an account's id: it has 12 digits")


def _check_region(region: str | None) -> None:
    if region is not None and not _REGION.fullmatch(region):
        raise click.UsageError(f"--region: {region!r} is not a region's name, such as eu-west-1")


def _at_home(
    settings: Settings, region: str | None, account: str | None, *, offline: bool, keys_wanted: bool
) -> tuple[Home, Keys]:
    """Where things are, and the keys of the queues. UsageError: it is not known, and nobody is to be asked."""
    from poller.inspect.policy import Home, Keys  # noqa: PLC0415

    if offline:
        account = account or settings.stream.arn_account
        region = region or settings.region or os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
        if account is None or region is None:
            what, option = ("account", "--account ID") if account is None else ("region", "--region NAME")
            raise click.UsageError(f"--offline: the settings do not tell the {what}; say {option}")
        return Home(region, account), Keys()
    asked = _ask(settings, region, account, keys=keys_wanted)
    if asked.home is None:
        why = f": {asked.unasked[0]}" if asked.unasked else ""
        raise click.UsageError(f"AWS does not tell whose account this is; say --account ID{why}")
    for note in asked.unasked:
        click.echo(f"poller: it is not known whether a queue is encrypted (--kms-key tells): {note}", err=True)
    return asked.home, asked.keys


def _ask(settings: Settings, region: str | None, account: str | None, *, keys: bool) -> Asked:
    import asyncio  # noqa: PLC0415 - as is boto3, which --help need not wait for
    import random  # noqa: PLC0415

    from poller.inspect.home import ask  # noqa: PLC0415
    from poller.run.clock import SystemClock  # noqa: PLC0415
    from poller.startup import World, open_aws  # noqa: PLC0415

    async def run() -> Asked:
        aws = await open_aws(settings, World(SystemClock(), lambda _: None, random.Random()))
        try:
            return await ask(settings, aws, region, account, keys=keys)
        finally:
            aws.close()

    return asyncio.run(run())
