"""The handshake by itself: the contract's table, and that no order of events breaks it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgead.stream.plc import handshake, registers
from edgead.stream.plc.handshake import FAULTS, HELD, STEPS, Fault, Handshake, Inputs, PartAnswer, Phase, ResultWord

JUDGING = Handshake(causes=frozenset())
UP, DOWN, ACK = Inputs(trigger=True, part="A"), Inputs(), Inputs(trigger=True, ack=True)


def say(state: Handshake, inputs: Inputs, **options: object) -> Handshake:
    """What the controller says, and the trigger that it fires."""
    state, fire = handshake.controlled(state, inputs, 0.0, **options)
    return handshake.opened(state, 0.0) if fire else state


def answer(state: Handshake, word: ResultWord = ResultWord.OK, part: str = "A") -> Handshake:
    return handshake.answered(state, PartAnswer(word, part=part), 0.0)


def lamps(state: Handshake) -> str:
    names = ("ready", "busy", "done", "reject")
    return " ".join([*(name for name in names if getattr(state, name)), *(["fault"] if state.fault else [])])


def test_one_part() -> None:
    state = JUDGING
    seen = [lamps(state)]
    for event in (UP, "answer", ACK, DOWN):
        state = answer(state) if event == "answer" else say(state, event)
        seen.append(lamps(state))
    assert seen == ["ready reject", "busy reject", "done", "reject", "ready reject"]
    assert state.counts[ResultWord.OK] == state.triggers == 1


@pytest.mark.parametrize("word", [word for word in ResultWord if word is not ResultWord.OK])
def test_whatever_is_not_ok_is_rejected(word: ResultWord) -> None:
    assert answer(say(JUDGING, UP), word).reject


@pytest.mark.parametrize("fault", sorted(HELD))
def test_a_cause_turns_ready_off_and_reject_on_as_long_as_it_holds(fault: Fault) -> None:
    done = answer(say(JUDGING, UP))
    for state in (JUDGING, done):
        broken = handshake.caused(state, frozenset({fault}))
        assert (broken.ready, broken.reject, broken.fault) == (False, True, fault)
        assert handshake.caused(broken, frozenset()) == state


def test_it_begins_stopped_and_rejecting() -> None:
    assert (lamps(Handshake()), Handshake().fault) == ("reject fault", Fault.STOPPED)


def test_an_early_trigger_takes_no_part() -> None:
    busy = say(JUDGING, UP)
    again = say(say(busy, DOWN), UP)
    assert (again.triggers, again.refused, again.fault) == (1, 1, Fault.NOT_READY)
    assert answer(again).done
    released = say(say(answer(again), ACK), DOWN)
    assert lamps(released) == "ready reject"


@pytest.mark.parametrize(
    ("wrong", "fault"),
    [(Inputs(trigger=True, bad_part=True), Fault.BAD_PART), (Inputs(trigger=True, recipe=9), Fault.UNKNOWN_RECIPE)],
)
def test_nothing_is_judged_under_a_wrong_id_or_recipe(wrong: Inputs, fault: Fault) -> None:
    state = say(replace(JUDGING, recipe=2), wrong, recipes={1, 2})
    assert (state.triggers, state.fault, state.recipe, state.refused) == (0, fault, 2, 1)
    state = say(state, Inputs(reset=True, recipe=wrong.recipe), recipes={1, 2})
    assert state.fault is Fault.NONE


def test_a_known_recipe_counts_from_the_next_trigger_on() -> None:
    state = say(JUDGING, Inputs(recipe=2, trigger=True), recipes={1, 2})
    assert (state.recipe, state.triggers) == (2, 1)


def test_a_trigger_has_the_recipe_that_its_controller_says_whoever_chose_another() -> None:
    state = say(JUDGING, Inputs(recipe=2), recipes={1, 2})
    state = say(replace(state, recipe=1), Inputs(recipe=2, trigger=True), recipes={1, 2})
    assert (state.recipe, state.triggers) == (2, 1)


def test_a_controller_that_never_acknowledges() -> None:
    done = answer(say(JUDGING, UP))
    assert handshake.ticked(done, 4.9, 5.0) is done
    state = handshake.ticked(done, 5.1, 5.0)
    assert (state.fault, state.ready) == (Fault.NO_ACK, False)
    assert say(say(state, ACK), DOWN).ready
    assert say(say(state, Inputs(reset=True)), DOWN).ready
    assert handshake.ticked(done, 1e6, 0.0) is done


def test_without_acknowledgement_the_next_trigger_takes_the_result_away() -> None:
    done = say(answer(say(replace(JUDGING, ack=False), UP)), DOWN)
    assert (done.done, done.ready, done.reject) == (True, True, False)
    assert lamps(say(done, UP)) == "busy reject"
    assert lamps(handshake.opened(done, 0.0)) == "busy reject"  # by a sensor
    assert handshake.ticked(done, 1e6, 5.0) is done


def test_answers_of_other_triggers_wait_for_their_turn() -> None:
    state = JUDGING
    for _ in range(2):
        state = handshake.opened(state, 0.0)
    for part in "AB":
        state = answer(state, part=part)
    assert (state.answer.part, len(state.waiting)) == ("A", 1)
    state = say(say(state, Inputs(ack=True)), DOWN)
    assert (state.answer.part, state.phase) == ("B", Phase.DONE)
    assert say(say(state, Inputs(ack=True)), DOWN).ready


def test_too_many_answers_are_a_fault_and_never_mixed() -> None:
    state = JUDGING
    for number in range(handshake.WAITING + 3):
        state = answer(handshake.opened(state, 0.0), part=str(number))
    assert state.fault is Fault.OVERFLOW
    assert [one.part for one in state.waiting] == [str(number + 1) for number in range(handshake.WAITING)]


EVENTS = st.one_of(
    st.builds(Inputs, st.booleans(), st.booleans(), st.booleans(), st.sampled_from("AB"), st.integers(0, 3)),
    st.sampled_from(["opened", "answered", "late", "stopped", "judging"]),
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(EVENTS, max_size=40), st.booleans())
def test_no_order_of_events_breaks_the_contract(events: list, ack: bool) -> None:
    state, steps = replace(JUDGING, ack=ack), {(step.phase, step.next) for step in STEPS}
    steps |= set() if ack else {(Phase.DONE, Phase.BUSY)}
    for now, event in enumerate(events):
        before = state
        if isinstance(event, Inputs):
            state, fire = handshake.controlled(state, event, now, recipes={1, 2})
            assert not fire or before.phase in (Phase.IDLE, Phase.RELEASE, Phase.DONE)
            if fire:
                assert not event.bad_part
                state = handshake.opened(state, now)
        elif event == "opened":
            state = handshake.opened(state, now)
        elif event == "answered" and state.open:
            state = handshake.answered(state, PartAnswer(ResultWord.OK), now)
        elif event == "late":
            state = handshake.ticked(state, now, 3.0)
        elif event in ("stopped", "judging"):
            state = handshake.caused(state, frozenset({Fault.STOPPED} if event == "stopped" else ()))
        assert state.busy + state.done <= 1
        assert not (state.ready and (state.busy or (state.done and state.ack)))
        assert not (state.ready and state.fault)
        assert state.reject or (state.done and state.answer.word is ResultWord.OK)
        assert state.recipe in (0, 1, 2)
        if before.phase is not state.phase and not isinstance(event, Inputs):
            assert (before.phase, state.phase) in steps


def test_every_fault_is_in_the_table() -> None:
    assert set(FAULTS) == set(Fault)


def test_the_map_has_no_row_twice_and_every_value_comes_back() -> None:
    taken = [address for row in registers.REGISTERS for address in range(row.address, row.address + row.size)]
    assert len(taken) == len(set(taken))
    assert len({row.address for row in registers.BITS}) == len(registers.BITS)
    answer = PartAnswer(ResultWord.NG, 1.25, 10, 20, 30, 40, part="A-17", trigger=70000, recipe=3)
    state = handshake.answered(say(JUDGING, UP), answer, 0.0)
    for words in registers.WORDS:
        found, bits = registers.encode_status(state, 7, words)
        rows = {row.name: row for row in registers.REGISTERS if not row.written}
        values = {
            name: registers.decode(row, found[row.address - registers.STATUS :][: row.size], words)
            for name, row in rows.items()
        }
        assert values["part"].rstrip("\0") == "A-17"
        assert (values["score"], values["trigger_number"], values["result"]) == (1.25, 70000, 2)
        assert (values["x"], values["y"], values["width"], values["height"]) == (10, 20, 30, 40)
        assert values["status"] == 0b111100 - 0b001000  # done, heartbeat and reject
        first = min(row.address for row in registers.BITS if not row.written)
        lit = {row.name for row in registers.BITS if not row.written and bits[row.address - first]}
        assert lit == {"done", "heartbeat", "reject", "ng"}


def test_what_the_controller_writes() -> None:
    part = registers.encode(registers.REGISTERS[2], "A-17")
    assert registers.inputs_of([0b101, 3, *part]) == Inputs(True, False, True, "A-17", 3)
    assert registers.inputs_of([1, 0, 0x0741, *[0] * 15]).bad_part
