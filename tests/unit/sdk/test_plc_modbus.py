"""The handshake over Modbus TCP, by a stock client of pymodbus that knows nothing but the printed map."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import lines
import numpy as np
import pytest
from lines import Brightness, Scripted, fake_detector, paced
from plc_lines import plc_line
from programs import free_port, until
from pymodbus.client import ModbusTcpClient

from edgead import Detector, Verdict
from edgead.errors import SourceError, UsageError
from edgead.stream.capture import Camera
from edgead.stream.pipeline import Pipeline
from edgead.stream.plc.controller import HandshakeSettings
from edgead.stream.plc.modbus import ModbusServer
from edgead.stream.plc.outputs import open_plc
from edgead.stream.plc.simulate import ModbusStation, Simulation, SimulationSettings


class Plc:
    """A controller's program, written after the map as `edgead plc map --json` prints it."""

    def __init__(self, port: int, rows: dict) -> None:
        self.client = ModbusTcpClient("127.0.0.1", port=port, timeout=2)
        assert self.client.connect()
        self._bits = {row["name"]: row["address"] for row in rows["bits"]}
        self._registers = {row["name"]: row for row in rows["registers"]}

    def bit(self, name: str) -> bool:
        return self.client.read_discrete_inputs(self._bits[name]).bits[0]

    def coil(self, name: str, value: bool):
        return self.client.write_coil(self._bits[name], value)

    def read(self, name: str):
        row = self._registers[name]
        found = self.client.read_input_registers(row["address"], count=row["size"]).registers
        kinds = {"float32": self.client.DATATYPE.FLOAT32, "uint32": self.client.DATATYPE.UINT32}
        kinds |= {"uint16": self.client.DATATYPE.UINT16, "text": self.client.DATATYPE.STRING}
        return self.client.convert_from_registers(found, kinds[row["type"]])

    def write(self, name: str, values: list[int]):
        return self.client.write_registers(self._registers[name]["address"], values)


@pytest.fixture
def rows(edgead) -> dict:
    code, out, _ = edgead("plc", "map", "--json")
    assert code == 0
    return json.loads(out)


@pytest.fixture
def line(quick: Detector) -> Iterator[tuple[Pipeline, int]]:
    server = ModbusServer("0")
    with plc_line(quick, [server]) as running:
        yield running, server.port
    assert lines.threads() == []


def test_one_part_by_bits_and_registers(line: tuple[Pipeline, int], rows: dict) -> None:
    plc = Plc(line[1], rows)
    until(lambda: plc.bit("ready"))
    assert plc.bit("reject")
    text = plc.client.convert_to_registers("A-17".ljust(32, "\0"), plc.client.DATATYPE.STRING)
    plc.write("part_wanted", text)
    plc.coil("trigger", True)
    until(lambda: plc.bit("done"))
    assert not plc.bit("reject")
    assert plc.bit("ok")
    assert (plc.read("result"), plc.read("part"), plc.read("trigger_number")) == (1, "A-17", 1)
    assert plc.read("score") == pytest.approx((50 / 255 - 0.2) / 0.4, abs=1e-6)
    plc.coil("ack", True)
    until(lambda: not plc.bit("done"))
    assert plc.bit("reject")
    plc.write("command", [0])
    until(lambda: plc.bit("ready"))
    beats = plc.read("heartbeat_count")
    until(lambda: plc.read("heartbeat_count") != beats)
    assert plc.read("count_ok") == plc.read("triggers") == 1
    plc.client.close()


def test_what_no_client_may(line: tuple[Pipeline, int], rows: dict) -> None:
    plc = Plc(line[1], rows)
    until(lambda: plc.bit("ready"))
    assert plc.write("status", [1]).exception_code == 2
    assert plc.coil("ready", True).exception_code == 2
    assert plc.client.read_holding_registers(5000).exception_code == 2
    assert not plc.coil("ack", False).isError()
    other = Plc(line[1], rows)
    assert other.coil("trigger", True).exception_code == 6
    assert (other.read("fault_code"), other.bit("ready")) == (8, False)
    plc.coil("reset", True)
    plc.coil("reset", False)
    until(lambda: plc.bit("ready"))
    plc.client.close()
    until(lambda: not other.coil("trigger", True).isError())
    until(lambda: other.bit("done"))
    other.client.close()
    assert line[0].status().triggers.triggers == 1


def test_a_master_that_dies_raises_nothing(line: tuple[Pipeline, int], rows: dict) -> None:
    plc = Plc(line[1], rows)
    until(lambda: plc.bit("ready"))
    plc.coil("trigger", True)
    plc.client.close()
    other = Plc(line[1], rows)
    until(lambda: other.bit("done"))
    assert other.client.read_coils(0, count=3).bits[:3] == [False] * 3
    other.client.close()


def test_a_hung_engine_turns_ready_off_and_stops_the_heartbeat(tiny_bundle: Path, rows: dict) -> None:
    """The part is answered LATE when it is due, and from then on nothing says that the line judges."""
    engine, server = Brightness(), ModbusServer("0")
    with Detector(tiny_bundle, engine=engine) as detector, plc_line(detector, [server], within=0.4):
        plc = Plc(server.port, rows)
        until(lambda: plc.bit("ready"))
        engine._seconds = 2.5
        plc.coil("trigger", True)
        raised = time.monotonic()
        until(lambda: plc.bit("done"))
        assert plc.bit("late")
        assert plc.bit("reject")
        until(lambda: plc.read("fault_code") == 3)
        beats = plc.read("heartbeat_count")
        stopped = time.monotonic() - raised
        assert stopped < 0.4 + 0.5
        time.sleep(0.4)
        assert plc.read("heartbeat_count") == beats
        engine._seconds = 0.0
        plc.write("command", [2])
        plc.write("command", [0])
        until(lambda: plc.bit("ready"))
        plc.client.close()


