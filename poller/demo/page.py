"""The worker's own word: the verdict at the top of its status page, and the metrics that the alert rules ask for."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPException
from typing import Final

from prometheus_client.parser import text_string_to_metric_families

from poller.demo.alerts import Scrape
from poller.observe.verdict import Level
from poller.operate.told import told

ANSWER_MAX_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class Look:
    """One look at a worker. `reads`: a shard is its own and a page of it has come."""

    level: Level
    text: str
    reads: bool
    scrape: Scrape


def look(address: str) -> Look | None:
    """None: nobody answers, or not yet."""
    with suppress(OSError, HTTPException, ValueError):
        seen = told(json.loads(_get(f"{address}/status?settings=no")))
        shards = [shard for one in seen.streams for shard in one.stream.get("shards", ())]
        reads = any(shard.get("mine") and shard.get("last_page") for shard in shards)
        return Look(seen.level, seen.text, reads, scrape(_get(f"{address}/metrics"), time.monotonic(), time.time()))
    return None


def scrape(metrics: str, now_s: float, wall_s: float) -> Scrape:
    """From the text that `/metrics` answers."""
    since = [value for value in _values(metrics, "poller_shard_retrying_since_timestamp_seconds") if value > 0]
    return Scrape(
        at_s=now_s,
        wall_s=wall_s,
        ready=min(_values(metrics, "poller_ready"), default=1.0) > 0,
        send_errors=sum(_values(metrics, "poller_send_errors_total")),
        delivered=sum(_values(metrics, "poller_records_delivered_total")),
        retrying_since_s=min(since, default=None),
    )


def _values(metrics: str, name: str) -> Iterator[float]:
    for family in text_string_to_metric_families(metrics):
        for sample in family.samples:
            if sample.name == name:
                yield sample.value


def _get(url: str) -> str:
    try:
        with urllib.request.urlopen(url, timeout=ANSWER_MAX_S) as answer:  # noqa: S310 - the demo's own daemon
            return str(answer.read().decode())
    except urllib.error.HTTPError as error:
        raise ValueError(f"{url} answers {error.code}") from error
