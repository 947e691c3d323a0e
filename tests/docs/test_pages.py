"""What the README and docs/ tell to type is right: run as far as that needs nobody else, and held to the program."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import click
import pytest

from poller import cli
from poller.cli.reference import every_command
from poller.settings.sources import CONFIG_VARIABLE, read_file, variables
from tests.docs.pages import NAMES, ROOT, blocks, commands, headings, links, prose

COMMANDS = {name: command for name, command, _ in every_command()}
# Where there are no shell blocks, there is nothing to run.
WITH_SHELL = [name for name in NAMES if any(block.shell for block in blocks(name))]
RECORD = {
    "eventID": "1",
    "eventName": "INSERT",
    "dynamodb": {
        "SequenceNumber": "100",
        "SizeBytes": 10,
        "Keys": {"id": {"S": "a"}},
        "NewImage": {"id": {"S": "a"}, "status": {"S": "READY"}},
    },
}
# What these do needs AWS, another server, a package index or a browser. They are in the way of nothing: `aws` answers
# with a record, all others with success. Any other program that is not there fails the block.
ELSEWHERE = (
    "aws", "curl", "docker", "jq", "kubectl", "make", "pip", "python", "sudo", "terraform",
)  # fmt: skip
# So `poller` itself is run where it asks nobody.
POLLER = """\
#!/bin/bash
case " $* " in
  *" --help "*|*" --version "*|" config show "*|" filter test "*|" iam-policy "*" --offline "*|" cost "*" --shards "*)
    exec {python} -m poller "$@" ;;
esac
[ -t 0 ] || cat >/dev/null
"""


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with everything that a block may call."""
    folder = tmp_path_factory.mktemp("programs")
    answer = json.dumps({"Records": [RECORD]})
    stands_in = dict.fromkeys(ELSEWHERE, "#!/bin/bash\n") | {"aws": f"#!/bin/bash\necho '{answer}'\n"}
    for name, script in (stands_in | {"poller": POLLER.format(python=sys.executable)}).items():
        (folder / name).write_text(script, "utf-8")
        (folder / name).chmod(0o755)
    for name in ("bash", "cat"):
        (folder / name).symlink_to(shutil.which(name) or "")
    return folder


@pytest.mark.parametrize("name", WITH_SHELL)
def test_the_shell_blocks_of_a_page_run_one_after_the_other(name: str, programs: Path, tmp_path: Path) -> None:
    (tmp_path / "config").symlink_to(ROOT / "config")
    (tmp_path / "record.json").write_text(json.dumps(RECORD), "utf-8")
    for block in blocks(name):
        if block.language == "json" and "dynamodb" in block.text:
            (tmp_path / "record.json").write_text(block.text, "utf-8")
    script = "\n".join(f"at={block.line}\n{block.shell}" for block in blocks(name) if block.shell)
    script = f"set -e -o pipefail\ntrap 'echo \"the block at line $at failed\" >&2' ERR\n{script}"
    environ = {"PATH": str(programs), "PYTHONPATH": str(ROOT), "HOME": str(tmp_path), "AWS_REGION": "eu-west-1"}
    environ |= {"POLLER_TABLE": "Uploads", "POLLER_QUEUE": "jobs"}
    run = subprocess.run(
        [shutil.which("bash") or "bash", "-c", script],
        cwd=tmp_path, env=environ, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert run.returncode == 0, f"{name}: {run.stderr}\n{run.stdout}"
    assert "command not found" not in run.stderr


@pytest.mark.parametrize("name", WITH_SHELL)
def test_every_command_line_of_a_page_is_one(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in (name for name in os.environ if name.startswith("POLLER_")):
        monkeypatch.delenv(variable)
    targets = make_targets()
    for block in blocks(name):
        for words in commands(block.shell):
            if words[0] == "poller":
                parse(words[1:])
            elif words[0] == "make":
                asked = {word for word in words[1:] if re.fullmatch(r"[a-z-]+", word)}
                assert asked <= targets, f"{name}, line {block.line}: make has no {asked - targets}"
            elif words[:2] == ["python", "-m"] and words[2].startswith(("poller", "tests", "benchmarks")):
                module = ROOT / words[2].replace(".", "/")
                assert module.with_suffix(".py").exists() or (module / "__main__.py").exists(), words[2]


@pytest.mark.parametrize("name", NAMES)
def test_every_command_in_the_text_of_a_page_exists_with_its_options(name: str) -> None:
    for text in re.findall(r"`poller ([a-z][^`]*)`", prose(name)):
        words = text.split()
        known = next((" ".join(words[:n]) for n in (2, 1) if " ".join(words[:n]) in COMMANDS), None)
        assert known, f"{name}: there is no `poller {text}`"
        options = {option for parameter in COMMANDS[known].params for option in parameter.opts} | {"--help"}
        unknown = set(re.findall(r"(?<!\S)--[a-z][a-z-]*", text)) - options
        assert not unknown, f"{name}: `poller {known}` has no {unknown}"


@pytest.mark.parametrize("name", NAMES)
def test_every_variable_on_a_page_is_a_setting(name: str) -> None:
    named = set(re.findall(r"\bPOLLER_[A-Z0-9_]*[A-Z0-9]\b", (ROOT / name).read_text("utf-8")))
    assert named - {*variables().values(), CONFIG_VARIABLE} == set()


@pytest.mark.parametrize("name", NAMES)
def test_every_link_of_a_page_leads_somewhere(name: str) -> None:
    for link in links(name):
        path, _, anchor = link.partition("#")
        target = ((ROOT / name).parent / path).resolve() if path else ROOT / name
        assert target.exists(), f"{name}: {link}"
        if anchor and target.suffix == ".md":
            assert anchor in headings(str(target.relative_to(ROOT))), f"{name}: {link}"


@pytest.mark.parametrize("name", NAMES)
def test_code_on_a_page_can_be_read_as_what_it_says_to_be(name: str, tmp_path: Path) -> None:
    for block in blocks(name):
        match block.language:
            case "python":
                compile(block.text, f"{name}, line {block.line}", "exec")
            case "json":
                json.loads(block.text)
            case "toml":
                tomllib.loads(block.text)
                (tmp_path / "settings.toml").write_text(block.text, "utf-8")
                assert read_file(tmp_path / "settings.toml", name, name).faults == []


def make_targets() -> set[str]:
    return set(re.findall(r"^([a-z-]+):(?!=)", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))


def parse(words: list[str]) -> None:
    """Reads a command line as `poller` would, and goes no further. click's errors: it is none."""
    words = [re.sub(r"^\S+\.jsonl?$", "-", word) for word in words]  # files of records are opened as they are read
    group: click.Command = cli.commands
    context: click.Context | None = None
    while True:
        try:
            context = group.make_context(words[0] if words else "", list(words), parent=context)
        except click.exceptions.Exit:
            return  # --help, --version
        if not isinstance(group, click.Group) or not (rest := [*context._protected_args, *context.args]):
            return
        _, inner, words = group.resolve_command(context, rest)
        assert inner is not None
        group = inner


def test_a_command_line_that_is_none_is_found_out() -> None:
    for wrong in (["rum"], ["run", "--proceses", "2"], ["filter", "tset"], ["cost", "--shards", "many"]):
        with pytest.raises(click.UsageError):
            parse(wrong)
