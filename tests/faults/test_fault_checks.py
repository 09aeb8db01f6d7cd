"""The checks of the fault-injection run notice what they are for; and what a part's picture says can be read."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import cv2
import fault_parts
import numpy as np
import pytest
from broker import MemoryBroker
from fault_checks import Checks, moment
from fault_table import FAULTS, WORST
from fault_world import Disk
from programs import until

from edgead import Detector, Frame
from edgead.stream.sinks import open_sink

Outputs = dict[str, list[dict[str, object]]]


def entry(number: int, verdict: str = "OK", **more: object) -> dict[str, object]:
    about = {"number": number, "index": number, "camera": "left", "time": 1e9 + number, "verdict": verdict}
    return {**about, "process": 1, "at": float(number), "part": number, "bad": verdict == "NG", "sure": True, **more}


def world(folder: Path, outputs: Outputs) -> SimpleNamespace:
    disk = folder / "disk"
    for name in ("images", "kept/day", "webhook", "mqtt"):
        (disk / name).mkdir(parents=True)
    for name, path in (("ledger", folder / "ledger.jsonl"), ("lines", disk / "results.jsonl")):
        path.write_text("".join(json.dumps(one) + "\n" for one in outputs[name]))
    for number, one in enumerate(outputs["lines"]):
        picture = disk / "images" / f"{moment(one['time'])}_{number:06d}_{one['verdict']}.jpg"
        cv2.imwrite(str(picture), np.zeros((8, 8, 3), np.uint8))
        event = disk / "kept/day" / str(number)
        event.mkdir()
        (event / "result.json").write_text(json.dumps(one))
        for name in ("frame.png", "heatmap.jpg"):
            cv2.imwrite(str(event / name), np.zeros((8, 8, 3), np.uint8))
    video = cv2.VideoWriter(str(disk / "seen.mkv"), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*"mp4v"), 10, (16, 16))
    for _ in outputs["ledger"]:
        video.write(np.zeros((16, 16, 3), np.uint8))
    video.release()
    sent = [{**one, "sequence": one["number"]} for one in outputs["lines"]]
    return SimpleNamespace(
        folder=folder,
        disk=SimpleNamespace(folder=disk),
        receiver=SimpleNamespace(taken=sent),
        published=lambda: list(sent),
        lost=[],
        damaged=0,
        kills=0,
        fills=0,
        starts=[0.0],
    )


def good() -> Outputs:
    both = [entry(number, "NG" if number % 3 == 0 else "OK") for number in range(1, 10)]
    return {"ledger": [dict(one) for one in both], "lines": [dict(one) for one in both]}


def damage(make: Callable[[Outputs, SimpleNamespace | None], None], folder: Path) -> list[str]:
    """What the checks say once `make` has changed the outputs before (with None) or after they are written."""
    outputs = good()
    make(outputs, None)
    made = world(folder, outputs)
    make(outputs, made)
    return Checks(made).all()


def test_what_is_right_is_not_complained_about(tmp_path: Path) -> None:
    assert damage(lambda outputs, made: None, tmp_path) == []


def _passed(outputs: Outputs, made: SimpleNamespace | None) -> None:
    for one in (outputs["ledger"][0], outputs["lines"][0]):
        one["bad"] = True


def _garbled(outputs: Outputs, made: SimpleNamespace | None) -> None:
    outputs["ledger"][0]["sure"] = False


def _number_twice(outputs: Outputs, made: SimpleNamespace | None) -> None:
    outputs["ledger"][1]["number"] = 1


def _line_missing(outputs: Outputs, made: SimpleNamespace | None) -> None:
    if made is not None:
        path = made.disk.folder / "results.jsonl"
        path.write_text("".join(line + "\n" for line in path.read_text().splitlines() if '"NG"' not in line))


def _line_twice(outputs: Outputs, made: SimpleNamespace | None) -> None:
    if made is not None:
        with (made.disk.folder / "results.jsonl").open("a") as file:
            file.write(json.dumps(outputs["lines"][0]) + "\n")


def _line_torn(outputs: Outputs, made: SimpleNamespace | None) -> None:
    if made is not None:
        with (made.disk.folder / "results.jsonl").open("a") as file:
            file.write('{"half')


def _sequence_twice(outputs: Outputs, made: SimpleNamespace | None) -> None:
    if made is not None:
        made.receiver.taken[0]["sequence"] = 2


def _message_twice(outputs: Outputs, made: SimpleNamespace | None) -> None:
    if made is not None:
        made.receiver.taken.append({**made.receiver.taken[0], "sequence": 77})


def _message_missing(outputs: Outputs, made: SimpleNamespace | None) -> None:
    if made is not None:
        made.receiver.taken[:] = [one for one in made.receiver.taken if one["verdict"] != "NG"]


def _message_altered(outputs: Outputs, made: SimpleNamespace | None) -> None:
    if made is not None:
        made.receiver.taken[2] = {**made.receiver.taken[2], "verdict": "OK"}


def _event_cut(outputs: Outputs, made: SimpleNamespace | None) -> None:
    if made is not None:
        (made.disk.folder / "kept/day/2/result.json").write_text('{"half')


def _picture_cut(outputs: Outputs, made: SimpleNamespace | None) -> None:
    if made is not None:
        next((made.disk.folder / "images").iterdir()).write_bytes(b"\xff\xd8half")


def _picture_missing(outputs: Outputs, made: SimpleNamespace | None) -> None:
    if made is not None:
        next((made.disk.folder / "images").glob("*NG*")).unlink()


def _no_video(outputs: Outputs, made: SimpleNamespace | None) -> None:
    if made is not None:
        (made.disk.folder / "seen.mkv").write_bytes(b"")


def _draft_left(outputs: Outputs, made: SimpleNamespace | None) -> None:
    if made is not None:
        (made.disk.folder / "webhook/.x.tmp").write_bytes(b"")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (_passed, "was planted bad and is OK"),
        (_garbled, "a damaged picture was judged OK"),
        (_number_twice, "came 2 times"),
        (_line_missing, "JSON lines: 3 NG are missing"),
        (_line_twice, "is in the JSON lines 2 times"),
        (_line_torn, "1 JSON lines are cut short"),
        (_sequence_twice, "webhook: sequence 2 is"),
        (_message_twice, "came as 1 and as 77"),
        (_message_missing, "webhook: 3 NG never arrived"),
        (_message_altered, "is OK, but was NG"),
        (_event_cut, "is not whole"),
        (_picture_cut, "is not whole"),
        (_picture_missing, "1 NG have no picture"),
        (_no_video, "the videos have 0 frames of 9"),
        (_draft_left, "was left behind"),
    ],
)
def test_what_is_wrong_is_noticed(make: Callable[..., None], words: str, tmp_path: Path) -> None:
    assert words in "\n".join(damage(make, tmp_path))


def test_a_part_is_read_from_its_picture() -> None:
    for number in (1, 5, 4711, 16383):
        for bad in (False, True):
            sent = cv2.imdecode(np.frombuffer(fault_parts.jpeg(number, bad), np.uint8), cv2.IMREAD_COLOR)
            assert fault_parts.read(sent) == (number, bad, True)
    sent[:8, :20] = 128
    assert fault_parts.read(sent)[2] is False


def test_parts_are_judged_as_they_were_planted(detector: Detector) -> None:
    for number in range(1, 30):
        assert detector.detect(Frame(fault_parts.picture(number, number % 2 == 0))).is_anomalous == (number % 2 == 0)


def test_the_worst_case_is_of_the_table() -> None:
    assert set(WORST) <= set(FAULTS)


def test_the_small_disk_fills_and_has_room_again(tmp_path: Path) -> None:
    disk = Disk(tmp_path / "disk")
    if disk.limited:
        disk.fill()
        with pytest.raises(OSError, match="No space left"):
            (disk.folder / "file").write_bytes(bytes(9000))
        disk.free()
        (disk.folder / "file").write_bytes(bytes(9000))
    disk.close()


def test_the_broker_acknowledges_hangs_and_comes_back(detector: Detector, tmp_path: Path) -> None:
    broker = MemoryBroker()
    sink = open_sink(f"mqtt://127.0.0.1:{broker.port}/line/{{verdict}}?queue={tmp_path}")
    broker.hangs = True
    for number in range(3):
        frame = Frame(fault_parts.picture(number, number == 1), number)
        sink.emit(frame, detector.detect(frame))
    broker.stop()
    broker.hangs = False
    broker.start()
    until(lambda: len({payload for topic, payload in broker.taken if topic != "line/status"}) == 3, 30)
    topics = [topic for topic, _ in broker.taken if topic != "line/status"]
    assert list(dict.fromkeys(topics)) == ["line/OK", "line/NG"]
    sink.close()
    broker.stop()
