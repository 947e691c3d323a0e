"""SQS on the wire, in its JSON protocol: queues, sending with all the limits, receiving, hiding, deleting.

Limits and error codes are the service's (API reference, 2012-11-05); text attributes only, and no long polls.
"""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Any, Final

from tests.standin.queues import Entry, Queue, Stored, attributes_md5, body_md5
from tests.standin.wire import Answer, Operation, Params, ServiceError, Subject, json_answer

if TYPE_CHECKING:
    from tests.standin.world import World

_ENTRIES_MAX: Final = 10
_ATTRIBUTES_MAX: Final = 10
_ENTRY_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,80}")
_ID: Final = re.compile(r"[\x21-\x7e]{1,128}")  # group and deduplication ids
_ILLEGAL: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_ILLEGAL_ASCII: Final = bytes(set(range(0x20)) - set(b"\t\n\r"))


class EntryError(Exception):
    """One entry of a batch is refused. `code` as it stands in `Failed`."""

    def __init__(self, code: str, message: str, *, sender_fault: bool = True) -> None:
        super().__init__(message)
        self.code = code
        self.sender_fault = sender_fault


def _queue(world: World, params: Params) -> Queue:
    queue = world.queues.get(_name(params))
    if queue is None:
        raise ServiceError("QueueDoesNotExist", "The specified queue does not exist.")
    return queue


def _name(params: Params) -> str:
    return str(params.get("QueueName") or str(params.get("QueueUrl", "")).rsplit("/", 1)[-1])


def _invalid_value(message: str) -> ServiceError:
    return ServiceError("InvalidParameterValueException", message)


# --- queues ---------------------------------------------------------------------------------------------------------


def create_queue(world: World, params: Params, access_key: str) -> Answer:
    name = params["QueueName"]
    attributes = params.get("Attributes") or {}
    if (attributes.get("FifoQueue") == "true") is not name.endswith(".fifo"):
        raise _invalid_value(
            "The name of a FIFO queue can only include alphanumeric characters, hyphens and end in .fifo"
        )
    queue = world.queues.get(name)
    if queue is None:
        world.queue(name, attributes)
    elif any(queue.attributes.get(key, value) != value for key, value in attributes.items()):
        raise ServiceError("QueueNameExists", "A queue already exists with the same name and a different value")
    return json_answer({"QueueUrl": world.queue_url(name)})


def get_queue_url(world: World, params: Params, access_key: str) -> Answer:
    return json_answer({"QueueUrl": world.queue_url(_queue(world, params).name)})


def list_queues(world: World, params: Params, access_key: str) -> Answer:
    prefix = params.get("QueueNamePrefix", "")
    return json_answer(
        {"QueueUrls": [world.queue_url(name) for name in sorted(world.queues) if name.startswith(prefix)]}
    )


def delete_queue(world: World, params: Params, access_key: str) -> Answer:
    del world.queues[_queue(world, params).name]
    return json_answer({})


def get_queue_attributes(world: World, params: Params, access_key: str) -> Answer:
    queue = _queue(world, params)
    now = queue.clock.monotonic()
    in_flight = sum(1 for stored in queue.messages.values() if stored.visible_from_s > now)
    known = queue.attributes | {
        "QueueArn": queue.arn,
        "CreatedTimestamp": str(int(queue.created_s)),
        "LastModifiedTimestamp": str(int(queue.created_s)),
        "ApproximateNumberOfMessages": str(len(queue.messages) - in_flight),
        "ApproximateNumberOfMessagesNotVisible": str(in_flight),
        "ApproximateNumberOfMessagesDelayed": "0",
    }
    wanted = params.get("AttributeNames") or []
    attributes = {name: value for name, value in known.items() if "All" in wanted or name in wanted}
    return json_answer({"Attributes": attributes} if attributes else {})


def set_queue_attributes(world: World, params: Params, access_key: str) -> Answer:
    _queue(world, params).attributes.update(params["Attributes"])
    return json_answer({})


def purge_queue(world: World, params: Params, access_key: str) -> Answer:
    _queue(world, params).purge()
    return json_answer({})


# --- sending --------------------------------------------------------------------------------------------------------


def send_message(world: World, params: Params, access_key: str) -> Answer:
    queue = _queue(world, params)
    try:
        sent = _send(queue, _entry(queue, params), access_key)
    except EntryError as refused:
        codes = {
            "InvalidParameterValue": "InvalidParameterValueException",
            "MissingParameter": "MissingRequiredParameterException",
        }
        status = 400 if refused.sender_fault else 500
        raise ServiceError(codes.get(refused.code, refused.code), str(refused), status=status) from refused
    return json_answer(sent)


