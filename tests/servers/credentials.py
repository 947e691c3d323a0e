"""What containers ask for their role's credentials: short-lived ones, each with a key of its own; at times none."""

from __future__ import annotations

import json
import threading
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from enum import Enum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from typing import Any, Self

# botocore renews from 15 minutes before the end on: so these are renewed every ten seconds.
_LIFE = timedelta(minutes=15, seconds=10)


class Mood(Enum):
    """How the endpoint answers one worker."""

    WELL = "well"
    EXPIRED = "expired"  # credentials that are over already
    FAILING = "failing"


class CredentialsServer:
    """`url(n)` is for worker n's `AWS_CONTAINER_CREDENTIALS_FULL_URI`, `moods[n]` how it is answered."""

    def __init__(self) -> None:
        self.moods: dict[int, Mood] = {}
        self.handed_out = count(1)
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                status, said = server.answer(int(self.path.strip("/")))
                body = json.dumps(said).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                with suppress(ConnectionError):  # whoever asked may have given up
                    self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                """Nobody wants to know."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, name="credentials", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def url(self, number: int) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/{number}"

    def answer(self, number: int) -> tuple[int, dict[str, str]]:
        mood = self.moods.get(number, Mood.WELL)
        if mood is Mood.FAILING:
            return 500, {"message": "out of order"}
        ends = datetime.now(UTC) + (_LIFE if mood is Mood.WELL else timedelta(seconds=-1))
        key = f"KEY{next(self.handed_out):08}"
        return 200, {
            "AccessKeyId": key,
            "SecretAccessKey": "test",
            "Token": "test",
            "Expiration": ends.strftime("%Y-%m-%dT%H:%M:%SZ"),
        }
