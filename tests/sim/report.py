"""An outcome in words."""

from __future__ import annotations

from tests.sim.simulation import Kind, Outcome


def summary(outcome: Outcome) -> str:
    """What happened in a seed, in a few lines; with a violation, the story's last lines as well."""
    counts = outcome.counts
    faults = ", ".join(f"{name} {count}" for name, count in sorted(outcome.faults.items())) or "none"
    tally = (
        f"  workers {outcome.workers}, records {counts['records']}, sent {counts['sent']},"
        f" duplicates {counts['duplicates']}, letters {counts['letters']}, losses said {counts['losses']}"
    )
    lines = [
        f"seed {outcome.seed}: {outcome.virtual_s:.0f} s in {outcome.real_s:.2f} s, {outcome.steps} steps",
        tally,
        f"  faults: {faults}",
        f"  story {outcome.digest}",
    ]
    if outcome.violation is None:
        return "\n".join([*lines, "  everything held"])
    return "\n".join([*lines, "  the last lines of its story:", *outcome.last, f"  VIOLATION {outcome.violation}"])


def command(seed: int, kind: Kind, mutant: str | None = None) -> str:
    """How to see a seed again."""
    options = ("" if kind == "both" else f" --{kind}") + (f" --mutant {mutant}" if mutant else "")
    return f"python -m tests.sim --seed {seed}{options} --trace"
