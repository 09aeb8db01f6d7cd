"""From what a person writes to cameras: named, opened, and told how to come back."""

from __future__ import annotations

import functools
import logging
import re
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from edgead.errors import SourceError, UsageError
from edgead.stream.capture import Camera
from edgead.stream.sources import SOURCES, Source, described, open_source, parse

_NAMED = re.compile(r"([A-Za-z][A-Za-z0-9_-]*)=(.+)", re.DOTALL)
_log = logging.getLogger(__name__)


def open_cameras(
    specs: Sequence[str],
    *,
    policy: str = "latest",
    bits: int = 16,
    timeout: float = 5.0,
    give_up: float | None = None,
) -> list[Camera]:
    """The cameras of `specs`, each a source or NAME=SOURCE, opened; see `open_source` for the options.

    A live one that cannot be reached is left to be opened later, as long as another can; a lost one is opened again
    for ever, or until it was away for `give_up` seconds. Raises UsageError, or SourceError, and then leaves nothing
    open.
    """
    cameras: list[Camera] = []
    troubles: list[SourceError] = []
    with ExitStack() as stack:
        for name, spec in named(specs):
            reopen = functools.partial(open_source, spec, policy=policy, bits=bits, timeout=timeout)
            source = _try(reopen, parse(spec)[0], troubles)
            if source is not None:
                stack.callback(source.close)
            again = reopen if source is None or source.live else None
            cameras.append(Camera(name, source, again, described(spec), policy, timeout == 0, give_up))
        if len(troubles) == len(cameras):
            raise troubles[0]
        stack.pop_all()
    for error in troubles:
        _log.warning("%s; trying again until it is there", error)
    return cameras


def _try(reopen: functools.partial[Source], kind: str, troubles: list[SourceError]) -> Source | None:
    try:
        return reopen()
    except SourceError as error:
        if not SOURCES[kind].live:
            raise
        troubles.append(error)
        return None


def named(specs: Sequence[str]) -> list[tuple[str, str]]:
    """The (name, source) of each spec; a source without a name has its own words for one, a lone one has none."""
    pairs = []
    for spec in specs:
        match = None if Path(spec).exists() else _NAMED.fullmatch(spec)
        pairs.append((match[1], match[2]) if match else ("", spec))
    if len(pairs) > 1:
        pairs = [(name or described(spec), spec) for name, spec in pairs]
    twice = [name for name, count in Counter(name for name, _ in pairs).items() if count > 1]
    if twice:
        raise UsageError(f"two cameras are called '{twice[0]}': name them, as in left={described(pairs[0][1])}")
    return pairs


def close_cameras(cameras: Sequence[Camera]) -> None:
    """Close the sources that were opened; one that the line has closed already is left as it is."""
    for camera in cameras:
        if camera.source is not None:
            camera.source.close()
