"""`poller healthcheck`: whom it asks, what it prints, how it ends."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from poller import cli
from tests.pages import PageServer, serving

REASON = {"part": "queue of route default", "since": "2026-11-23T08:00:00.000Z", "seconds": 7.3, "text": "It is down."}


class Daemon(PageServer):
    """Answers as a daemon would; `ready` says how."""

    def __init__(self) -> None:
        super().__init__()
        self.ready = True
        self.reason: dict[str, object] = {**REASON}
        self.asked: list[str] = []

    def answer(self, path: str, query: Mapping[str, str]) -> tuple[int, bytes]:
        self.asked.append(path)
        body = {"ready": self.ready, "reasons": [] if self.ready else [self.reason]}
        return (200 if self.ready or path == "/livez" else 503), json.dumps(body).encode()


@pytest.fixture
def daemon() -> Iterator[Daemon]:
    with serving(Daemon()) as server:
        yield server


def check(*arguments: str, **environ: str) -> Result:
    return CliRunner().invoke(cli.commands, ["healthcheck", *arguments], env=environ, prog_name="poller")


def test_a_ready_daemon_is_exit_code_0(daemon: Daemon) -> None:
    result = check("--url", daemon.url)
    assert (result.exit_code, result.stdout, daemon.asked) == (0, "ready\n", ["/readyz"])


def test_one_that_is_not_is_exit_code_1_with_its_reasons(daemon: Daemon) -> None:
    daemon.ready = False
    result = check("--url", daemon.url)
    assert result.exit_code == 1
    assert result.stdout.splitlines() == [
        f"not ready: {daemon.url} answers 503",
        "  queue of route default (since 2026-11-23T08:00:00.000Z, 7 s): It is down.",
    ]


def test_of_several_streams_it_says_which_one_is_not(daemon: Daemon) -> None:
    daemon.ready, daemon.reason = False, {"stream": "Orders", **REASON}
    result = check("--url", daemon.url)
    assert result.stdout.splitlines()[1] == (
        "  stream Orders: queue of route default (since 2026-11-23T08:00:00.000Z, 7 s): It is down."
    )


def test_of_several_processes_it_says_which_one_is_not(daemon: Daemon) -> None:
    daemon.ready, daemon.reason = False, {"process": 2, "stream": "Orders", **REASON}
    result = check("--url", daemon.url)
    assert result.stdout.splitlines()[1].startswith("  process 2: stream Orders: queue of route default (since ")


def test_with_live_only_the_loop_has_to_turn(daemon: Daemon) -> None:
    daemon.ready = False
    result = check("--url", daemon.url, "--live")
    assert (result.exit_code, result.stdout, daemon.asked) == (0, "alive\n", ["/livez"])


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "localhost"])
def test_it_asks_where_the_environment_says_that_the_daemon_listens(daemon: Daemon, host: str) -> None:
    assert check(POLLER_HTTP_HOST=host, POLLER_HTTP_PORT=daemon.port).exit_code == 0


def test_it_asks_where_the_file_says_and_the_environment_goes_first(daemon: Daemon, tmp_path: Path) -> None:
    file = tmp_path / "poller.toml"
    file.write_text(f"[http]\nport = {daemon.port}\n")
    assert check(POLLER_CONFIG=str(file)).exit_code == 0
    file.write_text("[http]\nport = 1\n")
    assert check(POLLER_CONFIG=str(file), POLLER_HTTP_PORT=daemon.port).exit_code == 0


def test_a_file_that_is_named_goes_before_the_one_of_the_environment_and_must_be_there(
    daemon: Daemon, tmp_path: Path
) -> None:
    file, other = tmp_path / "poller.toml", tmp_path / "other.toml"
    file.write_text(f"[http]\nport = {daemon.port}\n")
    other.write_text("[http]\nport = 1\n")
    assert check("--config", str(file), POLLER_CONFIG=str(other)).exit_code == 0
    result = check("--config", str(tmp_path / "none.toml"), POLLER_HTTP_PORT=daemon.port)
    assert (result.exit_code, "does not exist" in result.stderr) == (2, True)


def test_what_an_editor_puts_before_the_file_hides_nothing_of_it(daemon: Daemon, tmp_path: Path) -> None:
    file = tmp_path / "poller.toml"
    file.write_text(f"[http]\nport = {daemon.port}\n", "utf-8-sig")
    assert check(POLLER_CONFIG=str(file)).exit_code == 0


@pytest.mark.parametrize("text", ["not TOML", "http = 7", "[http]\nport = 1\n[nonsense"])
def test_no_other_setting_has_to_be_valid(daemon: Daemon, tmp_path: Path, text: str) -> None:
    file = tmp_path / "poller.toml"
    file.write_text(text)
    environ = {"POLLER_CONFIG": str(file), "POLLER_TABEL": "?", "POLLER_LEASE__DURATION": "never"}
    assert check(POLLER_HTTP_PORT=daemon.port, **environ).exit_code == 0


def test_a_daemon_that_is_not_there_is_exit_code_1_and_one_line() -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        port = nobody.getsockname()[1]
        result = check(POLLER_HTTP_PORT=str(port))
    assert result.exit_code == 1
    assert result.stderr.startswith(f"poller: no answer from http://127.0.0.1:{port}/readyz: ")
    assert result.stderr.count("\n") == 1


def test_a_daemon_that_hangs_is_exit_code_1_after_the_timeout() -> None:
    with socket.create_server(("127.0.0.1", 0)) as hanging:
        result = check("--timeout", "50ms", POLLER_HTTP_PORT=str(hanging.getsockname()[1]))
    assert result.exit_code == 1
    assert result.stderr.endswith("within 0.05 s: the daemon hangs\n")


@pytest.mark.parametrize("port", ["0", "65536", "http", "-1"])
def test_a_port_at_which_nobody_can_be_asked_is_wrong_usage(port: str) -> None:
    result = check(POLLER_HTTP_PORT=port)
    assert result.exit_code == 2
    assert result.stderr == (
        f'poller: POLLER_HTTP_PORT="{port}": no port to ask at; set one from 1 to 65535, or give the address as --url\n'
    )


def test_where_http_is_switched_off_it_says_so(tmp_path: Path) -> None:
    off = "the daemon serves no HTTP, and cannot be asked; set it to true\n"
    result = check(POLLER_HTTP__ENABLED="False")
    assert (result.exit_code, result.stderr) == (2, f'poller: POLLER_HTTP__ENABLED="False": {off}')

    file = tmp_path / "poller.toml"
    file.write_text("[http]\nenabled = false\n")
    result = check(POLLER_CONFIG=str(file))
    assert (result.exit_code, result.stderr) == (2, f"poller: http.enabled = false ({file}): {off}")


def test_the_environment_switches_http_on_before_the_file_and_an_address_is_asked_anyway(
    daemon: Daemon, tmp_path: Path
) -> None:
    file = tmp_path / "poller.toml"
    file.write_text("[http]\nenabled = false\n")
    assert check(POLLER_CONFIG=str(file), POLLER_HTTP__ENABLED="true", POLLER_HTTP_PORT=daemon.port).exit_code == 0
    assert check("--url", daemon.url, POLLER_CONFIG=str(file)).exit_code == 0


@pytest.mark.parametrize("url", ["https://x", "127.0.0.1:9464", "http://", "http://x:y"])
def test_an_url_at_which_nobody_can_be_asked_is_wrong_usage(url: str) -> None:
    result = check("--url", url)
    assert result.exit_code == 2
    assert result.stderr.startswith(f'poller: --url "{url}": not an address such as ')


@pytest.mark.parametrize(("host", "address"), [("::", "[::1]"), ("fe80::1", "[fe80::1]"), ("pod", "pod")])
def test_an_address_is_written_as_an_url_wants_it(host: str, address: str) -> None:
    from poller.cli.ask import base_url

    assert base_url({"POLLER_HTTP_HOST": host}) == f"http://{address}:9464"


def test_it_imports_nothing_that_it_can_do_without() -> None:
    heavy = {"pydantic", "boto3", "aiohttp", "asyncio", "msgspec", "structlog"}
    script = (
        "import sys\nfrom poller.cli import commands\n"
        "try:\n    commands(['healthcheck', '--url', 'http://127.0.0.1:1'], standalone_mode=False)\n"
        "finally:\n    print('imported:', *sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert "no answer from http://127.0.0.1:1" in result.stderr
    assert not heavy & set(result.stdout.partition("imported: ")[2].split())
