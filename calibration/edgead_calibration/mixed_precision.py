"""Searches the fewest blocks that must be reverted to FP32, after measuring which a low precision hurts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

Passes = Callable[[frozenset[str]], bool]


def order(effects: Mapping[str, float]) -> list[str]:
    """The blocks, most sensitive first."""
    return sorted(effects, key=lambda name: (-effects[name], name))


def fewest(blocks: Sequence[str], passes: Passes) -> frozenset[str] | None:
    """The blocks to revert, of `blocks` in order of their effect; None where even all of them do not help.

    The shortest beginning that passes is found by halving, then each of its blocks but the last is taken out again
    where it passes without. What remains cannot spare any one block, given the ones before it.
    """
    if not passes(frozenset(blocks)):
        return None
    low, high = 0, len(blocks)  # all of `high` pass; fewer than `low + 1` are known not to, or were not tried
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if passes(frozenset(blocks[:middle])) else (middle + 1, high)
    reverted = list(blocks[:high])
    for name in reverted[-2::-1]:
        without = frozenset(reverted) - {name}
        if passes(without):
            reverted.remove(name)
    return frozenset(reverted)
