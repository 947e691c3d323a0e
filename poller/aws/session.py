"""The one boto3 session, and the clients made from it, each with threads of its own.

Reading, leases and sending share nothing, so that renewing a lease never waits for a page or for a queue.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from botocore.exceptions import BotoCoreError, InvalidRegionError

from poller import __version__
from poller.aws.direct.calls import DirectCalls, Limits
from poller.aws.direct.credentials import Credentials
from poller.aws.direct.threads import in_thread
from poller.aws.direct.trust import certificates
from poller.aws.endpoints import check_endpoint, endpoint_variables
from poller.aws.errors import CREDENTIALS_MEND, NO_CREDENTIALS, clean, credentials_away, translate
from poller.aws.pool import Calls, Lane, Pool
from poller.errors import AccessDenied, ConfigurationError, PollerError
from poller.events import Emit

if TYPE_CHECKING:
    from boto3.session import Session
    from botocore.config import Config
    from botocore.session import Session as CoreSession
    from types_boto3_dynamodb import DynamoDBClient
    from types_boto3_dynamodbstreams import DynamoDBStreamsClient
    from types_boto3_s3 import S3Client
    from types_boto3_sqs import SQSClient
    from types_boto3_sts import STSClient

_COLD_THREADS: Final = 2  # sts and s3: a few calls a day


@dataclass(frozen=True, slots=True)
class AwsConfig:
    """What the clients need to know. `region` None: as the AWS variables or the profile say.

    The time-outs are those of a socket: `request_timeout_s` is how long the service may be silent. A call is given up
    after twice their sum, whatever happens on the way. `calls`: by which way the hot ones go.
    """

    region: str | None
    connect_timeout_s: float
    request_timeout_s: float
    read_threads: int
    lease_threads: int
    send_threads: int
    allow_insecure_endpoints: bool = False
    calls: Literal["direct", "boto3"] = "direct"


@dataclass(frozen=True, slots=True)
class _Opened:
    """What `_open` makes in a thread."""

    session: Session
    region: str
    streams: DynamoDBStreamsClient
    dynamodb: DynamoDBClient
    sqs: SQSClient
    credentials: Any
    certificates: str


class Aws:
    """The clients: `reads`, `leases` and `sends` from the start, S3 and STS when they are asked for.

    `hot_reads`, `hot_leases` and `hot_sends` are for the calls that are made all the time.
    """

    def __init__(self, config: AwsConfig, opened: _Opened, emit: Emit, monotonic: Callable[[], float]) -> None:
        """Use `Aws.open`."""
        self._config = config
        whole_s = 2 * (config.connect_timeout_s + config.request_timeout_s)
        self._limits = Limits(config.connect_timeout_s, config.request_timeout_s, whole_s)
        self._session = opened.session
        self._emit = emit
        self._monotonic = monotonic
        self._cold: dict[str, Lane[Any]] = {}
        self._opening = asyncio.Lock()
        self._lanes: list[Lane[Any]] = []
        self._direct: list[DirectCalls] = []
        self._credentials = Credentials(opened.credentials, monotonic)
        self._certificates = opened.certificates
        self.region: Final = opened.region
        self.reads: Final[Lane[DynamoDBStreamsClient]] = self._lane(
            "dynamodbstreams", opened.streams, config.read_threads
        )
        self.leases: Final[Lane[DynamoDBClient]] = self._lane("dynamodb", opened.dynamodb, config.lease_threads)
        self.sends: Final[Lane[SQSClient]] = self._lane("sqs", opened.sqs, config.send_threads)
        self.hot_reads: Final = self._hot("dynamodbstreams", self.reads)
        self.hot_leases: Final = self._hot("dynamodb", self.leases)
        self.hot_sends: Final = self._hot("sqs", self.sends)

    @classmethod
    async def open(cls, config: AwsConfig, emit: Emit, monotonic: Callable[[], float]) -> Aws:
        """Makes the session and the hot clients, in a thread; nothing is asked of AWS itself.

        ConfigurationError: no region, an unusable profile or endpoint. AccessDenied: no credentials anywhere.
        Unavailable: whoever gives them out is in trouble, and it makes sense to try again.
        """
        return cls(config, await in_thread(lambda: _open(config)), emit, monotonic)

    async def s3(self) -> Lane[S3Client]:
        return await self._cold_lane("s3")

    async def sts(self) -> Lane[STSClient]:
        return await self._cold_lane("sts")

    def close(self) -> None:
        """Ends the threads after their present calls and closes the connections; waits for nothing."""
        self.disconnect()
        for lane in self._lanes:
            lane.pool.close()
            lane.client.close()

    def disconnect(self) -> None:
        """Closes the hot calls' idle connections; the next calls make new ones."""
        for calls in self._direct:
            calls.close()

    def _lane(self, service: str, client: Any, threads: int) -> Lane[Any]:
        pool = Pool(
            service,
            threads,
            limit_s=self._limits.whole_s,
            emit=self._emit,
            monotonic=self._monotonic,
            connect_s=self._config.connect_timeout_s,
        )
        lane = Lane(client, pool)
        self._lanes.append(lane)
        return lane

    def _hot(self, service: str, lane: Lane[Any]) -> Calls:
        if self._config.calls == "boto3":
            return lane
        calls = DirectCalls(
            service,
            lane,
            credentials=self._credentials,
            certificates=self._certificates,
            limits=self._limits,
            emit=self._emit,
            monotonic=self._monotonic,
        )
        self._direct.append(calls)
        return calls

    async def _cold_lane(self, service: str) -> Lane[Any]:
        async with self._opening:  # the session is not thread-safe
            lane = self._cold.get(service)
            if lane is None:
                client = await in_thread(
                    lambda: _client(self._session, service, self._config, _COLD_THREADS, self.region)
                )
                lane = self._cold[service] = self._lane(service, client, _COLD_THREADS)
        return lane


