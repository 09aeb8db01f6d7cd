"""Opens cameras from what a person writes: named, opened, and with how each is opened again."""

from __future__ import annotations

import functools
import logging
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from edgead.errors import SourceError, UsageError, nearest
from edgead.stream.capture import Camera, FrameGrabber
from edgead.stream.queue import LIVE_POLICIES
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
    """The cameras of `specs`, each a source or NAME=SOURCE, opened; see `open_source` for `bits` and `timeout`.

    `policy` says what becomes of live frames that come faster than they are judged: with `latest` the newest is taken,
    with `every` each in turn, however old it has become. A live source that cannot be reached is left to be opened
    later, as long as another can; a lost one is opened again and again, or until it was away for `give_up` seconds.
    Raises UsageError, or SourceError, and then leaves nothing open.
    """
    check_policy(policy)
    cameras: list[Camera] = []
    failures: list[SourceError] = []
    with ExitStack() as stack:
        for name, spec in named(specs):
            reopen = functools.partial(open_source, spec, bits=bits, timeout=timeout)
            source = _try(reopen, parse(spec)[0], failures)
            if source is not None:
                stack.callback(source.close)
            again = reopen if source is None or source.live else None
            cameras.append(Camera(name, source, again, described(spec), policy, give_up))
        if len(failures) == len(cameras):
            raise failures[0]
        stack.pop_all()
    for error in failures:
        _log.warning("%s; trying again until it is there", error)
    return cameras


def check_policy(name: str) -> None:
    """Raise UsageError for a policy that does not exist."""
    if name not in LIVE_POLICIES:
        raise UsageError(f"unknown policy '{name}': {nearest(name, LIVE_POLICIES)}")


def _try(reopen: functools.partial[Source], kind: str, failures: list[SourceError]) -> Source | None:
    try:
        return reopen()
    except SourceError as error:
        if not SOURCES[kind].live:
            raise
        failures.append(error)
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


@contextmanager
def grab_frames(spec: str, *, policy: str = "latest", bits: int = 16) -> Iterator[FrameGrabber]:
    """The frames of one source, read ahead under a policy; see `open_cameras`. One that is lost is not opened again.

    Raises UsageError, or SourceError where it cannot be opened or is lost.
    """
    check_policy(policy)
    with open_source(spec, bits=bits) as source, FrameGrabber([Camera("", source, policy=policy)]) as grabber:
        yield grabber


def close_cameras(cameras: Sequence[Camera]) -> None:
    """Close the sources that were opened; one that the line has closed already is left as it is."""
    for camera in cameras:
        if camera.source is not None:
            camera.source.close()
