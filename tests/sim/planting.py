"""Plants a bug: one module's source is changed as it is imported, in this process only, never in a file.

This must come before anything of the poller is imported.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import CodeType, ModuleType


@dataclass(frozen=True, slots=True)
class Mutant:
    """A realistic bug of a line or two. `row`: its place in the table of `docs/reliability.md`; `old` occurs once."""

    name: str
    row: int
    module: str
    old: str
    new: str

    def applied_to(self, source: str) -> str:
        """ValueError: the source is not what the mutant was written for."""
        count = source.count(self.old)
        if count != 1:
            raise ValueError(f"the mutant {self.name}: its old text occurs {count} times in {self.module}, not once")
        return source.replace(self.old, self.new)


class _Loader(SourceFileLoader):
    def __init__(self, name: str, path: str, mutant: Mutant) -> None:
        super().__init__(name, path)
        self._mutant = mutant

    def get_code(self, fullname: str) -> CodeType:
        """Without looking at compiled files, and without leaving any."""
        source = self._mutant.applied_to(self.get_data(self.path).decode())
        code: CodeType = compile(source, self.path, "exec", dont_inherit=True)
        return code


class _Finder(MetaPathFinder):
    def __init__(self, mutant: Mutant) -> None:
        self._mutant = mutant

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != self._mutant.module:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is None or spec.origin is None:
            return None
        spec.loader = _Loader(fullname, spec.origin, self._mutant)
        return spec


def plant(mutant: Mutant) -> None:
    if mutant.module in sys.modules:
        raise RuntimeError(f"{mutant.module} is imported already")
    sys.meta_path.insert(0, _Finder(mutant))
