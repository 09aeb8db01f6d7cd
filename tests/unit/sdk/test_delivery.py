"""A delivery thread goes on whatever it meets, and gives up only what cannot be delivered."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from paho.mqtt.client import Client
from programs import free_port, until

from edgead.stream.sinks import open_sink
from edgead.stream.sinks.dead_letters import DeadLetters
from edgead.stream.sinks.delivery import DeliveryWorker
from edgead.stream.sinks.disk_queue import DiskQueue, Record


def worker(
    folder: Path, deliver: Callable[[Sequence[Record]], int], batch: int = 1
) -> tuple[DiskQueue, DeliveryWorker]:
    queue = DiskQueue(folder)
    return queue, DeliveryWorker(queue, DeadLetters(folder, 10**6), deliver, "the receiver", 0.001, batch=batch)


def test_an_unknown_exception_is_said_and_the_thread_goes_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    troubles = [ValueError("embedded null byte"), UnicodeError("label too long")]
    taken: list[bytes] = []

    def deliver(records: Sequence[Record]) -> int:
        if troubles:
            raise troubles.pop()
        taken.extend(record.data for record in records)
        return len(records)

    queue, delivery = worker(tmp_path, deliver)
    for text in (b"a", b"b"):
        queue.append(text)
    until(lambda: taken == [b"a", b"b"])
    delivery.close(1.0)
    assert delivery.lost() == {}
    said = [record.message for record in caplog.records]
    assert said[0] == "the receiver takes no results: UnicodeError: label too long; they wait on the disk"
    assert said[-1] == "the receiver takes results again"


@pytest.mark.parametrize("batch", [1, 20])
def test_a_record_nobody_can_deliver_goes_to_the_dead_letters(batch: int, tmp_path: Path) -> None:
    taken: list[bytes] = []

    def deliver(records: Sequence[Record]) -> int:
        if any(record.data == b"poison" for record in records):
            raise TypeError("unforeseen")
        taken.extend(record.data for record in records)
        return len(records)

    queue, delivery = worker(tmp_path, deliver, batch)
    for text in (b"a", b"poison", b"b"):
        queue.append(text)
    until(lambda: taken == [b"a", b"b"])
    assert delivery.lost() == {"TypeError: unforeseen": 1}
    delivery.close(1.0)
    letter = json.loads((tmp_path / "dead-letters.jsonl").read_text())
    assert (letter["number"], letter["message"], letter["reason"]) == (2, "poison", "TypeError: unforeseen")


def test_a_dead_letter_waits_for_room_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    letters = DeadLetters(tmp_path, 10**6)
    with monkeypatch.context() as full:
        full.setattr("edgead.files.os.write", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        with pytest.raises(OSError, match="No space left"):
            letters.add(1, "{}", "400")
    assert letters.counts == {}
    letters.add(1, "{}", "400")
    assert letters.counts == {"400": 1}
    letters.close()


def test_dead_letters_that_cannot_be_kept_are_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    letters = DeadLetters(tmp_path / "file/folder", 10**6)
    (tmp_path / "file").write_text("where a folder should be")
    for number in (1, 2):
        letters.add(number, "{}", "400")
    assert letters.counts == {"400": 2}
    assert caplog.text.count("dead letters are only counted") == 1
    letters.close()


def test_records_damaged_on_the_disk_are_counted_as_lost(tmp_path: Path) -> None:
    queue = DiskQueue(tmp_path)
    for text in (b"one", b"two", b"three"):
        queue.append(text)
    queue.close()
    (segment,) = tmp_path.glob("*.segment")
    damaged = bytearray(segment.read_bytes())
    damaged[9] ^= 1
    segment.write_bytes(damaged)
    taken: list[bytes] = []
    queue, delivery = worker(tmp_path, lambda records: taken.extend(r.data for r in records) or len(records))
    until(lambda: taken == [b"two", b"three"])
    delivery.close(1.0)
    assert delivery.lost() == {"damaged on the disk": 1}


def test_the_thread_of_the_broker_goes_on_after_an_exception(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    troubles = [UnicodeError("label empty or too long")]
    real = Client.reconnect

    def reconnect(self: Client) -> object:
        if troubles:
            raise troubles.pop()
        return real(self)

    monkeypatch.setattr(Client, "reconnect", reconnect)
    sink = open_sink(f"mqtt://127.0.0.1:{free_port()}/line?queue={tmp_path}")
    until(lambda: "cannot be reached" in caplog.text)
    sink.close()
    assert "the connection to the broker failed: UnicodeError: label empty" in caplog.text
