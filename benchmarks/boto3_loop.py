"""What one writes without a poller: boto3, a thread a shard, records as dicts. No leases, no checkpoints, no order.

Takes its settings from the same environment variables as the daemon; ends when it is told to.
"""

from __future__ import annotations

import json
import os
import threading
import time
from typing import Any

import boto3


def matches(record: Any) -> bool:
    image = record["dynamodb"].get("NewImage", {})
    return bool(record["eventName"] == "MODIFY" and image.get("phase", {}).get("S") == "FILE_UPLOAD_COMPLETE")


def read(streams: Any, sqs: Any, arn: str, shard_id: str, queue_url: str) -> None:
    iterator = streams.get_shard_iterator(StreamArn=arn, ShardId=shard_id, ShardIteratorType="TRIM_HORIZON")[
        "ShardIterator"
    ]
    while iterator:
        page = streams.get_records(ShardIterator=iterator, Limit=1000)
        matched = [record for record in page["Records"] if matches(record)]
        for start in range(0, len(matched), 10):
            entries = [
                {"Id": str(number), "MessageBody": json.dumps(record, default=str)}
                for number, record in enumerate(matched[start : start + 10])
            ]
            sqs.send_message_batch(QueueUrl=queue_url, Entries=entries)
        iterator = page.get("NextShardIterator")
        if not page["Records"]:
            time.sleep(1.0)


def main() -> None:
    dynamodb, streams, sqs = boto3.client("dynamodb"), boto3.client("dynamodbstreams"), boto3.client("sqs")
    arn = dynamodb.describe_table(TableName=os.environ["POLLER_TABLE"])["Table"]["LatestStreamArn"]
    queue_url = sqs.get_queue_url(QueueName=os.environ["POLLER_QUEUE"])["QueueUrl"]
    shards = streams.describe_stream(StreamArn=arn)["StreamDescription"]["Shards"]
    threads = [threading.Thread(target=read, args=(streams, sqs, arn, shard["ShardId"], queue_url)) for shard in shards]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main()
