"""Output pins: what each level means, the parts between camera and ejector, and a guard that outlives the line."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import fake_gpiod
import gpiod
import pytest
from gpiod.line import Value
from plc_lines import plc_line
from programs import until

from edgead import Detector
from edgead.errors import UsageError
from edgead.stream.plc import pin_guard
from edgead.stream.plc.handshake import Fault, Handshake, PartAnswer, Phase, ResultWord, answered, caused, opened
from edgead.stream.plc.modbus import ModbusServer
from edgead.stream.plc.outputs import open_plc
from edgead.stream.plc.pin_lines import request_outputs
from edgead.stream.plc.pins import Pins
from edgead.stream.plc.shift_register import MOST, ShiftRegister, Unwrapped

JUDGING = Handshake(causes=frozenset())


def test_parts_travel_to_the_ejector_and_only_ok_ones_pass() -> None:
    register = ShiftRegister(1.0)
    for number, position in enumerate((10.0, 10.2, 10.4), start=1):
        register.triggered(number, position)
    register.answered(1, ok=True)
    register.answered(2, ok=False)
    assert register.arrived(10.9) == []
    assert register.arrived(11.0) == [(1, True)]
    register.answered(1, ok=True)  # it has passed already
    assert register.arrived(12.0) == [(2, False), (3, False)]


def test_parts_whose_way_is_not_known_do_not_pass() -> None:
    register = ShiftRegister(1.0)
    register.triggered(1, 10.0)
    register.doubt()
    register.answered(1, ok=True)
    register.triggered(2, 10.5)
    register.answered(2, ok=True)
    assert register.arrived(12.0) == [(1, False), (2, True)]
    assert [register.triggered(number, 20.0) for number in range(MOST + 1)] == [*[True] * MOST, False]


def test_a_counter_of_16_bits_goes_on() -> None:
    counter = Unwrapped()
    assert [counter.of(count) for count in (65530, 65535, 4, 3, 10)] == [0, 5, 10, 10, 17]


def pins(**options: object) -> Pins:
    return Pins(Path("/dev/gpiochip0"), ready=5, ok=6, ng=7, reject=13, eject=19, fault=8, **options)


def lit(output: Pins, now: float) -> set[str]:
    return {name for name, level in output._levels(now).items() if level}


def test_levels_and_pulses_without_a_delay() -> None:
    output = pins(pulse=50)
    assert lit(output, 0.0) == {"reject", "fault"}
    output.publish(JUDGING, 0)
    assert lit(output, 1.0) == {"ready", "reject"}
    part = PartAnswer(ResultWord.OK, trigger=1)
    busy = opened(JUDGING, 0.0)
    output.publish(busy, 0)
    assert lit(output, 2.0) == {"reject"}
    output.publish(answered(busy, part, 0.0), 0)
    assert lit(output, 2.1) == {"ok"}
    assert lit(output, 2.16) == {"reject"}  # the gate does not stay open for what comes next
    refused = answered(busy, PartAnswer(ResultWord.NG, trigger=2), 0.0)
    output.publish(refused, 0)
    assert lit(output, 2.25) == {"reject", "ng", "eject"}
    output.publish(caused(refused, frozenset({Fault.CAMERA_LOST})), 0)
    assert lit(output, 2.4) == {"reject", "fault"}


@pytest.mark.parametrize("word", [ResultWord.OK, ResultWord.NG, ResultWord.REVIEW, ResultWord.INVALID, ResultWord.LATE])
def test_with_a_delay_the_gate_opens_for_an_ok_part_when_it_is_there(word: ResultWord) -> None:
    output = pins(pulse=50, delay=500)
    busy = opened(JUDGING, 0.0)
    output.publish(busy, 0)
    assert lit(output, 10.0) == {"reject"}
    output.publish(answered(busy, PartAnswer(word, trigger=1), 0.0), 0)
    first = lit(output, 10.1)
    assert first == ({"ok", "reject"} if word is ResultWord.OK else {"ng", "reject"})
    assert lit(output, 10.4) == {"reject"}
    assert lit(output, 10.501) == (set() if word is ResultWord.OK else {"reject", "eject"})
    assert lit(output, 10.56) == {"reject"}


@pytest.mark.parametrize("delay", [0, 500])
def test_the_gate_is_closed_for_a_part_that_comes_while_the_one_before_passes(delay: int) -> None:
    output, state = pins(pulse=50, delay=delay), JUDGING
    for number, word in enumerate((ResultWord.OK, ResultWord.NG), start=1):
        state = opened(state, 0.0)
        output.publish(state, 0)
        lit(output, 10.0 + 0.02 * number)
        state = answered(state, PartAnswer(word, trigger=number), 0.0)
        output.publish(state, 0)
        passing = lit(output, 10.021 + 0.02 * number)
        assert ("reject" in passing) == (delay > 0 or word is ResultWord.NG)
        state = replace(state, phase=Phase.IDLE)
    if delay:
        assert "reject" not in lit(output, 10.525)
        assert {"reject", "eject"} <= lit(output, 10.545)


def test_more_parts_than_are_followed_are_a_fault() -> None:
    output = pins(delay=500)
    output.publish(replace(JUDGING, triggers=MOST), 0)
    lit(output, 1.0)
    assert output.trouble == ""
    output.publish(replace(JUDGING, triggers=MOST + 1), 0)
    lit(output, 1.1)
    assert output.trouble == "more than 256 parts are between camera and ejector"


def test_an_encoder_is_read_over_modbus_and_missed_when_it_is_gone(quick: Detector) -> None:
    """The register of the heartbeat rises as an encoder's does."""
    server = ModbusServer("0")
    with plc_line(quick, [server]):
        output = pins(encoder=f"modbus://127.0.0.1:{server.port}/103", counts=1000)
        encoder = output._encoder
        assert encoder is not None
        lit(output, 0.0)
        assert "cannot be read" in output.trouble  # it was not yet
        encoder.start()
        until(lambda: encoder.position >= 3 and not encoder.trouble)
        output.publish(opened(JUDGING, 0.0), 0)
        lit(output, 0.0)
        assert output.trouble == ""
    until(lambda: bool(encoder.trouble))  # its server is closed
    lit(output, 0.0)
    assert "cannot be read: no part passes the ejector" in output.trouble
    assert output._register.arrived(1e9) == [(1, False)]
    encoder.close()


