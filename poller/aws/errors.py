"""AWS's errors, translated once, at the edge, into `poller.errors`.

By code string, also for codes that the service's model does not name, then by HTTP status. No message holds content:
of a foreign text only what cannot quote an item or a credential is repeated.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from traceback import walk_tb
from typing import Final

from botocore import exceptions as boto
from botocore.parsers import ResponseParserError

from poller.errors import (
    AccessDenied,
    AwsError,
    DataTrimmed,
    InvalidRequest,
    IteratorExpired,
    NotFound,
    Throttled,
    TooLarge,
    Unavailable,
)
from poller.model import Refused
from poller.settings.origins import masked

TEXT_MAX: Final = 256


@dataclass(frozen=True, slots=True)
class Target:
    """What a call is about: `name` as people know it, `arn` as a policy must name it."""

    name: str
    arn: str = "*"


class UnreadableAnswer(Exception):
    """An answer came, and it is not what it should be; `code` says in which way."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


# What the far side or the way to it can raise through botocore. Anything else is a defect of our own, but for
# credentials that come and cannot be used (`credentials_away`).
FAR_SIDE: Final = (boto.ClientError, boto.BotoCoreError, UnreadableAnswer, ResponseParserError, OSError)

# The error's class by the last part of its code (`AWS.SimpleQueueService.NonExistentQueue`). What is not here is
# Unavailable: a 4xx with an unknown code is tried again for ever and said aloud. Blaming the content for it would empty
# a queue's whole traffic into the dead-letter queue, and NotFound would give up a stream's data.
_CLASSES: Final[dict[type[AwsError], tuple[str, ...]]] = {
    Throttled: (
        "BandwidthLimitExceeded",
        "KmsThrottled",
        "LimitExceededException",
        "OverLimit",
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "RequestThrottled",
        "RequestThrottledException",
        "SlowDown",
        "Throttled",
        "ThrottledException",
        "Throttling",
        "ThrottlingException",
        "TooManyRequests",
        "TooManyRequestsException",
    ),
    IteratorExpired: ("ExpiredIteratorException",),
    DataTrimmed: ("TrimmedDataAccessException",),
    NotFound: (
        "NoSuchBucket",
        "NoSuchKey",
        "NonExistentQueue",
        "QueueDoesNotExist",
        "ResourceNotFoundException",
        "TableNotFoundException",
    ),
    AccessDenied: (
        "AccessDenied",
        "AccessDeniedException",
        "AuthFailure",
        "ExpiredToken",
        "ExpiredTokenException",
        "IncompleteSignature",
        "IncompleteSignatureException",
        "InvalidAccessKeyId",
        "InvalidClientTokenId",
        "InvalidSignatureException",
        "InvalidToken",
        "KmsAccessDenied",
        "MissingAuthenticationToken",
        "MissingAuthenticationTokenException",
        "NotAuthorized",
        "OptInRequired",
        "RequestExpired",
        "SignatureDoesNotMatch",
        "SubscriptionRequiredException",
        "UnauthorizedOperation",
        "UnrecognizedClientException",
    ),
    InvalidRequest: (
        "BatchEntryIdsNotDistinct",
        "ConditionalCheckFailedException",
        "EmptyBatchRequest",
        "InvalidAttributeName",
        "InvalidAttributeValue",
        "InvalidBatchEntryId",
        "InvalidMessageContents",
        "InvalidParameterCombination",
        "InvalidParameterValue",
        "InvalidParameterValueException",
        "MissingParameter",
        "MissingRequiredParameterException",
        "SerializationException",
        "TooManyEntriesInBatchRequest",
        "UnknownOperation",
        "UnknownOperationException",
        "ValidationError",
        "ValidationException",
    ),
    TooLarge: ("BatchRequestTooLong", "EntityTooLarge", "RequestEntityTooLarge"),
}
_BY_CODE: Final = {code: kind for kind, codes in _CLASSES.items() for code in codes}
_BY_STATUS: Final[dict[int, type[AwsError]]] = {401: AccessDenied, 403: AccessDenied, 413: TooLarge, 429: Throttled}

