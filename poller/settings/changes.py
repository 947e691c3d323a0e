"""What of new settings can be taken over while the daemon works, and what needs a restart."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from pydantic import BaseModel

from poller.settings.model import Settings

# By the names of the fields. All else is built into connections, leases or queues.
_AT_WORK: Final[Mapping[str, frozenset[str]]] = {
    "log": frozenset({"level"}),
    "polling": frozenset({"requests_per_second_per_shard"}),
}
_AT_WORK_IN_ROUTE: Final = frozenset({"filter", "changed", "max_attempts", "max_record_age_s", "messages_per_second"})

M = TypeVar("M", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Changes:
    """`settings`: those in force from now on. `applied` and `need_restart` are names as the file has them."""

    settings: Settings
    applied: tuple[str, ...]
    need_restart: tuple[str, ...]


def changes_at_work(section: str, field: str) -> bool:
    """Is this setting taken over while the daemon runs?"""
    return field in (_AT_WORK_IN_ROUTE if section == "route" else _AT_WORK.get(section, frozenset()))


def compare(old: Settings, new: Settings) -> Changes:
    """What `new` changes of `old`. Routes are told by name; one more or less, or in another order, needs a restart."""
    merging = _Merging()
    update: dict[str, Any] = {}
    for section in type(old).model_fields.keys() - {"routes"}:
        can = _AT_WORK.get(section, frozenset())
        update[section] = merging.merged(getattr(old, section), getattr(new, section), section, can, section)
    if [route.name for route in old.routes] == [route.name for route in new.routes]:
        update["routes"] = tuple(
            merging.merged(before, after, f"route {before.name}", _AT_WORK_IN_ROUTE, f"route.{index}")
            for index, (before, after) in enumerate(zip(old.routes, new.routes, strict=True))
        )
    else:
        merging.need_restart.append("route")
    in_force = old.with_parts(update, new, merging.paths)
    return Changes(in_force, tuple(sorted(merging.applied)), tuple(sorted(merging.need_restart)))


class _Merging:
    """Collects the names of what differs; `paths` are those of what is taken over, as `Settings.origin` has them."""

    def __init__(self) -> None:
        self.applied: list[str] = []
        self.paths: list[str] = []
        self.need_restart: list[str] = []

    def merged(self, old: M, new: M, where: str, can: frozenset[str], path: str) -> M:
        """`old` with those values of `new` that can be taken over. `where`: what people call the part at `path`."""
        update: dict[str, Any] = {}
        given = new.model_fields_set | old.model_fields_set  # a default may be another each time, as a worker's name is
        for field, info in type(old).model_fields.items():
            if field not in given or getattr(old, field) == getattr(new, field):
                continue
            name = f"{where}.{info.alias or field}"
            if field in can:
                update[field] = getattr(new, field)
                self.applied.append(name)
                self.paths.append(f"{path}.{info.alias or field}")
            else:
                self.need_restart.append(name)
        # A field that was left to its default is given from now on, so that going back is a change as well.
        return old.model_copy(update=update)
