"""The page for people as a file: what a browser may do with it, and that it brings everything with it."""

from __future__ import annotations

import base64
import hashlib
import re

from poller.observe.http import Answer, standard_pages
from poller.observe.page import front_page


def page() -> tuple[str, Answer]:
    answer = front_page()()
    return answer.body.decode(), answer


def policy() -> dict[str, str]:
    rules = page()[1].headers["Content-Security-Policy"].split("; ")
    return {name: value for name, _, value in (rule.partition(" ") for rule in rules)}


def test_it_is_served_beside_the_others() -> None:
    pages = standard_pages(lambda: b"", None, front_page())
    assert set(pages) == {"/metrics", "/livez", "/"}
    answer = pages["/"]()
    assert (answer.status, answer.content_type) == (200, "text/html; charset=utf-8")


def test_a_browser_may_run_its_own_script_and_style_and_ask_its_own_server_and_nothing_else() -> None:
    html, _ = page()
    rules = policy()
    for kind in ("script", "style"):
        (inline,) = re.findall(rf"<{kind}>(.*?)</{kind}>", html, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(inline.encode()).digest()).decode()
        assert rules[f"{kind}-src"] == f"'sha256-{digest}'"
    assert (rules["default-src"], rules["connect-src"]) == ("'none'", "'self'")
    assert {rules[name] for name in ("base-uri", "form-action", "frame-ancestors")} == {"'none'"}
    assert "unsafe" not in str(rules)


def test_it_loads_nothing_and_names_no_address() -> None:
    html, _ = page()
    assert set(re.findall(r"https?://[^\"' ]+", html)) == {"http://www.w3.org/2000/svg"}
    assert re.findall(r"<(?:script|img|iframe|object|embed|video|audio)\b[^>]+>", html) == []
    assert re.findall(r"\bsrc\s*=", html) == []
    assert re.findall(r'<link[^>]+href="([^"]*)"', html) == ["data:,"]


def test_what_comes_from_the_daemon_is_never_made_markup() -> None:
    html, _ = page()
    for way in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "Function(", "DOMParser"):
        assert way not in html


def test_what_its_policy_would_not_let_through_is_not_in_it() -> None:
    html, _ = page()
    assert re.findall(r"\s(?:style|on[a-z]+)=", html.split("<script>")[0].split("</style>")[1]) == []


def test_it_is_small() -> None:
    assert len(page()[1].body) < 64_000
