"""`poller cost`: what it costs a month, what an idle shard costs, and what another `idle_max` would save. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from prometheus_client.parser import text_string_to_metric_families

from poller.decide.cost import MONTH_S, Costs, Prices, costs, idle_rates, idle_shard_usd
from poller.decide.pacing import PacingLimits, stretched_idle_max_s
from poller.errors import PollerError
from poller.run.leases import LeaseLimits
from poller.settings import Settings
from poller.settings.units import format_duration

_CANDIDATES_S: Final = (0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0)


@dataclass(frozen=True, slots=True)
class Alternative:
    """Another `idle_max`. `saves_usd`: of what is spent on polling, were all shards idle; below 0 it costs more.

    `later_s`: by how much later a change in an idle shard is heard of, on average and at most; below 0 it is sooner.
    """

    idle_max_s: float
    shard_usd: float
    all_usd: float
    saves_usd: float
    later_s: tuple[float, float]


@dataclass(frozen=True, slots=True)
class Budget:
    """What `cost.monthly_budget_usd` makes of the polling of idle shards. `kept` false: it is not enough even so."""

    usd: float
    idle_max_s: float
    kept: bool


@dataclass(frozen=True, slots=True)
class Estimate:
    """US dollars a month. `source`: reckoned from the settings for an idle stream, or measured by running daemons."""

    source: Literal["settings", "measured"]
    shards: int
    workers: int
    idle_max_s: float
    costs: Costs
    shard_usd: float
    alternatives: tuple[Alternative, ...]
    budget: Budget | None


def from_settings(settings: Settings, prices: Prices, *, shards: int, workers: int) -> Estimate:
    leases = LeaseLimits(settings.lease.duration_s)
    rates = idle_rates(
        shards=shards,
        workers=workers,
        idle_max_s=settings.polling.idle_max_s,
        renew_every_s=leases.renew_every_s,
        look_every_s=leases.look_every_s,
    )
    return _estimate("settings", settings, prices, costs(rates, prices), shards=shards, workers=workers)


def from_metrics(settings: Settings, prices: Prices, pages: Sequence[str]) -> Estimate:
    """`pages`: what `/metrics` says, of every worker that is to be counted, or of several as processes of one daemon.

    PollerError: nothing of this stream.
    """
    stream, usd, shards = settings.stream.table_name, dict.fromkeys(Costs().by_what(), 0.0), 0
    workers: set[tuple[int, str]] = set()
    for number, page in enumerate(pages):
        try:
            samples = [sample for family in text_string_to_metric_families(page) for sample in family.samples]
        except (ValueError, KeyError, IndexError) as error:
            raise PollerError("what answers there are no metrics of a poller") from error
        for sample in samples:
            if sample.labels.get("stream") != stream:
                continue
            if sample.name == "poller_estimated_cost_usd_per_month" and sample.labels.get("what") in usd:
                workers.add((number, sample.labels.get("process", "")))
                usd[sample.labels["what"]] += sample.value
            elif sample.name == "poller_leases_held":
                shards += int(sample.value)
    if not workers:
        raise PollerError(f"the daemon that answers there does not read the stream of {stream}")
    return _estimate("measured", settings, prices, Costs(**usd), shards=shards, workers=len(workers))


def _estimate(
    source: Literal["settings", "measured"],
    settings: Settings,
    prices: Prices,
    spent: Costs,
    *,
    shards: int,
    workers: int,
) -> Estimate:
    polling = settings.polling
    idle_max_s = polling.idle_max_s
    shard_usd = idle_shard_usd(idle_max_s, prices)
    others = sorted({*_CANDIDATES_S, idle_max_s} - {one for one in _CANDIDATES_S if one < polling.idle_min_s})
    budget = None
    if settings.cost.monthly_budget_usd is not None:
        other_usd = spent.total - min(spent.stream_reads, shards * shard_usd)
        stretched_s, kept = stretched_idle_max_s(
            PacingLimits(polling.idle_min_s, idle_max_s, polling.page_limit),
            left_usd=settings.cost.monthly_budget_usd - other_usd,
            shards=shards,
            polling_usd=prices.get_records * MONTH_S,
        )
        budget = Budget(settings.cost.monthly_budget_usd, stretched_s, kept)
    return Estimate(
        source,
        shards,
        workers,
        idle_max_s,
        spent,
        shard_usd,
        tuple(_alternative(one, idle_max_s, shards, prices) for one in others),
        budget,
    )


def _alternative(idle_max_s: float, now_s: float, shards: int, prices: Prices) -> Alternative:
    shard_usd = idle_shard_usd(idle_max_s, prices)
    saved = shards * (idle_shard_usd(now_s, prices) - shard_usd)
    later_s = idle_max_s - now_s
    return Alternative(idle_max_s, shard_usd, shards * shard_usd, saved, (later_s / 2, later_s))


# --- in words, and as JSON --------------------------------------------------------------------------------------------

_NAMES: Final = {
    "stream_reads": "reading the stream",
    "lease_reads": "lease table, reads",
    "lease_writes": "lease table, writes",
    "queue": "requests to queues",
}


def lines(estimate: Estimate, prices_from: str) -> Iterator[str]:
    shards, workers = _many(estimate.shards, "shard"), _many(estimate.workers, "worker")
    if estimate.source == "settings":
        yield f"{shards} in which nothing happens, {workers}: reckoned from the settings"
    else:
        yield f"{shards} of {workers}: at the rates of the last 15 minutes"
    yield f"US dollars a month of 30 days, by the prices of {prices_from}, free tiers left out"
    yield ""
    for what, usd in estimate.costs.by_what().items():
        yield f"  {_NAMES[what]:<20} {usd:>10,.2f}"
    yield f"  {'together':<20} {estimate.costs.total:>10,.2f}"
    yield ""
    every = format_duration(estimate.idle_max_s)
    yield f"An idle shard costs {estimate.shard_usd:,.2f}, polled every {every}. Otherwise:"
    yield ""
    yield f"  {'IDLE_MAX':<9} {'A SHARD':>8} {'ALL':>10} {'SAVES':>10}   A CHANGE IS HEARD OF"
    for one in estimate.alternatives:
        saves = "-" if one.idle_max_s == estimate.idle_max_s else f"{one.saves_usd:,.2f}"
        row = f"{format_duration(one.idle_max_s):<9} {one.shard_usd:>8,.2f} {one.all_usd:>10,.2f} {saves:>10}"
        yield f"  {row}   {_later(one)}"
    if estimate.budget is not None:
        yield ""
        yield _budget(estimate.budget, estimate.idle_max_s)


def _later(one: Alternative) -> str:
    mean_s, most_s = one.later_s
    if most_s == 0.0:
        return "as now"
    word = "later" if most_s > 0 else "sooner"
    return f"{abs(mean_s):g} s {word}, {abs(most_s):g} s at most"


def _budget(budget: Budget, wanted_s: float) -> str:
    text = f"The budget of {budget.usd:,.2f}"
    if budget.idle_max_s == wanted_s and budget.kept:
        return f"{text} is kept with idle_max as it is."
    every = f"idle shards are polled every {format_duration(round(budget.idle_max_s, 1))}"
    return f"{text} is kept: {every}." if budget.kept else f"{text} is not enough: {every}, and it costs more."


def _many(count: int, word: str) -> str:
    return f"{count:,} {word}{'' if count == 1 else 's'}"


def document(estimate: Estimate, prices_from: str) -> dict[str, Any]:
    budget = estimate.budget
    return {
        "source": estimate.source,
        "prices_from": prices_from,
        "shards": estimate.shards,
        "workers": estimate.workers,
        "idle_max_s": estimate.idle_max_s,
        "usd_per_month": {what: _cents(usd) for what, usd in estimate.costs.by_what().items()},
        "total_usd_per_month": _cents(estimate.costs.total),
        "idle_shard_usd_per_month": _cents(estimate.shard_usd),
        "alternatives": [
            {
                "idle_max_s": one.idle_max_s,
                "shard_usd": _cents(one.shard_usd),
                "all_usd": _cents(one.all_usd),
                "saves_usd": _cents(one.saves_usd),
                "later_s": {"mean": one.later_s[0], "at_most": one.later_s[1]},
            }
            for one in estimate.alternatives
        ],
        "budget": budget
        and {"monthly_usd": budget.usd, "idle_max_s": round(budget.idle_max_s, 3), "kept": budget.kept},
    }


def _cents(usd: float) -> float:
    return round(usd, 4)
