"""What this daemon replaces in botocore, as components of its session: the JSON parser and the models' loader.

Pages of records stay bytes, damaged answers are refused, and a client is there 70 ms sooner.
"""

from __future__ import annotations

import gzip
import os
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec
from botocore.loaders import JSONFileLoader, Loader
from botocore.parsers import JSONParser, ResponseParser, ResponseParserFactory
from zlib_ng.zlib_ng import crc32  # zlib's own takes ten times as long, 0.13 ms for a full page

from poller.aws.errors import UnreadableAnswer

BODY: Final = "Body"  # where a page's bytes stand in the answer of `get_records`
# Those that are called here, and those from which botocore gets credentials for a profile (`sso`, `aws login`).
_SERVICES: Final = ("dynamodb", "dynamodbstreams", "s3", "signin", "sqs", "sso", "sso-oidc", "sts")
# The same by the names that they have in botocore's list of endpoints.
_ENDPOINTS: Final = ("dynamodb", "oidc", "portal.sso", "s3", "signin", "sqs", "streams.dynamodb", "sts")


class PageParserFactory(ResponseParserFactory):
    """Gives the JSON services `_CheckedParser`, every other protocol botocore's own parser."""

    def create_parser(self, protocol_name: str) -> ResponseParser:
        """One parser serves all JSON calls, from all threads: it keeps no state."""
        if protocol_name == "json":
            return PARSER
        return super().create_parser(protocol_name)


class _CheckedParser(JSONParser):
    """Hands a page of records through as bytes, and lets no damaged answer pass for a good one."""

    def parse(self, response: Mapping[str, Any], shape: Any) -> dict[str, Any]:
        """Raises UnreadableAnswer where botocore would read a cut, changed or foreign answer as an empty one."""
        body: bytes = response["body"]
        good = response["status_code"] < 300
        page = good and response["context"]["operation_name"] == "GetRecords"
        # `poller.aws.page` reads a page. An operation without a result, such as DeleteMessage, answers with nothing.
        json = good and not page and (body != b"" or shape is not None)
        check_whole(response["headers"], body, json=json)
        if page:
            return {BODY: body, "ResponseMetadata": {"HTTPStatusCode": response["status_code"]}}
        try:
            parsed: dict[str, Any] = super().parse(response, shape)
        # RuntimeError: a time beyond the calendar.
        except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
            raise UnreadableAnswer("UnreadableAnswer", "the answer is not what the service's model says") from error
        return parsed


PARSER: Final = _CheckedParser()
_check_object: Final = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode  # reads all of it and builds next to nothing


def check_whole(headers: Mapping[str, str], body: bytes | bytearray, *, json: bool) -> None:
    """Raises UnreadableAnswer unless the body is as long as announced, has its checksum and is a JSON object.

    botocore checks neither the length nor, except on a few operations, `x-amz-crc32`, and reads what is not JSON as {}.
    """
    length = headers.get("content-length")
    if length is not None and length != str(len(body)):
        raise UnreadableAnswer("AnswerCutShort", f"{len(body)} bytes came of {length} announced")
    checksum = headers.get("x-amz-crc32")
    if checksum is not None and checksum != str(crc32(body)):
        raise UnreadableAnswer("ChecksumMismatch", "the answer was changed on its way: its x-amz-crc32 is another")
    if json:
        try:
            _check_object(body)
        except (ValueError, RecursionError) as error:
            text = "the answer is not a JSON object: something other than AWS answers here"
            raise UnreadableAnswer("UnreadableAnswer", text) from error


class ModelLoader(Loader):
    """botocore's loader without its walk over the folders of all services, reading JSON with msgspec."""

    def __init__(self) -> None:
        super().__init__(file_loader=_ModelFiles())

    def list_available_services(self, type_name: str) -> list[str]:  # noqa: ARG002 - botocore's signature
        """The services of this daemon, whatever the kind of file."""
        return list(_SERVICES)


class _ModelFiles(JSONFileLoader):
    """Reads `<path>.json` or `<path>.json.gz`."""

    _opens: Final[tuple[tuple[str, Callable[..., Any]], ...]] = ((".json", open), (".json.gz", gzip.open))

    def exists(self, file_path: str) -> bool:
        return any(os.path.isfile(file_path + ending) for ending, _ in self._opens)

    def load_file(self, file_path: str) -> Any:
        """The file's content, None if there is no such file."""
        for ending, open_file in self._opens:
            try:
                with open_file(file_path + ending, "rb") as file:
                    content = file.read()
            except FileNotFoundError:
                continue
            return _endpoints(content) if os.path.basename(file_path) == "endpoints" else msgspec.json.decode(content)
        return None


def _endpoints(content: bytes) -> dict[str, Any]:
    """botocore's list of endpoints without those of all other services, which take 4 MB of memory."""
    listed = msgspec.json.decode(content, type=dict[str, msgspec.Raw])
    partitions = [
        {
            name: _services(value) if name == "services" else msgspec.json.decode(value)
            for name, value in partition.items()
        }
        for partition in msgspec.json.decode(listed.pop("partitions"), type=list[dict[str, msgspec.Raw]])
    ]
    return {name: msgspec.json.decode(value) for name, value in listed.items()} | {"partitions": partitions}


def _services(content: msgspec.Raw) -> dict[str, Any]:
    services = msgspec.json.decode(content, type=dict[str, msgspec.Raw])
    return {name: msgspec.json.decode(services[name]) for name in _ENDPOINTS if name in services}
