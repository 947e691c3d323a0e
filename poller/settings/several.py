"""The settings of several applications in one process: one file each, and what must hold between the files.

What is the process's own (`PROCESS`) has one value, whichever file says it. What tells the applications apart (`OWN`)
stands in their files. Every other variable of the environment goes to all of them, and before their files, as always.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import combinations
from operator import attrgetter
from pathlib import Path
from typing import Final

from poller.settings.loading import InvalidSettings, check_with_world, load, refuse, validated
from poller.settings.model import Settings
from poller.settings.origins import Origin, masked
from poller.settings.sources import Source, read_environment, read_file, variables
from poller.settings.values import default_worker_id

_WORKER_ID: Final = "lease.worker_id"
# Sections and settings that are the process's own.
PROCESS: Final = ("http", "log", "metrics", "trace", _WORKER_ID)
# Sections and settings that are an application's own: no variable can have them for two.
OWN: Final = ("stream", "route", "lease.table")


def load_all(environ: Mapping[str, str], configs: Sequence[Path], *, now: float | None = None) -> tuple[Settings, ...]:
    """The settings of each application, in the files' order; of one file, or none, what `load` makes of it.

    ConfigurationError: a file or a setting cannot be used, or two files do not go together in one process.
    """
    if len(configs) < 2:
        return (load(environ, configs[0] if configs else None, now=now),)
    refuse([f"--config {path}: given twice; leave one of them out" for path in _twice(configs)])
    environment = read_environment(environ)
    files = {str(path): read_file(path, f"--config {path}", str(path)) for path in configs}
    faults = (fault for file in files.values() for fault in file.faults)
    refuse([*environment.faults, *_ambiguous(environment, len(files)), *faults])
    settings = _each(environment, files)
    for one in settings:
        check_with_world(one, environ.get("AWS_REGION"), now, several=True)
    refuse([*_disagreements(settings), *_overlaps(settings)])
    return settings


def _twice(configs: Sequence[Path]) -> list[Path]:
    return [path for number, path in enumerate(configs) if path in configs[:number]]


def _is_of(setting: str, kinds: Iterable[str]) -> bool:
    return any(setting == kind or setting.startswith(f"{kind}.") for kind in kinds)


def _process_settings() -> list[str]:
    return [setting for setting in variables() if _is_of(setting, PROCESS)]


def _ambiguous(environment: Source, files: int) -> Iterator[str]:
    """Variables that would have to be for one of the applications."""
    for setting, origin in environment.known.items():
        if _is_of(setting, OWN):
            yield (
                f"{origin.written}: there are {files} files, and a variable does not say for which of them;"
                f" write {setting} into the one that is meant"
            )


def _each(environment: Source, files: Mapping[str, Source]) -> tuple[Settings, ...]:
    """InvalidSettings: the faults of all files. One that is in all of them is a variable's, or the process's."""
    shared = _shared([*files.values(), environment])
    settings: list[Settings] = []
    faults: dict[str, Sequence[str]] = {}
    for name, file in files.items():
        try:
            settings.append(validated({**shared, **file.known, **environment.known}, file, name))
        except InvalidSettings as error:
            faults[name] = error.faults
    everywhere = set.intersection(*map(set, faults.values())) if len(faults) == len(files) else set()
    named = (
        line if name in line or line in everywhere else f"{name}: {line}" for name in faults for line in faults[name]
    )
    refuse(list(dict.fromkeys(named)))
    return tuple(settings)


def _shared(sources: Iterable[Source]) -> dict[str, Origin]:
    """What is the process's own: the word of the first source that has one on it, and a worker id in any case."""
    said: dict[str, Origin] = {_WORKER_ID: Origin("default", _WORKER_ID, default_worker_id())}
    for source in reversed([*sources]):
        said |= {setting: source.known[setting] for setting in _process_settings() if setting in source.known}
    return said


def _disagreements(settings: Sequence[Settings]) -> Iterator[str]:
    """Two files that say different things about the process."""
    first = settings[0]
    for one in settings[1:]:
        for setting in _process_settings():
            value = attrgetter(setting)(first)
            if attrgetter(setting)(one) == value:
                continue
            said = f"{first.origin(setting).place} says {masked(json.dumps(value))}"
            mend = f"leave it out of one of the files, or set {variables()[setting]}"
            yield str(one.fault(setting, f"{said}, and there is only one for the whole process; {mend}"))


def _overlaps(settings: Sequence[Settings]) -> Iterator[str]:
    """Two files for the same stream, or with one lease table: each would overwrite the other's checkpoints."""
    for first, second in combinations(settings, 2):
        if first.stream.table_name == second.stream.table_name:
            setting = "stream.table" if second.stream.arn is None else "stream.arn"
            problem = f"{first.file} reads a table of this name already; leave one out, or run it in another process"
            yield str(second.fault(setting, problem))
        elif _may_be_in_one_region(first, second):
            yield from _wrong_lease_tables(first, second)


def _wrong_lease_tables(first: Settings, second: Settings) -> Iterator[str]:
    """Lease tables of two applications that are each other's, or each other's source."""
    if first.lease_table == second.lease_table:
        problem = (
            f"{second.lease_table} is the lease table of {first.file}, and two applications with one"
            " overwrite each other's checkpoints; name another table"
        )
        yield str(second.fault("lease.table", problem))
    for one, other in ((first, second), (second, first)):
        if one.lease_table == other.stream.table_name:
            problem = f"{one.lease_table} is the table that {other.file} reads; lease rows need one of their own"
            yield str(one.fault("lease.table", problem))


def _may_be_in_one_region(first: Settings, second: Settings) -> bool:
    return first.region is None or second.region is None or first.region == second.region
