"""Dead letters and redrives in words, and as JSON. Pure. Content only where somebody asks for it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from poller.operate.dead_letters import Kind, Seen
from poller.operate.letters import Letter
from poller.operate.redrive import Report, Stayed
from poller.operate.words import age, counted, utc

Object = dict[str, Any]

# So many of those that stay are shown to people, and so much of a letter's body; JSON has more.
_SHOWN_MAX: Final = 20
_BODY_SHOWN_MAX: Final = 2_000


# --- what is there ----------------------------------------------------------------------------------------------------


def seen_lines(seen: Seen, wall_s: float, *, show: bool) -> Iterator[str]:
    return map(_printable, _seen_lines(seen, wall_s, show=show))


def _printable(line: str) -> str:
    """What somebody else wrote into a queue must not move a terminal's cursor, or look like a line of ours."""
    return "".join(character if character.isprintable() else "\ufffd" for character in line)


def _seen_lines(seen: Seen, wall_s: float, *, show: bool) -> Iterator[str]:
    kind = "FIFO" if seen.fifo else "standard"
    yield f"{seen.queue} ({kind}): {counted(seen.looked_at, 'message')} looked at{_part(seen)}"
    rows = [("REASON", "ROUTE", "LETTERS", "OLDEST", "NEWEST")]
    for one in _by_count(seen):
        oldest, newest = (f"{age(max(0.0, wall_s - at_s))} ago" for at_s in (one.oldest_s, one.newest_s))
        rows.append((one.reason, one.route or "-", f"{one.count:,}", oldest, newest))
    if len(rows) > 1:
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        for row in rows:
            yield "  " + "  ".join(f"{text:<{width}}" for text, width in zip(row, widths, strict=True)).rstrip()
    if seen.others:
        oldest = age(max(0.0, wall_s - seen.others_oldest_s))
        what = "is no letter of this daemon, but a" if seen.others == 1 else "are no letters of this daemon, but"
        yield f"  {counted(seen.others, 'message')} {what} {_others(seen.others)}; the oldest of {oldest} ago"
    for one in _by_count(seen):
        for letter in one.examples:
            yield ""
            yield from _example_lines(letter, show=show)


def _others(count: int) -> str:
    return ("message" if count == 1 else "messages") + " that its consumers failed on, or that somebody else put there"


def _part(seen: Seen) -> str:
    if seen.complete:
        return ", all that there are"
    why = "; of each group of a FIFO queue only the first ones can be seen" if seen.fifo and seen.exhausted else ""
    return f" of about {max(seen.waiting, seen.looked_at):,}: this is only a part{why}"


def _by_count(seen: Seen) -> Sequence[Kind]:
    return sorted(seen.kinds.values(), key=lambda kind: (-kind.count, kind.reason, kind.route or ""))


def _example_lines(letter: Letter, *, show: bool) -> Iterator[str]:
    attempts = "" if letter.attempts is None else f" after {counted(letter.attempts, 'attempt')}"
    yield f"  {letter.reason}{attempts}, route {letter.route or '-'}, {utc(letter.died_s)}"
    yield f"    event     {letter.event_id or '-'}"
    yield f"    position  {letter.position}"
    if letter.code or letter.text:
        yield f"    error     {': '.join(filter(None, (letter.code, letter.text)))}"
    yield f"    holds     {_HOLDS[letter.content.value]}"
    if show:
        body = letter.message.body
        yield f"    body      {body[:_BODY_SHOWN_MAX]}{' ...' if len(body) > _BODY_SHOWN_MAX else ''}"


_HOLDS: Final = {
    "record": "the whole record",
    "s3": "where in S3 the record is",
    "keys": "the item's key and the record's position in the stream",
    "position": "the record's position in the stream",
}


def seen_document(seen: Seen, *, show: bool) -> Object:
    return {
        "queue": seen.queue,
        "fifo": seen.fifo,
        "messages": seen.waiting,
        "looked_at": seen.looked_at,
        "complete": seen.complete,
        "letters": [
            {
                "reason": one.reason,
                "route": one.route,
                "count": one.count,
                "oldest": utc(one.oldest_s),
                "newest": utc(one.newest_s),
                "examples": [_example(letter, show=show) for letter in one.examples],
            }
            for one in _by_count(seen)
        ],
        "others": {
            "count": seen.others,
            "oldest": utc(seen.others_oldest_s) if seen.others else None,
            "newest": utc(seen.others_newest_s) if seen.others else None,
        },
    }


def _example(letter: Letter, *, show: bool) -> Object:
    content = {"keys": letter.keys, "body": letter.message.body} if show else {}
    return {
        "message_id": letter.message.message_id,
        "event_id": letter.event_id,
        "position": letter.position,
        "content": letter.content.value,
        "error_code": letter.code,
        "error_text": letter.text,
        "attempts": letter.attempts,
        "dead_lettered_at": utc(letter.died_s),
        **content,
    }


# --- what became of them ----------------------------------------------------------------------------------------------


def report_lines(report: Report) -> Iterator[str]:
    return map(_printable, _report_lines(report))


def _report_lines(report: Report) -> Iterator[str]:
    sent, stayed = ("would be sent", "would stay") if report.dry_run else ("sent", "stayed")
    yield f"{report.queue}: {counted(report.sent.total(), 'letter')} {sent}, {report.stayed_count:,} {stayed}"
    for (reason, route), count in sorted(report.sent.items()):
        yield f"  {count:,} {reason} to route {route}"
    yield from _listed("stays", report.stayed, report.stayed_count)
    yield from _listed("still there", report.undeleted, len(report.undeleted))
    if report.others_count:
        verb = "is no letter of this daemon and was" if report.others_count == 1 else "are no letters of it and were"
        yield f"  {counted(report.others_count, 'message')} {verb} left alone: {_ids(report)}"
    if report.unwanted:
        yield f"  {counted(report.unwanted, 'letter')} of other reasons or routes {_were(report.unwanted)} left alone"
    if report.trouble:
        yield f"  ended early: {report.trouble}"
    elif not report.complete:
        yield "  there may be more: run it again"


def _were(count: int) -> str:
    return "was" if count == 1 else "were"


def _ids(report: Report) -> str:
    shown = ", ".join(one.message_id for one in report.others[:3])
    return shown + (f" and {report.others_count - 3:,} more" if report.others_count > 3 else "")


def _listed(word: str, rows: Sequence[Stayed], count: int) -> Iterator[str]:
    for one in rows[:_SHOWN_MAX]:
        what = one.event_id or one.position or one.message_id
        yield f"  {word}: {what} ({one.reason}, route {one.route or '-'}): {one.why}"
    if count > _SHOWN_MAX:
        yield f"  {word}: {count - _SHOWN_MAX:,} more (--json lists up to a thousand)"


def report_document(report: Report) -> Object:
    return {
        "queue": report.queue,
        "dry_run": report.dry_run,
        "messages": report.waiting,
        "looked_at": report.looked_at,
        "sent": [
            {"reason": reason, "route": route, "count": count} for (reason, route), count in sorted(report.sent.items())
        ],
        "sent_count": report.sent.total(),
        "stayed_count": report.stayed_count,
        "stayed": [_row(one) for one in report.stayed],
        "not_deleted": [_row(one) for one in report.undeleted],
        "others_count": report.others_count,
        "others": [one.message_id for one in report.others],
        "unwanted": report.unwanted,
        "complete": report.complete,
        "trouble": report.trouble,
    }


def _row(one: Stayed) -> Object:
    names = ("message_id", "event_id", "position", "reason", "route", "why")
    return {name: getattr(one, name) for name in names}