def test_the_first_moment_of_the_pins_is_rejecting(monkeypatch: pytest.MonkeyPatch) -> None:
    chips = fake_gpiod.Chips()
    monkeypatch.setattr(gpiod, "request_lines", chips)
    lines = {"ready": 5, "reject": 13}
    drive = request_outputs("/dev/gpiochip0", lines, ["reject"], pin_guard.safe_levels(lines))
    asked = chips.requested[0].config
    assert asked[13].output_value is Value.ACTIVE
    assert asked[13].active_low
    assert asked[5].output_value is Value.INACTIVE
    drive({"ready": True, "reject": False})
    assert chips.requested[0].values == {5: Value.ACTIVE, 13: Value.INACTIVE}


@pytest.fixture
def guarded() -> Iterator[tuple[int, list[dict[str, bool]]]]:
    """The guard at work on a pipe: what it is given, and what it drives."""
    reading, writing = os.pipe()
    driven: list[dict[str, bool]] = []
    thread = threading.Thread(target=pin_guard.hold, args=({"ready": 5, "reject": 13}, driven.append, reading))
    thread.start()
    yield writing, driven
    thread.join(5)
    os.close(reading)
    assert not thread.is_alive()


def test_the_guard_rejects_when_nobody_speaks(guarded: tuple[int, list[dict[str, bool]]]) -> None:
    writing, driven = guarded
    safe, passing = {"ready": False, "reject": True}, {"ready": True, "reject": False}
    until(lambda: driven == [safe])
    os.write(writing, json.dumps(passing).encode() + b"\n")
    until(lambda: driven[-1] == passing)
    start = time.monotonic()
    until(lambda: driven[-1] == safe)
    assert time.monotonic() - start < pin_guard.SILENCE_S + 0.3
    os.write(writing, json.dumps(passing).encode() + b"\n")
    until(lambda: driven[-1] == passing)
    os.write(writing, b"nonsense\n")
    until(lambda: driven[-1] == safe)
    os.write(writing, json.dumps(passing).encode() + b"\n")
    until(lambda: driven[-1] == passing)
    os.close(writing)
    until(lambda: driven[-1] == safe)


