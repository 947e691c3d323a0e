"""What a caller may do: IAM policies by access key, and which actions on which resources a call needs.

Only what this project's policies use: Allow, `Action`, `Resource` with `*` and `?`. Without a policy everything goes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from tests.standin.wire import Params, ServiceError, Subject

if TYPE_CHECKING:
    from tests.standin.world import World

Policy = Mapping[str, Any]

_STREAMS: Final = frozenset({"DescribeStream", "GetShardIterator", "GetRecords", "ListStreams"})
# The service authorization reference: actions whose name is not the operation's.
_ACTIONS: Final = {
    "ChangeMessageVisibilityBatch": "ChangeMessageVisibility",
    "DeleteMessageBatch": "DeleteMessage",
    "SendMessageBatch": "SendMessage",
}
# SQS developer guide, "Key management": what the caller needs of the key of an encrypted queue.
_KMS: Final = {
    "ReceiveMessage": ("kms:Decrypt",),
    "SendMessage": ("kms:GenerateDataKey", "kms:Decrypt"),
}


@dataclass(frozen=True, slots=True)
class Need:
    """One action on one resource."""

    action: str
    resource: str


class Policies:
    """`denied` has what was asked for and not allowed, `used` what was allowed by a policy, both in order."""

    def __init__(self) -> None:
        self._policies: dict[str, Policy] = {}
        self.denied: list[Need] = []
        self.used: dict[Need, None] = {}

    def set(self, access_key: str, policy: Policy) -> None:
        """From now on whoever comes with that access key may do this and nothing else."""
        self._policies[access_key] = policy

    def check(self, world: World, service: str, operation: str, subject: Subject, params: Params, key: str) -> None:
        """Raises ServiceError for a call that the caller's policy does not allow."""
        policy = self._policies.get(key)
        if policy is None:
            return
        for need in needs(world, service, operation, subject, params):
            if not allows(policy, need):
                self.denied.append(need)
                raise _denial(service, need, key)
            self.used[need] = None


def needs(world: World, service: str, operation: str, subject: Subject, params: Params) -> list[Need]:
    """What a caller must be allowed for this call."""
    action = _ACTIONS.get(operation, operation)
    if service == "s3":
        return [Need(f"s3:{action}", f"arn:aws:s3:::{subject.table}/{subject.key}")]
    if service == "sqs":
        queue = world.queues.get(subject.queue)
        key = queue.attributes.get("KmsMasterKeyId") if queue else None
        kms = [Need(name, key) for name in _KMS.get(action, ())] if key else []
        return [Need(f"sqs:{action}", world.arn("sqs", subject.queue)), *kms]
    return [Need(f"dynamodb:{action}", _dynamodb(world, operation, subject, params))]


def _dynamodb(world: World, operation: str, subject: Subject, params: Params) -> str:
    if operation not in _STREAMS:
        return world.arn("dynamodb", f"table/{subject.table}")
    if operation == "ListStreams":
        return world.arn("dynamodb", f"table/{subject.table}/stream/*")
    if operation == "GetRecords":
        from tests.standin.streams_api import read_iterator

        return read_iterator(str(params.get("ShardIterator", "")))[0]
    return str(params.get("StreamArn", ""))


def allows(policy: Policy, need: Need) -> bool:
    return any(
        statement["Effect"] == "Allow"
        and _matches(_list(statement["Action"]), need.action)
        and _matches(_list(statement["Resource"]), need.resource)
        for statement in policy["Statement"]
    )


def _list(value: str | Sequence[str]) -> Sequence[str]:
    return [value] if isinstance(value, str) else value


def _matches(patterns: Sequence[str], text: str) -> bool:
    return any(
        re.fullmatch(re.escape(pattern).replace(r"\*", ".*").replace(r"\?", "."), text) is not None
        for pattern in patterns
    )


def _denial(service: str, need: Need, access_key: str) -> ServiceError:
    message = f"User: arn:aws:iam::000000000000:user/{access_key} is not authorized to perform: {need.action}"
    if need.action.startswith("kms:"):
        return ServiceError("KmsAccessDenied", message, status=400)
    if service == "s3":
        return ServiceError("AccessDenied", message, status=403)
    return ServiceError("AccessDeniedException", message, status=403 if service == "sqs" else 400)
