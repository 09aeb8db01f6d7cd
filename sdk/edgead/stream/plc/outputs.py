"""Opens what carries the handshake. Each is one file, named in one table, imported when it is asked for."""

from __future__ import annotations

from dataclasses import dataclass

from edgead.registry import Lazy
from edgead.stream.plc.controller import PlcOutput
from edgead.stream.sinks.options import read_call, split_spec


@dataclass(frozen=True, slots=True)
class PlcEntry(Lazy):
    """A class, called as Class(place, **options): its parameters are the options there are."""

    example: str = ""
    separator: str = "?"


PLCS = {
    "modbus": PlcEntry("edgead.stream.plc.modbus:ModbusServer", example="modbus:502", extra="modbus"),
    "pins": PlcEntry("edgead.stream.plc.pins:Pins", example="pins:/dev/gpiochip0?reject=13&ready=5", extra="gpio"),
    "opcua": PlcEntry("edgead.stream.plc.opcua:OpcUaServer", example="opcua:4840", extra="opcua"),
}
_CLIENTS = {  # of these kinds, where a URL names the controller
    "modbus": PlcEntry("edgead.stream.plc.modbus_client:ModbusClient", example="modbus://10.0.0.4:502", extra="modbus"),
}


def open_plc(spec: str) -> PlcOutput:
    """What `spec` names: see PLCS. It listens once it is started.

    Raises UsageError for a spec that cannot be understood or whose package is missing.
    """
    kind, place, options = split_spec(spec, {kind: entry.separator for kind, entry in PLCS.items()}, "plc")
    entry = _CLIENTS[kind] if "://" in place and kind in _CLIENTS else PLCS[kind]
    make = entry.load(f"the plc '{kind}'")
    output: PlcOutput = read_call(make, kind, place, options, entry.example, "plc")
    return output
