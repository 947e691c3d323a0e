"""`poller demo`: the whole job before one's eyes, without an account."""

from __future__ import annotations

from importlib.util import find_spec

import click

from poller.cli.parameters import Duration
from poller.errors import ConfigurationError

EMULATOR_PACKAGES = ("moto", "flask", "flask_cors")


@click.command(short_help="See it work on an embedded emulator; needs no AWS account.")
@click.option(
    "--for", "duration_s", type=Duration("1s", "7d"), metavar="30s", help="How long; until q or Ctrl-C without it."
)
@click.option(
    "--http-port",
    type=click.IntRange(0, 65535),
    default=0,
    show_default="any free one",
    metavar="PORT",
    help="Where the daemon serves its page, metrics and health, on loopback.",
)
@click.option(
    "--rate",
    type=click.FloatRange(0.1, 20),
    default=3.0,
    show_default=True,
    metavar="N",
    help="Uploads begun per second, each about five writes to the table; the emulator carries 20.",
)
@click.option("--seed", type=int, default=1, show_default=True, metavar="N", help="The same seed tells the same story.")
@click.option(
    "--break",
    "break_s",
    type=Duration("5s", "1h"),
    default=15.0,
    show_default="15s",
    metavar="15s",
    help="For how long the key b breaks the queue.",
)
def command(duration_s: float | None, http_port: int, rate: float, seed: int, break_s: float) -> int:
    """Starts an emulator of DynamoDB and SQS, the daemon exactly as `poller run` does, and both sides of its users.

    A writer plays file uploads in a table, a consumer takes the jobs for the finished ones from the queue. At the end
    the books are compared; exit code 1 if anything is missing.

    \b
    On a terminal, while it runs:
      b  breaks the queue for a while: the status page turns, the terminal
         names the alerts that are pending or would be, and it recovers
      k  kills the worker (kill -9): another one reads on, and what came
         twice is counted
      q  ends with the books, as Ctrl-C does

    \b
      poller demo
      poller demo --for 30s --rate 10
    """
    if not all(find_spec(package) for package in EMULATOR_PACKAGES):
        raise ConfigurationError(
            "the demo's emulator is not installed; install it with: pip install 'dynamodb-stream-poller[demo]',"
            " in a checkout pip install '.[demo]'"
        )
    from poller.demo import command as demo  # noqa: PLC0415 - boto3 and rich, which --help need not wait for

    options = demo.Options(
        duration_s=duration_s, http_port=http_port, uploads_per_second=rate, seed=seed, break_s=break_s
    )
    return demo.main(options)
