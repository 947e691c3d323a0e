"""The body of a GetRecords answer, cut into its records without decoding them.

One look at the bytes: a record stays as it came until a route wants it.
"""

from __future__ import annotations

import json

import msgspec

from poller.model import Page


class _Answer(msgspec.Struct, gc=False):
    records: list[msgspec.Raw] = msgspec.field(name="Records")
    next_iterator: str | None = msgspec.field(name="NextShardIterator", default=None)


_decode_answer = msgspec.json.Decoder(_Answer).decode


def decode_page(body: bytes) -> Page:
    """The page in an answer's body; its records are views into `body`. ValueError: this is no answer of GetRecords.

    A page is either understood or refused as a whole. What is wrong within one record is found when it is sifted.
    """
    try:
        answer = _decode_answer(body)
    except (ValueError, RecursionError) as error:
        return _decode_leniently(body, error)
    return Page(answer.records, answer.next_iterator, len(body))


def _decode_leniently(body: bytes, reason: Exception) -> Page:
    """For a page in which a string holds half of a surrogate pair (`\\ud800`): a record must not stop its neighbours.

    msgspec refuses the whole text, the standard library takes it. Its records are written anew: same JSON, other bytes.
    """
    try:
        answer = json.loads(body.decode("utf-8", "surrogatepass"))
        records, next_iterator = answer["Records"], answer.get("NextShardIterator")
        if isinstance(records, list) and isinstance(next_iterator, str | None):
            # Numbers of items are strings, so that no digit is lost; NaN and the like are refused as msgspec does.
            return Page([json.dumps(each, allow_nan=False).encode() for each in records], next_iterator, len(body))
    except (ValueError, RecursionError, KeyError, TypeError, AttributeError):
        pass  # the first reader's words say it as well
    raise ValueError(f"not an answer of GetRecords: {reason}") from reason
