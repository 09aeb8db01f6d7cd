"""Saved events are found, labeled by several people, taken back and exported; labels outlive quota and index."""

from __future__ import annotations

import json
import os
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import pytest
from saved import NOON, save_event

from edgead.errors import DataError, UsageError
from edgead.review.archive import ReviewFolder
from edgead.review.export import export, read_reviewed
from edgead.review.index import EventIndex
from edgead.review.labels import Label, add_label, read_labels, undo_label
from edgead.review.layout import event_folder
from edgead.review.search import Query, facets, last_labeled, search
from edgead.stream.sinks import archive as archive_module
from edgead.stream.sinks.archive import Archive

GOOD, UNSURE = Label(label="good"), Label(label="unsure")
SCRATCH = Label(label="defect", kind="scratch", regions=(((32, 24), (47, 24), (47, 35), (32, 35)),))


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    folder = tmp_path / "saved"
    folder.mkdir()
    return folder


@pytest.fixture
def index(saved: Path, tmp_path: Path) -> Iterator[EventIndex]:
    with EventIndex(saved, tmp_path / "index.sqlite") as index:
        yield index


def found(index: EventIndex, **asked: object) -> list[str]:
    return [entry.id for entry in search(index, Query(**asked)).entries]


def test_a_label_is_a_file_of_its_person_and_is_taken_back_step_by_step(saved: Path) -> None:
    event = saved / save_event(saved)
    add_label(event, "ada", GOOD)
    add_label(event, "ada", SCRATCH)
    add_label(event, "Bob B.", UNSURE)
    assert {path.name for path in event.glob("label*")} == {"label-ada.json", "label-Bob+B..json"}
    said = read_labels(event)
    assert (said["ada"].label, said["ada"].kind, said["Bob B."].label) == ("defect", "scratch", "unsure")
    told = json.loads((event / "label-ada.json").read_text())
    assert [revision["label"] for revision in told["revisions"]] == ["good", "defect"]
    assert undo_label(event, "ada") is not None
    assert read_labels(event)["ada"].label == "good"
    assert undo_label(event, "ada") is None
    assert undo_label(event, "ada") is None
    assert read_labels(event).keys() == {"Bob B."}


@pytest.mark.parametrize("person", ["", "../ada", "a/b", "x" * 41, "ada\n", " ada"])
def test_a_name_that_cannot_name_a_file_is_refused(saved: Path, person: str) -> None:
    with pytest.raises(UsageError, match="say who labels"):
        add_label(saved / save_event(saved), person, GOOD)


@pytest.mark.parametrize(
    "changes", [{"kind": "x", "label": "good"}, {"label": "defect", "kind": "../x"}, {"label": "defect", "kind": "OK"}]
)
def test_a_label_that_makes_no_sense_is_refused(changes: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"kind|means good"):
        Label(**changes)


def test_a_damaged_label_is_said(saved: Path) -> None:
    event = saved / save_event(saved)
    (event / "label-ada.json").write_text("{")
    with pytest.raises(DataError, match=r"label-ada\.json cannot be read"):
        read_labels(event)


@pytest.mark.parametrize("name", ["", "x", "../saved", "2025-06-15/../../x", "2025-06-15/missing", "/etc/passwd"])
def test_only_events_are_opened(saved: Path, name: str) -> None:
    save_event(saved)
    with pytest.raises(UsageError, match="no saved event"):
        event_folder(saved, name)


def test_what_is_searched_for_is_found(saved: Path, index: EventIndex) -> None:
    scores = [0.3, 0.9, 1.2, 7.0]
    events = [
        save_event(saved, number, score=score, camera="left" if number % 2 else "right")
        for number, score in enumerate(scores)
    ]
    add_label(saved / events[3], "ada", SCRATCH)
    add_label(saved / events[2], "ada", GOOD)
    add_label(saved / events[2], "bob", SCRATCH)
    index.refresh()
    assert found(index) == events[::-1]
    assert found(index, order="lowest") == events
    assert found(index, order="nearest") == [events[place] for place in (1, 2, 0, 3)]
    assert found(index, camera="right") == [events[2], events[0]]
    assert found(index, verdict="NG", low=2) == [events[3]]
    assert found(index, since=NOON + 61, until=NOON + 121) == [events[2]]
    assert found(index, kept="verdict", text="000001") == [events[1]]
    assert found(index, labeled="open") == [events[1], events[0]]
    assert found(index, labeled="mine-open", person="bob") == [events[3], events[1], events[0]]
    assert found(index, labeled="disagree") == [events[2]]
    assert found(index, labeled="defect") == found(index, kind="scratch", high=10, low=2) == [events[3]]
    assert found(index, limit=1, offset=1) == [events[2]]
    assert search(index, Query(limit=1)).total == 4
    told = facets(index)
    assert told["cameras"] == {"left": 2, "right": 2}
    assert told["people"] == {"ada": 2, "bob": 1}
    assert told["decisions"] == {"": 2, "good": 0, "defect": 1, "unsure": 0, "disagree": 1}


