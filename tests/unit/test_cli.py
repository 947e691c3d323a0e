"""The command line: what it says, and with which exit code it ends."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType

import click
import pytest
from click.testing import CliRunner, Result

from poller import __main__, cli
from poller.errors import AwsError, ConfigurationError, PollerError

Main = Callable[[Sequence[Path], Mapping[str, str]], int]


def invoke(*arguments: str, **environ: str) -> Result:
    return CliRunner().invoke(cli.commands, arguments, env=environ, prog_name="poller")


def process(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """`python -m poller` in an environment that has no setting of its own."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("POLLER_", "AWS_"))}
    command = [sys.executable, "-m", "poller", *arguments]
    return subprocess.run(command, env=clean | environ, capture_output=True, text=True, timeout=60, check=False)


def modules_after(statement: str) -> set[str]:
    """What a fresh interpreter has imported after this."""
    script = f"import sys\n{statement}\nprint('imported:', *sys.modules)"
    command = [sys.executable, "-c", script]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    return set(result.stdout.rpartition("imported: ")[2].split())


@pytest.fixture
def app(monkeypatch: pytest.MonkeyPatch) -> Callable[[Main], None]:
    """Puts a daemon's `main` in the place of the real one."""

    def put(main: Main) -> None:
        module = ModuleType("poller.app")
        module.main = main  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "poller.app", module)

    return put


def raising(error: Exception) -> Main:
    def main(configs: Sequence[Path], environ: Mapping[str, str]) -> int:
        raise error

    return main


def test_help_lists_every_command_with_what_it_is_for() -> None:
    output = " ".join(invoke("--help").output.split())

    assert " run Run the daemon until SIGTERM or Ctrl-C. " in output
    assert " demo See it work on an embedded emulator" in output


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_has_a_help_with_an_example(name: str) -> None:
    result = invoke(name, "--help")

    assert result.exit_code == 0
    assert f"  poller {name}" in result.output.split("Usage: ", 1)[1].split("\n", 1)[1]


def test_an_unknown_command_is_wrong_usage() -> None:
    result = invoke("rum")

    assert result.exit_code == 2
    assert "No such command 'rum'" in result.stderr


def test_run_gives_the_daemon_its_files_and_the_environment(app: Callable[[Main], None]) -> None:
    seen: list[tuple[list[str], str]] = []

    def main(configs: Sequence[Path], environ: Mapping[str, str]) -> int:
        seen.append(([str(path) for path in configs], environ["POLLER_TABLE"]))
        return 0

    app(main)

    assert invoke("run", "--config", "a.toml", POLLER_TABLE="Orders").exit_code == 0
    assert invoke("run", POLLER_CONFIG="b.toml", POLLER_TABLE="Orders").exit_code == 0
    assert invoke("run", POLLER_TABLE="Orders").exit_code == 0
    assert invoke("run", "--config", "a.toml", "--config", "b.toml", POLLER_TABLE="Orders").exit_code == 0
    assert [files for files, _ in seen] == [["a.toml"], ["b.toml"], [], ["a.toml", "b.toml"]]
    assert {table for _, table in seen} == {"Orders"}


def test_run_gives_several_processes_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[list[str], str, int]] = []

    def main(configs: Sequence[Path], environ: Mapping[str, str], count: int) -> int:
        seen.append(([str(path) for path in configs], environ["POLLER_TABLE"], count))
        return 0

    monkeypatch.setattr("poller.processes.parent.main", main)

    assert invoke("run", "--processes", "2", "--config", "a.toml", POLLER_TABLE="Orders").exit_code == 0
    assert seen == [(["a.toml"], "Orders", 2)]


def test_one_process_needs_no_parent(app: Callable[[Main], None]) -> None:
    app(lambda config, environ: 0)

    assert invoke("run", "--processes", "1").exit_code == 0


@pytest.mark.parametrize("count", ["0", "-1", "65", "two"])
def test_a_number_of_processes_that_cannot_be_is_wrong_usage(count: str) -> None:
    assert invoke("run", "--processes", count).exit_code == 2


def test_how_a_worker_is_started_is_not_for_people() -> None:
    output = invoke("run", "--help").output

    assert "--processes" in output
    assert "-fd" not in output


def test_the_parent_of_several_processes_does_without_boto3() -> None:
    forbidden = "sys.modules.update(boto3=None, botocore=None, moto=None)"

    assert "poller.processes.parent" in modules_after(f"{forbidden}; import poller.processes.parent")


def test_the_variable_names_one_file_whatever_its_name(app: Callable[[Main], None]) -> None:
    seen: list[Sequence[Path]] = []

    def main(configs: Sequence[Path], environ: Mapping[str, str]) -> int:
        seen.append(configs)
        return 0

    app(main)

    assert invoke("run", POLLER_CONFIG="my a:b.toml").exit_code == 0
    assert invoke("run", "--config", "c.toml", POLLER_CONFIG="b.toml").exit_code == 0
    assert seen == [(Path("my a:b.toml"),), (Path("c.toml"),)]


def test_a_command_for_one_application_refuses_several_files() -> None:
    result = invoke("filter", "test", "--config", "a.toml", "--config", "b.toml", "--record", "-")

    assert result.exit_code == 2
    assert result.stderr.endswith("Error: --config: given 2 times; this command takes one file.\n")


