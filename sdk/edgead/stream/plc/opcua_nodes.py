"""The nodes of the OPC UA server: one table, after the Machine Vision companion specification (OPC 40100-1) as far as
it fits a line that judges one part at a time.

Every node is `ns=2;s=VisionSystem.<path>`, its browse name the last part of the path. Not taken over from the
specification: its type definitions, configuration management, partial results and continuous execution.
"""

from __future__ import annotations

from dataclasses import dataclass

from edgead.stream.plc.handshake import FAULTS, Fault, Handshake
from edgead.stream.plc.registers import status_values

ROOT = "VisionSystem"
NAMESPACE = "urn:edgead:vision"


@dataclass(frozen=True, slots=True)
class Node:
    """One variable."""

    path: str  # below VisionSystem
    kind: str  # the name of an OPC UA built-in type
    key: str  # of the values that `node_values` gives
    words: str
    written: bool = False  # by the controller


NODES = (
    Node("VisionStateMachine.CurrentState", "String", "state", "Preoperational, Operational, Error or Halted"),
    Node(
        "VisionStateMachine.AutomaticModeStateMachine.CurrentState",
        "String",
        "mode",
        "Initialized, Ready or SingleExecution; empty unless Operational",
    ),
    Node("RecipeManagement.ActiveRecipe", "UInt16", "recipe_active", "recipe that the next part is judged with"),
    Node("ResultManagement.Results.JobId", "UInt32", "trigger_number", "of the part, in this run"),
    Node("ResultManagement.Results.PartId", "String", "part", "as the trigger gave it"),
    Node("ResultManagement.Results.RecipeId", "UInt16", "recipe", "recipe that the part was judged with"),
    Node("ResultManagement.Results.ResultState", "UInt16", "result", "0 none, 1 OK, 2 NG, 3 REVIEW, 4 INVALID, 5 LATE"),
    Node("ResultManagement.Results.Score", "Float", "score", "1.0 is the bundle's threshold; -1.0: none"),
    Node("ResultManagement.Results.X", "UInt16", "x", "of the strongest defect, in pixels"),
    Node("ResultManagement.Results.Y", "UInt16", "y", "of the strongest defect"),
    Node("ResultManagement.Results.Width", "UInt16", "width", "of the strongest defect"),
    Node("ResultManagement.Results.Height", "UInt16", "height", "of the strongest defect"),
    Node("Diagnostics.FaultCode", "UInt16", "fault_code", "see the table of faults"),
    Node("Diagnostics.FaultText", "String", "fault_text", "the same in words"),
    Node("Diagnostics.Triggers", "UInt32", "triggers", "in this run"),
    Node("Diagnostics.Refused", "UInt32", "refused", "raises of Trigger while Ready was off"),
    Node("Diagnostics.CountOk", "UInt32", "count_ok", "parts in this run"),
    Node("Diagnostics.CountNg", "UInt32", "count_ng", "parts in this run"),
    Node("Diagnostics.CountReview", "UInt32", "count_review", "parts in this run"),
    Node("Diagnostics.CountInvalid", "UInt32", "count_invalid", "parts in this run"),
    Node("Diagnostics.CountLate", "UInt32", "count_late", "parts in this run"),
    Node("Handshake.Heartbeat", "UInt32", "beats", "rises by one as long as the line judges"),
    Node("Handshake.Reject", "Boolean", "reject", "reject what passes: off only for a part that is OK"),
    Node("Handshake.Fault", "Boolean", "fault", "see Diagnostics.FaultCode"),
    Node("Handshake.Busy", "Boolean", "busy", "a part is being judged"),
    Node("Handshake.Done", "Boolean", "done", "the result stands there"),
    Node("Handshake.Ready", "Boolean", "ready", "a trigger may come"),
    Node("Handshake.Trigger", "Boolean", "trigger", "a part is there", written=True),
    Node("Handshake.Ack", "Boolean", "ack", "the result was read", written=True),
    Node("Handshake.Reset", "Boolean", "reset", "drop results and notices", written=True),
    Node("Handshake.PartWanted", "String", "part_wanted", "the part's id, before or with Trigger", written=True),
    Node("Handshake.RecipeWanted", "UInt16", "recipe_wanted", "recipe from now on; 0: as it is", written=True),
)
METHODS = {  # path: (arguments, results, words)
    "VisionStateMachine.AutomaticModeStateMachine.StartSingleJob": (
        (("MeasId", "String"), ("PartId", "String"), ("RecipeId", "String"), ("ProductId", "String")),
        (("JobId", "UInt32"), ("Error", "Int32")),
        "judge one part; Error is 0, or the fault that kept it from being taken",
    ),
    "VisionStateMachine.Reset": ((), (("Error", "Int32"),), "drop results and notices; Error is the fault that stays"),
    "RecipeManagement.PrepareRecipe": (
        (("ExternalId", "String"),),
        (("Error", "Int32"),),
        "judge parts from now on with a recipe; Error is 0 or 6",
    ),
    "ResultManagement.AcknowledgeResult": (
        (("JobId", "UInt32"),),
        (("Error", "Int32"),),
        "the result of that job was read; Error is 0, or -1 where another stands there",
    ),
}


def node_values(state: Handshake, beats: int) -> dict[str, bool | int | float | str]:
    """What every node holds that edgead writes, by its key."""
    fault = state.fault
    machine = "Preoperational" if fault is Fault.STOPPED else "Error" if fault else "Operational"
    mode = "SingleExecution" if state.busy else "Ready" if state.ready else "Initialized"
    more: dict[str, bool | int | float | str] = {
        "state": machine,
        "mode": "" if fault else mode,
        "fault_text": FAULTS[fault][0] if fault else "",
        "beats": beats & 0xFFFFFFFF,
    }
    return {**status_values(state, beats), **more}
