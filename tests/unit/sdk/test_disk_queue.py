"""The queue on the disk loses nothing that it has stored and keeps the order, whatever is cut short."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgead.errors import DataError, UsageError
from edgead.stream.sinks import disk_queue
from edgead.stream.sinks.disk_queue import DiskQueue

STEPS = st.one_of(
    st.tuples(st.just("append"), st.binary(max_size=60)),
    st.tuples(st.just("deliver"), st.integers(1, 5)),
    st.tuples(st.just("restart"), st.none()),
    st.tuples(st.just("kill"), st.binary(max_size=20)),
    st.tuples(st.just("refuse"), st.integers(0, 30)),
)


def data(queue: DiskQueue, count: int = 1000) -> list[bytes]:
    return [record.data for record in queue.peek(count)]


def kill(queue: DiskQueue) -> None:
    """What is left of a queue whose program was killed: the system closes its files, nothing else happens."""
    queue._close_active()
    os.close(queue._handle)
    queue._lock_file.close()


@settings(max_examples=100, deadline=None)
@given(st.lists(STEPS, max_size=40), st.sampled_from([1, 50, 120, 10**6]))
def test_any_interleaving_keeps_what_was_stored_in_order(steps: list, segment: int) -> None:
    """Appends, deliveries, restarts, kills within a write, and writes that a full disk cuts short."""
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        folder = Path(name)
        queue = DiskQueue(folder, segment=segment)
        waiting: list[tuple[int, bytes]] = []
        highest = 0
        for what, value in steps:
            if what == "append":
                number = queue.append(value)
                assert number > highest
                highest = number
                waiting.append((number, value))
            elif what == "deliver":
                for record in queue.peek(value):
                    assert (record.number, record.data) == waiting.pop(0)
                    queue.acknowledge(record.number)
            elif what == "restart":
                queue.close()
                queue = DiskQueue(folder, segment=segment)
            elif what == "kill":
                kill(queue)
                if paths := sorted(folder.glob("*.segment")):
                    with paths[-1].open("ab") as file:
                        file.write(value)  # the beginning of a record that was never acknowledged as stored
                queue = DiskQueue(folder, segment=segment)
            else:
                with patch.context() as full:
                    full.setattr(disk_queue, "_write_all", lambda handle, record, n=value: refuse(handle, record[:n]))
                    with pytest.raises(OSError, match="No space"):
                        queue.append(b"x" * 40)
            assert [(record.number, record.data) for record in queue.peek(1000)] == waiting
            assert len(queue) == len(waiting)
        queue.close()


def refuse(handle: int, part: bytes) -> None:
    os.write(handle, part)
    raise OSError(28, "No space left on device")


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 3), max_size=30), st.integers(0, 40), st.booleans())
def test_a_power_cut_loses_nothing_that_is_on_the_disk(deliveries: list[int], tail: int, forget: bool) -> None:
    """Every file is cut back to what fsync has seen, or to a little more, and the mark may be an old one."""
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        folder = Path(name)
        synced: dict[Path, int] = {}
        real = os.fsync

        def fsync(handle: int) -> None:
            real(handle)
            path = Path(f"/proc/self/fd/{handle}").readlink()
            synced[path] = os.fstat(handle).st_size

        patch.setattr(disk_queue.os, "fsync", fsync)
        queue = DiskQueue(folder, segment=100, sync_s=0.0)
        marks = [b""]
        done = 0
        for index, count in enumerate(deliveries):
            queue.append(b"%d" % index)
            for record in queue.peek(count):
                queue.acknowledge(record.number)
                done = record.number
            marks.append((folder / "acknowledged").read_bytes())
        kill(queue)
        for path in folder.glob("*.segment"):
            os.truncate(path, min(path.stat().st_size, synced.get(path.resolve(), 0) + tail))
        if forget:
            (folder / "acknowledged").write_bytes(marks[len(marks) // 2])
        queue = DiskQueue(folder, segment=100)
        numbers = [record.number for record in queue.peek(1000)]
        assert numbers == sorted(set(numbers))
        assert set(numbers) >= set(range(done + 1, len(deliveries) + 1))
        assert {record.data for record in queue.peek(1000)} == {b"%d" % (number - 1) for number in numbers}
        assert queue.append(b"new") > max(numbers, default=0)
        assert queue.peek(1000)[-1].data == b"new"  # not taken for one that was acknowledged
        queue.close()


def test_a_program_that_is_killed_loses_nothing(tmp_path: Path) -> None:
    program = (
        "import sys, pathlib\nfrom edgead.stream.sinks.disk_queue import DiskQueue\n"
        "queue = DiskQueue(pathlib.Path(sys.argv[1]), segment=2000)\n"
        "while True:\n    print(queue.append(b'x' * 100), flush=True)\n"
    )
    stored = 0
    for _ in range(3):
        child = subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, text=True)
        for _ in range(50):
            stored = max(stored, int(child.stdout.readline()))
        child.send_signal(signal.SIGKILL)
        child.communicate()
        queue = DiskQueue(tmp_path)
        numbers = [record.number for record in queue.peek(10**6)]
        queue.close()
        assert numbers == list(range(1, len(numbers) + 1))
        assert len(numbers) >= stored


def test_what_is_acknowledged_leaves_the_disk(tmp_path: Path) -> None:
    queue = DiskQueue(tmp_path, segment=100)
    for _ in range(20):
        queue.append(b"x" * 60)
    assert len(list(tmp_path.glob("*.segment"))) == 10
    queue.acknowledge(19)
    assert len(list(tmp_path.glob("*.segment"))) == 1
    queue.acknowledge(20)
    assert not list(tmp_path.glob("*.segment"))
    assert queue.append(b"y") == 21
    queue.close()


def test_a_full_queue_keeps_the_old_and_refuses_the_new(tmp_path: Path) -> None:
    queue = DiskQueue(tmp_path, limit=1000, segment=200)
    for _ in range(10):
        queue.append(b"x" * 92)
    with pytest.raises(OSError, match="has reached its limit of 1000 bytes"):
        queue.append(b"x" * 92)
    assert len(queue) == 10
    queue.acknowledge(2)
    assert queue.append(b"y") == 11
    queue.close()


def test_the_disk_is_waited_for_as_promised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    monkeypatch.setattr(disk_queue.os, "fsync", calls.append)
    queue = DiskQueue(tmp_path, sync_s=0.05)
    queue.append(b"a")
    queue.acknowledge(1)
    time.sleep(0.06)
    queue.sync()
    assert not calls  # emptied at once
    queue.append(b"b")
    assert not calls
    time.sleep(0.06)
    queue.sync()
    assert calls
    queue.close()


def test_a_mark_that_is_damaged_repeats_but_loses_nothing(tmp_path: Path) -> None:
    queue = DiskQueue(tmp_path)
    for text in (b"a", b"b"):
        queue.append(text)
    queue.acknowledge(1)
    queue.close()
    (tmp_path / "acknowledged").write_bytes(b"\xff" * 12)
    queue = DiskQueue(tmp_path)
    assert data(queue) == [b"a", b"b"]
    queue.close()


def test_a_damaged_record_costs_itself_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    queue = DiskQueue(tmp_path)
    texts = [b"number %d of them" % index for index in range(8)]
    for text in texts:
        queue.append(text)
    queue.close()
    (segment,) = tmp_path.glob("*.segment")
    whole = segment.read_bytes()
    for bit in range(0, 8 * len(whole), 37):
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        for left in tmp_path.glob("*.segment"):
            left.unlink()
        segment.write_bytes(damaged)
        hit = bit // 8 // (8 + len(texts[0]))
        caplog.clear()
        queue = DiskQueue(tmp_path)
        assert [(r.number, r.data) for r in queue.peek(99)] == [(i + 1, texts[i]) for i in range(8) if i != hit]
        assert queue.next == 9
        assert "1 damaged records are taken out, 7 are kept" in caplog.text or "are cut off" in caplog.text
        assert queue.append(b"new") == 9
        assert queue.peek(99)[-1].data == b"new"
        queue.close()
        queue = DiskQueue(tmp_path)
        assert len(queue.peek(99)) == 8
        queue.acknowledge(9)
        assert len(queue) == 0
        queue.close()
        (tmp_path / "acknowledged").unlink()


def test_several_damaged_places_are_passed_over(tmp_path: Path) -> None:
    queue = DiskQueue(tmp_path)
    for index in range(100):
        queue.append(b"x" * index)
    (segment,) = tmp_path.glob("*.segment")
    damaged = bytearray(segment.read_bytes())
    damaged[500:900] = bytes(400)  # while it runs
    damaged[3000:3200] = b"\xff" * 200
    segment.write_bytes(damaged)
    kept = queue.peek(1000)
    assert all(record.data == b"x" * (record.number - 1) for record in kept)
    assert len(kept) + queue.damaged == 100
    assert {record.number for record in kept} >= {1, 2, 3, 50, 98, 99, 100}
    queue.acknowledge(100)
    assert len(queue) == 0
    assert queue.append(b"new") == 101
    queue.close()


def test_a_damaged_record_is_taken_out_on_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    queue = DiskQueue(tmp_path)
    for index in range(9):
        queue.append(b"number %d of them" % index)
    queue.close()
    (segment,) = tmp_path.glob("*.segment")
    damaged = bytearray(segment.read_bytes())
    damaged[3 * 24] ^= 0x40  # a length
    damaged[5 * 24 + 20] ^= 1
    segment.write_bytes(damaged)
    before = segment.stat().st_size

    real = Path.open

    def without_room(self: Path, mode: str = "r", *more: object, **options: object) -> object:
        assert mode in ("rb", "r+b") or self.name == ".lock", f"{self} would need space"
        return real(self, mode, *more, **options)

    with monkeypatch.context() as full:
        full.setattr(Path, "open", without_room)
        queue = DiskQueue(tmp_path)
    assert [record.number for record in queue.peek(99)] == [1, 2, 3, 5, 7, 8, 9]
    assert queue.damaged == 2
    assert segment.stat().st_size == before
    queue.acknowledge(5)
    queue.close()
    queue = DiskQueue(tmp_path)
    assert [record.number for record in queue.peek(99)] == [7, 8, 9]
    assert queue.damaged == 0  # it was counted then
    queue.close()


def test_a_segment_that_is_gone_costs_its_own_records(tmp_path: Path) -> None:
    queue = DiskQueue(tmp_path, segment=40)
    for index in range(8):
        queue.append(b"number %d of them" % index)
    first, second = sorted(tmp_path.glob("*.segment"))[:2]
    first.unlink()
    second.write_bytes(b"")
    assert [record.number for record in queue.peek(99)] == [5, 6, 7, 8]
    assert queue.damaged == 4
    queue.acknowledge(8)
    queue.close()


def test_numbers_go_on_where_one_copy_of_the_mark_is_damaged(tmp_path: Path) -> None:
    queue = DiskQueue(tmp_path)
    queue.append(b"a")
    queue.acknowledge(1)
    queue.close()
    mark = bytearray((tmp_path / "acknowledged").read_bytes())
    mark[3] ^= 1
    (tmp_path / "acknowledged").write_bytes(mark)
    for path in tmp_path.glob("*.segment"):
        path.unlink()
    queue = DiskQueue(tmp_path)
    assert queue.append(b"b") == 2
    queue.close()


def test_a_disk_that_takes_no_acknowledgment_repeats_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    queue = DiskQueue(tmp_path)
    for text in (b"a", b"b"):
        queue.append(text)
    with monkeypatch.context() as full:
        full.setattr(disk_queue.os, "pwrite", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        queue.acknowledge(1)
        queue.acknowledge(1)
        queue.sync()
        assert data(queue) == [b"b"]
    assert caplog.text.count("cannot note what has arrived: No space left") == 1
    queue.sync()
    queue.close()
    queue = DiskQueue(tmp_path)
    assert data(queue) == [b"b"]
    queue.close()


def test_one_program_a_queue(tmp_path: Path) -> None:
    queue = DiskQueue(tmp_path / "a")
    with pytest.raises(UsageError, match="another edgead writes to"):
        DiskQueue(tmp_path / "a")
    queue.close()
    queue.close()
    (tmp_path / "b").write_text("a file")
    with pytest.raises(DataError, match="cannot be made"):
        DiskQueue(tmp_path / "b")
