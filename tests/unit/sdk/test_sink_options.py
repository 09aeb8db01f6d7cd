"""Sinks in one string: every part of it is read or answered."""

from __future__ import annotations

import inspect
import re
from collections import defaultdict
from pathlib import Path
from typing import Annotated

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgead import Verdict
from edgead.errors import UsageError
from edgead.stream.sinks import SINKS, SinkEntry, open_sink
from edgead.stream.sinks.options import read_call, size, split_spec, verdicts

MARKS = {"keep": "?", "http": "#"}


def make(
    place: Path,
    *,
    quota: Annotated[int, size] = 5,
    only: Annotated[frozenset[Verdict], verdicts] = frozenset(),
    days: float = 1.5,
    count: int = 2,
    name: str = "",
    tls: bool = False,
    ca: Path | None = None,
) -> dict[str, object]:
    return {key: value for key, value in locals().items() if value}


def test_a_spec_is_a_kind_a_place_and_options() -> None:
    assert split_spec("keep:a/b?quota=1GB&days=2", MARKS) == ("keep", "a/b", {"quota": "1GB", "days": "2"})
    assert split_spec("KEEP", MARKS) == ("keep", "", {})
    assert split_spec("http://h:1/x?theirs=1#a=b%23c&d=", MARKS) == (
        "http",
        "http://h:1/x?theirs=1",
        {"a": "b#c", "d": ""},
    )


@pytest.mark.parametrize(
    ("spec", "answer"),
    [
        ("kep:a", "'kep' is no kind of sink: did you mean 'keep'"),
        ("", "'' is no kind of sink: known: http, keep"),
        ("keep:a?days", "'days' without a value"),
        ("keep:a?days=1&days=2", "'days' twice"),
    ],
)
def test_a_spec_that_cannot_be_split_is_answered(spec: str, answer: str) -> None:
    with pytest.raises(UsageError, match=answer.replace("?", r"\?")):
        split_spec(spec, MARKS)


def test_options_are_read_as_their_parameters_want_them() -> None:
    text = {"quota": "2kB", "only": "ng, review", "days": "2", "count": "3", "name": "x", "tls": "Yes", "ca": "ca.pem"}
    assert read_call(make, "keep", "there", text, "") == {
        "place": Path("there"),
        "quota": 2000,
        "only": {Verdict.NG, Verdict.REVIEW},
        "days": 2.0,
        "count": 3,
        "name": "x",
        "tls": True,
        "ca": Path("ca.pem"),
    }
    assert read_call(make, "keep", "there", {}, "")["days"] == 1.5


@pytest.mark.parametrize(
    ("place", "name", "text", "answer"),
    [
        ("", "days", "1", "needs a place, like keep:x"),
        ("a", "quta", "1GB", "no option 'quta': did you mean 'quota'"),
        ("a", "quota", "much", "quota must be a size like 500MB or 10GB, not 'much'"),
        ("a", "quota", "-1", "a size"),
        ("a", "only", "NG,BAD", "OK,REVIEW,NG,INVALID,LATE, with commas between, not 'NG,BAD'"),
        ("a", "days", "nan", "a number, not 'nan'"),
        ("a", "days", "inf", "a number"),
        ("a", "count", "1.5", "a whole number"),
        ("a", "tls", "maybe", "yes or no, not 'maybe'"),
    ],
)
def test_an_option_that_cannot_be_read_is_answered(place: str, name: str, text: str, answer: str) -> None:
    with pytest.raises(UsageError, match=answer):
        read_call(make, "keep", place, {name: text}, "keep:x")


@given(st.integers(0, 999), st.sampled_from([("B", 1), ("kB", 10**3), ("MB", 10**6), ("GiB", 2**30), ("", 1)]))
def test_sizes(number: int, unit: tuple[str, int]) -> None:
    assert size(f"{number}{unit[0]}") == size(f" {number} {unit[0].lower()}") == number * unit[1]


def test_the_page_of_the_line_has_every_option_of_every_sink() -> None:
    page = (Path(__file__).resolve().parents[3] / "docs/line.md").read_text()
    rows = page.partition("### Options of a sink")[2].partition("\n### ")[0]
    told = defaultdict(set)
    for kinds, options in re.findall(r"^\| (`[^|]+) \| (`[^|]+) \|", rows, re.MULTILINE):
        for kind in re.findall("`(.+?)`", kinds):
            told[SINKS[kind].target] |= set(re.findall("`(.+?)`", options))
    entries = {entry.target: entry for entry in SINKS.builtin.values()}
    taken = {target: [*inspect.signature(entry.load("a sink")).parameters][1:] for target, entry in entries.items()}
    assert told == {target: set(options) for target, options in taken.items() if options}


def test_a_missing_package_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SINKS.builtin, "odd", SinkEntry("absent_package.sink:Sink", extra="mqtt"))
    with pytest.raises(
        UsageError, match=r"the sink 'odd' needs the package absent_package: pip install 'edgead\[mqtt\]'"
    ):
        open_sink("odd:x")


def test_a_fault_of_our_own_is_no_missing_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SINKS.builtin, "odd", SinkEntry("edgead.absent:Sink", extra="mqtt"))
    with pytest.raises(ModuleNotFoundError):
        open_sink("odd:x")