def test_the_index_follows_the_files(saved: Path, index: EventIndex) -> None:
    first, second = (save_event(saved, number) for number in range(2))
    index.refresh()
    for path in (saved, *saved.glob("*"), *saved.glob("*/*")):
        os.utime(path, (1, 1))  # so long ago that the index believes the times
    index.refresh()
    for path in (saved / second).iterdir():
        path.unlink()
    (saved / second).rmdir()
    add_label(saved / first, "ada", GOOD)
    third = save_event(saved, 9000)  # another day
    index.refresh(labels=False)
    assert found(index, order="oldest") == [first, third]
    (saved / third / "result.json").write_text("damaged")
    index.refresh()
    assert last_labeled(index, "ada") == first
    assert search(index, Query(order="newest")).entries[0].kept == "cannot be read"
    for path in (saved / third).iterdir():
        path.unlink()
    (saved / third).rmdir()
    (saved / third).parent.rmdir()
    index.refresh()
    assert found(index) == [first]


def test_a_damaged_index_is_made_anew(saved: Path, tmp_path: Path) -> None:
    event, file = save_event(saved), tmp_path / "index.sqlite"
    file.write_bytes(b"no database at all" * 99)
    with EventIndex(saved, file) as index:
        index.refresh()
        assert found(index) == [event]
    with sqlite3.connect(file) as other:
        other.execute("pragma user_version = 99")
    other.close()
    with EventIndex(saved, file) as index:
        assert found(index) == []
        index.refresh()
        assert found(index) == [event]


def test_review_finds_new_events_and_takes_labels_back(saved: Path, tmp_path: Path) -> None:
    events = [save_event(saved, number) for number in range(2)]
    with ReviewFolder(saved, tmp_path / "index.sqlite") as review:
        settle(review)
        review.label(events[0], "ada", GOOD)
        review.label(events[1], "ada", SCRATCH)
        assert review.entry(events[1]).decision == "defect"
        assert review.undo("ada") == events[1]
        assert review.undo("ada") == events[0]
        assert review.undo("ada") is None
        assert review.search(Query(labeled="open")).total == 2
        assert review.picture(events[0], heatmap=False) == ((saved / events[0] / "frame.png").read_bytes(), "image/png")
        assert review.thumb(events[0])[:2] == b"\xff\xd8"
        third = save_event(saved, 2)
        review._looked = 0.0
        assert review.search(Query(limit=1)).entries[0].id == third


def settle(review: ReviewFolder) -> None:
    deadline = time.monotonic() + 10
    while review.reading is not None:
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_an_export_holds_what_people_agree_on(saved: Path, tmp_path: Path) -> None:
    events = [save_event(saved, number, score=0.5) for number in range(12)]
    for event in events[:10]:
        add_label(saved / event, "ada", GOOD)
    add_label(saved / events[9], "bob", SCRATCH)
    bad = save_event(saved, 50)
    add_label(saved / bad, "ada", SCRATCH)
    add_label(saved / save_event(saved, 51), "ada", UNSURE)
    counts = export(saved, tmp_path / "out")
    assert dict(counts) == {"good": 9, "disagree": 1, "defect": 1, "unsure": 1}
    train, test = (
        sorted(path.name for path in (tmp_path / f"out/{side}/good").glob("*")) for side in ("train", "test")
    )
    assert len(train) + len(test) == 9
    assert train
    assert test  # by their names: one of five or so
    (defect,) = (tmp_path / "out/test/scratch").iterdir()
    mask = cv2.imread(str(tmp_path / f"out/ground_truth/scratch/{defect.stem}_mask.png"), cv2.IMREAD_GRAYSCALE)
    assert mask.shape == (48, 64)
    assert (mask[24:36, 32:48] == 255).all()
    assert mask.sum() == 255 * 16 * 12
    with pytest.raises(UsageError, match="holds something already"):
        export(saved, tmp_path / "out")
    assert [one.decision for one in read_reviewed(saved)[0]].count("good") == 9


def test_nothing_labeled_is_nothing_to_export(saved: Path, tmp_path: Path) -> None:
    save_event(saved)
    with pytest.raises(UsageError, match="is labeled good or defect yet"):
        export(saved, tmp_path / "out")
    with pytest.raises(DataError, match="there is no folder of events"):
        export(tmp_path / "none", tmp_path / "out")


def test_a_labeled_event_is_never_deleted(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, *others = [save_event(saved, number) for number in range(3)]
    archive = Archive(saved, 10**9, 1e6, 0)
    add_label(saved / first, "ada", GOOD)
    monkeypatch.setattr(archive, "_quota", 1)
    with pytest.raises(OSError, match="one event takes"):
        archive.add("20250615T120000.000000_000009_x_NG", NOON, {"result.json": b"x"})
    monkeypatch.setattr(archive, "_quota", archive_module._BLOCK)
    archive.add("20250615T120000.000000_000009_x_NG", NOON, {"result.json": b"x"})
    assert (saved / first / "frame.png").exists()
    assert not any((saved / event).exists() for event in others)
    archive.close()
    again = Archive(saved, 10**9, 1e6, 0)
    assert (len(again), again.bytes) == (1, archive_module._BLOCK)
    again.close()


def test_the_command_exports(edgead, saved: Path, tmp_path: Path) -> None:
    add_label(saved / save_event(saved), "ada", SCRATCH)
    add_label(saved / save_event(saved, 1), "ada", UNSURE)
    code, out, _ = edgead("review", saved, "--export", "reviewed")
    assert (code, out) == (0, "reviewed: 0 good, 1 defects\nleft out: 1 of which nobody is sure\n")
    assert edgead("review", tmp_path / "none")[0] == 1
