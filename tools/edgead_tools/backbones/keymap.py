"""Loads a published checkpoint into a network with our names, strict in both directions.

Every tensor the network needs is taken from exactly one key of the checkpoint; every key of the checkpoint
that is not used must be known to be superfluous. A renamed, missing or extra tensor is an error, never a
randomly initialized layer.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from edgead.errors import WeightsError

Rule = tuple[str, str]  # regular expression for a whole published key, and the template of our name
SHOWN = 3  # names listed in a message


@dataclass(frozen=True, slots=True)
class Loaded:
    """What was taken of a checkpoint."""

    tensors: int
    unused: int  # tensors that were known and left


def load_published(
    network: nn.Module, state: Mapping[str, Tensor], rules: Sequence[Rule], *, unused: str, source: str
) -> Loaded:
    """Copy `state` into `network`, each key renamed by the first rule that matches the whole of it.

    `unused` matches the names (after renaming) that the network may do without; `source` names the checkpoint in
    the message. Raises WeightsError where a key has no rule, a tensor is missing, given twice, or of another shape.
    """
    renamed = _rename(state, rules, source)
    own = network.state_dict()
    missing = sorted(own.keys() - renamed.keys())
    extra = sorted(name for name in renamed.keys() - own.keys() if not re.fullmatch(unused, name))
    if missing or extra:
        raise WeightsError(f"{source} does not fit: missing {_some(missing)}, not expected {_some(extra)}")
    wrong = sorted(name for name, tensor in own.items() if tensor.shape != renamed[name].shape)
    if wrong:
        raise WeightsError(f"{source} does not fit: other shapes for {_some(wrong)}")
    network.load_state_dict({name: renamed[name] for name in own})
    return Loaded(tensors=len(own), unused=len(renamed) - len(own))


def _rename(state: Mapping[str, Tensor], rules: Sequence[Rule], source: str) -> dict[str, Tensor]:
    renamed: dict[str, Tensor] = {}
    for key, tensor in state.items():
        name = next((match.expand(ours) for theirs, ours in rules if (match := re.fullmatch(theirs, key))), None)
        if name is None or not isinstance(tensor, torch.Tensor):
            raise WeightsError(f"{source} does not fit: it has an unknown entry '{key}'")
        if name in renamed:
            raise WeightsError(f"{source} does not fit: two entries for '{name}'")
        renamed[name] = tensor
    return renamed


def _some(names: Sequence[str]) -> str:
    if not names:
        return "nothing"
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
