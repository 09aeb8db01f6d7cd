"""The faults: each begins, lasts a while, and ends. No two of one place are there at a time."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from random import Random

from fault_world import World

End = Callable[[], None]


@dataclass(frozen=True)
class Fault:
    place: str  # what fails; "" where faults of one place do not disturb each other
    begin: Callable[[World, Random], End]
    weight: float = 1.0


def _nothing() -> None:
    pass


def _camera(mode: str, number: int) -> Callable[[World, Random], End]:
    def begin(world: World, random: Random) -> End:
        world.cameras[number].mode = mode
        return lambda: setattr(world.cameras[number], "mode", "")

    return begin


def _server(mode: int | str) -> Callable[[World, Random], End]:
    def begin(world: World, random: Random) -> End:
        world.receiver.mode = mode
        return lambda: setattr(world.receiver, "mode", 204)

    return begin


def _kill(world: World, random: Random) -> End:
    world.kill()
    return world.start


def _clock(days: float) -> Callable[[World, Random], End]:
    def begin(world: World, random: Random) -> End:
        world.clock.write_text(str(days * 86400 * random.uniform(0.5, 1)))
        return lambda: world.clock.write_text("0") and None

    return begin


def _full(world: World, random: Random) -> End:
    world.filled.append(time.monotonic())
    world.disk.fill()
    return world.disk.free


def _gone(world: World, random: Random) -> End:
    world.broker.stop()
    return world.broker.start


def _hangs(world: World, random: Random) -> End:
    world.broker.hangs = True
    return lambda: setattr(world.broker, "hangs", False)


def _reload(kind: str) -> Callable[[World, Random], End]:
    def begin(world: World, random: Random) -> End:
        good = world.folder / f"{random.choice(['one', 'two'])}.edgead"
        draft = world.folder / "draft"
        data = good.read_bytes()
        draft.write_bytes({"good": data, "bad": b"PK" + data[:99], "cut": data[: random.randrange(len(data))]}[kind])
        draft.replace(world.bundle)
        _hang_up_signal(world)

        def end() -> None:
            shutil.copy(good, draft)
            draft.replace(world.bundle)

        return end

    return begin


def _hang_up_signal(world: World) -> None:
    """SIGHUP; the line has its handler, since no fault begins before its first result."""
    if world.process.poll() is None:
        world.process.send_signal(signal.SIGHUP)


def _corrupt(world: World, random: Random) -> End:
    """Flip a bit in a queue, most of whose segments hold what is yet to be delivered."""
    world.receiver.mode = 503

    def end() -> None:
        segments = [*world.disk.folder.glob("webhook/*.segment"), *world.disk.folder.glob("mqtt/*.segment")]
        for path in random.sample(segments, min(1, len(segments))):
            with suppress(OSError), path.open("r+b") as file:
                size = path.stat().st_size
                if size:
                    at = random.randrange(size)
                    byte = os.pread(file.fileno(), 1, at)[0]
                    os.pwrite(file.fileno(), bytes([byte ^ 1 << random.randrange(8)]), at)
                    world.damaged += 1
        world.receiver.mode = 204

    return end


def _terminal(world: World, random: Random) -> End:
    world.hang_up()
    return _nothing


def _rotate(world: World, random: Random) -> End:
    with suppress(OSError):
        (world.disk.folder / "results.jsonl").rename(world.disk.folder / f"results.jsonl.{time.monotonic_ns()}")
    _hang_up_signal(world)
    return _nothing


def _silent(world: World, random: Random) -> End:
    connections = []
    for port in (world.page, world.metrics):
        for _ in range(100):
            with suppress(OSError):
                connections.append(socket.create_connection(("127.0.0.1", port), timeout=1))
    return lambda: [connection.close() for connection in connections] and None


FAULTS: dict[str, Fault] = {
    "kill -9": Fault("process", _kill, 0.6),
    **{
        f"camera {mode} {number}": Fault(f"camera {number}", _camera(mode, number))
        for mode in ("drip", "drop", "freeze", "cut")
        for number in range(3)
    },
    "clock ahead": Fault("clock", _clock(80)),
    "clock back": Fault("clock", _clock(-80)),
    "clock 1970": Fault("clock", _clock(-40000)),
    "disk full": Fault("disk", _full, 0.6),
    "webhook 400": Fault("webhook", _server(400)),
    "webhook 404": Fault("webhook", _server(404)),
    "webhook 500": Fault("webhook", _server(500)),
    "webhook drip": Fault("webhook", _server("drip")),
    "webhook hang": Fault("webhook", _server("hang")),
    "broker gone": Fault("broker", _gone),
    "broker hang": Fault("broker", _hangs),
    "reload good": Fault("process", _reload("good")),
    "reload bad": Fault("process", _reload("bad")),
    "reload cut": Fault("process", _reload("cut")),
    "queue damaged": Fault("webhook", _corrupt),
    "terminal lost": Fault("", _terminal),
    "log rotated": Fault("", _rotate),
    "silent connections": Fault("connections", _silent),
}
WORST = ("camera drip 0", "camera freeze 1", "camera drop 2", "webhook drip", "broker hang", "terminal lost")
