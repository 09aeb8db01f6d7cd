"""Recipes by number: open from the start, changed between two parts, refused where unknown, and never mixed."""

from __future__ import annotations

import json
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from itertools import count
from pathlib import Path

import msgspec
import numpy as np
import pytest
import tiny
from lines import Memory, Scripted, fake_detector, paced
from plc_lines import plc_line
from programs import until

from edgead import Detector, Frame, Result, StationConfig, Verdict
from edgead.config import load_station
from edgead.config.loader import validated
from edgead.config.recipe import Recipe
from edgead.engines.onnx import OnnxEngine
from edgead.errors import BundleError, UsageError
from edgead.ops import Rules
from edgead.stream.assembly import open_resources
from edgead.stream.audit import AuditLog
from edgead.stream.capture import Camera
from edgead.stream.plc.controller import HandshakeSettings
from edgead.stream.plc.handshake import Inputs
from edgead.stream.plc.modbus import ModbusServer
from edgead.stream.plc.simulate import ModbusStation, Simulation, SimulationSettings
from edgead.stream.recipes import OpenRecipe, network_key, open_recipes


@pytest.fixture
def recipes(tiny_bundle: Path) -> dict[int, OpenRecipe]:
    """Two that call the same gray frame OK and NG."""
    made = {}
    for number, threshold in ((1, 2.0), (2, 0.1)):
        detector = fake_detector(tiny_bundle)
        detector.rules = Rules(threshold=threshold)
        made[number] = OpenRecipe(detector, [None], {})
    return made


def test_each_part_is_judged_by_the_recipe_of_its_trigger_under_load(
    quick: Detector, recipes: dict[int, OpenRecipe], tmp_path: Path
) -> None:
    """The number changes all the time while parts are on their way."""
    server = ModbusServer("0")
    handshake = HandshakeSettings(recipes=(1, 2))
    camera = Camera("", Scripted(paced(200, level=110)))
    options = {"handshake": handshake, "recipes": recipes}
    with (
        AuditLog(tmp_path / "audit.jsonl") as audit,
        plc_line(quick, [server], camera, audit=audit, **options) as line,
    ):
        until(lambda: line.status().handshake["ready"])
        wrong = []
        for number in range(60):
            ticket = line.fire("test")
            expected = {1: Verdict.OK, 2: Verdict.NG}[ticket.trigger.recipe]
            line._parts.select_recipe(1 + number % 2, "test")
            result = ticket.answer.result(5)
            if (result.verdict, result.recipe) != (expected, ticket.trigger.recipe):
                wrong.append((number, result, ticket.trigger))
        assert wrong == []
        assert not line._parts.select_recipe(7, "test")
    changes = [json.loads(text) for text in (tmp_path / "audit.jsonl").read_text().splitlines()]
    assert {one["what"] for one in changes} == {"recipe"}
    assert len(changes) >= 50


def test_the_controller_chooses_and_sees_what_was_used(quick: Detector, recipes: dict[int, OpenRecipe]) -> None:
    server, handshake = ModbusServer("0"), HandshakeSettings(recipes=(1, 2))
    camera = Camera("", Scripted(paced(200, level=110)))
    with plc_line(quick, [server], camera, handshake=handshake, recipes=recipes) as line:
        with ModbusStation(f"modbus://127.0.0.1:{server.port}") as link:
            until(lambda: link.look().ready)
            asked = time.monotonic()
            link.say(Inputs(recipe=2))
            until(lambda: link._link.read(113, 1) == [2])
            assert time.monotonic() - asked < 0.5
            link.say(Inputs(recipe=9))
            until(lambda: link.look().fault_code == 6)
            link.say(Inputs(recipe=1))
            until(lambda: link.look().ready)
            report = Simulation(link, SimulationSettings(30, 0.0, recipes=(1, 2), seed=5)).run()
        assert line.status().handshake["recipe"] in (1, 2)
    assert report.sound, report.words()
    assert set(report.results) == {"OK", "NG"}


def test_recipes_share_the_engine_where_the_network_is_the_same(tmp_path: Path, tiny_bundle: Path) -> None:
    other = tiny.write_tiny(tmp_path / "other.edgead", name="other", provenance={"seed": 8})
    blurred = msgspec.structs.replace(tiny.manifest().fusion, sigma=1.0)
    third = tiny.write_tiny(tmp_path / "third.edgead", fusion=blurred)
    config = StationConfig(
        bundle=str(tiny_bundle),
        source="synthetic:64x48@50",
        trigger=["http:0"],
        threads=1,
        engine="onnx",
        recipes={
            **{number: {"threshold": 1 + number / 100, "ignore": ["0,0,8,8"]} for number in range(1, 31)},
            31: {"bundle": str(other.path)},
            32: {"bundle": str(third.path)},
        },
    )
    with ExitStack() as stack:
        opened = open_resources(validated(config), stack)
        engines = {id(one.detector.engine) for one in opened.recipes.values()} | {id(opened.detector.engine)}
        assert len(opened.recipes) == 32
        assert len(engines) == 2
        assert isinstance(opened.detector.engine, OnnxEngine)
        assert opened.recipes[7].detector.rules.threshold == 1.07
        assert opened.recipes[7].roi_masks[0] is not None
        assert opened.recipes[31].detector.bundle.manifest.name == "other"
        assert opened.recipes[31].detector(tiny.bad()).verdict is Verdict.NG
    assert network_key(opened.detector.bundle) == network_key(other)


