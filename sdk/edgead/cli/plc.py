"""Implements `edgead plc`: the register map, and a controller to try a station with on a desk."""

from __future__ import annotations

import json
from enum import Enum
from typing import TYPE_CHECKING, Annotated

import typer

from edgead.cli.options import Json
from edgead.errors import GateError, SourceError, UsageError
from edgead.stream.plc.handshake import FAULTS, STEPS, Fault
from edgead.stream.plc.opcua_nodes import METHODS, NODES
from edgead.stream.plc.registers import BITS, REGISTERS, Register

if TYPE_CHECKING:
    from edgead.stream.plc.simulate import Link

app = typer.Typer(
    help="The handshake with a controller: its register map, and a simulator.",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


class Protocol(str, Enum):
    """What carries the handshake."""

    modbus = "modbus"
    opcua = "opcua"


@app.command("map")
def map_(as_json: Json = False) -> None:
    """Print the register map, which is the contract with the controller, and the fault codes.

    \b
    edgead plc map
    edgead plc map --json
    """
    if as_json:
        rows = {"bits": [_row(row) for row in BITS], "registers": [_row(row) for row in REGISTERS]}
        faults = {int(fault): FAULTS[fault][0] for fault in Fault}
        typer.echo(json.dumps({**rows, "faults": faults}, indent=2))
        return
    for line in map_lines():
        typer.echo(line)


def map_lines() -> list[str]:
    """The map as the documentation shows it: tables in Markdown."""
    lines = ["| bit | name | written by | meaning |", "|---|---|---|---|"]
    lines += [f"| {row.address} | `{row.name}` | {_writer(row)} | {row.words} |" for row in BITS]
    lines += ["", "| register | name | type | written by | meaning |", "|---|---|---|---|---|"]
    for row in REGISTERS:
        place = f"{row.address}" if row.size == 1 else f"{row.address} to {row.address + row.size - 1}"
        lines.append(f"| {place} | `{row.name}` | {row.kind} | {_writer(row)} | {row.words} |")
    lines += ["", "| fault | meaning | ends |", "|---|---|---|"]
    lines += [f"| {int(fault)} | {words} | {ends} |" for fault, (words, ends) in FAULTS.items()]
    return lines


def node_lines() -> list[str]:
    """The nodes of the OPC UA server as the documentation shows them: a table in Markdown."""
    lines = ["| node below `ns=2;s=VisionSystem.` | type | written by | meaning |", "|---|---|---|---|"]
    for node in NODES:
        writer = "controller" if node.written else "edgead"
        lines.append(f"| `{node.path}` | {node.kind} | {writer} | {node.words} |")
    for path, (arguments, results, words) in METHODS.items():
        takes, gives = (", ".join(f"{name}: {kind}" for name, kind in some) for some in (arguments, results))
        lines.append(f"| `{path}` | method | called by the controller | ({takes}) gives ({gives}): {words} |")
    return lines


def step_lines() -> list[str]:
    """The handshake as the documentation shows it: a table in Markdown."""
    lines = ["| in | on | next | what |", "|---|---|---|---|"]
    return lines + [f"| {one.phase.value} | {one.event} | {one.next.value} | {one.words} |" for one in STEPS]


def _writer(row: Register) -> str:
    return "controller" if row.written else "edgead"


def _row(row: Register) -> dict[str, object]:
    return {
        "name": row.name,
        "address": row.address,
        "type": row.kind,
        "size": row.size,
        "written_by": _writer(row),
        "meaning": row.words,
    }


@app.command()
def simulate(
    address: Annotated[
        str,
        typer.Argument(metavar="URL", help="The station, like modbus://127.0.0.1:5020 or opc.tcp://127.0.0.1:4840."),
    ],
    protocol: Annotated[Protocol, typer.Option(help="What carries the handshake.")] = Protocol.modbus,
    parts: Annotated[int, typer.Option(min=1, max=10**7, help="Parts to trigger.")] = 100,
    cycle: Annotated[float, typer.Option(min=0, max=3600, metavar="SECONDS", help="Between two parts.")] = 0.5,
    jitter: Annotated[
        float, typer.Option(min=0, max=1, metavar="SHARE", help="Of the cycle, by which it varies.")
    ] = 0.0,
    faults: Annotated[
        float, typer.Option(min=0, max=1, metavar="SHARE", help="Of the parts at which the controller does wrong.")
    ] = 0.0,
    recipes: Annotated[str, typer.Option(metavar="N,N", help="Recipe numbers, of which each part has one.")] = "",
    seed: Annotated[int, typer.Option(min=0, help="The same seed plays the same.")] = 0,
    patience: Annotated[
        float, typer.Option(min=0.1, max=600, metavar="SECONDS", help="To wait for any signal.")
    ] = 10.0,
    as_json: Json = False,
) -> None:
    """Play the controller: trigger, read the result, acknowledge; and say whether every trigger had one answer.

    Exit code 4 where one had none, two, or that of another part. What the controller does wrong with --faults: it
    acknowledges late or never, triggers early, leaves in the middle, writes a part's id that is none, or a recipe
    that is unknown.

    \b
    edgead plc simulate modbus://127.0.0.1:5020 --parts 1000 --cycle 0.1
    edgead plc simulate opc.tcp://127.0.0.1:4840 --protocol opcua --faults 0.02 --seed 7
    """
    from edgead.stream.plc.simulate import Simulation, SimulationSettings

    numbers = [text.strip() for text in recipes.split(",") if text.strip()]
    if not all(number.isdecimal() and 0 < int(number) < 65536 for number in numbers):
        raise UsageError(f"recipes are numbers from 1 to 65535 with commas between, not '{recipes}'")
    settings = SimulationSettings(parts, cycle, jitter, faults, [int(number) for number in numbers], seed, patience)
    with open_link(protocol.value, address) as link:
        try:
            report = Simulation(link, settings, lambda text: typer.echo(text, err=True)).run()
        except OSError as error:
            raise SourceError(f"the station at {address} was lost: {error}") from error
    if as_json:
        typer.echo(json.dumps(report.to_dict()))
    else:
        for line in report.words():
            typer.echo(line)
    if not report.sound:
        raise GateError("not every trigger had exactly one answer of its own: see the counts above")


def open_link(protocol: str, address: str, timeout: float = 1.0) -> Link:
    """The controller's end of the handshake with a station; a request may take `timeout` seconds."""
    if protocol == "opcua":
        from edgead.stream.plc.opcua_station import OpcUaStation

        return OpcUaStation(address, timeout)
    from edgead.stream.plc.simulate import ModbusStation

    return ModbusStation(address, timeout=timeout)
