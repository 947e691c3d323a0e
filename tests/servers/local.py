"""The three local servers, and what this machine lacks to run them."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import ClassVar, Final

from tests.servers import jars
from tests.servers.process import ServerProcess

_JAVA_MIN: Final = 17  # DynamoDB Local 3
# Started often and never long: compile little, keep the memory small.
_JAVA: Final = ["java", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xmx512m"]


@cache
def _java_version() -> int:
    """The major version of `java`, 0 without one."""
    if shutil.which("java") is None:
        return 0
    said = subprocess.run(["java", "-version"], capture_output=True, text=True, check=False, timeout=60).stderr
    found = re.search(r'version "(?:1\.)?(\d+)', said)
    return int(found.group(1)) if found else 0


def missing_for_real_servers() -> list[str]:
    """What must be installed for DynamoDB Local and ElasticMQ to run; empty: nothing."""
    missing = [] if _java_version() >= _JAVA_MIN else [f"java (>= {_JAVA_MIN})"]
    if shutil.which("mvn") is None and not all(jars.fetched(name) for name in (DynamoDbLocal.name, ElasticMq.name)):
        missing.append("mvn")
    return missing


class DynamoDbLocal(ServerProcess):
    """DynamoDB with its streams, in memory. Each access key and region has tables of its own.

    `shared`: the same tables for every access key; `kept_in`: in that folder, where tables and streams outlive it.
    """

    name: ClassVar[str] = "dynamodb-local"

    def __init__(self, folder: Path, *, shared: bool = False, kept_in: Path | None = None) -> None:
        super().__init__(folder)
        self._place = ["-inMemory"] if kept_in is None else ["-dbPath", str(kept_in)]
        self._place += ["-sharedDb"] if shared else []

    def command(self) -> list[str]:
        lib = jars.fetch(self.name)
        main = "software.amazon.dynamodb.services.local.main.ServerRunner"
        return [
            *_JAVA,
            f"-Djava.library.path={lib}",
            "-cp",
            f"{lib}/*",
            main,
            *self._place,
            "-port",
            str(self.port),
        ]

    def environment(self) -> dict[str, str]:
        return super().environment() | {"DDB_LOCAL_TELEMETRY": "0"}


class ElasticMq(ServerProcess):
    """SQS, in memory."""

    name: ClassVar[str] = "elasticmq"

    def command(self) -> list[str]:
        lib = jars.fetch(self.name)
        settings = {
            "node-address.host": "127.0.0.1",
            "node-address.port": self.port,
            "rest-sqs.bind-hostname": "127.0.0.1",
            "rest-sqs.bind-port": self.port,
            "rest-stats.enabled": "false",
        }
        return [
            *_JAVA,
            *(f"-D{key}={value}" for key, value in settings.items()),
            "-cp",
            f"{lib}/*",
            "org.elasticmq.server.Main",
        ]


class Moto(ServerProcess):
    """DynamoDB, its streams and SQS in one process without Java."""

    name: ClassVar[str] = "moto"

    def command(self) -> list[str]:
        return [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port)]