def test_a_camera_is_set_before_the_next_frame(quick: Detector, recipes: dict[int, OpenRecipe]) -> None:
    class Settable(Scripted):
        def configure(self, settings: dict[str, str]) -> None:
            seen.append((threading.current_thread().name, dict(settings)))

    seen: list[tuple[str, dict[str, str]]] = []
    recipes = {
        number: replace(recipes[number], settings={"": {"exposure": exposure}})
        for number, exposure in ((1, "80"), (2, "120"))
    }
    camera, handshake = Camera("", Settable(paced(100))), HandshakeSettings(recipes=(1, 2))
    with plc_line(quick, [], camera, handshake=handshake, recipes=recipes) as line:
        until(lambda: len(seen) == 1)  # the lowest number is in force at the start
        line._parts.select_recipe(2, "test")
        until(lambda: len(seen) == 2)
    assert seen == [("edgead capture ", {"exposure": exposure}) for exposure in ("80", "120")]


def test_a_frame_of_the_old_settings_is_of_no_part_of_the_new_recipe(
    quick: Detector, recipes: dict[int, OpenRecipe]
) -> None:
    """The camera shows in each pixel how it was set; three frames lie in its buffer."""

    class Buffered(Scripted):
        exposure = 50

        def configure(self, settings: dict[str, str]) -> None:
            self.exposure = int(settings["exposure"])

        def __iter__(self) -> Iterator[Frame]:
            buffer: deque[Frame] = deque()
            for index in count():
                time.sleep(0.01)
                image = np.full((8, 8, 3), self.exposure, np.uint8)
                buffer.append(Frame(image, index, clock=time.monotonic()))
                if len(buffer) > 3:
                    yield buffer.popleft()

    seen: list[tuple[int, int]] = []

    class Seen(Memory):
        def emit(self, frame: Frame, result: Result) -> None:
            seen.append((result.recipe, int(frame.image[0, 0, 0])))

    recipes = {number: replace(recipes[number], settings={"": {"exposure": str(50 * number)}}) for number in (1, 2)}
    camera, handshake = Camera("", Buffered([])), HandshakeSettings(recipes=(1, 2))
    with plc_line(quick, [], camera, handshake=handshake, recipes=recipes, sinks=[Seen()]) as line:
        for number in (2, 1) * 5:
            line._parts.select_recipe(number, "test")
            line.fire("test").answer.result(5)
    assert seen == [(number, 50 * number) for number in (2, 1) * 5]


@pytest.mark.parametrize(
    ("recipe", "error", "words"),
    [
        ("0: {threshold: 1}", UsageError, "from 1 to 65535"),
        ("70000: {threshold: 1}", UsageError, "from 1 to 65535"),
        ("1: {bundle: absent.edgead}", BundleError, "no bundle at absent"),
        ("1: {settings: {top: exposure=1}}", UsageError, "'top'"),
        ("1: {settings: {'': exposure=bright}}", UsageError, "exposure"),
        ("1: {judge: ['nonsense']}", UsageError, "nonsense"),
        ("1: {bundles: a}", UsageError, "bundles"),
        ("one: {threshold: 1}", UsageError, "recipes"),
    ],
)
def test_a_recipe_that_cannot_be_used_ends_the_start(
    tmp_path: Path, tiny_bundle: Path, recipe: str, error: type[Exception], words: str
) -> None:
    station = tmp_path / "station.yaml"
    first = f"bundle: {tiny_bundle}\nsource: synthetic:64x48@50\nplc: ['modbus:0']\nengine: onnx\n"
    station.write_text(f"{first}recipes:\n  {recipe}\n")
    with ExitStack() as stack, fake_detector(tiny_bundle) as base, pytest.raises(error, match=words):
        open_recipes(load_station(station).config, [""], base, stack)


def test_recipes_need_a_trigger(tiny_bundle: Path) -> None:
    config = StationConfig(source="0", recipes={1: Recipe()})
    with (
        ExitStack() as stack,
        fake_detector(tiny_bundle) as base,
        pytest.raises(UsageError, match="a trigger or a plc"),
    ):
        open_recipes(config, [""], base, stack)


def test_nothing_is_left_of_a_line_with_recipes(quick: Detector, recipes: dict[int, OpenRecipe]) -> None:
    with plc_line(quick, [], handshake=HandshakeSettings(recipes=(1, 2)), recipes=recipes) as line:
        result = line.fire("test").answer.result(5)
    assert result.recipe == 1
    assert np.isfinite(result.score)
