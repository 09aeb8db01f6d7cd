"""What is kept goes by the order of arrival and by a clock that nobody sets."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timezone
from pathlib import Path

import pytest

from edgead.stream.sinks import archive as archive_module
from edgead.stream.sinks.archive import Archive
from edgead.stream.sinks.arrivals import Arrivals

BLOCK = 4096
DAY = 86400.0
NOON = 1_750_000_000.0  # some day


def events(folder: Path) -> list[Path]:
    return sorted(path.parent for path in folder.glob("*/*/result.json"))


class Clock:
    """A computer's clocks, one of which may be set."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.wall, self.steady = NOON, 100.0
        monkeypatch.setattr(archive_module, "Arrivals", self._arrivals)

    def _arrivals(self, folder: Path, dated: Iterable[tuple[str, float]], longest_gap: float) -> Arrivals:
        return Arrivals(folder, dated, longest_gap, lambda: self.wall, lambda: self.steady)

    def run(self, days: float) -> None:
        """Let time pass while the program runs."""
        self.wall, self.steady = self.wall + days * DAY, self.steady + days * DAY

    def rest(self, days: float) -> None:
        """Let time pass while the computer is off."""
        self.wall, self.steady = self.wall + days * DAY, 0.0

    def keep(self, archive: Archive, count: int, days: float) -> None:
        """Keep an event every `days`."""
        for _ in range(count):
            self.run(days)
            archive.expire()
            name = datetime.fromtimestamp(self.wall, timezone.utc).strftime("%Y%m%dT%H%M%S.%f_000001_x_NG")
            archive.add(name, self.wall, {"result.json": b"x"})


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def test_old_ones_are_deleted(clock: Clock, tmp_path: Path) -> None:
    archive = Archive(tmp_path, 10**9, 10, 0)
    clock.keep(archive, 20, 1.0)
    assert len(events(tmp_path)) == 11  # of 0 to 10 days
    archive.close()
    clock.rest(3.0)
    archive = Archive(tmp_path, 10**9, 10, 0)
    archive.expire()
    assert len(events(tmp_path)) == 8
    clock.run(20)
    archive.expire()
    archive.close()
    assert events(tmp_path) == []
    assert [path for path in tmp_path.iterdir() if path.is_dir()] == []  # empty days are gone


@pytest.mark.parametrize("restart", [False, True])
@pytest.mark.parametrize("step", [40.0, -40.0, 1e4, -20250.0])
def test_setting_the_clock_deletes_nothing(step: float, restart: bool, clock: Clock, tmp_path: Path) -> None:
    archive = Archive(tmp_path, 10**9, 30, 0)
    clock.keep(archive, 14, 1.0)
    for there_and_back in (step, -step):
        clock.wall += there_and_back * DAY
        if restart:
            archive.close()
            clock.rest(0.0)
            archive = Archive(tmp_path, 10**9, 30, 0)
        clock.keep(archive, 1, 0.01)
        assert len(events(tmp_path)) == len(archive)
    assert len(archive) == 16
    clock.keep(archive, 2, 0.01)
    assert len(archive) == 18
    archive.close()


def test_a_board_without_a_battery_clock_keeps_the_order_of_arrival(clock: Clock, tmp_path: Path) -> None:
    for _ in range(3):  # starts in 1970 and is set by the network a little later
        real, clock.wall = clock.wall, 5.0
        archive = Archive(tmp_path, 6 * BLOCK, 30, 0)
        clock.keep(archive, 1, 0.001)
        clock.wall = real + 0.001 * DAY
        clock.keep(archive, 3, 0.001)
        archive.close()
        clock.rest(0.5)
    assert len(events(tmp_path)) == 6
    days = sorted(event.parent.name for event in events(tmp_path))
    assert days == ["1970-01-01", *["2025-06-16"] * 5]  # the last run's four and two of the run before


def test_an_archive_without_arrivals_is_taken_over_by_its_dates(clock: Clock, tmp_path: Path) -> None:
    archive = Archive(tmp_path, 10**9, 10, 0)
    clock.keep(archive, 8, 1.0)
    archive.close()
    (tmp_path / ".arrivals").write_bytes(b"\xff\x00 damaged")
    clock.rest(4.0)
    archive = Archive(tmp_path, 10**9, 10, 0)
    archive.expire()
    assert len(archive) == 7
    archive.close()


def test_an_event_that_cannot_be_deleted_stops_nothing(
    clock: Clock, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    archive = Archive(tmp_path, 4 * BLOCK, 30, 0)
    clock.keep(archive, 3, 1.0)
    stuck = events(tmp_path)[0]
    (stuck / "frame.png").mkdir()
    clock.keep(archive, 5, 1.0)
    assert len(events(tmp_path)) == 4
    assert events(tmp_path)[0] == stuck
    clock.run(60)
    archive.expire()
    assert events(tmp_path) == [stuck]
    archive.close()
    assert caplog.text.count("cannot be deleted") == 1
    archive = Archive(tmp_path, 1 * BLOCK, 30, 0)
    with pytest.raises(OSError, match=r"1 events in .* cannot be deleted: free space there"):
        clock.keep(archive, 1, 1.0)
    archive.close()


def test_the_file_of_arrivals_does_not_grow_without_end(
    clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgead.stream.sinks.arrivals._SPARE", 5)
    archive = Archive(tmp_path, 3 * BLOCK, 30, 0)
    clock.keep(archive, 40, 0.01)
    assert len((tmp_path / ".arrivals").read_text().splitlines()) <= 3 + 5 + 3
    kept = events(tmp_path)
    archive.close()
    archive = Archive(tmp_path, 3 * BLOCK, 30, 0)
    clock.keep(archive, 1, 0.01)
    assert events(tmp_path)[:2] == kept[1:]
    archive.close()
