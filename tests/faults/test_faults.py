"""One line with three cameras and every sink under a random schedule of faults; nothing bad passes, nothing is lost.

`pytest tests/faults -m slow --faults 200 --fault-seeds 1,2,3 --fault-results FILE` is the whole run, about ten minutes
a seed on two cores that are otherwise idle.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest
from fault_checks import Checks
from fault_table import FAULTS, WORST, End
from fault_world import World

from edgead.system.device import describe_device

ORDERLY = (143, 1)  # ended by SIGTERM; and 1 where it says how many results could not be written
STOP_S = 10.0  # from SIGTERM to the exit, in the worst case


@pytest.fixture
def world(tmp_path: Path, seed: int) -> Iterator[World]:
    world = World(tmp_path, seed)
    yield world
    world.close()


class Schedule:
    """Faults that begin at random, overlap, and end."""

    def __init__(self, world: World, seed: int) -> None:
        self.counts: Counter[str] = Counter()
        self._world, self._random = world, Random(seed)
        self._active: list[tuple[float, str, str, End]] = []  # when it ends, its place, its name, and how

    def run(self, count: int) -> None:
        for number in range(count):
            self._begin(self._choose(may_kill=number < 0.7 * count))
            self._wait(self._random.uniform(0.2, 1.0))
        self._wait(0.0, everything=True)

    def begin(self, name: str) -> None:
        """Have a fault until all are ended."""
        self._active.append((float("inf"), "", name, FAULTS[name].begin(self._world, self._random)))

    def end_all(self) -> None:
        for _, _, _, end in self._active:
            end()
        self._active = []

    def _choose(self, may_kill: bool) -> str:
        busy = {place for _, place, _, _ in self._active}
        left_out = {"disk full"} if not self._world.disk.limited else set()
        left_out |= set() if may_kill else {"kill -9"}
        free = [name for name, fault in FAULTS.items() if fault.place not in busy - {""} and name not in left_out]
        return self._random.choices(free, [FAULTS[name].weight for name in free])[0]

    def _begin(self, name: str) -> None:
        self.counts[name] += 1
        end = FAULTS[name].begin(self._world, self._random)
        self._active.append((time.monotonic() + self._random.uniform(0.5, 3.0), FAULTS[name].place, name, end))

    def _wait(self, seconds: float, everything: bool = False) -> None:
        until = time.monotonic() + seconds
        while True:
            for one in [one for one in self._active if everything or one[0] <= time.monotonic()]:
                self._active.remove(one)
                one[3]()
                if one[2] == "kill -9":
                    self._world.wait_for_results()
            if time.monotonic() >= until and (self._active == [] or not everything):
                return
            time.sleep(0.02)
            if "kill -9" not in [name for _, _, name, _ in self._active]:
                ended = self._world.process.poll()
                told = self._world.log[-3000:].decode(errors="replace")
                assert ended is None, f"the line ended by itself ({ended}) after {list(self.counts)}: {told}"


def drained(world: World, seconds: float) -> None:
    """Wait until both receivers have what waits for them."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        wrong = Checks(world)
        wrong.messages("webhook", world.receiver.taken)
        wrong.messages("mqtt", world.published())
        if wrong.figures["webhook"]["lost"] == wrong.figures["mqtt"]["lost"] == 0:
            return
        time.sleep(1.0)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_nothing_bad_passes_nothing_stops_the_line_nothing_is_lost(
    world: World, seed: int, request: pytest.FixtureRequest
) -> None:
    begun = time.monotonic()
    schedule = Schedule(world, seed)
    world.start()
    world.wait_for_results()
    schedule.run(request.config.getoption("faults"))
    world.wait_for_results()
    drained(world, 90)
    after = world.use()
    for name in WORST:
        schedule.begin(name)
    time.sleep(2.5)
    code, seconds = world.terminate()
    schedule.end_all()
    world.start()  # what waits on the disk is delivered, and what a kill has left is removed
    world.wait_for_results()
    time.sleep(3.0)
    before = world.use()
    drained(world, 90)
    last_code, last_seconds = world.terminate()
    checks = Checks(world)
    wrong = checks.all()
    if code not in ORDERLY or seconds > STOP_S or last_code not in ORDERLY:
        wrong.append(f"SIGTERM: exit code {code} after {seconds:.1f} s, then {last_code} after {last_seconds:.1f} s")
    for what, margin in (("threads", 2), ("descriptors", 6), ("memory_mb", 60)):
        if after[what] > before[what] + margin:
            wrong.append(f"{what}: {after[what]} after the faults, {before[what]} after a start")
    figures = {
        "seed": seed,
        "faults": sum(schedule.counts.values()),
        "by_fault": dict(sorted(schedule.counts.items())),
        "seconds": round(time.monotonic() - begun),
        "kills": world.kills,
        "disk_could_be_filled": world.disk.limited,
        **checks.figures,
        "use_after_faults": after,
        "use_after_a_start": before,
        "sigterm_s_in_the_worst_case": round(seconds, 2),
        "sigterm_s": round(last_seconds, 2),
        "wrong": wrong[:50],
    }
    _report(request.config.getoption("fault_results"), figures)
    assert not wrong, "\n".join(wrong[:30]) + "\n" + world.log[-3000:].decode(errors="replace")


def _report(path: str | None, figures: dict[str, object]) -> None:
    """Add the figures of a seed to a file, in the place of older ones of that seed."""
    if path is None:
        return
    file = Path(path)
    runs = json.loads(file.read_text())["runs"] if file.exists() else []
    runs = [run for run in runs if run["seed"] != figures["seed"]] + [figures]
    runs.sort(key=lambda run: run["seed"])
    file.write_text(json.dumps({"runs": runs, "device": describe_device()}, indent=1) + "\n")