def send_message_batch(world: World, params: Params, access_key: str) -> Answer:
    queue = _queue(world, params)
    entries = params.get("Entries") or []
    _check_ids(entries)
    parsed = [_entry(queue, entry) for entry in entries]
    size = sum(entry.size_bytes for entry in parsed)
    if size > queue.batch_bytes_max:
        raise ServiceError(
            "BatchRequestTooLong",
            f"Batch requests cannot be longer than {queue.batch_bytes_max} bytes. You have sent {size} bytes.",
        )
    successful: list[dict[str, Any]] = []
    failed: list[dict[str, Any]] = []
    for raw, entry in zip(entries, parsed, strict=True):
        try:
            successful.append({"Id": raw["Id"], **_send(queue, entry, access_key)})
        except EntryError as refused:
            fault = {"Code": refused.code, "Message": str(refused), "SenderFault": refused.sender_fault}
            failed.append({"Id": raw["Id"], **fault})
    answer: dict[str, Any] = {"Successful": successful}
    if failed:
        answer["Failed"] = failed
    return json_answer(answer)


def _check_ids(entries: list[dict[str, Any]]) -> None:
    if not entries:
        raise ServiceError("EmptyBatchRequest", "There should be at least one entry in the request.")
    if len(entries) > _ENTRIES_MAX:
        raise ServiceError(
            "TooManyEntriesInBatchRequest",
            f"Maximum number of entries per request are {_ENTRIES_MAX}. You have sent {len(entries)}.",
        )
    ids = [entry.get("Id", "") for entry in entries]
    if not all(_ENTRY_ID.fullmatch(entry_id) for entry_id in ids):
        raise ServiceError("InvalidBatchEntryId", "A batch entry id can only contain alphanumeric characters, - and _")
    if len(set(ids)) < len(ids):
        repeated = next(entry_id for entry_id in ids if ids.count(entry_id) > 1)
        raise ServiceError("BatchEntryIdsNotDistinct", f"Id {repeated} repeated.")


def _entry(queue: Queue, raw: dict[str, Any]) -> Entry:
    body = raw.get("MessageBody", "")
    deduplication_id = raw.get("MessageDeduplicationId")
    if deduplication_id is None and queue.attributes.get("ContentBasedDeduplication") == "true":
        deduplication_id = hashlib.sha256(body.encode("utf-8", "surrogatepass")).hexdigest()
    return Entry(body, raw.get("MessageGroupId"), deduplication_id, raw.get("MessageAttributes") or {})


def _send(queue: Queue, entry: Entry, access_key: str) -> dict[str, Any]:
    """Takes one entry; returns what the answer says of it. Raises EntryError."""
    _check_entry(queue, entry)
    refusal = queue.refusal_of(entry.body)
    if refusal is not None:
        # As some services do, it quotes what it does not like.
        raise EntryError(refusal.code, f"refused by the test: {entry.body}", sender_fault=refusal.sender_fault)
    message_id = queue.take(entry, access_key)
    sent = {"MessageId": message_id, "MD5OfMessageBody": body_md5(entry.encoded)}
    if entry.attributes:
        sent["MD5OfMessageAttributes"] = attributes_md5(entry.attributes)
    if queue.fifo:
        sent["SequenceNumber"] = f"{queue.taken:020d}"
    return sent


def _check_entry(queue: Queue, entry: Entry) -> None:
    if not entry.body:
        raise EntryError("MissingParameter", "The request must contain the parameter MessageBody.")
    if _has_illegal_characters(entry):
        raise EntryError("InvalidMessageContents", "Invalid characters found in the message body")
    if entry.size_bytes > queue.message_bytes_max:
        reason = f"Message must be shorter than {queue.message_bytes_max} bytes."
        raise EntryError("InvalidParameterValue", f"One or more parameters are invalid. Reason: {reason}")
    if len(entry.attributes) > _ATTRIBUTES_MAX:
        raise EntryError("InvalidParameterValue", f"Number of message attributes [{len(entry.attributes)}] exceeds 10.")
    if queue.fifo and entry.group_id is None:
        raise EntryError("MissingParameter", "The request must contain the parameter MessageGroupId.")
    if queue.fifo and entry.deduplication_id is None:
        raise EntryError("InvalidParameterValue", "The queue should have ContentBasedDeduplication enabled")
    for name, given in (("MessageGroupId", entry.group_id), ("MessageDeduplicationId", entry.deduplication_id)):
        if given is not None and not _ID.fullmatch(given):
            raise EntryError("InvalidParameterValue", f"Value for parameter {name} is invalid.")