def _open(config: AwsConfig) -> _Opened:
    session, core = _sessions()
    region = config.region or os.environ.get("AWS_REGION") or session.region_name
    if not region:
        raise ConfigurationError(
            "AWS_REGION is not set, and no profile names a region: set it, for instance AWS_REGION=eu-west-1"
        )
    streams = _client(session, "dynamodbstreams", config, config.read_threads, region)
    dynamodb = _client(session, "dynamodb", config, config.lease_threads, region)
    sqs = _client(session, "sqs", config, config.send_threads, region)
    credentials = session.get_credentials()
    if credentials is None:
        raise AccessDenied(
            f"no AWS credentials were found: {CREDENTIALS_MEND}",
            operation="GetCredentials",
            resource="AWS",
            code="NoCredentialsError",
        )
    return _Opened(session, region, streams, dynamodb, sqs, credentials, certificates(core))


def _sessions() -> tuple[Session, CoreSession]:
    """A boto3 session with the components of our own, and botocore's below it."""
    # Here and not at the top: the import takes 0.15 s, and belongs into the thread that opens the clients.
    import boto3  # noqa: PLC0415
    import botocore.session  # noqa: PLC0415

    from poller.aws.components import ModelLoader, PageParserFactory  # noqa: PLC0415

    try:
        core = botocore.session.Session()
        core.register_component("response_parser_factory", PageParserFactory())
        if core.get_config_variable("data_path") is None:  # else AWS_DATA_PATH holds models of the user's own
            core.register_component("data_loader", ModelLoader())
        return boto3.Session(botocore_session=core), core
    except BotoCoreError as error:
        raise ConfigurationError(
            f"AWS_PROFILE={os.environ.get('AWS_PROFILE', 'default')}: {clean(error)}: name another or mend the file"
        ) from error


def _client(session: Session, service: str, config: AwsConfig, threads: int, region: str) -> Any:
    """A client whose endpoint has been checked. The session is not thread-safe: one call at a time."""
    create: Callable[..., Any] = session.client  # its types are one overload a service
    try:
        client = create(service, region_name=region, config=_boto_config(config, threads))
    except Exception as error:
        if not isinstance(error, BotoCoreError | ValueError) and not credentials_away(error):
            raise
        raise _unusable(service, region, error) from error
    check_endpoint(
        client.meta.service_model.service_id,
        client.meta.endpoint_url,
        os.environ,
        allow_insecure=config.allow_insecure_endpoints,
    )
    return client


def _unusable(service: str, region: str, error: Exception) -> PollerError:
    """Why botocore does not make a client: region, credentials, configuration file or endpoint."""
    if isinstance(error, InvalidRegionError):
        return ConfigurationError(f"AWS_REGION={clean(region)}: not the name of a region: write it as eu-west-1")
    if isinstance(error, NO_CREDENTIALS) or credentials_away(error):
        return translate(error, operation="GetCredentials", resource="AWS")
    if isinstance(error, BotoCoreError):
        return ConfigurationError(
            f"the AWS configuration of {service} cannot be used: {clean(error)}: mend or unset it"
        )
    service_id = "DynamoDB Streams" if service == "dynamodbstreams" else service
    names = (name for name in endpoint_variables(service_id) if name in os.environ)
    setting = next(names, "endpoint_url in the AWS profile")
    return ConfigurationError(f"{setting}: {clean(error)}: write it as https://host; no underscore in the host's name")


def _boto_config(config: AwsConfig, threads: int) -> Config:
    from botocore.config import Config  # noqa: PLC0415

    return Config(
        connect_timeout=config.connect_timeout_s,
        read_timeout=config.request_timeout_s,
        # One attempt: when to try again is decided above. The legacy mode costs 60 us less a call than the standard.
        retries={"total_max_attempts": 1, "mode": "legacy"},
        max_pool_connections=threads,
        tcp_keepalive=True,
        parameter_validation=False,
        # A fixed one: botocore builds its own anew twice a call, which is a quarter of the call's CPU time.
        user_agent=f"dynamodb-stream-poller/{__version__}",
    )
