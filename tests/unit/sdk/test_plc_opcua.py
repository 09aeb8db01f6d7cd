"""The handshake over OPC UA, by asyncua's own client: browsed, read, subscribed to, written and called."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from asyncua import ua
from asyncua.sync import Client, SyncNode
from lines import fake_detector
from plc_lines import plc_line
from programs import until

from edgead import Detector
from edgead.errors import UsageError
from edgead.stream.pipeline import Pipeline
from edgead.stream.plc.controller import HandshakeSettings
from edgead.stream.plc.opcua import OpcUaServer
from edgead.stream.plc.opcua_nodes import METHODS, NAMESPACE, NODES, ROOT
from edgead.stream.plc.opcua_station import OpcUaStation
from edgead.stream.plc.outputs import open_plc
from edgead.stream.plc.simulate import Simulation, SimulationSettings


@pytest.fixture(scope="module")
def server(tiny_bundle: Path) -> Iterator[tuple[Pipeline, OpcUaServer]]:
    output = OpcUaServer("0")
    handshake = HandshakeSettings(ack_within=0.0, recipes=(1, 2))
    with fake_detector(tiny_bundle) as detector, plc_line(detector, [output], fps=200, handshake=handshake) as line:
        yield line, output


@pytest.fixture
def client(server: tuple[Pipeline, OpcUaServer]) -> Iterator[Client]:
    with Client(f"opc.tcp://127.0.0.1:{server[1].port}/edgead") as one:
        until(lambda: node(one, "Handshake.Ready").read_value())
        yield one


def node(client: Client, path: str) -> SyncNode:
    return client.get_node(f"ns={client.get_namespace_index(NAMESPACE)};s={ROOT}.{path}")


def put(client: Client, path: str, value: object, kind: ua.VariantType) -> None:
    node(client, path).write_value(ua.Variant(value, kind))


def call(client: Client, path: str, *arguments: object) -> object:
    folder, _, name = path.rpartition(".")
    index = client.get_namespace_index(NAMESPACE)
    return node(client, folder).call_method(f"{index}:{name}", *arguments)


def test_every_node_of_the_table_can_be_browsed_and_read(client: Client) -> None:
    found = {}

    def walk(one: SyncNode, path: str) -> None:
        for child in one.get_children():
            name = child.read_browse_name().Name
            found[f"{path}.{name}".lstrip(".")] = child
            walk(child, f"{path}.{name}")

    walk(client.get_node(f"ns={client.get_namespace_index(NAMESPACE)};s={ROOT}"), "")
    assert {one.path for one in NODES} | set(METHODS) <= set(found)
    for one in NODES:
        assert found[one.path].read_data_type_as_variant_type() is ua.VariantType[one.kind]
        found[one.path].read_value()


def test_no_garbage_is_looked_for_while_it_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    async def init(server: object) -> None:
        seen.append(gc.isenabled())
        raise OSError("far enough")

    monkeypatch.setattr("edgead.stream.plc.opcua.Server.init", init)
    output = OpcUaServer("0")
    try:
        with pytest.raises(UsageError, match="far enough"):
            output.start(None)
        assert seen == [False]
        assert gc.isenabled()
    finally:
        output.close()


def test_one_part_by_written_signals_and_a_subscription(client: Client) -> None:
    seen: list[tuple[str, object]] = []

    class Handler:
        def datachange_notification(self, one: SyncNode, value: object, data: object) -> None:
            seen.append((one.nodeid.Identifier.rpartition(".")[2], value))

    subscription = client.create_subscription(10, Handler())
    subscription.subscribe_data_change([node(client, f"Handshake.{name}") for name in ("Ready", "Done", "Reject")])
    put(client, "Handshake.PartWanted", "A-17", ua.VariantType.String)
    put(client, "Handshake.Trigger", True, ua.VariantType.Boolean)
    until(lambda: ("Done", True) in seen)
    assert node(client, "ResultManagement.Results.PartId").read_value() == "A-17"
    assert node(client, "ResultManagement.Results.ResultState").read_value() == 1
    assert node(client, "Handshake.Reject").read_value() is False
    put(client, "Handshake.Ack", True, ua.VariantType.Boolean)
    until(lambda: ("Done", False) in seen[seen.index(("Done", True)) :])
    put(client, "Handshake.Trigger", False, ua.VariantType.Boolean)
    put(client, "Handshake.Ack", False, ua.VariantType.Boolean)
    until(lambda: node(client, "Handshake.Ready").read_value())
    assert ("Ready", False) in seen
    subscription.delete()


def test_one_part_by_methods(client: Client) -> None:
    job, error = call(client, "VisionStateMachine.AutomaticModeStateMachine.StartSingleJob", "m", "B-1", "2", "product")
    assert error == 0
    until(lambda: node(client, "Handshake.Done").read_value())
    assert node(client, "ResultManagement.Results.JobId").read_value() == job
    assert node(client, "ResultManagement.Results.RecipeId").read_value() == 2
    again = call(client, "VisionStateMachine.AutomaticModeStateMachine.StartSingleJob", "", "B-2", "", "")
    assert again == [0, 5]
    assert call(client, "ResultManagement.AcknowledgeResult", ua.Variant(job + 1, ua.VariantType.UInt32)) == -1
    assert call(client, "ResultManagement.AcknowledgeResult", ua.Variant(job, ua.VariantType.UInt32)) == 0
    until(lambda: node(client, "Handshake.Ready").read_value())
    assert node(client, "VisionStateMachine.CurrentState").read_value() == "Operational"
    mode = node(client, "VisionStateMachine.AutomaticModeStateMachine.CurrentState")
    assert mode.read_value() == "Ready"


def test_what_cannot_be_judged_is_refused_with_its_code(client: Client) -> None:
    start = "VisionStateMachine.AutomaticModeStateMachine.StartSingleJob"
    assert call(client, start, "", "x" * 40, "", "") == [0, 7]
    assert call(client, start, "", "A", "9", "") == [0, 6]
    assert call(client, start, "", "A", "first", "") == [0, 6]
    assert call(client, "RecipeManagement.PrepareRecipe", "9") == 6
    assert call(client, "RecipeManagement.PrepareRecipe", "1") == 0
    until(lambda: node(client, "RecipeManagement.ActiveRecipe").read_value() == 1)
    put(client, "Handshake.PartWanted", "\x07", ua.VariantType.String)
    put(client, "Handshake.Trigger", True, ua.VariantType.Boolean)
    until(lambda: node(client, "Diagnostics.FaultCode").read_value() == 7)
    put(client, "Handshake.PartWanted", "", ua.VariantType.String)
    put(client, "Handshake.Trigger", False, ua.VariantType.Boolean)
    assert call(client, "VisionStateMachine.Reset") == 0
    until(lambda: node(client, "Handshake.Ready").read_value())
    with pytest.raises(ua.UaStatusCodeError):
        put(client, "Handshake.Ready", True, ua.VariantType.Boolean)


def test_the_heartbeat_goes_on(client: Client) -> None:
    first = node(client, "Handshake.Heartbeat").read_value()
    until(lambda: node(client, "Handshake.Heartbeat").read_value() > first)


def test_every_trigger_has_one_answer_whatever_the_controller_does(server: tuple[Pipeline, OpcUaServer]) -> None:
    settings = SimulationSettings(25, 0.0, 0.5, faults=0.0, recipes=(1, 2), seed=3, patience=5.0)
    with OpcUaStation(f"opc.tcp://127.0.0.1:{server[1].port}") as link:
        report = Simulation(link, settings).run()
    assert report.sound, report.words()
    assert report.parts == 25


@pytest.mark.slow  # a server takes seconds to start
def test_beyond_this_machine_a_certificate_and_a_password_are_asked_for(
    tmp_path: Path, quick: Detector, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UsageError, match="can be reached by others"):
        open_plc("opcua:0.0.0.0:4840")
    monkeypatch.setenv("EDGEAD_OPCUA_USER", "plc")
    with pytest.raises(UsageError, match="together"):
        open_plc("opcua:4840")
    monkeypatch.setenv("EDGEAD_OPCUA_PASSWORD", "short")
    with pytest.raises(UsageError, match="too short"):
        open_plc("opcua:4840")
    monkeypatch.setenv("EDGEAD_OPCUA_PASSWORD", "long enough to be safe")
    cert, key = own_certificate(tmp_path)
    with pytest.raises(UsageError, match="together"):
        open_plc(f"opcua:0.0.0.0:4840?cert={cert}")
    output = open_plc(f"opcua:127.0.0.1:0?cert={cert}&key={key}")
    with plc_line(quick, [output]):
        url = f"opc.tcp://127.0.0.1:{output.port}/edgead"
        with pytest.raises(Exception, match=r"(?i)endpoint|policy|security|token|Bad"), Client(url):
            pass
        for password, right in (("long enough to be safe", True), ("guessed", False)):
            client = Client(url)
            client.set_security_string(f"Basic256Sha256,SignAndEncrypt,{cert},{key}")
            client.set_user("plc")
            client.set_password(password)
            if right:
                with client:
                    assert node(client, "Handshake.Heartbeat").read_value() >= 0
            else:
                with pytest.raises(ua.UaError), client:
                    pass
                if client.tloop.is_alive():
                    client.tloop.stop()


def own_certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate with the uri that OPC UA wants, and its key."""
    import subprocess

    from programs import need

    cert, key = folder / "cert.pem", folder / "key.pem"
    command = [need("openssl"), "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=edgead"]
    extra = ["-addext", "subjectAltName=URI:urn:edgead:test,DNS:localhost", "-keyout", str(key), "-out", str(cert)]
    subprocess.run([*command, *extra], check=True, capture_output=True)
    return cert, key


@pytest.mark.slow  # a server takes seconds to start
def test_a_line_that_ends_says_so_to_its_subscribers(quick: Detector) -> None:
    output, seen = OpcUaServer("0"), []

    class Handler:
        def datachange_notification(self, one: SyncNode, value: object, data: object) -> None:
            seen.append(value)

    with plc_line(quick, [output]):
        client = Client(f"opc.tcp://127.0.0.1:{output.port}/edgead")
        client.connect()
        until(lambda: node(client, "Handshake.Ready").read_value())
        client.create_subscription(10, Handler()).subscribe_data_change(node(client, "Handshake.Ready"))
        until(lambda: seen == [True])
    until(lambda: seen[-1] is False, 3)
    with suppress(Exception):
        client.disconnect()
    if client.tloop.is_alive():
        client.tloop.stop()


@pytest.mark.parametrize("spec", ["opcua:x", "opcua:line.local:4840", "opcua:4840?cert=absent.pem&key=absent.pem"])
def test_what_cannot_be_is_said(spec: str) -> None:
    with pytest.raises(UsageError, match="opcua"):
        open_plc(spec)
