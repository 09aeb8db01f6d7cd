"""Sends frames to the shadow's process and takes its answers, without ever waiting for it while cameras are live."""

from __future__ import annotations

import logging
import os
import select
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from edgead.result import Result
from edgead.stream.shadow.process import Settings, task_of
from edgead.stream.sinks.base import Sink
from edgead.types import Frame, Verdict

_END_S = 2.0  # for the process to write its summary, and to end
_PATIENCE_S = 60.0  # for an answer, where frames come from files
_log = logging.getLogger(__name__)


class Shadow(Sink):
    """Compares another bundle with the line. A frame that comes while it is busy is left out and counted."""

    def __init__(self, settings: Settings, *, patient: bool = False) -> None:
        """Start the process. `patient` waits for its answers: where frames come from files, none is to be left out."""
        self.bundle = Path(settings.bundle)
        self._model = settings.line[:12]
        self.fault = ""  # why it no longer judges
        self._told: dict[str, Any] = {}  # what it said last
        self._patient = patient
        self._ready, self._busy, self._skipped = False, False, 0
        self._memory = os.memfd_create("edgead shadow")
        command = [sys.executable, "-m", "edgead.stream.shadow.process", str(self._memory)]
        self._process = subprocess.Popen(  # noqa: S603 - this program
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, pass_fds=[self._memory], bufsize=0,
            start_new_session=True,
        )  # fmt: skip
        self._unread = b""
        self._send(settings)

    def shadow(self) -> dict[str, Any]:
        return self._told | {"bundle": self.bundle.name, "fault": self.fault, "waiting": not self._ready}

    def emit(self, frame: Frame, result: Result) -> None:
        self._take_answers(_PATIENCE_S if self._patient else 0.0)
        if result.model != self._model and not self.fault:
            self._stop(
                f"the line judges with {result.model} now: start it again to compare {self.bundle.name} with that"
            )
        if self.fault or result.verdict is Verdict.INVALID:
            return
        if self._busy or not self._ready:
            self._skipped += 1
            return
        task = task_of(frame, result, self._skipped)
        os.pwrite(self._memory, np.ascontiguousarray(frame.image).data, 0)
        os.pwrite(self._memory, np.ascontiguousarray(result.grid_map, np.float32).data, frame.image.nbytes)
        self._busy, self._skipped = True, 0
        self._send(task)
        if self._patient:
            self._take_answers(_PATIENCE_S)

    def _send(self, words: msgspec.Struct) -> None:
        assert self._process.stdin is not None  # it was asked for
        try:
            self._process.stdin.write(msgspec.json.encode(words) + b"\n")
        except OSError:
            self._fail()

    def _take_answers(self, patience: float) -> None:
        """Take what the process has said; with patience, wait until it waits for a frame."""
        ends = time.monotonic() + patience
        assert self._process.stdout is not None  # it was asked for
        while not self.fault and (self._busy or not self._ready):
            if not select.select([self._process.stdout], [], [], max(0.0, ends - time.monotonic()))[0]:
                return
            said = os.read(self._process.stdout.fileno(), 1 << 16)
            if not said:
                self._fail()
                return
            *lines, self._unread = (self._unread + said).split(b"\n")
            for line in lines:
                self._told = msgspec.json.decode(line)
                self._ready, self._busy = True, False

    def _fail(self) -> None:
        code = self._process.wait()
        self._stop(f"the shadow {self.bundle.name} has ended with {code}; the line goes on without it")

    def _stop(self, words: str) -> None:
        self.fault = words
        _log.warning("%s", words)

    def close(self) -> None:
        if self._memory < 0:
            return
        assert self._process.stdin is not None  # it was asked for
        assert self._process.stdout is not None
        try:
            self._process.stdin.close()
            self._process.wait(_END_S)
        except (OSError, subprocess.TimeoutExpired):
            self._process.kill()
            with suppress(subprocess.TimeoutExpired):  # the machine has no time for it
                self._process.wait(_END_S)
        self._process.stdout.close()
        os.close(self._memory)
        self._memory = -1
