"""The whole check: every part asked at once, each by itself, so that one that fails hides no other."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Iterator, Mapping, Sequence

from poller.aws.endpoints import source_of
from poller.aws.errors import iam_action
from poller.aws.session import Aws
from poller.aws.survey import caller, endpoints
from poller.decide.doubts import doubts
from poller.decide.filter import Filter
from poller.errors import AwsError, PollerError
from poller.events import ApiCalled, Event
from poller.inspect.findings import Finding, fault, ok, unknown, warning
from poller.inspect.leases import lease_findings
from poller.inspect.queues import route_findings
from poller.inspect.stream import reading_findings, state_finding, view_findings
from poller.model import StreamInfo
from poller.run.ports import Clock
from poller.settings import Settings
from poller.settings.origins import masked
from poller.startup import World, find_stream, open_aws, queue_doubts, route_doubts
from poller.traces import missing

_LEASE_WRITES = ("PutItem", "UpdateItem", "DeleteItem")


async def check(
    settings: Settings, filters: Sequence[Filter], environ: Mapping[str, str], clock: Clock
) -> list[Finding]:
    """Everything found, in the order in which a daemon would meet it; a few seconds, also where nobody answers."""
    return await Check(settings, filters, environ, clock).run()


class Check:
    """One check. Which calls AWS has allowed is noted by the way: that is what is known of the permissions."""

    def __init__(self, settings: Settings, filters: Sequence[Filter], environ: Mapping[str, str], clock: Clock) -> None:
        self._settings = settings
        self._filters = filters
        self._environ = environ
        self._clock = clock
        self._allowed: dict[str, None] = {}

    async def run(self) -> list[Finding]:
        world = World(self._clock, self._note, random.Random())
        offline = [*self._settings_findings(), *self._filter_findings()]
        try:
            aws = await open_aws(self._settings, world)
        except PollerError as error:
            part = "credentials" if isinstance(error, AwsError) else "AWS clients"
            rest = unknown("AWS", "nothing else could be looked at")
            return [*offline, fault(part, error), rest]
        try:
            return [*offline, *await self._online(aws)]
        finally:
            aws.close()

    async def _online(self, aws: Aws) -> list[Finding]:
        settings = self._settings
        found = asyncio.create_task(find_stream(settings, aws))
        who, *groups = await asyncio.gather(
            self._credentials(aws),
            self._stream(aws, found),
            lease_findings(settings, aws, self._clock, found),
            *(route_findings(settings, aws, index, found) for index in range(len(settings.routes))),
        )
        findings = [*who, ok("region", aws.region), *self._endpoint_findings(aws), *await self._bucket_findings(aws)]
        findings += [finding for group in groups for finding in group]
        return [*findings, *self._permission_findings()]

    # --- without AWS --------------------------------------------------------------------------------------------------

    def _settings_findings(self) -> list[Finding]:
        mend = "name a dead_letter_queue"
        found = [warning("settings", text, mend) for text in route_doubts(self._settings)]
        mend = "give them one route, with several patterns in its filter, or a queue each"
        found += [warning("settings", text, mend) for text in queue_doubts(self._settings)]
        if absent := missing(self._settings):
            found.append(fault("traces", absent))
        return found or [ok("settings", f"valid, {len(self._settings.routes)} {_s('route', self._settings.routes)}")]

    def _filter_findings(self) -> Iterator[Finding]:
        for route, compiled in zip(self._settings.routes, self._filters, strict=True):
            part = f"filter of route {route.name}"
            yield ok(part, f"wants {compiled.text}")
            mend = f"see what it does: poller filter test --route {route.name} --record FILE"
            yield from (warning(part, text, mend) for text in doubts(compiled))

    # --- with AWS -----------------------------------------------------------------------------------------------------

    async def _credentials(self, aws: Aws) -> list[Finding]:
        part = "credentials"
        try:
            arn = await caller(aws)
        except PollerError as error:
            # Nothing needs this call, and local servers do not have it.
            return [unknown(part, f"found; who they belong to was not told: {error}")]
        if arn is None:
            return [unknown(part, "found; not asked who they belong to, since DynamoDB's endpoint is not AWS's own")]
        return [ok(part, arn)]

    def _endpoint_findings(self, aws: Aws) -> Iterator[Finding]:
        found = endpoints(aws)
        for endpoint in found:
            source = f" ({source_of(endpoint.service_id, endpoint.url, self._environ)})" if endpoint.custom else ""
            yield ok("endpoint", f"{endpoint.service_id}: {masked(endpoint.url)}{source}")
        tables, streams, _ = found
        if tables.custom != streams.custom:
            variable = "AWS_ENDPOINT_URL_DYNAMODB" + ("_STREAMS" if tables.custom else "")
            text = "DynamoDB and its streams have an endpoint each, and only one of them is AWS's own"
            yield warning("endpoint", text, f"set {variable} too")

    async def _bucket_findings(self, aws: Aws) -> list[Finding]:
        """Only whether there can be a client: a bucket is not looked into."""
        if not any(route.dead_letter_bucket for route in self._settings.routes):
            return []
        try:
            await aws.s3()
        except PollerError as error:
            return [fault("endpoint", error)]
        return []

    async def _stream(self, aws: Aws, found: Awaitable[StreamInfo]) -> list[Finding]:
        try:
            stream = await found
        except PollerError as error:
            return [fault("stream", error)]
        views = view_findings(self._settings, stream, self._filters)
        followed = self._settings.stream.table is not None
        return [state_finding(stream), *views, *await reading_findings(aws, stream, followed=followed)]

    # --- permissions --------------------------------------------------------------------------------------------------

    def _note(self, event: Event) -> None:
        if isinstance(event, ApiCalled) and event.code == "OK":
            self._allowed[iam_action(event.operation)] = None

    def _permission_findings(self) -> Iterator[Finding]:
        part, settings = "permissions", self._settings
        if self._allowed:
            yield ok(part, f"allowed: {', '.join(sorted(self._allowed))}")
        queues = {name for route in settings.routes for name in (route.queue, route.dead_letter_queue) if name}
        writes = [
            f"{', '.join(f'dynamodb:{name}' for name in _LEASE_WRITES)} on {settings.lease_table}",
            f"sqs:SendMessage on {', '.join(sorted(queues))}",
        ]
        buckets = sorted({route.dead_letter_bucket for route in settings.routes if route.dead_letter_bucket})
        if buckets:
            writes.append(f"s3:PutObject on {', '.join(buckets)}")
        yield unknown(part, f"not probed, since that would write: {'; '.join(writes)}")


def _s(word: str, things: Sequence[object]) -> str:
    return word if len(things) == 1 else f"{word}s"
