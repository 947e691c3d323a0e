"""Makes the pictures of the README: `make screenshots`. It needs Chromium.

Two workers read a made-up stream on the stand-in for AWS; one of its queues breaks. It takes two minutes.
"""

from __future__ import annotations

import asyncio
import io
import json
import random
import re
import sys
import tempfile
import urllib.request
from contextlib import ExitStack
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from rich.console import Console  # noqa: E402 - found only now
from rich.terminal_theme import MONOKAI  # noqa: E402

from poller.operate.panel import draw  # noqa: E402
from poller.operate.told import told  # noqa: E402
from tests.browser import Browser, find_chromium  # noqa: E402
from tests.e2e.daemon import Daemon  # noqa: E402
from tests.standin import Remote, StandInProcess  # noqa: E402

IMAGES = ROOT / "docs" / "img"
TABLE = "AnalysisMetadataTable"
SETTINGS = f"""
[stream]
table = "{TABLE}"
[lease]
duration = "3s"
discovery_interval = "5s"
[aws]
request_timeout = "900ms"
connect_timeout = "900ms"
[[route]]
name = "analysis"
queue = "analysis-jobs"
dead_letter_queue = "analysis-dead-letters"
[[route]]
name = "billing"
queue = "billing-events"
dead_letter_queue = "billing-dead-letters"
filter = ['{{"dynamodb": {{"NewImage": {{"phase": {{"S": ["ANALYSED"]}}}}}}}}']
"""
PHASES = ("CREATED", "FILE_UPLOAD_STARTED", "FILE_UPLOAD_COMPLETE", "ANALYSED")
CALM_S, TROUBLE_S = 100, 24
ROWS = 12


class Site:
    """The stream, and uploads that go on."""

    def __init__(self, remote: Remote) -> None:
        self.remote = remote
        self.shards = remote.stream(TABLE, shards=6).shards
        for name in ("analysis-jobs", "analysis-dead-letters", "billing-events", "billing-dead-letters"):
            remote.queue(name)
        self.rng = random.Random(1)
        self.items = 0

    def roll_over(self) -> None:
        """Some shards end, as they do every few hours; one of them is split."""
        self.shards[:1] = self.remote.split(TABLE, self.shards[0])
        for number in (2, 3):
            self.shards[number] = self.remote.roll(TABLE, self.shards[number])

    async def live(self, seconds: float) -> None:
        for step in range(round(seconds * 5)):
            wave = 1 + step % 60 / 30
            for shard in self.shards:
                records = [self.change() for _ in range(self.rng.randrange(int(4 * wave)))]
                if records:
                    await asyncio.to_thread(self.remote.put, TABLE, shard, *records)
            await asyncio.sleep(0.2)

    def change(self) -> dict[str, Any]:
        self.items += 1
        return {"key": f"upload-{self.items}", "new_image": {"phase": {"S": self.rng.choice(PHASES)}}}


async def main() -> None:
    chromium = find_chromium()
    if chromium is None:
        sys.exit("needs chromium, of Debian's package of that name")
    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        await take(Path(folder), chromium, stack)


async def take(folder: Path, chromium: str, stack: ExitStack) -> None:
    site = Site(stack.enter_context(StandInProcess()))
    file = folder / "poller.toml"
    file.write_text(SETTINGS, "utf-8")
    first, _ = (
        stack.enter_context(
            Daemon(
                {**site.remote.env(), "POLLER_WORKER_ID": f"worker-{name}"},
                folder / f"log-{name}",
                ("--config", str(file)),
            )
        )
        for name in ("a", "b")
    )
    url = first.wait_for("http_listening")[-1]["url"]
    async with Browser(chromium, folder / "profile") as browser:
        await browser.size(1180, 860)
        await browser.open(f"{url}/")
        await site.live(CALM_S / 2)
        site.roll_over()
        await site.live(CALM_S / 2)
        (IMAGES / "top.svg").write_text(terminal(url), "utf-8")
        site.remote.queue_down("analysis-jobs")
        await site.live(TROUBLE_S)
        await browser.until("#level", lambda level: level == "TROUBLE")
        await browser.screenshot(IMAGES / "status.png")


def terminal(url: str) -> str:
    """What `poller top` shows, as a picture."""
    with urllib.request.urlopen(f"{url}/status?order=worst&shards={ROWS}&settings=no") as answer:  # noqa: S310 - our own
        seen = told(json.loads(answer.read()))
    console = Console(record=True, width=132, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    console.print(draw(seen, ROWS))
    svg = console.export_svg(title="poller top", theme=MONOKAI)
    # Nothing of it is to be loaded from elsewhere.
    return re.sub(r"@font-face \{.*?\}\s*|<!--.*?-->\s*", "", svg, flags=re.DOTALL)


if __name__ == "__main__":
    asyncio.run(main())