# An endpoint that knows no SendMessageBatch is not SQS: that is no message's fault (`poller.run.ports.Queue.send`).
_NOT_THE_CONTENT: Final = frozenset({"UnknownOperation", "UnknownOperationException"})

# The IAM action behind an operation, where it is not `dynamodb:` and the operation's own name.
_ACTIONS: Final = {
    "ChangeMessageVisibilityBatch": "sqs:ChangeMessageVisibility",
    "CreateQueue": "sqs:CreateQueue",
    "DeleteMessageBatch": "sqs:DeleteMessage",
    "GetCallerIdentity": "sts:GetCallerIdentity",
    "GetObject": "s3:GetObject",
    "GetQueueAttributes": "sqs:GetQueueAttributes",
    "GetQueueUrl": "sqs:GetQueueUrl",
    "PutObject": "s3:PutObject",
    "ReceiveMessage": "sqs:ReceiveMessage",
    "SendMessageBatch": "sqs:SendMessage",
    "SetQueueAttributes": "sqs:SetQueueAttributes",
}

# Whose requests or answers hold items: what the service says about them may quote one.
_HOLD_CONTENT: Final = frozenset(
    {"GetObject", "GetRecords", "PutObject", "ReceiveMessage", "SendMessage", "SendMessageBatch"}
)
# All that is repeated of why credentials are refused: other texts quote the request, its session token included.
_DENIED: Final = re.compile(
    r"The security token included in the request is (?:expired|invalid)"
    r"|User: arn:[\w+=,.@:/-]+ is not authorized to perform(?: this action|: [\w:*-]+)"
    r"(?: on resource: arn:[\w+=,.@:/*-]+)?"
    r"(?: because no [A-Za-z -]+ allows| with an explicit deny in an? [A-Za-z -]+)?"
)
_CODE: Final = re.compile(r"[A-Za-z][A-Za-z0-9._]{0,79}")

# Those of a profile by which somebody logs in, and has not, or not lately.
_LOGGED_OUT: Final = (boto.TokenRetrievalError, boto.SSOError, boto.LoginError)
NO_CREDENTIALS: Final = (
    *_LOGGED_OUT,
    boto.NoCredentialsError,
    boto.NoAuthTokenError,
    boto.PartialCredentialsError,
    boto.RefreshWithMFAUnsupportedError,
)

# No connection came about: the request never left this machine.
NOT_CONNECTED: Final = (boto.EndpointConnectionError, boto.ConnectTimeoutError, boto.ProxyConnectionError)
_CONNECTING: Final = ("urllib3.connection", "connect")
# What Python's http.client says of a header with a line break, of which the only foreign ones are the credentials'.
_BAD_HEADER: Final = "Invalid header value"

# The credentials were good once.
EXPIRED: Final = frozenset({"ExpiredToken", "ExpiredTokenException", "RequestExpired"})

CREDENTIALS_MEND: Final = (
    "set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give the container or the instance a role"
)
_LOG_IN: Final = "log in again with `aws sso login`, or `aws login` for a profile with login_session"


def iam_action(operation: str) -> str:
    """The IAM action that allows an operation."""
    return _ACTIONS.get(operation, f"dynamodb:{operation}")


def clean(text: object, length_max: int = TEXT_MAX) -> str:
    """A foreign text made fit for one line: no control characters, single spaces, no password in a URL, bounded."""
    words = "".join(char if char.isprintable() else " " for char in str(text)[: 4 * length_max]).split()
    return masked(" ".join(words))[:length_max]


def credentials_away(error: Exception) -> bool:
    """Is whoever gives out the credentials in trouble: no answer, or one that cannot be used? Better ones may come.

    For credentials that are over already when they come, or lack a part, botocore has no error of its own, but
    RuntimeError, KeyError, ValueError. So it is told by the module in which it happened.
    """
    if isinstance(error, FAR_SIDE):
        return isinstance(error, boto.CredentialRetrievalError | boto.MetadataRetrievalError)
    frames = walk_tb(error.__traceback__)
    return any(frame.f_globals.get("__name__") == "botocore.credentials" for frame, _ in frames)


