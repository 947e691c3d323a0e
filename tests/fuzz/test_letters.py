"""Any message of a dead-letter queue: a letter that can be shown and looked up, or none. Never an error."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from poller.model import Content, ReceivedMessage
from poller.operate.dead_letters import Seen
from poller.operate.letter_words import report_document, report_lines, seen_document, seen_lines
from poller.operate.letters import Unreadable, letter_in
from poller.operate.redrive import Report
from tests.fuzz.effort import examples

BEFORE_THE_CALENDAR = "0001-01-01T00:00:00+23:59"

texts = st.one_of(
    st.text(max_size=5),
    st.sampled_from(
        ["", "1", "²", "٣", "9" * 5_000, "0001-01-01T00:00:00+23:59", "2026-11-25", "\x1b[2J", "\x9b", "a/b"]
    ),
)
small: st.SearchStrategy[Any] = st.recursive(
    st.one_of(texts, st.none(), st.integers(), st.booleans()),
    lambda inner: st.one_of(st.lists(inner, max_size=2), st.dictionaries(texts, inner, max_size=2)),
    max_leaves=4,
)
names = ("s3", "streamArn", "shardId", "sequenceNumber", "eventID", "keys", "dynamodb", "undecodableBase64")
bodies = st.one_of(
    texts,
    st.just("[" * 5_000),
    st.dictionaries(st.sampled_from(names), small, max_size=4).map(json.dumps),
)
attribute_names = ("errorCode", "errorText", "attempts", "firstFailedAt", "deadLetteredAt", "route", "table")
attributes = st.fixed_dictionaries(
    {},
    optional={
        "reason": texts,
        "position": st.one_of(texts, st.just("shard/1")),
        "content": st.sampled_from([*(one.value for one in Content), "other"]),
        **dict.fromkeys(attribute_names, texts),
    },
)


@given(bodies, attributes, st.booleans())
@example("[" * 5_000, {"reason": "r", "position": "s/1", "content": "position"}, True)
@example(
    "{}", {"reason": "r", "position": "s/1", "content": "keys", "deadLetteredAt": "0001-01-01T00:00:00+23:59"}, True
)
@examples(200)
def test_whatever_lies_there_can_be_shown(body: str, given_attributes: dict[str, str], show: bool) -> None:
    message = ReceivedMessage("m", "m#1", body, given_attributes, 1_795_000_000.0)
    seen = Seen("letters", False, 1)
    seen.add(message, 1)
    report = Report("letters", False, 1)
    letter = letter_in(message)
    if letter is None:
        report.other(message)
    else:
        report.stays(letter, "because")
        for look_up in (letter.record, letter.stored_at, letter.place):
            try:
                look_up()
            except Unreadable:
                continue

    shown = [*seen_lines(seen, 1_795_000_000.0, show=show), *report_lines(report)]
    assert all(line.isprintable() for line in shown)
    json.dumps([seen_document(seen, show=show), report_document(report)])
