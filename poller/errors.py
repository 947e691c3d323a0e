"""The error tree: AWS's errors are translated into these once, at the edge (`poller.aws.errors`).

Every message says what failed and for which resource; where its user can do something about it, also what.
"""

from __future__ import annotations


class PollerError(Exception):
    """Everything the daemon raises on purpose."""


class ConfigurationError(PollerError):
    """A setting, or what it points at, cannot work: exit code 2. One line naming setting, value and mend."""


class AwsError(PollerError):
    """A call to AWS did not do what it was asked to.

    `operation` is the API's name (`GetRecords`), `resource` what it was about, `code` the service's error code or,
    where no answer came, the client's name for what happened.
    """

    def __init__(self, message: str, *, operation: str, resource: str, code: str) -> None:
        super().__init__(message)
        self.operation = operation
        self.resource = resource
        self.code = code


class Throttled(AwsError):
    """Too many calls (`ThrottlingException`, `LimitExceededException`, ...): later, and slower."""


class Unavailable(AwsError):
    """The service failed or could not be reached.

    `answered` is false where no answer came: then it is not known whether the request took effect, unless `sent` is
    false as well and the request never left.
    """

    def __init__(
        self, message: str, *, operation: str, resource: str, code: str, answered: bool, sent: bool = True
    ) -> None:
        super().__init__(message, operation=operation, resource=resource, code=code)
        self.answered = answered
        self.sent = sent


class AccessDenied(AwsError):
    """Credentials missing, expired, wrong or without the permission.

    The message names the IAM action where it is known.
    """


class NotFound(AwsError):
    """The stream, shard, table or queue does not exist (any more)."""


class InvalidRequest(AwsError):
    """The service refuses the request itself and would refuse it again (`ValidationException`, an unknown enum

    Value).
    """


class TooLarge(InvalidRequest):
    """A batch or a message above the queue's size limit."""


class IteratorExpired(AwsError):
    """A shard iterator older than 15 minutes: get a new one from the last position."""


class DataTrimmed(AwsError):
    """The position lies before the trim horizon: records may be lost (`TrimmedDataAccessException`)."""


class LeaseConflict(PollerError):
    """A conditional write to the lease table found another row than the one it was based on."""


class DeadlinePassed(PollerError):
    """A request was not sent since the lease on which it stands would have been over."""
