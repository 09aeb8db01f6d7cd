"""What fires triggers: each kind by the tool that its users have."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import fake_gpiod
import numpy as np
import pytest
from http_client import ask_json
from programs import Broker, free_port, until

from edgead import Frame
from edgead.errors import EdgeadError, UsageError
from edgead.stream.trigger import TRIGGERS, open_trigger
from edgead.stream.trigger.base import Ticket, Trigger, TriggerSource, checked_part
from edgead.stream.trigger.motion import LEARNED, MotionGate


class Recorder:
    """A line that remembers what was fired."""

    def __init__(self) -> None:
        self.fired: list[Trigger] = []
        self.answer = True

    def fire(self, source: str, part: str = "", clock: float | None = None) -> Ticket:
        ticket = Ticket(Trigger(len(self.fired) + 1, clock or time.monotonic(), 0.0, source, checked_part(part)))
        self.fired.append(ticket.trigger)
        if self.answer:
            ticket.answer.set_result(self)
        return ticket

    def to_json(self) -> str:
        return '{"verdict": "OK"}'


@pytest.fixture
def line() -> Recorder:
    return Recorder()


@pytest.fixture
def start(line: Recorder) -> Iterator:
    opened: list[TriggerSource] = []

    def starting(spec: str) -> TriggerSource:
        opened.append(open_trigger(spec))
        opened[-1].start(line)
        return opened[-1]

    yield starting
    for source in opened:
        source.close()
        source.close()
    assert [thread for thread in threading.enumerate() if thread.name.startswith("edgead trigger")] == []


def test_http(start, line: Recorder) -> None:
    port = start("http:0").port
    assert ask_json(port, "/trigger", b"") == (202, {"trigger": 1, "part": ""})
    assert ask_json(port, "/trigger?wait=2", {"part": "A-17"}) == (200, {"verdict": "OK"})
    assert [one.part for one in line.fired] == ["", "A-17"]
    assert line.fired[0].source == "http, 127.0.0.1"


@pytest.mark.parametrize(
    ("path", "body", "code"),
    [
        ("/trigger", {"part": "x" * 40}, 400),
        ("/trigger", {"parts": "A"}, 400),
        ("/trigger", b"no json", 400),
        ("/trigger", b"x" * 5000, 400),
        ("/trigger?wait=never", b"", 400),
        ("/other", b"", 404),
    ],
)
def test_http_that_cannot_be_a_trigger_fires_none(start, line: Recorder, path: str, body: object, code: int) -> None:
    status, said = ask_json(start("http:0").port, path, body)
    assert (status, line.fired) == (code, [])
    assert said["error"]


def test_http_says_when_the_answer_is_late(start, line: Recorder) -> None:
    line.answer = False
    status, said = ask_json(start("http:0").port, "/trigger?wait=0.05", b"")
    assert (status, said["trigger"]) == (504, 1)


def test_http_asks_for_the_token_and_answers_no_foreign_page(
    start, line: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEAD_TOKEN", "a-long-enough-token")
    port = start("http:0").port
    assert ask_json(port, "/trigger", b"")[0] == 401
    allowed = {"Authorization": "Bearer a-long-enough-token"}
    assert ask_json(port, "/trigger", b"", **allowed)[0] == 202
    assert ask_json(port, "/trigger", b"", **allowed, Origin="http://evil.example")[0] == 403
    assert ask_json(port, "/trigger", b"", **allowed, Host="evil.example")[0] == 421
    assert len(line.fired) == 1
    monkeypatch.delenv("EDGEAD_TOKEN")
    with pytest.raises(UsageError, match="set a token"):
        open_trigger("http:0.0.0.0:0")


def test_unix(start, line: Recorder, tmp_path: Path) -> None:
    path = tmp_path / "trigger"
    start(f"unix:{path}")
    assert path.stat().st_mode & 0o777 == 0o660
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        stream = client.makefile("rwb")
        stream.write(b"A-1\n\n" + b"x" * 60 + b"\n")
        stream.flush()
        answers = [json.loads(stream.readline()) for _ in range(3)]
    assert answers[:2] == [{"verdict": "OK"}] * 2
    assert "part's id" in answers[2]["error"]
    assert [one.part for one in line.fired] == ["A-1", ""]
    with pytest.raises(UsageError, match="something is there already"):
        open_trigger(f"unix:{path}")


def test_a_unix_socket_that_a_dead_line_left_is_taken_over(tmp_path: Path, start) -> None:
    path = tmp_path / "trigger"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    start(f"unix:{path}")
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UsageError, match="something is there"):
        open_trigger(f"unix:{tmp_path / 'file'}")


def test_mqtt(start, line: Recorder, tmp_path: Path) -> None:
    from paho.mqtt.publish import single

    broker = Broker(tmp_path)
    try:
        single("line/trigger", "old", retain=True, hostname="127.0.0.1", port=broker.port)
        source = start(f"mqtt://127.0.0.1:{broker.port}/line/trigger")
        until(lambda: not source.trouble)
        for payload in ('{"part": "A-1"}', "A-2", "", "{broken"):
            single("line/trigger", payload, qos=1, hostname="127.0.0.1", port=broker.port)
        until(lambda: len(line.fired) == 3)
        assert [one.part for one in line.fired] == ["A-1", "A-2", ""]
        broker.stop()
        until(lambda: source.trouble)
    finally:
        broker.stop()


def test_gpio(start, line: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    import gpiod

    chips = fake_gpiod.Chips()
    monkeypatch.setattr(gpiod, "request_lines", chips)
    start("gpio:/dev/gpiochip0/17?edge=falling&debounce=5&bias=pull-up")
    settings = chips.requested[0].config[17]
    assert settings.edge_detection is gpiod.line.Edge.FALLING
    assert settings.debounce_period.total_seconds() == 0.005
    assert settings.bias is gpiod.line.Bias.PULL_UP
    at = chips.requested[0].edge(17)
    until(lambda: line.fired)
    assert line.fired[0].clock == pytest.approx(at)
    chips.taken = {18}
    for spec, words in {
        "gpio:/dev/gpiochip0/18": "busy",
        "gpio:/dev/none/1": "No such file",
        "gpio:17": "a chip and a line",
        "gpio:/dev/gpiochip0/1?edge=up": "no 'up'",
        "gpio:/dev/gpiochip0/1?debounce=2000": "0 to 1000",
    }.items():
        with pytest.raises(UsageError, match=words):
            open_trigger(spec)


def test_modbus_coil(start, line: Recorder) -> None:
    """Against pymodbus' own server, which is no part of edgead."""
    from pymodbus.server import ModbusTcpServer
    from pymodbus.simulator import DataType, SimData, SimDevice

    port, loop, started = free_port(), asyncio.new_event_loop(), threading.Event()

    async def serve() -> None:
        device = SimDevice(1, simdata=[SimData(0, values=[0] * 16, datatype=DataType.BITS)])
        server = ModbusTcpServer(device, address=("127.0.0.1", port))
        servers.append(server)
        await server.serve_forever(background=True)
        started.set()

    servers: list[ModbusTcpServer] = []
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    asyncio.run_coroutine_threadsafe(serve(), loop).result(10)

    def put(value: bool) -> None:
        asyncio.run_coroutine_threadsafe(servers[0].async_setValues(1, 5, 3, [value]), loop).result(10)

    try:
        source = start(f"modbus://127.0.0.1:{port}/coil/3?poll=2")
        until(lambda: not source.trouble)
        for count in (1, 2):
            put(True)
            until(lambda: len(line.fired) == count)  # noqa: B023
            put(False)
            time.sleep(0.05)
        assert len(line.fired) == 2
    finally:
        asyncio.run_coroutine_threadsafe(servers[0].shutdown(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def scene(part: bool, seed: int) -> np.ndarray:
    image = np.random.default_rng(seed).integers(40, 50, (60, 80, 3)).astype(np.uint8)
    image[20:40, 30:50] += 120 * part
    return image


def test_a_part_that_comes_into_the_picture_fires_once() -> None:
    gate = MotionGate((20, 10, 40, 40), level=8.0, pause=0.1)
    there = [False] * 10 + [True] * 6 + [False] * 5 + [True] * 4 + [False] * 3
    fired = [at for at, part in enumerate(there) if gate.is_new_part(scene(part, at), 0.05 * at)]
    assert fired == [10, 21]


def test_the_gate_follows_the_light_and_keeps_its_pause() -> None:
    gate = MotionGate((0, 0, 0, 0), level=8.0, pause=10.0)
    slowly = [np.full((60, 80, 3), 40 + at // 20, np.uint8) for at in range(600)]
    assert not any(gate.is_new_part(image, 0.05 * at) for at, image in enumerate(slowly))
    bright = np.full((60, 80, 3), 150, np.uint8)
    fired = [gate.is_new_part(image, 30 + 0.05 * at) for at, image in enumerate([bright, slowly[-1], bright])]
    assert fired == [True, False, False]


def test_motion_looks_at_the_camera_it_is_told(start, line: Recorder) -> None:
    source = start("motion:20,10,40,40?camera=left&level=8")
    for at in range(LEARNED + 3):
        for camera in ("left", "right"):
            source.watch(camera, Frame(scene(at > LEARNED, at), at, clock=100 + 0.05 * at))
    assert [one.clock for one in line.fired] == [100 + 0.05 * (LEARNED + 1)]
    assert line.fired[0].source == "motion, left"


@pytest.mark.parametrize(
    "spec",
    [
        "telepathy:1",
        "http:x",
        "http",
        "motion:1,2,3",
        "motion:1,2,0,4",
        "motion:?level=0",
        "mqtt://broker.local",
        "modbus://h/register/1",
        "modbus://h:502/coil/99999",
    ],
)
def test_what_names_no_trigger_is_said(spec: str) -> None:
    with pytest.raises(EdgeadError, match="trigger"):
        open_trigger(spec)


def test_every_trigger_has_an_example() -> None:
    assert [kind for kind, entry in TRIGGERS.builtin.items() if not entry.example.startswith(kind)] == []
