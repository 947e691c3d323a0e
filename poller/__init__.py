"""A self-hosted DynamoDB Streams poller: reads shards, keeps leases and checkpoints, filters, delivers to SQS."""

from __future__ import annotations

__version__ = "0.1.0"
