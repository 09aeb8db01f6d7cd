"""What must hold of everything the line has written, whatever happened to it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import cv2
from fault_world import World

Key = tuple[str, float]  # camera and time of a result, which tell it in every sink
Entry = dict[str, Any]


class Checks:
    """The outputs of a world after its line has ended; `wrong` fills with what does not hold."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.wrong: list[str] = []
        self.figures: dict[str, Any] = {}
        self.ledger = {_key(one): one for one in _lines(world.folder / "ledger.jsonl")[0]}
        bad = [key for key, one in self.ledger.items() if one["verdict"] == "NG"]
        self.recorded = {key for key in bad if not self._excused(self.ledger[key]["at"])}  # NG that must be everywhere
        self.figures |= {"results": len(self.ledger), "ng": len(bad), "ng_that_must_be_recorded": len(self.recorded)}

    def all(self) -> list[str]:
        self.verdicts()
        self.json_lines()
        self.messages("webhook", self.world.receiver.taken)
        self.messages("mqtt", self.world.published())
        self.events()
        self.pictures()
        self.videos()
        self.leftovers()
        return self.wrong

    def verdicts(self) -> None:
        """No OK for a part planted bad, no verdict on a picture that was not sent, no number twice."""
        for key, one in self.ledger.items():
            if not one["sure"] and one["verdict"] != "INVALID":
                self.wrong.append(f"{key}: a damaged picture was judged {one['verdict']}")
            if one["bad"] and one["verdict"] in ("OK", "REVIEW"):
                self.wrong.append(f"{key}: part {one['part']} was planted bad and is {one['verdict']}")
        numbers = Counter((one["process"], one["number"]) for one in self.ledger.values())
        indices = Counter((one["process"], one["camera"], one["index"]) for one in self.ledger.values())
        self.wrong += [f"number {which} came {n} times" for which, n in (numbers + indices).items() if n > 1]
        self.figures["planted_bad"] = sum(one["bad"] for one in self.ledger.values())
        self.figures["false_ng"] = sum(not one["bad"] and one["verdict"] == "NG" for one in self.ledger.values())

    def json_lines(self) -> None:
        entries, torn = [], 0
        for path in self.world.disk.folder.glob("results.jsonl*"):
            found, cut = _lines(path)
            entries += found
            torn += cut
        twice = Counter(map(_key, entries))
        self.wrong += [f"{key} is in the JSON lines {n} times" for key, n in twice.items() if n > 1]
        self._same_verdicts("JSON lines", entries)
        self._complete("JSON lines", map(_key, entries))
        most = self.world.kills + self.world.fills
        self.figures |= {"json_lines": len(entries), "torn_lines": torn}
        if torn > most:
            self.wrong.append(f"{torn} JSON lines are cut short, at most {most} may be")

    def messages(self, name: str, taken: list[Entry]) -> None:
        """At least once: a sequence has one result and a result one sequence; all NG arrived or are dead letters."""
        by_sequence: dict[int, Key] = {}
        by_key: dict[Key, int] = {}
        for one in taken:
            key, sequence = _key(one), one["sequence"]
            if by_sequence.setdefault(sequence, key) != key:
                self.wrong.append(f"{name}: sequence {sequence} is {by_sequence[sequence]} and {key}")
            if by_key.setdefault(key, sequence) != sequence:
                self.wrong.append(f"{name}: {key} came as {by_key[key]} and as {sequence}")
        self._same_verdicts(name, taken)
        letters = _lines(self.world.disk.folder / name / "dead-letters.jsonl")[0]
        given_up = [one["message"] for one in letters if isinstance(one["message"], dict)]
        missing = self.recorded - set(by_key) - {_key(one) for one in given_up}
        self.figures[name] = {"arrived": len(by_key), "repeated": len(taken) - len(by_key), "dead": len(letters)}
        self.figures[name]["lost"] = len(missing)
        if len(missing) > self.world.damaged:
            self.wrong.append(f"{name}: {len(missing)} NG never arrived, {self.world.damaged} records were damaged")

    def events(self) -> None:
        kept: list[Key] = []
        for event in self.world.disk.folder.glob("kept/*/*"):
            try:
                kept.append(_key(json.loads((event / "result.json").read_text())))
            except (OSError, ValueError) as error:
                self.wrong.append(f"{event} is not whole: {error}")
                continue
            if any(cv2.imread(str(event / name)) is None for name in ("frame.png", "heatmap.jpg")):
                self.wrong.append(f"{event} has a picture that is not whole")
        self.figures["kept"] = len(kept)
        oldest = min((self.ledger[key]["at"] for key in kept if key in self.ledger), default=0.0)
        given_up = {key for key in self.recorded if self.world.fills and self.ledger[key]["at"] < oldest}
        self.figures["events_given_up_for_newer_ones"] = len(given_up)  # as is said of a disk that others have filled
        self._complete("events", {*kept, *given_up})

    def pictures(self) -> None:
        names = [path.name for path in self.world.disk.folder.glob("images/*.jpg")]
        for name in names:
            if cv2.imread(str(self.world.disk.folder / "images" / name)) is None:
                self.wrong.append(f"the picture {name} is not whole")
        moments = {name.split("_")[0] for name in names if "_NG" in name}
        missing = [key for key in self.recorded if moment(key[1]) not in moments]
        self.figures["pictures"] = len(names)
        if missing:
            self.wrong.append(f"{len(missing)} NG have no picture, the first is {missing[0]}")

    def videos(self) -> None:
        frames = 0
        for path in self.world.disk.folder.glob("seen*.mkv"):
            capture = cv2.VideoCapture(str(path))
            while capture.read()[0]:
                frames += 1
            capture.release()
        self.figures["video_frames"] = frames
        if frames < len(self.ledger) // 4:
            self.wrong.append(f"the videos have {frames} frames of {len(self.ledger)}")

    def leftovers(self) -> None:
        found = [
            path for path in self.world.disk.folder.rglob(".*") if ".writing" in path.name or path.suffix == ".tmp"
        ]
        self.wrong += [f"{path} was left behind" for path in found]

    def _excused(self, at: float) -> bool:
        return any(start <= at <= end for start, end in self.world.lost)

    def _same_verdicts(self, name: str, entries: Iterable[Entry]) -> None:
        for one in entries:
            known = self.ledger.get(_key(one))
            if known is not None and known["verdict"] != one["verdict"]:
                self.wrong.append(f"{name}: {_key(one)} is {one['verdict']}, but was {known['verdict']}")

    def _complete(self, name: str, keys: Iterable[Key]) -> None:
        missing = self.recorded - set(keys)
        if missing:
            when = sorted(round(self.ledger[key]["at"] - self.world.starts[0], 1) for key in missing)
            self.wrong.append(f"{name}: {len(missing)} NG are missing, judged at {when[:9]} s of the run")


def _key(entry: Entry) -> Key:
    return entry["camera"], entry["time"]


def moment(time: float) -> str:
    """A time as it stands at the beginning of a picture's name."""
    return datetime.fromtimestamp(time, timezone.utc).strftime("%Y%m%dT%H%M%S.%f")


def _lines(path: Path) -> tuple[list[Entry], int]:
    """The entries of a file of JSON lines, and how many lines are none."""
    found, torn = [], 0
    for line in _raw(path):
        try:
            found.append(json.loads(line))
        except ValueError:
            torn += 1
    return found, torn


def _raw(path: Path) -> Iterator[bytes]:
    yield from path.read_bytes().splitlines() if path.exists() else ()
