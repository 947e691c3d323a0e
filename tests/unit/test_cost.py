"""What requests come to, in dollars a month, and how it is told."""

from __future__ import annotations

import pytest

from poller.decide.cost import (
    WINDOW_S,
    Costs,
    Meter,
    Prices,
    Rates,
    costs,
    idle_rates,
    idle_shard_usd,
    queue_requests,
    scan_units,
)
from poller.events import DeadLettered, Delivered, FleetSeen, LeaseOperation, PageRead
from poller.observe.exposition import merged
from poller.observe.metrics import Metrics
from poller.operate.cost import document, from_metrics, from_settings, lines
from poller.settings import Settings, load
from poller.startup import fifo_routes, prices
from tests.memory.clock import ManualClock

PRICES = Prices(0.2e-6, 0.125e-6, 0.625e-6, 0.4e-6, 0.5e-6)


def settings(**more: str) -> Settings:
    return load({"POLLER_TABLE": "Uploads", "POLLER_QUEUE": "jobs", **more}, None)


# --- reckoning --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("idle_max_s", "usd"), [(0.25, 2.07), (1.0, 0.52), (5.0, 0.10)])
def test_an_idle_shard_costs_what_the_settings_file_says(idle_max_s: float, usd: float) -> None:
    assert round(idle_shard_usd(idle_max_s, PRICES), 2) == usd


def test_each_kind_of_request_has_its_price() -> None:
    rates = Rates(get_records=1, lease_reads=1, lease_writes=1, queue_requests=1, fifo_requests=1)
    found = costs(rates, PRICES)

    assert {what: round(usd, 4) for what, usd in found.by_what().items()} == {
        "stream_reads": 0.5184,
        "lease_reads": 0.324,
        "lease_writes": 1.62,
        "queue": 2.3328,
    }
    assert round(found.total, 4) == 4.7952


def test_a_look_at_many_rows_and_a_large_batch_are_several_units() -> None:
    assert [scan_units(rows) for rows in (0, 8, 9, 64)] == [1, 1, 2, 8]
    assert [queue_requests(size) for size in (0, 65_536, 65_537, 1_048_576)] == [1, 1, 2, 16]


def test_more_workers_than_shards_renew_nothing() -> None:
    rates = idle_rates(shards=2, workers=5, idle_max_s=1.0, renew_every_s=4.0, look_every_s=5.0)

    assert rates == Rates(get_records=2.0, lease_reads=1.0, lease_writes=0.5)


def test_a_rate_is_that_of_the_last_quarter_of_an_hour() -> None:
    meter = Meter(0.0)
    for second in range(3_600):
        meter.count(1, float(second))
    assert meter.rate(3_600.0) == pytest.approx(1.0, rel=0.01)
    for second in range(3_600, 3_600 + int(WINDOW_S) + 15):
        meter.rate(float(second))
    assert meter.rate(3_600.0 + WINDOW_S + 15) == 0.0


def test_the_first_seconds_say_nothing() -> None:
    meter = Meter(0.0)
    meter.count(100, 1.0)

    assert meter.rate(5.0) == 0.0
    assert meter.rate(10.0) == 10.0


# --- measured ---------------------------------------------------------------------------------------------------------


def page_read() -> PageRead:
    return PageRead(
        stream="Uploads",
        shard="s",
        size_bytes=0,
        events={},
        matched={},
        filtered={},
        behind_s=0.0,
        polled_at_s=0.0,
    )