def translate(error: Exception, *, operation: str, resource: str, arn: str = "*") -> AwsError:
    """The error of `poller.errors` for what a call of botocore raised (one of `FAR_SIDE`, or about credentials)."""
    where = f"{operation} on {resource}"
    names = {"operation": operation, "resource": resource}
    if isinstance(error, boto.ClientError):
        return _refused(error, operation, resource, arn)
    away = credentials_away(error)
    code = "CredentialRetrievalError" if away else type(error).__name__
    if isinstance(error, UnreadableAnswer):
        # It is not known whether the request took effect, just as if no answer had come.
        text = f"{where}: {clean(error)} ({error.code})"
        return Unavailable(text, operation=operation, resource=resource, code=error.code, answered=False)
    if isinstance(error, ResponseParserError):
        # Its own text quotes the answer.
        return unreadable(operation, resource)
    if unusable := _unusable_credentials(error, code):
        return AccessDenied(f"{where}: {unusable}", code=code, **names)
    if isinstance(error, boto.ParamValidationError):
        # Its own text quotes the values.
        return InvalidRequest(f"{where}: the request does not fit the service's model ({code})", code=code, **names)
    sent = not away and not isinstance(error, NOT_CONNECTED) and not _while_connecting(error)
    what = "no usable AWS credentials are to be had" if away else "no answer"
    text = f"{where}: {what} ({code}): {_without_answer(error) if away else clean(error)}"
    return Unavailable(text, operation=operation, resource=resource, code=code, answered=False, sent=sent)


def _unusable_credentials(error: Exception, code: str) -> str:
    """Why no request can be made with the credentials that there are, and the mend; "" if that is not it."""
    if isinstance(error, NO_CREDENTIALS):
        mend = _LOG_IN if isinstance(error, _LOGGED_OUT) else CREDENTIALS_MEND
        return f"no usable AWS credentials ({code}): {clean(error)}; {mend}"
    if isinstance(error, boto.HTTPClientError) and str(error.kwargs.get("error")).startswith(_BAD_HEADER):
        # Its own text quotes the header: the session token, or the access key and a signature.
        what = f"a line break in the credentials, which no request can carry ({code})"
        return f"{what}; take it out of AWS_ACCESS_KEY_ID or AWS_SESSION_TOKEN"
    return ""


def _while_connecting(error: Exception) -> bool:
    """Did the connection fail while it was made and secured? Then the request had not been written.

    botocore has the same errors for a connection that fails later, so it is told by the function in which it happened.
    Ours have Python's own error of TLS, and only from connecting (`direct.origin`).
    """
    if not isinstance(error, boto.BotoCoreError):
        return False
    cause = error.kwargs.get("error")
    if isinstance(cause, ssl.SSLError):
        return True
    chain = (cause, *cause.args) if isinstance(cause, Exception) else ()
    frames = (frame for one in chain if isinstance(one, Exception) for frame, _ in walk_tb(one.__traceback__))
    return any((frame.f_globals.get("__name__"), frame.f_code.co_name) == _CONNECTING for frame in frames)


def _without_answer(error: Exception) -> str:
    """What went wrong with getting credentials. Botocore's own words quote the answer, and with it perhaps a secret."""
    if isinstance(error, boto.CredentialRetrievalError):
        return f"{clean(error.kwargs.get('provider', 'the provider'), 80)} gives none that can be used"
    if isinstance(error, boto.MetadataRetrievalError):
        return clean(error.kwargs.get("error_msg", "")).partition(":")[0]
    if isinstance(error, KeyError | RuntimeError):  # the name of what is missing, or that they are over already
        return clean(error)
    return f"what came cannot be read ({type(error).__name__})"


