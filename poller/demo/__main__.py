"""`python -m poller.demo`: the demo's writer alone, until a signal, on a table that is there; for docker-compose.yml.

Never in a real account: it wants to be told where the emulator is.
"""

from __future__ import annotations

import os
import random
import signal
from threading import Event
from typing import Final

import click

from poller.demo.failure import DemoFailed
from poller.demo.ledger import Fact
from poller.demo.stage import TABLE, connect
from poller.demo.story import story
from poller.demo.writer import Writer

ENDPOINTS: Final = ("AWS_ENDPOINT_URL_DYNAMODB", "AWS_ENDPOINT_URL")
LOOK_EVERY_S: Final = 0.5


@click.command()
@click.option(
    "--rate", type=click.FloatRange(0.1, 20), default=3.0, show_default=True, help="Uploads begun per second."
)
@click.option("--seed", type=int, default=None, help="The same seed tells the same story; another one each time.")
def main(rate: float, seed: int | None) -> None:
    """Writes uploads to the story's table of an emulator, and says what it writes."""
    if not any(os.environ.get(name) for name in ENDPOINTS):
        raise click.UsageError(f"set {ENDPOINTS[0]} to an emulator; in a real {TABLE} these uploads would be mistaken")
    # The daemon takes AWS_REGION, as most tools do; boto3 alone knows only the other name.
    os.environ.setdefault("AWS_DEFAULT_REGION", os.environ.get("AWS_REGION", "us-east-1"))
    stop = Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    tale = story(random.getrandbits(32) if seed is None else seed, rate)
    writer = Writer(tale, connect().dynamodb, _say)
    writer.start()
    try:
        while not stop.wait(LOOK_EVERY_S):
            writer.check()
    except DemoFailed as error:
        raise click.ClickException(str(error)) from error
    writer.stop()


def _say(fact: Fact) -> None:
    click.echo(f"{fact.request_id} {fact.phase or 'deleted'}")


if __name__ == "__main__":
    main()
