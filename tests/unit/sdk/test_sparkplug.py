"""Payloads of Sparkplug B, read by Google's Protocol Buffers."""

from __future__ import annotations

import json
import math

import pytest
import tiny
from hypothesis import given, settings
from hypothesis import strategies as st
from sparkplug_schema import Payload, read

from edgead import Detector, Frame
from edgead.errors import UsageError
from edgead.stream.sinks import open_sink
from edgead.stream.sinks.delivery import message
from edgead.stream.sinks.sparkplug import (
    BOOLEAN,
    DOUBLE,
    INT32,
    INT64,
    REBIRTH,
    STRING,
    SparkplugNode,
    asks_for_rebirth,
    metric,
    payload,
)


@given(
    whole=st.integers(0, 2**63 - 1),
    small=st.integers(0, 2**31 - 1),
    real=st.floats(),
    text=st.text(),
    truth=st.booleans(),
)
def test_every_kind_of_value_is_read_back(whole: int, small: int, real: float, text: str, truth: bool) -> None:
    given = {"a": (INT64, whole), "b": (INT32, small), "c": (DOUBLE, real), "d": (STRING, text), "e": (BOOLEAN, truth)}
    made = [metric(name, kind, value, 1_700_000_000_000) for name, (kind, value) in given.items()]
    seq, values, historical = read(payload([*made, metric("f", DOUBLE, None, 7)], 8, 255))
    assert (seq, historical) == (255, set())
    assert {name: value for name, value in values.items() if name not in "cf"} == {
        name: value for name, (_, value) in given.items() if name != "c"
    }
    assert values["c"] == real or math.isnan(real)
    assert values["f"] is None


def test_a_session_is_a_birth_and_numbered_data(detector: Detector) -> None:
    node = SparkplugNode("Plant", "press")
    topic, death = node.begin()
    assert (topic, read(death)) == ("spBv1.0/Plant/NDEATH/press", (None, {"bdSeq": 0}, set()))
    topic, birth = node.birth()
    seq, values, _ = read(birth)
    assert (topic, seq, values["bdSeq"], values[REBIRTH]) == ("spBv1.0/Plant/NBIRTH/press", 0, 0, False)
    said = json.loads(message(9, "press", detector.detect(Frame(tiny.bad(), 4, "x.png", 1.7e9, camera="left"))))
    first, second = node.data("left", said, historical=False)
    assert [first[0], second[0]] == ["spBv1.0/Plant/DBIRTH/press/left", "spBv1.0/Plant/DDATA/press/left"]
    seqs = [read(one[1])[0] for one in (first, second)]
    assert seqs == [1, 2]
    assert read(first[1])[1] == read(second[1])[1]
    values = read(second[1])[1]
    assert values["Result/Verdict"] == "NG"
    assert values["Result/Score"] == said["score"]
    assert values["Sequence"] == 9
    assert values["Result/Region count"] == len(said["regions"]) > 0
    (later,) = node.data("left", said, historical=True)
    assert read(later[1])[2] == set(values)
    for _ in range(252):
        node.data("left", said, historical=False)
    assert read(node.data("left", said, historical=False)[0][1])[0] == 0  # after 255
    assert read(node.begin()[1])[1] == {"bdSeq": 1}


def test_a_command_is_understood_and_nothing_else_is() -> None:
    command = Payload()
    command.metrics.add(name="Other", datatype=11, boolean_value=True)
    assert not asks_for_rebirth(command.SerializeToString())
    command.metrics.add(name=REBIRTH, datatype=11, boolean_value=True, alias=3, timestamp=2**40, float_value=1.0)
    assert asks_for_rebirth(command.SerializeToString())


@settings(deadline=None)
@given(st.binary(max_size=80))
def test_no_bytes_break_the_reader_of_commands(raw: bytes) -> None:
    assert asks_for_rebirth(raw) in (True, False)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("mqtt://h/a/b?payload=sparkplug", "must be a group's name alone"),
        ("mqtt://h?payload=sparkplug", "must be a group's name alone"),
        ("mqtt://h/a?payload=spark", "no payload 'spark': did you mean 'sparkplug'"),
    ],
)
def test_what_cannot_be_sent_is_explained(spec: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        open_sink(spec)
