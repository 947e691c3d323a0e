"""The story of the uploads: which item is written when, as what, and which writes the workers must hear of.

Pure and endless: the same seed and rate give the same story; time is the seconds since it began.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from heapq import heappop, heappush
from itertools import count
from random import Random
from typing import Any, Final

Item = Mapping[str, Any]
"""Plain Python values, as boto3's TypeSerializer takes them."""


class Phase(StrEnum):
    """How far an upload has come: the attribute `phase`."""

    CREATED = "CREATED"
    FILE_UPLOAD_STARTED = "FILE_UPLOAD_STARTED"
    FILE_UPLOAD_COMPLETE = "FILE_UPLOAD_COMPLETE"
    ANALYSED = "ANALYSED"


# Every life ends in a deletion, so the table stays small however long the story is told: analysed items are cleared
# away, abandoned ones expire.
ANALYSED_LIFE: Final = tuple(Phase)
ABANDONED_LIVES: Final = ((Phase.CREATED,), (Phase.CREATED, Phase.FILE_UPLOAD_STARTED))
ABANDONED_SHARE: Final = 0.2

# Seconds from one write of an item to its next; at a few uploads a second several are always under way at once.
PAUSE_S: Final = (0.2, 1.2)
PAUSE_BEFORE_DELETION_S: Final = (1.0, 4.0)

KINDS: Final = (("dicom", "application/dicom"), ("tiff", "image/tiff"), ("fastq.gz", "application/gzip"))
SUBJECTS: Final = ("chest-ct", "knee-mri", "retina-scan", "biopsy-slide", "exome-panel")


@dataclass(frozen=True, slots=True)
class Write:
    """One write to the table, due `due_s` seconds after the story began. `item` None deletes the item."""

    due_s: float
    request_id: str
    item: Item | None

    @property
    def phase(self) -> Phase | None:
        return None if self.item is None else Phase(self.item["phase"])

    @property
    def expected(self) -> bool:
        """Must a message come of it? An upload reaches this phase at most once, always by changing an older item."""
        return self.phase is Phase.FILE_UPLOAD_COMPLETE


def story(seed: int, uploads_per_second: float) -> Iterator[Write]:
    """All writes of all uploads, in the order in which they are due."""
    rng = Random(seed)
    ahead: list[tuple[float, int, Write]] = []
    order = count()  # decides between writes that are due at the same instant, so that writes are never compared
    for number in count():
        begins_s = number / uploads_per_second
        while ahead and ahead[0][0] <= begins_s:
            yield heappop(ahead)[2]
        for write in _life(rng, begins_s):
            heappush(ahead, (write.due_s, next(order), write))


def _life(rng: Random, begins_s: float) -> Iterator[Write]:
    request_id = f"req-{rng.getrandbits(48):012x}"
    upload = _upload(rng, request_id)
    phases = rng.choice(ABANDONED_LIVES) if rng.random() < ABANDONED_SHARE else ANALYSED_LIFE
    due_s = begins_s
    for phase in phases:
        yield Write(due_s, request_id, {**upload, "phase": phase.value, **_news_of(phase, upload, rng)})
        due_s += rng.uniform(*PAUSE_S)
    yield Write(due_s + rng.uniform(*PAUSE_BEFORE_DELETION_S), request_id, None)


def _upload(rng: Random, request_id: str) -> Item:
    """What stays as it is over an upload's whole life."""
    subject, (suffix, content_type) = rng.choice(SUBJECTS), rng.choice(KINDS)
    requestor_id = f"lab-{rng.randrange(1, 20):02d}"
    file_name = f"{subject}-{rng.randrange(10_000):04d}.{suffix}"
    return {
        "analysisRequestId": request_id,
        "requestorId": requestor_id,
        "fileName": file_name,
        "contentType": content_type,
        "sizeBytes": rng.randrange(50_000, 4_000_000_000),
        "priority": rng.choice(("routine", "urgent")),
        "location": {"bucket": "analysis-uploads", "key": f"{requestor_id}/{request_id}/{file_name}"},
        "tags": [subject, suffix],
    }


def _news_of(phase: Phase, upload: Item, rng: Random) -> Item:
    """What an item has in this phase and in no other."""
    match phase:
        case Phase.CREATED:
            return {"uploadedBytes": 0}
        case Phase.FILE_UPLOAD_STARTED:
            return {"uploadedBytes": rng.randrange(upload["sizeBytes"])}
        case Phase.FILE_UPLOAD_COMPLETE:
            return {"uploadedBytes": upload["sizeBytes"], "sha256": f"{rng.getrandbits(256):064x}"}
        case Phase.ANALYSED:
            return {"uploadedBytes": upload["sizeBytes"], "findings": rng.randrange(5)}