def test_run_ends_with_the_daemons_exit_code(app: Callable[[Main], None]) -> None:
    app(lambda config, environ: 1)

    assert invoke("run").exit_code == 1


def test_a_configuration_error_is_one_line_and_exit_code_2(app: Callable[[Main], None]) -> None:
    app(raising(ConfigurationError("POLLER_TABLE = 'x y': not a table's name;\nsee the list of tables")))
    result = invoke("run")

    assert result.exit_code == 2
    assert result.stderr == "poller: POLLER_TABLE = 'x y': not a table's name; see the list of tables\n"
    assert result.stdout == ""


@pytest.mark.parametrize(
    "error",
    [PollerError("it failed"), AwsError("it failed", operation="GetRecords", resource="t", code="InternalServerError")],
)
def test_an_error_that_was_foreseen_is_one_line_and_exit_code_1(
    app: Callable[[Main], None], error: PollerError
) -> None:
    app(raising(error))
    result = invoke("run")

    assert result.exit_code == 1
    assert result.stderr == "poller: it failed\n"


def test_a_defect_keeps_its_traceback(app: Callable[[Main], None]) -> None:
    app(raising(ZeroDivisionError("a defect")))
    result = invoke("run")

    assert result.exit_code == 1
    assert isinstance(result.exception, ZeroDivisionError)


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        (("--for", "30"), 'a duration needs its unit; write "30s" or "30ms"'),
        (("--for", "soon"), "not a duration"),
        (("--for", "1ms"), 'must be from "1s" to "7d"'),
        (("--rate", "0"), "0.1<=x<=20"),
        (("--http-port", "65536"), "0<=x<=65535"),
    ],
)
def test_the_demo_refuses_values_that_it_cannot_play(arguments: tuple[str, ...], fault: str) -> None:
    result = invoke("demo", *arguments)

    assert result.exit_code == 2
    assert fault in result.stderr


def test_without_its_emulator_the_demo_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("poller.cli.demo.find_spec", lambda name: None if name == "moto" else object())
    result = invoke("demo")

    assert result.exit_code == 2
    assert result.stderr.endswith("pip install 'dynamodb-stream-poller[demo]', in a checkout pip install '.[demo]'\n")
    assert result.stderr.count("\n") == 1


def test_every_command_in_the_table_is_a_click_command() -> None:
    context = click.Context(cli.commands)

    for name in cli.COMMANDS:
        assert isinstance(cli.commands.get_command(context, name), click.Command)


def test_help_imports_nothing_that_only_the_daemon_needs() -> None:
    heavy = {"boto3", "botocore", "aiohttp", "asyncio", "pydantic", "rich", "moto", "structlog"}

    assert not heavy & modules_after("from poller.cli import commands; commands(['--help'], standalone_mode=False)")


def test_as_a_process_the_module_is_the_console_script() -> None:
    result = process("--version")

    assert (result.returncode, result.stdout, result.stderr) == (0, invoke("--version").output, "")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ("config show >/dev/full", "poller: nothing more could be written: No space left on device\n"),
        ("tap >&-", "poller: no AWS credentials were found: "),
    ],
    ids=["full", "closed"],
)
def test_where_nothing_can_be_printed_there_is_no_traceback(arguments: str, told: str, tmp_path: Path) -> None:
    without_credentials = {"HOME": str(tmp_path), "AWS_EC2_METADATA_DISABLED": "true", "AWS_REGION": "eu-west-1"}
    environment = {"PATH": os.environ["PATH"], "POLLER_TABLE": "Orders", "POLLER_QUEUE": "jobs", **without_credentials}
    command = ["sh", "-c", f'exec "$0" -m poller {arguments}', sys.executable]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)

    assert result.returncode == 1
    assert result.stderr.startswith(told)
    assert result.stderr.count("\n") == 1


def test_what_the_encoding_lacks_is_escaped() -> None:
    settings = {"POLLER_TABLE": "Orders", "POLLER_QUEUE": "jobs", "POLLER_WORKER_ID": "w\u2026"}
    result = process("config", "show", PYTHONUTF8="1", PYTHONIOENCODING="latin-1", **settings)

    assert (result.returncode, result.stderr) == (0, "")
    assert "w\\u2026" in result.stdout


def test_ctrl_c_before_anything_has_begun_is_no_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(sys, "argv", ["poller", "check"])
    monkeypatch.setattr(cli, "main", interrupted)
    with pytest.raises((SystemExit, KeyboardInterrupt)) as ended:
        __main__.main()
    assert isinstance(ended.value, SystemExit)
    assert ended.value.code == 1


def test_as_a_process_wrong_usage_ends_with_2() -> None:
    result = process("rum")

    assert result.returncode == 2
    assert result.stdout == ""
    assert result.stderr.startswith("Usage: poller ")


def test_as_a_process_a_bad_setting_is_one_line_and_exit_code_2() -> None:
    result = process("run", POLLER_TABEL="Orders")

    assert result.returncode == 2
    assert result.stdout == ""
    assert result.stderr.startswith("poller: ")
    assert "POLLER_TABEL" in result.stderr
    assert result.stderr.count("\n") == 1


def test_the_daemon_needs_neither_the_emulator_nor_what_draws_tables() -> None:
    # structlog imports rich wherever it is installed; so this forbids the import instead of looking for it afterwards.
    forbidden = "sys.modules.update(rich=None, moto=None, flask=None)"

    assert "poller.app" in modules_after(f"{forbidden}; import poller.app")
