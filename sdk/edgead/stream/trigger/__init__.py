"""Opens triggers: what says that a part is before the camera. Each is one file, named in one table."""

from __future__ import annotations

from dataclasses import dataclass

from edgead.registry import Lazy, Registry
from edgead.stream.sinks.options import read_call, split_spec
from edgead.stream.trigger.base import TriggerSource


@dataclass(frozen=True, slots=True)
class TriggerEntry(Lazy):
    """A trigger's class, called as Class(place, **options): its parameters are the options there are."""

    example: str = ""  # what is written to name one
    separator: str = "?"


TRIGGERS = Registry(
    "edgead.triggers",
    TriggerEntry,
    {
        "http": TriggerEntry("edgead.stream.trigger.http:HttpTrigger", example="http:8090"),
        "unix": TriggerEntry("edgead.stream.trigger.unix:UnixTrigger", example="unix:/run/edgead/trigger"),
        "mqtt": TriggerEntry(
            "edgead.stream.trigger.mqtt:MqttTrigger", example="mqtt://broker.local/line/trigger", extra="mqtt"
        ),
        "mqtts": TriggerEntry(
            "edgead.stream.trigger.mqtt:MqttTrigger", example="mqtts://broker.local/line/trigger", extra="mqtt"
        ),
        "gpio": TriggerEntry(
            "edgead.stream.trigger.gpio:GpioTrigger", example="gpio:/dev/gpiochip0/17?edge=rising", extra="gpio"
        ),
        "modbus": TriggerEntry(
            "edgead.stream.trigger.modbus:ModbusTrigger", example="modbus://10.0.0.4:502/coil/0", extra="modbus"
        ),
        "motion": TriggerEntry("edgead.stream.trigger.motion:MotionTrigger", example="motion:200,0,80,480?level=8"),
    },
)


def open_trigger(spec: str) -> TriggerSource:
    """The trigger that `spec` names: see TRIGGERS for what can be written.

    Raises UsageError for a spec that cannot be understood or whose package is missing, or a place that is taken.
    """
    kind, place, options = split_spec(spec, {kind: entry.separator for kind, entry in TRIGGERS.items()}, "trigger")
    entry = TRIGGERS[kind]
    make = entry.load(f"the trigger '{kind}'")
    source: TriggerSource = read_call(make, kind, place, options, entry.example or f"{kind}:PLACE", "trigger")
    return source