def measured() -> str:
    """What a worker says after 100 s with some requests of each kind."""
    clock = ManualClock()
    metrics = Metrics(monotonic=clock.monotonic)
    own = settings(POLLER_QUEUE="jobs.fifo")
    metrics.register_stream("Uploads")
    metrics.register_cost("Uploads", prices(own), fifo_routes(own))
    metrics(FleetSeen(stream="Uploads", shards={"reading": 9, "finished": 1}, held=9, workers=1))
    for _ in range(100):
        metrics(page_read())
    for operation, result in (
        ("list", "ok"),
        ("read", "ok"),
        ("renew", "ok"),
        ("renew", "conflict"),
        ("renew", "error"),
    ):
        metrics(LeaseOperation(stream="Uploads", operation=operation, result=result))
    sizes = (100, 100_000)
    for size in sizes:
        metrics(Delivered(stream="Uploads", route="default", count=1, latencies_s=(0.1,), size_bytes=size))
    metrics(
        DeadLettered(
            stream="Uploads",
            route="default",
            shard="s",
            event_id="e",
            sequence_number="1",
            reason="refused",
            code="",
            attempts=1,
            content="record",
        )
    )
    clock.advance(100)
    return metrics.render().decode()


def test_the_metric_has_every_kind_from_the_start_and_counts_requests_as_they_are_billed() -> None:
    page = measured()

    expected = costs(
        Rates(get_records=1.0, lease_reads=0.03, lease_writes=0.02, queue_requests=0.01, fifo_requests=0.03), PRICES
    )
    for what, usd in expected.by_what().items():
        (line,) = [line for line in page.splitlines() if f'stream="Uploads",what="{what}"' in line]
        assert line.startswith("poller_estimated_cost_usd_per_month{")
        assert float(line.split()[-1]) == pytest.approx(usd)


def test_several_workers_metrics_are_added_up() -> None:
    page = measured()
    one, two = (from_metrics(settings(), PRICES, [page] * number) for number in (1, 2))

    assert (one.source, one.shards, two.shards, two.workers) == ("measured", 9, 18, 2)
    assert two.costs.total == pytest.approx(2 * one.costs.total)


def test_processes_of_one_daemon_are_workers_and_who_does_not_read_the_stream_is_none() -> None:
    page, elsewhere = measured().encode(), measured().replace("Uploads", "Others").encode()
    daemon = merged({1: page, 2: page, 3: None, 4: elsewhere}).decode()
    estimate = from_metrics(settings(), PRICES, [daemon, measured(), elsewhere.decode()])

    assert (estimate.workers, estimate.shards) == (3, 27)
    assert next(lines(estimate, "")) == "27 shards of 3 workers: at the rates of the last 15 minutes"


# --- told -------------------------------------------------------------------------------------------------------------


def test_it_tells_what_another_idle_max_saves_and_adds_to_the_latency() -> None:
    estimate = from_settings(settings(), PRICES, shards=10, workers=1)

    assert estimate.costs.stream_reads == pytest.approx(5.184)
    five = next(one for one in estimate.alternatives if one.idle_max_s == 5.0)
    assert (round(five.all_usd, 2), round(five.saves_usd, 2), five.later_s) == (1.04, 4.15, (2.0, 4.0))
    text = "\n".join(lines(estimate, "somewhere"))
    assert "  1s            0.52       5.18          -   as now" in text
    assert "  5s            0.10       1.04       4.15   2 s later, 4 s at most" in text


def test_it_tells_what_a_budget_makes_of_it() -> None:
    kept = from_settings(settings(POLLER_COST__MONTHLY_BUDGET_USD="2"), PRICES, shards=10, workers=1)
    assert kept.budget is not None
    other_usd = kept.costs.total - kept.costs.stream_reads
    assert 10 * idle_shard_usd(kept.budget.idle_max_s, PRICES) + other_usd == pytest.approx(2.0)

    ample = from_settings(settings(POLLER_COST__MONTHLY_BUDGET_USD="200"), PRICES, shards=10, workers=1)
    assert "is kept with idle_max as it is" in list(lines(ample, ""))[-1]

    little = from_settings(settings(POLLER_COST__MONTHLY_BUDGET_USD="0.1"), PRICES, shards=10, workers=1)
    assert document(little, "")["budget"] == {"monthly_usd": 0.1, "idle_max_s": 300.0, "kept": False}
    assert "is not enough: idle shards are polled every 5m" in list(lines(little, ""))[-1]


def test_nothing_costs_nothing() -> None:
    assert Costs().total == 0.0
