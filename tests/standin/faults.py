"""Faults: what goes wrong, with which calls, and how often.

A fault is plain data, so that it can be set from another process; the first one that fits a call takes effect.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from tests.standin.wire import Subject


class Kind(StrEnum):
    """What a fault does to a call. Where it says `applied`, the operation has taken effect all the same."""

    ERROR = "error"  # refused with `code`, `status`, `message`
    RESET = "reset"  # connection reset, not applied
    LOST = "lost"  # applied, then the connection is reset: the answer is lost
    HALF = "half"  # applied, half of the answer's body comes, then the connection ends in order
    HALF_RESET = "half_reset"  # applied, half of the answer's body comes, then the connection is reset
    HANG = "hang"  # not applied, never answered
    DELAY = "delay"  # applied and answered, `delay_s` late
    WRONG_CRC32 = "wrong_crc32"  # applied, the answer's checksum does not fit
    TRUNCATED = "truncated"  # applied, the answer's JSON breaks off, with a Content-Length that fits
    HTML = "html"  # not applied; an HTML page with `status`, as a proxy sends


@dataclass(slots=True)
class Fault:
    """One fault. A filter that is None fits everything; `skip` calls that fit pass first; `times` None: for ever.

    `key`: the item's key in a lease table; `access_key`: who calls; `delay_s` comes on top of every kind. `hits` counts
    the calls that it has met.
    """

    kind: Kind = Kind.ERROR
    operation: str | None = None
    table: str | None = None
    shard: str | None = None
    queue: str | None = None
    key: str | None = None
    access_key: str | None = None
    times: int | None = None
    skip: int = 0
    delay_s: float = 0.0
    code: str = "InternalServerError"
    status: int = 500
    message: str = "a fault that the test has asked for"
    hits: int = field(default=0, compare=False)

    @classmethod
    def throttle(cls, code: str = "ThrottlingException", **where: Any) -> Fault:
        """Also with `ProvisionedThroughputExceededException`, `LimitExceededException`, `RequestThrottled`."""
        return cls(Kind.ERROR, code=code, status=400, message="Rate exceeded", **where)

    @classmethod
    def internal(cls, **where: Any) -> Fault:
        """HTTP 500, InternalServerError."""
        return cls(Kind.ERROR, **where)

    @classmethod
    def unavailable(cls, **where: Any) -> Fault:
        """HTTP 503."""
        return cls(Kind.ERROR, code="ServiceUnavailableException", status=503, message="Service Unavailable", **where)

    @classmethod
    def access_denied(cls, *, status: int = 400, **where: Any) -> Fault:
        """SQS answers with status 403, DynamoDB with 400."""
        message = "User: arn:aws:iam::000000000000:user/test is not authorized to perform this action"
        return cls(Kind.ERROR, code="AccessDeniedException", status=status, message=message, **where)

    @classmethod
    def expired_token(cls, *, status: int = 400, **where: Any) -> Fault:
        """SQS answers with status 403, DynamoDB with 400."""
        message = "The security token included in the request is expired"
        return cls(Kind.ERROR, code="ExpiredTokenException", status=status, message=message, **where)

    @classmethod
    def clock_skew(cls, **where: Any) -> Fault:
        """What a service says to a signature of a clock that is more than five minutes off (Signature Version 4)."""
        message = "Signature expired: 20251126T100000Z is now earlier than 20251126T100500Z (20251126T101000Z - 5 min.)"
        return cls(Kind.ERROR, code="InvalidSignatureException", status=400, message=message, **where)

    def fits(self, operation: str, subject: Subject, access_key: str) -> bool:
        return (
            self.operation in (None, operation)
            and self.table in (None, subject.table)
            and self.shard in (None, subject.shard)
            and self.queue in (None, subject.queue)
            and self.key in (None, subject.key)
            and self.access_key in (None, access_key)
        )


class Faults:
    """The faults that are set."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []

    def add(self, fault: Fault) -> Fault:
        self._faults.append(fault)
        return fault

    def remove(self, fault: Fault) -> None:
        """The calls that come from now on are spared; a call that hangs goes on hanging."""
        self._faults = [other for other in self._faults if other is not fault]

    def clear(self) -> None:
        self._faults.clear()

    def pick(self, operation: str, subject: Subject, access_key: str) -> Fault | None:
        """The fault that this call meets; counts it."""
        for fault in self._faults:
            if not fault.fits(operation, subject, access_key):
                continue
            if fault.skip > 0:
                fault.skip -= 1
                continue
            if fault.times is None or fault.hits < fault.times:
                fault.hits += 1
                return fault
        return None
