"""Builds products one after the other, each in a process forked from one that has imported what a build needs.

    python -m edgead_tools.distributed.fork_server

Importing takes longer than building a small product. Here it is done once, by a process that starts no thread and
builds nothing itself; each product is built in a child of its own, so that whatever becomes of it costs no other.
Standard input has an order a line, standard output the row that came of it, or the word that its process has died. The
server ends with its input, and a child with the server.
"""

from __future__ import annotations

import ctypes
import gc
import os
import select
import signal
import subprocess
import sys
import traceback
from contextlib import suppress
from importlib import import_module

import msgspec

from edgead.closing import Closing
from edgead_tools.distributed.product import Order, ProductRow, build_product

PRELOADED = (  # what a build imports in its course; openvino is not among them, whose import starts a thread
    "edgead_tools.pipeline.build",
    "edgead_tools.methods.stlm.edge",
    "edgead_calibration.ranges",
    "edgead.engines.onnx",
    "onnxscript",
    "torch.onnx",
    "torch._dynamo",
    "torch._functorch.aot_autograd",
)
_DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG of prctl(2)
_LEAVE_S = 5.0


class Died(msgspec.Struct, frozen=True, tag=True):
    """A process that has left no row."""

    code: int  # negative: the signal that ended it

    def __str__(self) -> str:
        return f"ended by {signal.Signals(-self.code).name}" if self.code < 0 else f"ended with {self.code}"


class Built(msgspec.Struct, frozen=True, tag=True):
    """A process that has left a row."""

    row: ProductRow


Answer = Built | Died


class ForkServer(Closing):
    """The server as another process has it; it starts with the first order."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def build(self, order: Order) -> Answer:
        """Have a product built."""
        process = self._process = self._process or self._start()
        assert process.stdin is not None  # it was asked for
        assert process.stdout is not None
        with suppress(BrokenPipeError):  # then there is no answer, either
            process.stdin.write(msgspec.json.encode(order) + b"\n")
            process.stdin.flush()
        line = process.stdout.readline()
        if line.endswith(b"\n"):
            return msgspec.json.decode(line, type=Answer)  # type: ignore[no-any-return]
        self.close()
        return Died(process.returncode)

    def _start(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "edgead_tools.distributed.fork_server"]
        return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)  # noqa: S603 - this program

    def close(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        assert process.stdin is not None
        assert process.stdout is not None
        with suppress(BrokenPipeError):
            process.stdin.close()
        try:
            process.wait(_LEAVE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()


def serve() -> None:
    """Answer orders until the input ends."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a build prints is no answer
    for name in PRELOADED:
        with suppress(ImportError):  # another version may have it elsewhere: then each build imports it
            import_module(name)
    gc.collect()
    gc.freeze()  # so that children share what was imported, also after they have collected
    for line in iter(sys.stdin.buffer.readline, b""):
        answer = _in_a_child(msgspec.json.decode(line, type=Order), answers.fileno())
        answers.write(msgspec.json.encode(answer) + b"\n")
        answers.flush()


def _in_a_child(order: Order, answers: int) -> Answer:
    """Build in a process of its own; ends this one where nobody waits for it any more."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(answers)
        _build_and_exit(order, writing)
    os.close(writing)
    try:
        said = _read(reading, child)
    finally:
        os.close(reading)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return Built(msgspec.json.decode(said, type=ProductRow)) if code == 0 else Died(code)


def _read(reading: int, child: int) -> bytes:
    """What the child has written, to its end. A child is killed whose order was given up: the input has ended."""
    said = b""
    poll = select.poll()
    poll.register(reading, select.POLLIN)
    poll.register(0, 0)  # no more than that its other end was closed
    while True:
        events = dict(poll.poll())
        if reading in events:
            part = os.read(reading, 1 << 16)
            if not part:
                return said
            said += part
        elif events.get(0):
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            sys.exit()


def _build_and_exit(order: Order, writing: int) -> None:
    code = 1
    try:
        ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGKILL)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)  # orders are for the server alone
        row = build_product(order)
        with os.fdopen(writing, "wb") as file:
            file.write(msgspec.json.encode(row))
        code = 0
    except BaseException:  # of a defect in edgead: it costs this product alone
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    serve()