def test_a_lost_camera_is_a_fault_until_it_is_back(tiny_bundle: Path, rows: dict) -> None:
    server, back, lose = ModbusServer("0"), threading.Event(), threading.Event()

    def frames() -> Iterator[np.ndarray]:
        for image in paced(100):
            if lose.is_set():
                return
            yield image

    def reopen() -> Scripted:
        if not back.is_set():
            raise SourceError("cam cannot be opened")
        return Scripted(paced(100))

    camera = Camera("", Scripted(frames(), SourceError("cam was lost")), reopen)
    with fake_detector(tiny_bundle) as detector, plc_line(detector, [server], camera):
        plc = Plc(server.port, rows)
        until(lambda: plc.bit("ready"))
        lose.set()
        until(lambda: plc.read("fault_code") == 2)
        assert (plc.bit("ready"), plc.bit("reject")) == (False, True)
        beats = plc.read("heartbeat_count")
        until(lambda: plc.read("heartbeat_count") != beats)
        back.set()
        until(lambda: plc.bit("ready"))
        plc.client.close()


def test_every_trigger_has_one_answer_whatever_the_controller_does(tiny_bundle: Path) -> None:
    server = ModbusServer("0")
    handshake = HandshakeSettings(ack_within=0.1, recipes=(1, 2))
    with fake_detector(tiny_bundle) as detector, plc_line(detector, [server], fps=200, handshake=handshake) as line:
        settings = SimulationSettings(60, 0.0, 0.5, faults=0.4, recipes=(1, 2), seed=3, patience=5.0)
        with ModbusStation(f"modbus://127.0.0.1:{server.port}") as link:
            report = Simulation(link, settings).run()
        assert report.sound, report.words()
        assert sum(report.faults.values()) > 10
        assert line.status().triggers.triggers == report.parts == 60


def test_the_word_order_is_as_asked_for(quick: Detector) -> None:
    server = ModbusServer("0", words="little")
    with plc_line(quick, [server]), ModbusStation(f"modbus://127.0.0.1:{server.port}", "little") as link:
        report = Simulation(link, SimulationSettings(2, 0.0)).run()
    assert (report.sound, report.parts) == (True, 2)


def test_as_a_client_edgead_writes_into_the_controllers_own_registers(quick: Detector) -> None:
    """The controller is the server here: pymodbus' own, with plain memory."""
    import asyncio

    from pymodbus.server import ModbusTcpServer
    from pymodbus.simulator import DataType, SimData, SimDevice

    port, loop, servers = free_port(), asyncio.new_event_loop(), []

    async def serve() -> None:
        device = SimDevice(1, simdata=[SimData(0, values=[0] * 400, datatype=DataType.REGISTERS)])
        servers.append(ModbusTcpServer(device, address=("127.0.0.1", port)))
        await servers[0].serve_forever(background=True)

    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    asyncio.run_coroutine_threadsafe(serve(), loop).result(10)
    try:
        output = open_plc(f"modbus://127.0.0.1:{port}?base=40&poll=2")
        plc = ModbusTcpClient("127.0.0.1", port=port)
        plc.connect()

        def status() -> int:
            return plc.read_holding_registers(140).registers[0]

        with plc_line(quick, [output]):
            until(lambda: status() & 1)
            plc.write_registers(40, [1, 0, 0x4131])
            until(lambda: status() & 4)
            assert plc.read_holding_registers(141).registers == [1]
            assert plc.read_holding_registers(154).registers == [0x4131]
            plc.write_register(40, 2)
            until(lambda: not status() & 4)
            plc.write_register(40, 0)
            until(lambda: status() & 1)
        assert status() & 0b101001 == 0b101000  # not ready, a fault, reject
        plc.close()
    finally:
        asyncio.run_coroutine_threadsafe(servers[0].shutdown(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def test_a_controller_that_is_not_there_costs_the_line_nothing(quick: Detector) -> None:
    output = open_plc(f"modbus://127.0.0.1:{free_port()}")
    with plc_line(quick, [output]) as line:
        assert line.fire("test").answer.result(5).verdict is Verdict.OK


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("modbus:0.0.0.0:502", "say who may connect"),
        ("modbus:x", "port"),
        ("modbus:502?clients=line.local", "IP addresses"),
        ("modbus:502?words=middle", "words=big"),
        ("modbus://h:1?base=70000", "base"),
        ("profinet:1", "no kind of plc"),
    ],
)
def test_what_cannot_be_is_said(spec: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        open_plc(spec)


def test_a_port_that_is_taken_ends_the_start(quick: Detector) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken:
        server = ModbusServer(str(taken.getsockname()[1]))
        with pytest.raises(UsageError, match="the port is taken"):
            server.start(object())
        server.close()


def test_foreign_clients_are_not_served(quick: Detector, rows: dict) -> None:
    server = ModbusServer("0", clients="127.0.0.2")
    with plc_line(quick, [server]):
        client = ModbusTcpClient("127.0.0.1", port=server.port, timeout=0.3, retries=0)
        client.connect()
        with pytest.raises(Exception, match=r"[Cc]onnection|No response|closed"):
            client.read_coils(0)
        client.close()
