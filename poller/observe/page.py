"""The page for people, at `/`: one file of the package, and what a browser may do with it, which is next to nothing.

The policy names the page's own script and style by their hashes. So nothing that comes in with a shard's or a queue's
name could run, and nothing is loaded from, or sent to, anywhere else.
"""

from __future__ import annotations

import base64
import hashlib
import re
from importlib import resources
from typing import Final

from poller.observe.http import Answer, Known

_INLINE: Final = re.compile(r"<(script|style)>(.*?)</\1>", re.DOTALL)


def front_page() -> Known:
    """Read once; the answer is always the same."""
    html = resources.files("poller.observe").joinpath("page.html").read_text("utf-8")
    headers = {
        "Content-Security-Policy": _policy(html),
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Referrer-Policy": "no-referrer",
        "X-Frame-Options": "DENY",
    }
    answer = Answer(html.encode(), "text/html; charset=utf-8", headers=headers)
    return lambda: answer


def _policy(html: str) -> str:
    sources = {"script": "", "style": ""}
    for kind, text in _INLINE.findall(html):
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        sources[kind] += f" 'sha256-{digest}'"
    return (
        f"default-src 'none'; script-src{sources['script']}; style-src{sources['style']}; connect-src 'self'; "
        "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
    )
