"""Plays the controller: part after part, with jitter and faults from a seed, and keeps account of every answer."""

from __future__ import annotations

import time
from abc import abstractmethod
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np

from edgead.closing import Closing
from edgead.stream.plc import registers
from edgead.stream.plc.handshake import Inputs, ResultWord
from edgead.stream.plc.modbus_link import ModbusLink

FAULTS = ("slow ack", "no ack", "early trigger", "reconnect", "bad part", "unknown recipe")


@dataclass(frozen=True, slots=True)
class Seen:
    """What the controller reads of the station."""

    ready: bool
    busy: bool
    done: bool
    fault: bool
    reject: bool
    result: int
    fault_code: int
    beats: int
    trigger: int
    part: str
    recipe: int
    refused: int


class Link(Closing):
    """The controller's end of the handshake; every method raises OSError where the station is not reached."""

    @abstractmethod
    def look(self) -> Seen:
        """Read the station's side."""

    @abstractmethod
    def say(self, inputs: Inputs) -> None:
        """Write the controller's side."""


class ModbusStation(Link):
    """A station that serves the register map."""

    def __init__(self, url: str, words: str = "big", timeout: float = 1.0) -> None:
        """`url` is modbus://HOST:PORT, `timeout` the seconds that one request may take; raises UsageError."""
        self._link, self._words = ModbusLink(url, timeout=timeout), words

    def look(self) -> Seen:
        found = self._link.read(registers.STATUS, registers.TOTAL_WORDS - registers.STATUS)
        values = {
            row.name: registers.decode(row, found[row.address - registers.STATUS :][: row.size], self._words)
            for row in registers.REGISTERS
            if not row.written
        }
        status = int(values["status"])
        return Seen(
            ready=bool(status & 1),
            busy=bool(status & 2),
            done=bool(status & 4),
            fault=bool(status & 8),
            reject=bool(status & 32),
            result=int(values["result"]),
            fault_code=int(values["fault_code"]),
            beats=int(values["heartbeat_count"]),
            trigger=int(values["trigger_number"]),
            part=str(values["part"]).rstrip("\0"),
            recipe=int(values["recipe"]),
            refused=int(values["refused"]),
        )

    def say(self, inputs: Inputs) -> None:
        command = inputs.trigger | inputs.ack << 1 | inputs.reset << 2
        part = "\x07" if inputs.bad_part else inputs.part
        self._link.write(0, [command, inputs.recipe, *registers.encode(registers.REGISTERS[2], part)])

    def close(self) -> None:
        self._link.close()


@dataclass(frozen=True, slots=True)
class SimulationSettings:
    """What the controller does."""

    parts: int = 100
    cycle: float = 0.1  # seconds between two parts
    jitter: float = 0.0  # share of the cycle by which it varies, 0..1
    faults: float = 0.0  # share of the parts at which the controller does something wrong
    recipes: Sequence[int] = ()  # of which each part has one
    seed: int = 0
    patience: float = 10.0  # seconds to wait for any signal before it is an error
    poll: float = 0.002  # seconds between two looks
    prefix: str = "P"


