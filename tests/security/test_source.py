"""What the source never does: run text as code, take objects from bytes, start shells, listen where nobody asked."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2] / "poller"
SOURCES = sorted(ROOT.rglob("*.py"))
# The demo starts the emulator, `--processes` this very program, and `--version` asks git in a checkout: from fixed
# arguments, without a shell.
MAY_START_PROCESSES = {
    "cli/version.py",
    "demo/children.py",
    "demo/command.py",
    "demo/emulator.py",
    "demo/stage.py",
    "processes/child.py",
}
# It tells the C library two numbers; no bytes from outside come near it.
MAY_CALL_C = {"memory.py"}

CALLS = {"eval", "exec", "compile", "__import__", "execfile", "input", "breakpoint"}
MODULES = {
    "pickle", "cPickle", "dill", "cloudpickle", "marshal", "shelve", "dbm", "yaml", "ruamel", "jsonpickle", "joblib",
    "xml", "lxml", "xmlrpc", "telnetlib", "ftplib", "code", "codeop", "pdb", "runpy", "imp",
}  # fmt: skip
PROCESSES = {"subprocess", "multiprocessing", "pty"}
METHODS = {("os", "system"), ("os", "popen"), ("asyncio", "create_subprocess_shell"), ("tempfile", "mktemp")}


@cache
def nodes() -> Sequence[tuple[str, ast.AST]]:
    """What is of interest of all the source."""
    kinds = (ast.Call, ast.Import, ast.ImportFrom, ast.Attribute, ast.keyword)
    trees = ((path.relative_to(ROOT).as_posix(), ast.parse(path.read_text("utf-8"))) for path in SOURCES)
    return [(file, node) for file, tree in trees for node in ast.walk(tree) if isinstance(node, kinds)]


def imported(node: ast.AST) -> set[str]:
    if isinstance(node, ast.Import):
        return {alias.name.partition(".")[0] for alias in node.names}
    if isinstance(node, ast.ImportFrom) and node.module:
        return {node.module.partition(".")[0]}
    return set()


def test_there_is_source_to_look_at() -> None:
    assert len(SOURCES) > 100


def test_no_text_is_run_as_code() -> None:
    called = [
        (file, node.lineno, node.func.id)
        for file, node in nodes()
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in CALLS
    ]
    assert called == []


def test_nothing_is_read_that_can_hold_objects_or_reach_out() -> None:
    assert [(file, names) for file, node in nodes() if (names := imported(node) & MODULES)] == []


def test_c_is_called_by_one_module_only() -> None:
    assert {file for file, node in nodes() if imported(node) & {"ctypes", "cffi"}} == MAY_CALL_C


def test_only_few_start_processes_and_never_by_a_shell() -> None:
    assert {file for file, node in nodes() if imported(node) & PROCESSES} <= MAY_START_PROCESSES
    for file, node in nodes():
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            assert (node.value.id, node.attr) not in METHODS, file
        if isinstance(node, ast.keyword) and node.arg == "shell":
            pytest.fail(f"{file}: shell=")


def test_modules_are_imported_by_names_that_stand_in_the_source() -> None:
    """`import_module` of what somebody wrote into a setting would run it."""
    files = {
        file
        for file, node in nodes()
        if isinstance(node, ast.Call) and getattr(node.func, "id", getattr(node.func, "attr", "")) == "import_module"
    }
    assert files <= {"cli/__init__.py"}
