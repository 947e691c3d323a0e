"""How Sphinx builds these pages (`make docs`). They read well without it; here is their navigation."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent

# What is not in any of these lists is a warning of Sphinx, and so an error of the build.
NAVIGATION = {
    "Begin": ["quick-start", "how-it-works", "delivery", "from-lambda", "from-pipes", "from-kcl"],
    "Run it": ["deploy", "iam", "security", "fleet", "cost", "performance", "compared", "kcl"],
    "Look after it": ["status-page", "runbook", "leases", "dead-letters", "replay", "traces"],
    "Look it up": ["filters", "settings", "commands", "metrics", "events", "glossary"],
    "Trust it": ["reliability", "chaos", "fuzzing", "benchmarks"],
    "Change it": ["contributing", "architecture", "decisions/index"],
}

# Links to the repository's folders, and to its pages that are not below docs/. (Other files can be downloaded.)
_ELSEWHERE = re.compile(r"\[([^\]]+)\]\((?:\.\./)+[\w./-]*(?:/|\.md)\)")

project = "poller"
version = release = re.findall(r'__version__ = "(.+)"', (HERE.parent / "poller" / "__init__.py").read_text("utf-8"))[0]
author = "The authors of poller"

extensions = ["myst_parser"]
source_suffix = {".md": "markdown"}
nitpicky = True
smartquotes = False  # what stands in quotes is often to be typed
myst_heading_anchors = 3

# The plain theme that comes with Sphinx; nothing is loaded from elsewhere.
html_theme = "alabaster"
html_theme_options = {
    "page_width": "1240px",
    "body_max_width": "none",
    "sidebar_width": "250px",
    "fixed_sidebar": True,
    "font_family": "sans-serif",
    "head_font_family": "sans-serif",
    "font_size": "15px",
    "code_font_size": "13px",
    "show_powered_by": False,
}
html_sidebars = {"**": ["about.html", "searchfield.html", "navigation.html"]}
html_show_sourcelink = False
html_copy_source = False
html_show_copyright = False
html_title = f"poller {release}"
# Boxes drawn with lines are not a language.
highlight_language = "text"


def _toctree(pages: Iterable[str], caption: str) -> str:
    return "\n".join(["", "```{toctree}", ":hidden:", ":titlesonly:", f":caption: {caption}", "", *pages, "```", ""])


def _adapt(_app: object, page: str, source: list[str]) -> None:
    """Adds the navigation to the two pages that have others below them; links to what is no page become words."""
    source[0] = _ELSEWHERE.sub(r"\1", source[0])
    if page == "index":
        for caption, pages in NAVIGATION.items():
            source[0] += _toctree([page for page in pages if (HERE / f"{page}.md").exists()], caption)
    elif page == "decisions/index":
        source[0] += _toctree(sorted(path.stem for path in (HERE / "decisions").glob("0*.md")), "Decisions")


def setup(app: Any) -> None:
    """Called by Sphinx."""
    app.connect("source-read", _adapt)
