"""What one writes without a poller: boto3, a thread a shard, records as dicts. No leases, no checkpoints, no order.

BENCH_TABLE, BENCH_QUEUE, BENCH_PAUSE_S: the wait after a page that was not full. It ends when it is told to.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator
from typing import Any

import boto3
from botocore.config import Config

_PAGE = 1000
_THREADS_MAX = 1000  # a connection for each: with the default of ten most of them would connect anew for each call


def matches(record: Any) -> bool:
    image = record["dynamodb"].get("NewImage", {})
    return bool(record["eventName"] == "MODIFY" and image.get("phase", {}).get("S") == "FILE_UPLOAD_COMPLETE")


def read(streams: Any, sqs: Any, arn: str, shard_id: str, queue_url: str) -> None:
    pause_s = float(os.environ["BENCH_PAUSE_S"])
    iterator = streams.get_shard_iterator(StreamArn=arn, ShardId=shard_id, ShardIteratorType="TRIM_HORIZON")[
        "ShardIterator"
    ]
    while iterator:
        page = streams.get_records(ShardIterator=iterator, Limit=_PAGE)
        matched = [record for record in page["Records"] if matches(record)]
        for start in range(0, len(matched), 10):
            entries = [
                {"Id": str(number), "MessageBody": json.dumps(record, default=str)}
                for number, record in enumerate(matched[start : start + 10])
            ]
            sqs.send_message_batch(QueueUrl=queue_url, Entries=entries)
        iterator = page.get("NextShardIterator")
        if len(page["Records"]) < _PAGE // 2:
            time.sleep(pause_s)


def shard_ids(streams: Any, arn: str) -> Iterator[str]:
    asked = {"StreamArn": arn}
    while True:
        described = streams.describe_stream(**asked)["StreamDescription"]
        yield from (shard["ShardId"] for shard in described["Shards"])
        if "LastEvaluatedShardId" not in described:
            return
        asked["ExclusiveStartShardId"] = described["LastEvaluatedShardId"]


def main() -> None:
    config = Config(max_pool_connections=_THREADS_MAX)
    dynamodb, streams = boto3.client("dynamodb"), boto3.client("dynamodbstreams", config=config)
    sqs = boto3.client("sqs", config=config)
    arn = dynamodb.describe_table(TableName=os.environ["BENCH_TABLE"])["Table"]["LatestStreamArn"]
    queue_url = sqs.get_queue_url(QueueName=os.environ["BENCH_QUEUE"])["QueueUrl"]
    threads = [
        threading.Thread(target=read, args=(streams, sqs, arn, shard_id, queue_url))
        for shard_id in shard_ids(streams, arn)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main()
