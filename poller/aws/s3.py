"""The S3 bucket for dead letters that fit in no queue, by boto3."""

from __future__ import annotations

from typing import TYPE_CHECKING

from poller.aws.errors import Target, reading
from poller.aws.pool import NEVER
from poller.aws.session import Aws

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client


class BotoLetterStore:
    """`poller.run.ports.LetterStore` for one bucket; the client is made when the first letter comes."""

    def __init__(self, aws: Aws, bucket: str) -> None:
        self._aws = aws
        self._bucket = bucket
        self._target = Target(bucket, f"arn:aws:s3:::{bucket}/*")

    async def put(self, key: str, body: bytes) -> str:
        """Writes the object anew if it is there: the same letter stored twice is one."""
        lane = await self._aws.s3()
        await lane.pool.call(
            "PutObject",
            self._target,
            NEVER,
            lane.client.put_object,
            Bucket=self._bucket,
            Key=key,
            Body=body,
            ContentType="application/json",
        )
        return f"s3://{self._bucket}/{key}"

    async def get(self, key: str) -> bytes:
        """The object's content. NotFound: it is not there (any more)."""
        lane = await self._aws.s3()
        # Its content comes by and by: it is read in the thread as well, or it would hold up everything else.
        return await lane.pool.call("GetObject", self._target, NEVER, self._read, lane.client, key)

    def _read(self, client: S3Client, key: str) -> bytes:
        answer = client.get_object(Bucket=self._bucket, Key=key)
        with reading("GetObject", self._bucket):
            return answer["Body"].read()
