"""AWS's errors become ours by code, then by status, and their messages say what, which resource and what to do."""

from __future__ import annotations

import pytest
from botocore import exceptions as boto
from botocore.exceptions import ClientError
from botocore.parsers import ResponseParserError

from poller.aws.errors import UnreadableAnswer, clean, entry_refused, reading, translate
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


def _answer(code: str, status: int = 400, text: str = "the service's words.") -> ClientError:
    response = {"Error": {"Code": code, "Message": text}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(response, "GetRecords")  # type: ignore[arg-type]  # the least that botocore fills in


def _translate(error: Exception, operation: str = "GetRecords", arn: str = "arn:stream") -> AwsError:
    return translate(error, operation=operation, resource="orders", arn=arn)


@pytest.mark.parametrize(
    ("code", "status", "kind"),
    [
        ("ThrottlingException", 400, Throttled),
        ("Throttling", 400, Throttled),
        ("ProvisionedThroughputExceededException", 400, Throttled),
        ("LimitExceededException", 400, Throttled),
        ("RequestLimitExceeded", 400, Throttled),
        ("OverLimit", 403, Throttled),
        ("RequestThrottled", 403, Throttled),
        ("TooManyRequestsException", 429, Throttled),
        ("KmsThrottled", 400, Throttled),
        ("KMS.ThrottlingException", 400, Throttled),
        ("SlowDown", 503, Throttled),
        ("NeverHeardOf", 429, Throttled),
        ("ExpiredIteratorException", 400, IteratorExpired),
        ("TrimmedDataAccessException", 400, DataTrimmed),
        ("ResourceNotFoundException", 400, NotFound),
        ("QueueDoesNotExist", 400, NotFound),
        ("AWS.SimpleQueueService.NonExistentQueue", 400, NotFound),
        ("NoSuchBucket", 404, NotFound),
        ("AccessDeniedException", 400, AccessDenied),
        ("AccessDenied", 403, AccessDenied),
        ("KMS.AccessDeniedException", 400, AccessDenied),
        ("KmsAccessDenied", 400, AccessDenied),
        ("UnrecognizedClientException", 400, AccessDenied),
        ("InvalidSignatureException", 403, AccessDenied),
        ("SignatureDoesNotMatch", 403, AccessDenied),
        ("ExpiredToken", 403, AccessDenied),
        ("ExpiredTokenException", 400, AccessDenied),
        ("InvalidClientTokenId", 403, AccessDenied),
        ("IncompleteSignature", 400, AccessDenied),
        ("MissingAuthenticationToken", 403, AccessDenied),
        ("NeverHeardOf", 403, AccessDenied),
        ("ValidationException", 400, InvalidRequest),
        ("InvalidMessageContents", 400, InvalidRequest),
        ("InvalidParameterValue", 400, InvalidRequest),
        ("SerializationException", 400, InvalidRequest),
        ("UnknownOperationException", 400, InvalidRequest),
        ("ConditionalCheckFailedException", 400, InvalidRequest),
        ("BatchRequestTooLong", 400, TooLarge),
        ("AWS.SimpleQueueService.BatchRequestTooLong", 400, TooLarge),
        ("413", 413, TooLarge),
        ("InternalServerError", 500, Unavailable),
        ("InternalFailure", 500, Unavailable),
        ("ServiceUnavailable", 503, Unavailable),
        ("500", 500, Unavailable),
        ("502", 502, Unavailable),
        ("", 500, Unavailable),
    ],
)
def test_a_code_or_a_status_decides_the_class(code: str, status: int, kind: type[AwsError]) -> None:
    assert type(_translate(_answer(code, status))) is kind


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("NeverHeardOf", 400),
        ("404", 404),
        ("KmsDisabled", 400),
        ("InvalidAddress", 400),
        ("ResourceInUseException", 400),
    ],
)
def test_a_refusal_that_nobody_knows_blames_neither_the_content_nor_gives_up_the_data(code: str, status: int) -> None:
    error = _translate(_answer(code, status), "SendMessageBatch")

    assert type(error) is Unavailable
    assert error.answered
    assert f"refused with HTTP {status} for a reason that is not known here" in str(error)


