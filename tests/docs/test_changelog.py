"""CHANGELOG.md is in the form of Keep a Changelog, and tells of the version that this is."""

from __future__ import annotations

import re
from datetime import date
from itertools import pairwise

from poller import __version__
from tests.docs.pages import ROOT

TEXT = (ROOT / "CHANGELOG.md").read_text("utf-8")
RELEASES = re.split(r"^## ", TEXT, flags=re.MULTILINE)[1:]
KINDS = ["Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"]


def test_it_begins_with_its_title_and_what_is_not_released() -> None:
    assert TEXT.startswith("# Changelog\n")
    assert RELEASES[0].startswith("Unreleased\n")


def test_every_release_has_its_version_and_its_day_the_newest_first() -> None:
    told = [re.match(r"(\d+)\.(\d+)\.(\d+) - (\d{4}-\d\d-\d\d)\n", release) for release in RELEASES[1:]]
    assert all(told)
    versions = [tuple(map(int, one.groups()[:3])) for one in told if one]
    days = [date.fromisoformat(one[4]) for one in told if one]
    assert all(newer > older for newer, older in pairwise(versions))
    assert all(newer >= older for newer, older in pairwise(days))
    # A version is raised with its release: it is the newest one here, or none has been released yet.
    assert not versions or ".".join(map(str, versions[0])) == __version__


def test_changes_stand_under_the_six_kinds_each_once_a_release() -> None:
    for release in RELEASES:
        kinds = re.findall(r"^### (.+)$", release, re.MULTILINE)
        assert kinds == [kind for kind in KINDS if kind in kinds], release.partition("\n")[0]


def test_a_kind_is_a_list_without_gaps() -> None:
    for part in re.split(r"^### .+$", TEXT, flags=re.MULTILINE)[1:]:
        body = re.split(r"^## ", part, flags=re.MULTILINE)[0]
        lines = body.strip("\n").splitlines()
        assert [line for line in lines if not re.match(r"- \S|  \S", line)] == []