HOST = """
import sys, time
from pathlib import Path
import edgead.stream.plc.pins as pins
from edgead.stream.plc.handshake import Handshake
output = pins.Pins(Path("/dev/gpiochip0"), ready=5, reject=13)
output.start(None)
while True:
    output.publish(Handshake(causes=frozenset()), 0)
    time.sleep(0.01)
"""
FAKE = """
import gpiod, sys, time
sys.path.insert(0, {support!r})
from gpiod.line import Value
import fake_gpiod
class Told(fake_gpiod.Lines):
    def set_values(self, values):
        with open({log!r}, "a") as file:
            levels = [int(values[at] is Value.ACTIVE) for at in (5, 13)]
            file.write(f"{{time.monotonic()}} {{levels[0]}} {{levels[1]}}\\n")
gpiod.request_lines = lambda path, consumer, config: Told(path, config)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_a_line_that_is_killed_or_stopped_leaves_its_pins_rejecting(tmp_path: Path, number: signal.Signals) -> None:
    """A real process and a real guard; only the chip is a stand-in, which writes down what is driven."""
    log = tmp_path / "driven"
    support = str(Path(fake_gpiod.__file__).parent)
    (tmp_path / "sitecustomize.py").write_text(FAKE.format(support=support, log=str(log)))
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    process = subprocess.Popen([sys.executable, "-c", HOST], env=environment)

    def driven() -> list[str]:
        return log.read_text().splitlines()[-1].split() if log.exists() and log.read_text() else []

    try:
        until(lambda: driven()[1:] == ["1", "1"], 60)
        process.send_signal(number)
        sent = time.monotonic()
        until(lambda: driven()[1:] == ["0", "1"])
        assert float(driven()[0]) - sent < pin_guard.SILENCE_S + 0.5
    finally:
        process.kill()
        process.wait()


def test_a_line_with_pins(quick: Detector, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    support = str(Path(fake_gpiod.__file__).parent)
    (tmp_path / "sitecustomize.py").write_text(FAKE.format(support=support, log=str(tmp_path / "driven")))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    output = open_plc("pins:/dev/gpiochip0?ready=5&reject=13")
    with plc_line(quick, [output]) as line:
        until(lambda: " 1 1\n" in (tmp_path / "driven").read_text())
        line.fire("test").answer.result(5)
        until(lambda: " 0 0\n" in (tmp_path / "driven").read_text())
    assert (tmp_path / "driven").read_text().endswith(" 0 1\n")


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("pins:/dev/gpiochip0", "needs a pin"),
        ("pins:/dev/gpiochip0?ready=5&ok=5", "one line for ok and ready"),
        ("pins:/dev/gpiochip0?ready=5&active_low=redy", "'redy'"),
        ("pins:/dev/gpiochip0?ready=5&counts=3", "delays by"),
        ("pins:/dev/gpiochip0?ready=5&encoder=modbus://h/x&counts=3", "an encoder is a register"),
        ("pins:/dev/gpiochip0?ready=5&pulse=0", "pulse"),
    ],
)
def test_what_cannot_be_is_said(spec: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        open_plc(spec)


def test_pins_that_cannot_be_had_end_the_start() -> None:
    output = open_plc("pins:/dev/no-chip?ready=5")
    with pytest.raises(UsageError, match="cannot be had"):
        output.start(object())
    output.close()