def test_an_endpoint_that_is_not_sqs_is_no_messages_fault() -> None:
    assert type(_translate(_answer("UnknownOperationException"), "SendMessageBatch")) is Unavailable


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (boto.EndpointConnectionError(endpoint_url="https://x", error="refused"), "EndpointConnectionError"),
        (boto.ConnectTimeoutError(endpoint_url="https://x", error="slow"), "ConnectTimeoutError"),
        (boto.ReadTimeoutError(endpoint_url="https://x", error="slow"), "ReadTimeoutError"),
        (boto.ConnectionClosedError(endpoint_url="https://x"), "ConnectionClosedError"),
        (boto.SSLError(endpoint_url="https://x", error=OSError("certificate")), "SSLError"),
        (boto.HTTPClientError(error="anything"), "HTTPClientError"),
        (boto.EndpointResolutionError(msg="no such region"), "EndpointResolutionError"),
        (ConnectionResetError("reset"), "ConnectionResetError"),
        (UnreadableAnswer("ChecksumMismatch", "the answer was changed on its way"), "ChecksumMismatch"),
    ],
)
def test_without_a_readable_answer_it_is_not_known_what_took_effect(error: Exception, code: str) -> None:
    translated = _translate(error)

    assert isinstance(translated, Unavailable)
    assert not translated.answered
    assert translated.code == code
    assert str(translated).startswith("GetRecords on orders: ")


@pytest.mark.parametrize(
    "error",
    [
        boto.NoCredentialsError(),
        boto.PartialCredentialsError(provider="env", cred_var="AWS_SECRET_ACCESS_KEY"),
    ],
)
def test_missing_credentials_are_a_denied_access_with_the_mend(error: Exception) -> None:
    translated = _translate(error)

    assert isinstance(translated, AccessDenied)
    assert "set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY" in str(translated)


@pytest.mark.parametrize(
    "error",
    [
        boto.UnauthorizedSSOTokenError(),
        boto.SSOTokenLoadError(error_msg="it does not exist"),
        boto.TokenRetrievalError(provider="sso", error_msg="it has expired"),
    ],
)
def test_who_is_logged_out_is_denied_access_and_told_to_log_in(error: Exception) -> None:
    translated = _translate(error)

    assert isinstance(translated, AccessDenied)
    assert "log in again with `aws sso login`" in str(translated)


@pytest.mark.parametrize(
    "error",
    [
        boto.CredentialRetrievalError(provider="process", error_msg="exit 1"),
        boto.MetadataRetrievalError(error_msg="500"),
    ],
)
def test_credentials_that_do_not_come_are_waited_for_and_nothing_was_sent(error: Exception) -> None:
    translated = _translate(error)

    assert isinstance(translated, Unavailable)
    assert not translated.sent
    assert "no usable AWS credentials are to be had (CredentialRetrievalError)" in str(translated)


@pytest.mark.parametrize("header", ["SESSION-TOKEN\\n", "AWS4-HMAC-SHA256 Credential=KEY\\n/x, Signature=SIGNED"])
def test_a_line_break_in_the_credentials_is_said_without_them(header: str) -> None:
    translated = _translate(boto.HTTPClientError(error=ValueError(f"Invalid header value b'{header}'")))

    assert isinstance(translated, AccessDenied)
    assert str(translated) == (
        "GetRecords on orders: a line break in the credentials, which no request can carry (HTTPClientError);"
        " take it out of AWS_ACCESS_KEY_ID or AWS_SESSION_TOKEN"
    )


# --- messages ---


@pytest.mark.parametrize(
    ("code", "operation", "text", "what", "mend"),
    [
        ("AccessDenied", "SendMessageBatch", "", "access denied", "allow sqs:SendMessage on arn:x"),
        (
            "AccessDeniedException",
            "Scan",
            "User: arn:aws:sts::1:role/x is not authorized to perform: dynamodb:Scan on resource: arn:aws:z",
            "access denied",
            "allow dynamodb:Scan on arn:x",
        ),
        ("AccessDeniedException", "GetRecords", "", "access denied", "allow dynamodb:GetRecords on arn:x"),
        ("AccessDenied", "PutObject", "", "access denied", "allow s3:PutObject on arn:x"),
        (
            "KMS.AccessDeniedException",
            "SendMessageBatch",
            "",
            "access to the key is denied",
            "allow kms:GenerateDataKey and kms:Decrypt on the key of arn:x",
        ),
        (
            "ExpiredTokenException",
            "PutObject",
            "",
            "the credentials have expired",
            "renew them, and check this machine's clock",
        ),
        (
            "UnrecognizedClientException",
            "Scan",
            "",
            "the credentials are not accepted",
            "check the access key, the region and this machine's clock",
        ),
        ("LimitExceededException", "GetRecords", "", "throttled", "at most two readers may share a shard"),
        ("ThrottlingException", "GetRecords", "", "throttled", ""),
        (
            "OverLimit",
            "ReceiveMessage",
            "",
            "over a limit of the queue",
            "too many of its messages are received and not deleted yet",
        ),
        (
            "QueueDoesNotExist",
            "GetQueueUrl",
            "The specified queue does not exist",
            "does not exist",
            "check its name, the region and the account",
        ),
        ("ValidationException", "UpdateItem", "wrong", "the request is refused", ""),
    ],
)
def test_a_message_says_what_failed_where_and_what_to_do(
    code: str, operation: str, text: str, what: str, mend: str
) -> None:
    expected = f"{operation} on orders: {what} ({code})" + (f": {text}" if text else "") + (f"; {mend}" if mend else "")

    assert str(_translate(_answer(code, 400, text), operation, arn="arn:x")) == expected