@dataclass(slots=True)
class Report:
    """The account: every trigger that was raised while Ready was on has exactly one answer, under its own id."""

    parts: int = 0  # triggers raised while Ready was on
    answered: int = 0
    unanswered: int = 0  # nothing came within the patience
    wrong_part: int = 0  # answers under another part's id
    wrong_recipe: int = 0
    repeated: int = 0  # trigger numbers that came twice
    results: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)  # that the controller made
    codes: Counter[int] = field(default_factory=Counter)  # fault codes it saw then
    unseen: Counter[str] = field(default_factory=Counter)  # faults that it made and saw no code for
    answer_ms: list[float] = field(default_factory=list)  # from raising Trigger to seeing Done
    seconds: float = 0.0

    @property
    def sound(self) -> bool:
        """Whether every trigger has one answer of its own."""
        wrong = self.unanswered + self.wrong_part + self.wrong_recipe + self.repeated + sum(self.unseen.values())
        return self.parts == self.answered and not wrong

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, with percentiles of the times."""
        p50, p99, longest = self._times()
        times = {"p50": round(p50, 2), "p99": round(p99, 2), "max": round(longest, 2)}
        counts = {item.name: getattr(self, item.name) for item in fields(self)}
        plain = {name: dict(value) if isinstance(value, Counter) else value for name, value in counts.items()}
        return {**plain, "answer_ms": times, "sound": self.sound}

    def _times(self) -> tuple[float, float, float]:
        if not self.answer_ms:
            return 0.0, 0.0, 0.0
        p50, p99, longest = np.percentile(self.answer_ms, (50, 99, 100))
        return float(p50), float(p99), float(longest)

    def words(self) -> list[str]:
        """For a person."""
        times = self._times()
        results = ", ".join(f"{count} {name}" for name, count in sorted(self.results.items()))
        faults = ", ".join(f"{count} {name}" for name, count in sorted(self.faults.items())) or "none"
        wrong = (
            f"unanswered {self.unanswered}, under a wrong id {self.wrong_part}, with a wrong recipe "
            f"{self.wrong_recipe}, twice {self.repeated}, faults not told {sum(self.unseen.values())}"
        )
        return [
            f"{self.parts} triggers, {self.answered} answers in {self.seconds:.1f} s: {results}",
            wrong,
            f"answer after {times[0]:.1f} ms (p50), {times[1]:.1f} (p99), {times[2]:.1f} (longest)",
            f"faults made: {faults}",
        ]


class Simulation:
    """One run against one station."""

    def __init__(
        self, link: Link, settings: SimulationSettings, say: Callable[[str], None] = lambda text: None
    ) -> None:
        self.report = Report()
        self._link, self._settings, self._say = link, settings, say
        self._random = np.random.default_rng(settings.seed)
        self._numbers: set[int] = set()

    def run(self) -> Report:
        """Play all parts; raises OSError where the station is gone for longer than the patience."""
        started = due = time.monotonic()
        self._link.say(Inputs())
        for number in range(self._settings.parts):
            time.sleep(max(0.0, due - time.monotonic()))
            vary = 1 + self._settings.jitter * float(self._random.uniform(-1, 1))
            due = max(due, time.monotonic() - self._settings.cycle) + vary * self._settings.cycle
            self._part(f"{self._settings.prefix}{number:07d}")
            if number % 1000 == 999:
                self._say(f"{number + 1} parts")
        self.report.seconds = time.monotonic() - started
        return self.report

    def _part(self, part: str) -> None:
        recipes = self._settings.recipes
        recipe = int(self._random.choice(recipes)) if recipes else 0
        fault = str(self._random.choice(FAULTS)) if self._random.random() < self._settings.faults else ""
        if fault:
            self.report.faults[fault] += 1
        if fault in ("bad part", "unknown recipe") and self._wait(lambda seen: seen.ready):
            wrong = Inputs(trigger=True, bad_part=True) if fault == "bad part" else Inputs(recipe=65000)
            self._expect_fault(fault, wrong)
        if not self._wait(lambda seen: seen.ready):
            self._link.say(Inputs(reset=True))
            self._link.say(Inputs())
            if not self._wait(lambda seen: seen.ready):
                raise OSError("the station does not get ready")
        if fault == "reconnect":
            self._link.close()
        self._cycle(part, recipe, fault)

    def _cycle(self, part: str, recipe: int, fault: str) -> None:
        """Trigger, wait for the result, acknowledge."""
        raised = time.monotonic()
        said = Inputs(trigger=True, part=part, recipe=recipe)
        self._link.say(said)
        self.report.parts += 1
        if fault == "early trigger":  # a second raise for the same part, before its answer
            self._link.say(Inputs(part=part, recipe=recipe))
            self._link.say(said)
        seen = self._wait(lambda one: one.done)
        if seen is None:
            self.report.unanswered += 1
            self._link.say(Inputs(reset=True, recipe=recipe))
            self._link.say(Inputs(recipe=recipe))
            return
        self._account(seen, part, recipe, 1e3 * (time.monotonic() - raised))
        if fault == "slow ack":
            time.sleep(min(0.2, self._settings.patience / 4))
        if fault == "no ack":
            self._link.say(Inputs(trigger=False, part=part, recipe=recipe))
            if self._wait(lambda one: one.fault_code == 4) is None:
                self.report.unseen[fault] += 1
            else:
                self.report.codes[4] += 1
        self._link.say(Inputs(ack=True, part=part, recipe=recipe))
        self._wait(lambda one: not one.done)
        self._link.say(Inputs(recipe=recipe))

    def _expect_fault(self, fault: str, inputs: Inputs) -> None:
        self._link.say(inputs)
        seen = self._wait(lambda one: one.fault and not one.ready)
        if seen is None:
            self.report.unseen[fault] += 1
        else:
            self.report.codes[seen.fault_code] += 1
        self._link.say(Inputs(reset=True))
        self._link.say(Inputs())

    def _account(self, seen: Seen, part: str, recipe: int, milliseconds: float) -> None:
        report = self.report
        report.answered += 1
        report.answer_ms.append(milliseconds)
        report.results[ResultWord(seen.result).name] += 1
        report.wrong_part += seen.part != part
        report.wrong_recipe += bool(recipe) and seen.recipe != recipe
        report.repeated += seen.trigger in self._numbers
        self._numbers.add(seen.trigger)

    def _wait(self, fact: Callable[[Seen], bool]) -> Seen | None:
        """Look until `fact` holds; None where it does not within the patience."""
        ends = time.monotonic() + self._settings.patience
        lost: OSError | None = None
        while time.monotonic() < ends:
            with suppress(TimeoutError):
                try:
                    seen = self._link.look()
                    lost = None
                    if fact(seen):
                        return seen
                except OSError as error:
                    lost = error
            time.sleep(self._settings.poll)
        if lost is not None:
            raise lost
        return None
