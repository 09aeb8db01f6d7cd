"""Areas drawn while the line runs: in force from the next frame, saved where they came from, nothing else touched."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import tiny
from hypothesis import given, settings
from hypothesis import strategies as st

from edgead import Detector, Frame, StationConfig
from edgead.config import load_station
from edgead.config.editing import replace_lists
from edgead.config.reading import parse_yaml, read_yaml
from edgead.errors import UsageError
from edgead.stream.areas import StationAreas
from edgead.stream.audit import AuditLog
from edgead.stream.inference import InferenceWorker

STATION = """\
# Press 3, by ada.
bundle: tiny.edgead   # the newest
cameras:
  left: camera:0
  right: camera:1     # behind the guard

# What does not matter:
ignore:
  - left=0,0,64,4   # the camera's writing
  - right=0,0,8,8
  - 0,40,64,8
# until here
review: 0.8
recipes:
  2:
    threshold: 1.2
    # of caps
    judge:
      - left=4,4,40,40
  3: {threshold: 1.4}
sinks: [web:8080]
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "station.yaml"
    path.write_text(STATION)
    path.chmod(0o600)
    return path


@pytest.fixture
def audit(tmp_path: Path) -> Iterator[AuditLog]:
    with AuditLog(tmp_path / "audit.jsonl", "cams") as log:
        yield log


def areas(file: Path, audit: AuditLog, **changes: object) -> StationAreas:
    config = load_station(file, dict(changes), {}).config
    return StationAreas(config, list(config.cameras) or [""], (8, 8), audit, file)


def draw(one: StationAreas, camera: str = "left", recipe: int = 0, **drawn: list[str]) -> bool:
    return one.change(camera, recipe, {"judge": [], "ignore": []} | drawn, (48, 64), "ada")


def test_what_was_drawn_takes_the_place_of_one_cameras_areas_alone(file: Path, audit: AuditLog, tmp_path: Path) -> None:
    one = areas(file, audit)
    shown = one.to_dict()["areas"][0]
    assert shown["left"] == {"judge": [], "ignore": ["0,0,64,4"], "fixed": {"judge": [], "ignore": ["0,40,64,8"]}}
    assert draw(one, ignore=["1,1 9,1 9,9"], judge=["0,0,60,40"])
    assert read_yaml(file)["ignore"] == ["right=0,0,8,8", "0,40,64,8", "left=1,1 9,1 9,9"]
    assert read_yaml(file)["judge"] == ["left=0,0,60,40"]
    text = file.read_text()
    for kept in ("# Press 3, by ada.", "# the newest", "# behind the guard", "# until here", "    # of caps"):
        assert kept in text
    assert file.stat().st_mode & 0o777 == 0o600
    (before,) = (tmp_path / "station.yaml.history").iterdir()
    assert before.read_text() == STATION
    assert before.stat().st_mode & 0o777 == 0o600
    assert load_station(file, {}, {}).config.review == 0.8
    told = [json.loads(line) for line in (tmp_path / "audit.jsonl").read_text().splitlines()]
    assert [(entry["what"], entry["new"], entry["who"], entry["persisted"]) for entry in told] == [
        ("judge", ["left=0,0,60,40"], "ada", True),
        ("ignore", ["right=0,0,8,8", "0,40,64,8", "left=1,1 9,1 9,9"], "ada", True),
    ]


def test_a_recipe_has_areas_of_its_own(file: Path, audit: AuditLog) -> None:
    one = areas(file, audit)
    assert draw(one, recipe=2, judge=["4,4,30,30"], ignore=["0,0,64,4"])
    recipes = load_station(file, {}, {}).config.recipes
    assert recipes[2].judge == ["left=4,4,30,30"]
    assert recipes[2].ignore == ["right=0,0,8,8", "0,40,64,8", "left=0,0,64,4"]
    assert recipes[2].threshold == 1.2
    assert read_yaml(file)["ignore"][0] == "left=0,0,64,4"
    with pytest.raises(UsageError, match="in braces"):
        draw(one, recipe=3)
    assert one.to_dict()["areas"][3]["left"]["ignore"] == ["0,0,64,4"]  # nothing is changed


def test_areas_of_the_command_line_are_not_saved(file: Path, audit: AuditLog) -> None:
    one = areas(file, audit, ignore=["left=0,0,8,8"])
    assert not draw(one, ignore=["0,0,9,9"])
    assert file.read_text() == STATION
    assert one.to_dict()["areas"][0]["left"]["ignore"] == ["0,0,9,9"]


@pytest.mark.parametrize(
    ("drawn", "words"),
    [
        ({"ignore": ["0,0,64,48"]}, "nothing is left to judge"),
        ({"judge": ["0,0,1,1"]}, "nothing in it could count"),
        ({"judge": ["/etc/passwd"]}, "no area that was drawn"),
        ({"ignore": ["0,0 9,9 9,0 0,9"]}, "cross"),
    ],
)
def test_areas_that_cannot_be_judged_by_change_nothing(
    file: Path, audit: AuditLog, drawn: dict[str, list[str]], words: str
) -> None:
    with pytest.raises(UsageError, match=words):
        draw(areas(file, audit), **drawn)
    assert file.read_text() == STATION


def test_cameras_and_recipes_must_be_there(file: Path, audit: AuditLog) -> None:
    with pytest.raises(UsageError, match="no camera 'top'"):
        draw(areas(file, audit), "top")
    with pytest.raises(UsageError, match="no recipe 9"):
        draw(areas(file, audit), recipe=9)


def test_they_hold_from_the_next_frame_on(detector: Detector, audit: AuditLog) -> None:
    worker = InferenceWorker(detector, (), [None])
    one = StationAreas(StationConfig(camera=0), [""], (8, 8), audit)
    one.apply = lambda masks, recipes: worker.set_roi_masks(masks)
    frame = Frame(tiny.bad())
    (before,) = worker.predict([(0, frame)])
    assert not draw(one, "", ignore=["32,24,16,12"])
    (after,) = worker.predict([(0, frame)])
    assert (before.verdict.value, after.verdict.value) == ("NG", "OK")
    assert "areas" not in before.extra
    assert after.extra["areas"] == {"judge": [], "ignore": ["32,24,16,12"]}


TEXTS = st.lists(st.sampled_from(["0,0,4,4", "left=1,1 2,2 3,1", "a'b\"c: #d", "ü"]), max_size=3)


@settings(max_examples=60, deadline=None)
@given(TEXTS, TEXTS, st.sampled_from(["", "a: 1\n", STATION, "ignore: []\na: 1", "judge: [x, y] # c\nb:\n  - c\n"]))
def test_any_file_says_the_same_but_for_the_lists(judge: list[str], ignore: list[str], text: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "x.yaml"
        file.write_text(text)
        replace_lists(file, {"judge": judge, "ignore": ignore})
        old, new = parse_yaml(text, "old") or {}, parse_yaml(file.read_text(), "new") or {}
    assert (new.pop("judge", []), new.pop("ignore", [])) == (judge, ignore)
    assert new == {key: value for key, value in old.items() if key not in ("judge", "ignore")}