def _has_illegal_characters(entry: Entry) -> bool:
    """Benchmarks send ASCII only, for which a look at the bytes is several times faster than the regular expression."""
    if entry.body.isascii():
        return len(entry.encoded.translate(None, _ILLEGAL_ASCII)) < len(entry.encoded)
    return _ILLEGAL.search(entry.body) is not None


# --- receiving ------------------------------------------------------------------------------------------------------


def receive_message(world: World, params: Params, access_key: str) -> Answer:
    queue = _queue(world, params)
    number = params.get("MaxNumberOfMessages", 1)
    if not 1 <= number <= 10:
        raise _invalid_value("Value for parameter MaxNumberOfMessages is invalid. Reason: Must be between 1 and 10.")
    visibility_s = float(params.get("VisibilityTimeout", queue.attributes["VisibilityTimeout"]))
    system = params.get("MessageSystemAttributeNames") or params.get("AttributeNames") or []
    named = params.get("MessageAttributeNames") or []
    messages = [_received(stored, system, named) for stored in queue.receive(number, visibility_s)]
    return json_answer({"Messages": messages} if messages else {})


def _received(stored: Stored, system: list[str], named: list[str]) -> dict[str, Any]:
    arrival = stored.arrival
    received: dict[str, Any] = {
        "MessageId": arrival.message_id,
        "ReceiptHandle": f"{arrival.message_id}#{stored.receives}",
        "MD5OfBody": body_md5(arrival.body.encode()),
        "Body": arrival.body,
    }
    known = {
        "SentTimestamp": str(int(arrival.at_s * 1000)),
        "ApproximateReceiveCount": str(stored.receives),
        "ApproximateFirstReceiveTimestamp": str(int((stored.first_received_s or 0) * 1000)),
        "SenderId": arrival.access_key,
    }
    if arrival.group_id is not None:
        known["MessageGroupId"] = arrival.group_id
    if arrival.deduplication_id is not None:
        known["MessageDeduplicationId"] = arrival.deduplication_id
    attributes = {name: value for name, value in known.items() if "All" in system or name in system}
    if attributes:
        received["Attributes"] = attributes
    everything = "All" in named or ".*" in named
    wanted = {name: value for name, value in arrival.attributes.items() if everything or name in named}
    if wanted:
        received |= {"MessageAttributes": wanted, "MD5OfMessageAttributes": attributes_md5(wanted)}
    return received


def delete_message(world: World, params: Params, access_key: str) -> Answer:
    _queue(world, params).messages.pop(params["ReceiptHandle"].split("#")[0], None)
    return json_answer({})


def delete_message_batch(world: World, params: Params, access_key: str) -> Answer:
    queue = _queue(world, params)
    entries = params.get("Entries") or []
    _check_ids(entries)
    for entry in entries:
        queue.messages.pop(entry["ReceiptHandle"].split("#")[0], None)
    return json_answer({"Successful": [{"Id": entry["Id"]} for entry in entries]})


def change_message_visibility_batch(world: World, params: Params, access_key: str) -> Answer:
    queue = _queue(world, params)
    entries = params.get("Entries") or []
    _check_ids(entries)
    successful, failed = [], []
    for entry in entries:
        if queue.hide(entry["ReceiptHandle"].split("#")[0], float(entry["VisibilityTimeout"])):
            successful.append({"Id": entry["Id"]})
        else:
            code = "MessageNotInflight"
            failed.append({"Id": entry["Id"], "Code": code, "Message": "not in flight", "SenderFault": True})
    return json_answer({"Successful": successful, "Failed": failed})


def _subject(world: World, params: Params) -> Subject:
    return Subject(queue=_name(params))


OPERATIONS: Final = {
    "CreateQueue": Operation(_subject, create_queue),
    "GetQueueUrl": Operation(_subject, get_queue_url),
    "ListQueues": Operation(_subject, list_queues),
    "DeleteQueue": Operation(_subject, delete_queue),
    "GetQueueAttributes": Operation(_subject, get_queue_attributes),
    "SetQueueAttributes": Operation(_subject, set_queue_attributes),
    "PurgeQueue": Operation(_subject, purge_queue),
    "SendMessage": Operation(_subject, send_message),
    "SendMessageBatch": Operation(_subject, send_message_batch),
    "ReceiveMessage": Operation(_subject, receive_message),
    "DeleteMessage": Operation(_subject, delete_message),
    "ChangeMessageVisibilityBatch": Operation(_subject, change_message_visibility_batch),
    "DeleteMessageBatch": Operation(_subject, delete_message_batch),
}
