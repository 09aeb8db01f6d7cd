"""The report on precisions: what was shipped, what was left out and why, and which blocks were reverted to FP32."""

from __future__ import annotations

import msgspec

from edgead_calibration.gate import Comparison
from edgead_calibration.precisions import PrecisionResult, in_words
from edgead_tools.evaluation.report.precisions import section

FOUND = Comparison(
    map_mean=0.031, map_largest=0.4, spearman=0.997, false_alarms=0.05, false_alarms_fp32=0.04,
    misses=0.1, misses_fp32=0.1, auroc=0.991, auroc_fp32=0.992,
)  # fmt: skip
SHIPPED = PrecisionResult(
    precision="int8", engine="onnx", reverted=("trunk.<1>",), effects={"trunk.<1>": 0.5, "head": 0.01, "stem": 1e9},
    comparison=FOUND, size=2_300_000, size_fp32=6_000_000, milliseconds=19.5, milliseconds_fp32=20.0,
)  # fmt: skip
REFUSED = PrecisionResult(precision="fp16", engine="tensorrt", reason="its maps are not finite", size=1, size_fp32=2)


def record(*trials: PrecisionResult) -> dict[str, object]:
    return {"precisions": {"good": 20, "anomalous": 30, "trials": [msgspec.to_builtins(trial) for trial in trials]}}


def test_a_bundle_in_fp32_alone_has_no_such_part() -> None:
    assert section({"seed": 0}) is None


def test_the_page_has_a_row_for_each_trial_and_bars_for_each_block() -> None:
    made = section(record(SHIPPED, REFUSED))
    assert made is not None
    text = made.body
    assert text.count("<tr>") == 3
    assert "left out: its maps are not finite" in text
    assert "not faster here, so auto takes FP32; in FP32: trunk.&lt;1&gt;" in text
    assert text.count("<rect") == 3
    assert text.count("#e0533d") == 1
    assert "19.5 / 20.0" in text
    assert "<1>" not in text
    widths = [float(part.partition('"')[0]) for part in text.split(' width="')[1:] if " height=" in part[:20]]
    assert max(widths) == 300


def test_the_terminal_gets_the_same_in_a_line() -> None:
    first, second = in_words(SHIPPED), in_words(REFUSED)
    assert "2.3 MB of 6.0" in first
    assert "1 blocks reverted to FP32" in first
    assert "stays with FP32" in first
    assert second.endswith("left out: its maps are not finite")
