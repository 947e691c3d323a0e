"""What is in the README and the pages of docs/: code blocks, words in code, links, headings."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
PAGES: Final = [ROOT / "README.md", ROOT / "CHANGELOG.md", ROOT / "SECURITY.md", *sorted((ROOT / "docs").rglob("*.md"))]
NAMES: Final = [str(page.relative_to(ROOT)) for page in PAGES]

_FENCE = re.compile(r"( *)```(\w*|\{\w+\})$")
_SHELL: Final = ("sh", "bash", "shell", "console")
_SEPARATORS: Final = frozenset({"|", "||", "&", "&&", ";", "(", ")"})
_ASSIGNMENT = re.compile(r"(\w+)=(.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block; `line` is that of its fence."""

    page: str
    line: int
    language: str
    text: str

    @property
    def shell(self) -> str:
        """What is to be typed of it, "" if nothing: all of a shell block, else what stands behind a prompt."""
        if self.language in _SHELL:
            return self.text
        return "\n".join(line.removeprefix("$ ") for line in self.text.splitlines() if line.startswith("$ "))


def blocks(name: str) -> list[Block]:
    """The blocks of a page."""
    found: list[Block] = []
    opened: re.Match[str] | None = None
    begun, lines = 0, list[str]()
    for number, line in enumerate((ROOT / name).read_text("utf-8").splitlines(), 1):
        fence = _FENCE.match(line)
        if opened is None:
            if fence:
                opened, begun, lines = fence, number, []
        elif fence and fence[1] == opened[1] and not fence[2]:
            found.append(Block(name, begun, opened[2], "\n".join(lines) + "\n"))
            opened = None
        else:
            lines.append(line.removeprefix(opened[1]))
    assert opened is None, f"{name}, line {begun}: a block without an end"
    return found


def prose(name: str) -> str:
    """The page without its blocks."""
    text = (ROOT / name).read_text("utf-8")
    return re.sub(r"^( *)```.*?^\1```$", "", text, flags=re.MULTILINE | re.DOTALL)


def commands(shell: str) -> Iterator[list[str]]:
    """The simple commands of a piece of shell, without assignments and redirections."""
    for line in shell.replace("\\\n", " ").splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        words: list[str] = []
        redirected = False
        for word in [*lexer, ";"]:
            if word in _SEPARATORS:
                if words:
                    yield words
                words = []
            elif set(word) <= set("<>&") or redirected:
                redirected = not redirected
            elif words or not _ASSIGNMENT.fullmatch(word):
                words.append(word)


def headings(name: str) -> set[str]:
    """The anchors of a page's headings, as GitHub and MyST make them."""
    titles = re.findall(r"^#+ (.+)$", prose(name), re.MULTILINE)
    plain = [re.sub(r"\[([^\]]+)\]\([^)]*\)|[`*]", r"\1", title).lower() for title in titles]
    return {re.sub(r"[^\w\- ]", "", title).replace(" ", "-") for title in plain}


def links(name: str) -> list[str]:
    """Where a page's links lead, those to other hosts left out."""
    found = re.findall(r"\]\(([^)\s]+)\)", prose(name)) + re.findall(r"(?:src|href)=\"([^\"]+)\"", prose(name))
    return [link for link in found if not re.match(r"https?:|mailto:", link)]