def _refused(error: boto.ClientError, operation: str, resource: str, arn: str) -> AwsError:
    """An HTTP answer that is an error."""
    status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    detail = error.response.get("Error", {})
    code = _well_formed(detail.get("Code"), f"HTTP{status or ''}")
    leaf = code.rsplit(".", 1)[-1]
    kind = _BY_CODE.get(leaf) or _BY_STATUS.get(status, Unavailable)
    # An answer without a code is a stranger's page: its text is not repeated.
    foreign = code.startswith("HTTP")
    text = "" if foreign else _repeatable(kind, operation, detail.get("Message") or "")
    if operation == "SendMessageBatch" and leaf in _NOT_THE_CONTENT:
        kind = Unavailable
    what, mend = _explain(kind, code, status, operation, arn)
    message = f"{operation} on {resource}: {what} ({code})"
    if text:
        message += f": {text}"
    if mend:
        message += f"; {mend}"
    if kind is Unavailable:
        return Unavailable(message, operation=operation, resource=resource, code=code, answered=True)
    return kind(message, operation=operation, resource=resource, code=code)


def entry_refused(code: object, text: object, *, sender_fault: bool) -> Refused:
    """One entry of a batch that the service did not take."""
    code = _well_formed(code, "Unknown")
    kind = _BY_CODE.get(code.rsplit(".", 1)[-1], Unavailable)
    told = _repeatable(kind, "SendMessageBatch", text) or _WORDS.get(kind, ("", ""))[0]
    return Refused(code, told, sender_fault=sender_fault)


def _well_formed(code: object, otherwise: str) -> str:
    """The service's code, which becomes a label in metrics, or what to call it where it is none."""
    written = str(code or "")
    return written if _CODE.fullmatch(written) else otherwise


def _repeatable(kind: type[AwsError], operation: str, text: object) -> str:
    """What of the service's text is told."""
    words = clean(text).rstrip(". ")
    if kind is AccessDenied:
        denied = _DENIED.search(words)
        return denied[0] if denied else ""
    if operation in _HOLD_CONTENT:
        return ""
    # The services quote the value that they do not like: `Value 'x' at 'y' failed ...`, `Value (x) for parameter y ...`
    return re.sub(r"\b([Vv]alue) .+?( (?:at|for)\b|$)", r"\1 ...\2", words)


def _explain(kind: type[AwsError], code: str, status: int, operation: str, arn: str) -> tuple[str, str]:
    """What happened, and what can be done about it."""
    if kind is AccessDenied:
        return _explain_denied(code, operation, arn)
    if kind is Unavailable:
        if status >= 500:
            return "the service failed", ""
        return f"refused with HTTP {status} for a reason that is not known here", "it is tried again"
    if kind is Throttled and operation == "GetRecords" and code == "LimitExceededException":
        return "throttled", "at most two readers may share a shard"
    if code.endswith("OverLimit"):
        return "over a limit of the queue", "too many of its messages are received and not deleted yet"
    return _WORDS[kind]


_WORDS: Final[dict[type[AwsError], tuple[str, str]]] = {
    Throttled: ("throttled", ""),
    IteratorExpired: ("the shard iterator is older than 15 minutes", ""),
    DataTrimmed: ("the position lies before the trim horizon", ""),
    NotFound: ("does not exist", "check its name, the region and the account"),
    InvalidRequest: ("the request is refused", ""),
    TooLarge: ("larger than the service takes", ""),
}


def _explain_denied(code: str, operation: str, arn: str) -> tuple[str, str]:
    if code in EXPIRED:
        return "the credentials have expired", "renew them, and check this machine's clock"
    if code.upper().startswith("KMS"):
        return "access to the key is denied", f"allow kms:GenerateDataKey and kms:Decrypt on the key of {arn}"
    if code in {"AccessDenied", "AccessDeniedException", "NotAuthorized", "UnauthorizedOperation"}:
        return "access denied", f"allow {iam_action(operation)} on {arn}"
    return (
        "the credentials are not accepted",
        "check the access key, the region and this machine's clock",
    )


@contextmanager
def reading(operation: str, resource: str) -> Iterator[None]:
    """Around what takes an answer apart: an answer without what it must hold is Unavailable, not a defect of ours."""
    try:
        yield
    except (LookupError, TypeError, ValueError) as error:
        raise unreadable(operation, resource) from error


def unreadable(operation: str, resource: str) -> Unavailable:
    """The answer lacks what it must hold, so that it is not known whether the request took effect."""
    code = "UnreadableAnswer"
    message = f"{operation} on {resource}: the answer is not what the service promises ({code})"
    return Unavailable(message, operation=operation, resource=resource, code=code, answered=False)
