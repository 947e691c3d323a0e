"""A real Chromium without a screen (Debian's package `chromium`), driven by its DevTools protocol.

What it asks for, and what it complains of, is kept: a page that is let down by its own policy shows here.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import shutil
import time
from asyncio.subprocess import DEVNULL, Process
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import aiohttp

_DEADLINE_S = 60.0
# Nothing that a browser does by itself, and nothing that a machine without a screen or sandbox lacks.
_ARGUMENTS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-extensions",
    "--disable-sync",
    "--no-first-run",
    "--hide-scrollbars",
    "--force-color-profile=srgb",
    "--remote-debugging-port=0",
    # What asks beyond this machine gets no address.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)


def find_chromium() -> str | None:
    return shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


class Browser:
    """One window, for as long as the block lasts. `folder` is its profile's."""

    def __init__(self, program: str, folder: Path) -> None:
        self._program = program
        self._folder = folder
        self._process: Process | None = None
        self._session: aiohttp.ClientSession | None = None
        self._socket: aiohttp.ClientWebSocketResponse | None = None
        self._reading: asyncio.Task[None] | None = None
        self._calls = 0
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self.requested: list[str] = []
        self.complaints: list[str] = []

    async def __aenter__(self) -> Self:
        try:
            await self._start()
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.wait({self._reading})
        if self._socket is not None:
            await self._socket.close()
        if self._session is not None:
            await self._session.close()
        if self._process is not None:
            if self._process.returncode is None:
                self._process.kill()
            await self._process.wait()

    async def _start(self) -> None:
        home = {"HOME": str(self._folder), "XDG_CONFIG_HOME": str(self._folder), "XDG_CACHE_HOME": str(self._folder)}
        self._process = await asyncio.create_subprocess_exec(
            self._program,
            *_ARGUMENTS,
            f"--user-data-dir={self._folder}",
            "about:blank",
            env={"PATH": os.environ["PATH"], **home},
            stdout=DEVNULL,
            stderr=DEVNULL,
        )
        port = await self._port()
        self._session = aiohttp.ClientSession()
        async with self._session.get(f"http://127.0.0.1:{port}/json") as answer:
            pages = [page for page in await answer.json(content_type=None) if page["type"] == "page"]
        self._socket = await self._session.ws_connect(pages[0]["webSocketDebuggerUrl"], max_msg_size=0)
        self._reading = asyncio.create_task(self._read(self._socket))
        for domain in ("Page", "Runtime", "Network", "Log"):
            await self.call(f"{domain}.enable")

    async def _port(self) -> str:
        file = self._folder / "DevToolsActivePort"
        give_up = time.monotonic() + _DEADLINE_S
        while not (file.exists() and file.read_text().strip()):
            if time.monotonic() > give_up:
                raise AssertionError("Chromium does not listen")
            await asyncio.sleep(0.05)
        return file.read_text().split()[0]

    async def _read(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        async for message in socket:
            said = json.loads(message.data)
            if "id" in said:
                self._answers.pop(said["id"]).set_result(said)
            else:
                self._note(said["method"], said["params"])

    def _note(self, method: str, params: dict[str, Any]) -> None:
        if method == "Network.requestWillBeSent":
            self.requested.append(params["request"]["url"])
        elif method == "Runtime.exceptionThrown":
            self.complaints.append(json.dumps(params["exceptionDetails"]))
        elif method == "Log.entryAdded" and params["entry"]["source"] != "network":  # a daemon that is away
            self.complaints.append(json.dumps(params["entry"]))

    async def call(self, method: str, **params: Any) -> Any:
        """A call of the protocol; its result."""
        if self._socket is None:
            raise AssertionError("the browser does not run")
        self._calls += 1
        number = self._calls
        answer: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._answers[number] = answer
        await self._socket.send_json({"id": number, "method": method, "params": params})
        async with asyncio.timeout(_DEADLINE_S):
            said = await answer
        if "error" in said:
            raise AssertionError(f"{method}: {said['error']}")
        return said["result"]

    async def open(self, url: str) -> None:
        await self.call("Page.navigate", url=url)

    async def run(self, script: str) -> Any:
        """The value of an expression in the page."""
        said = await self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in said:
            raise AssertionError(f"{script}: {said['exceptionDetails']}")
        return said["result"].get("value")

    async def text(self, selector: str) -> str:
        """What the element shows; empty if there is none."""
        shown = await self.run(f"(document.querySelector({json.dumps(selector)}) || {{innerText: ''}}).innerText")
        return str(shown).replace("\N{NO-BREAK SPACE}", " ")

    async def until(self, selector: str, holds: Callable[[str], bool]) -> str:
        """Waits until what the element shows is as it should be; returns it."""
        give_up = time.monotonic() + _DEADLINE_S
        while not holds(shown := await self.text(selector)):
            if time.monotonic() > give_up:
                raise AssertionError(f"{selector} shows {shown!r}; complaints: {self.complaints}")
            await asyncio.sleep(0.05)
        return shown

    async def size(self, width: int, height: int, *, dark: bool = False, scale: float = 1) -> None:
        """As a screen of so many pixels, by day or by night."""
        await self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=scale,
            mobile=width < 500,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        await self.call("Emulation.setEmulatedMedia", features=[scheme])

    async def screenshot(self, path: Path, *, whole: bool = False) -> None:
        shot = await self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        await asyncio.to_thread(path.write_bytes, base64.b64decode(shot["data"]))
