"""The S3 bucket for dead letters that fit in no queue, by boto3."""

from __future__ import annotations

from poller.aws.errors import Target
from poller.aws.pool import NEVER
from poller.aws.session import Aws


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
