"""Answers for boto3's clients without a network: what would go out is kept, what comes back is the test's."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from botocore.awsrequest import AWSPreparedRequest, AWSResponse


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer; `body` as JSON unless it is bytes. Its length is announced, truly or as `headers` says."""

    body: Any = field(default_factory=dict)
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def content(self) -> bytes:
        return self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()


class _Raw:
    def __init__(self, content: bytes) -> None:
        self._content = content

    def stream(self, **_: object) -> Iterator[bytes]:
        yield self._content


class Wire:
    """Takes the place of the network below a client. `answers` are given in turn, an exception is raised."""

    def __init__(self, client: Any, *answers: Answer | Exception) -> None:
        self.requests: list[AWSPreparedRequest] = []
        self.answers = list(answers)
        client.meta.events.register("before-send.*", self._send)

    @property
    def bodies(self) -> list[Any]:
        """What was asked, as JSON."""
        bodies: list[Any] = [request.body for request in self.requests]
        return [json.loads(body) for body in bodies]

    def _send(self, request: AWSPreparedRequest, **_: object) -> AWSResponse:
        self.requests.append(request)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        headers: Any = {"content-length": str(len(answer.content)), **answer.headers}
        raw: Any = _Raw(answer.content)
        return AWSResponse(request.url, answer.status, headers, raw)
