"""Two operations of S3 on the wire, GetObject and PutObject, with the bucket in the path."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from urllib.parse import unquote

from tests.standin.wire import Answer, Operation, Params, ServiceError, Subject

if TYPE_CHECKING:
    from tests.standin.world import World

_XML: Final = "application/xml"


def operation_of(method: bytes) -> str:
    return {b"GET": "GetObject", b"PUT": "PutObject"}.get(method, "")


def params_of(path: bytes, body: bytes) -> Params:
    bucket, _, key = path.partition(b"?")[0].decode().lstrip("/").partition("/")
    return Params(Bucket=unquote(bucket), Key=unquote(key), Body=body)


def _subject(world: World, params: Params) -> Subject:
    return Subject(table=params["Bucket"], key=params["Key"])


def get_object(world: World, params: Params, access_key: str) -> Answer:
    content = _bucket(world, params).get(params["Key"])
    if content is None:
        raise ServiceError("NoSuchKey", "The specified key does not exist.", status=404)
    return Answer(200, (content,), content_type="application/json")


def put_object(world: World, params: Params, access_key: str) -> Answer:
    _bucket(world, params)[params["Key"]] = params["Body"]
    return Answer(200, (b"",), content_type=_XML)


def _bucket(world: World, params: Params) -> dict[str, bytes]:
    bucket = world.buckets.get(params["Bucket"])
    if bucket is None:
        raise ServiceError("NoSuchBucket", "The specified bucket does not exist.", status=404)
    return bucket


def error_answer(error: ServiceError) -> Answer:
    text = f"<Error><Code>{error.code}</Code><Message>{error.message}</Message></Error>"
    return Answer(error.status, (text.encode(),), content_type=_XML)


OPERATIONS: Final = {"GetObject": Operation(_subject, get_object), "PutObject": Operation(_subject, put_object)}