def test_a_message_is_one_line() -> None:
    error = _translate(_answer("InternalServerError", 500, "line one\nline\ttwo\x00."), "DescribeStream")

    assert str(error) == "DescribeStream on orders: the service failed (InternalServerError): line one line two"


def test_a_page_without_an_error_code_is_not_repeated() -> None:
    error = _translate(_answer("500", 500, "<!doctype html><p>secret item</p>"))

    assert str(error) == "GetRecords on orders: the service failed (HTTP500)"
    assert error.code == "HTTP500"


@pytest.mark.parametrize(
    "text",
    [
        "1 validation error detected: Value 'secret' at 'entries.1.messageBody' failed to satisfy constraint",
        "Value (secret) for parameter MessageBody is invalid",
        f"Value 'secret{'y' * 400}' at 'a' is too long",
    ],
)
def test_a_value_that_the_service_quotes_is_left_out(text: str) -> None:
    message = str(_translate(_answer("InvalidParameterValue", 400, text), "GetQueueUrl"))

    assert "secret" not in message
    assert "alue ..." in message


@pytest.mark.parametrize("operation", ["GetRecords", "PutObject", "ReceiveMessage", "SendMessageBatch"])
def test_of_calls_that_carry_items_no_text_of_the_service_is_repeated(operation: str) -> None:
    error = _translate(_answer("InternalServerError", 500, "cannot store {secret}"), operation)

    assert str(error) == f"{operation} on orders: the service failed (InternalServerError)"


def test_why_credentials_are_refused_is_told_without_the_request_that_the_service_quotes() -> None:
    quoted = "The Canonical String for this request should have been 'POST / x-amz-security-token:secret'"
    error = _translate(_answer("SignatureDoesNotMatch", 403, quoted), "DescribeTable")

    assert "secret" not in str(error)
    assert "the credentials are not accepted (SignatureDoesNotMatch); check the access key" in str(error)


def test_what_whoever_gives_out_credentials_says_is_not_repeated() -> None:
    process = _translate(boto.CredentialRetrievalError(provider="custom-process", error_msg="secret"))
    endpoint = _translate(boto.MetadataRetrievalError(error_msg="Received non 200 response 500 from it: secret"))

    assert "secret" not in f"{process} {endpoint}"
    assert str(process).endswith("custom-process gives none that can be used")
    assert str(endpoint).endswith("Received non 200 response 500 from it")


def test_a_password_in_an_endpoint_is_masked() -> None:
    error = _translate(boto.EndpointConnectionError(endpoint_url="https://user:secret@x/", error="refused"))

    assert "https://***@x/" in str(error)


def test_what_is_no_code_becomes_no_label() -> None:
    assert _translate(_answer('a"b\n{c}', 400)).code == "HTTP400"
    assert entry_refused("secret item", "", sender_fault=True).code == "Unknown"


def test_botocores_own_complaint_about_a_value_is_not_repeated() -> None:
    error = _translate(boto.ParamValidationError(report="Invalid type, value: secret"))

    assert isinstance(error, InvalidRequest)
    assert "secret" not in str(error)


def test_an_error_knows_operation_resource_and_the_services_own_code() -> None:
    error = _translate(_answer("AWS.SimpleQueueService.NonExistentQueue"), "SendMessageBatch")

    assert (error.operation, error.resource, error.code) == (
        "SendMessageBatch",
        "orders",
        "AWS.SimpleQueueService.NonExistentQueue",
    )


def test_a_foreign_text_is_bounded_and_on_one_line() -> None:
    assert clean("a \r\n b\u2028c\x1b[31m" + "x" * 9_999) == ("a b c [31m" + "x" * 999)[:256]


def test_an_answer_without_what_it_must_hold_is_unavailable() -> None:
    answer: dict[str, str] = {}

    with pytest.raises(Unavailable, match="not what the service promises"), reading("DescribeStream", "orders"):
        answer["StreamDescription"]


def test_a_request_that_found_no_connection_was_never_sent() -> None:
    refused = _translate(boto.EndpointConnectionError(endpoint_url="https://x", error="refused"))
    silent = _translate(boto.ReadTimeoutError(endpoint_url="https://x", error="slow"))

    assert isinstance(refused, Unavailable)
    assert isinstance(silent, Unavailable)
    assert (refused.sent, silent.sent) == (False, True)


def test_an_answer_that_botocore_cannot_parse_is_not_quoted() -> None:
    translated = _translate(ResponseParserError("invalid XML received:\nb'<html>secret</html>'"))

    assert isinstance(translated, Unavailable)
    assert "secret" not in str(translated)
