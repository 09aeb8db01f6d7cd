"""Builds forked from one process: each is a process of its own, and what becomes of it costs no other."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from programs import until

from edgead.config import BuildConfig
from edgead_tools.distributed.fork_server import Answer, Built, Died, ForkServer
from edgead_tools.distributed.product import Order

# In the place of builds: what a product's name says. A row's `bundle` tells the process.
PROGRAM = """
import os, signal, sys, time
from pathlib import Path
from edgead_tools.distributed import fork_server
from edgead_tools.distributed.product import ProductRow

def build_product(order):
    Path(order.config.out).write_text(str(os.getpid()))
    if order.product == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if order.product == "broken":
        raise AttributeError("a defect")
    if order.product == "slow":
        time.sleep(600)
    print("what a build prints", flush=True)
    assert sys.stdin.buffer.read() == b""  # no order of another product
    return ProductRow(order.product, order.settings, bundle=str(os.getpid()))

fork_server.PRELOADED = ("json", "no_such_module_here")
fork_server.build_product = build_product
fork_server.serve()
"""


class Server(ForkServer):
    def _start(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, "-c", PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE)


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        yield server


def order(name: str, folder: Path) -> Order:
    return Order(product=name, settings="s", config=BuildConfig(data="parts", out=str(folder / name)))


def gone(pid: int) -> bool:
    return not Path(f"/proc/{pid}").exists() or ") Z " in Path(f"/proc/{pid}/stat").read_text()


def test_each_product_has_a_process_of_its_own(server: Server, tmp_path: Path) -> None:
    answers = [server.build(order(name, tmp_path)) for name in ("one", "two")]
    rows = [answer.row for answer in answers if isinstance(answer, Built)]
    assert [(row.product, row.settings) for row in rows] == [("one", "s"), ("two", "s")]
    assert len({row.bundle for row in rows}) == 2
    assert all(gone(int(row.bundle)) for row in rows)


@pytest.mark.parametrize(("name", "words"), [("killed", "ended by SIGKILL"), ("broken", "ended with 1")])
def test_one_that_dies_costs_no_other(server: Server, tmp_path: Path, name: str, words: str) -> None:
    died = server.build(order(name, tmp_path))
    assert isinstance(died, Died)
    assert str(died) == words
    assert isinstance(server.build(order("next", tmp_path)), Built)


@pytest.mark.parametrize("end", ["kill", "close"])
def test_a_build_ends_with_its_server(server: Server, tmp_path: Path, end: str) -> None:
    answers: list[Answer] = []
    asking = threading.Thread(target=lambda: answers.append(server.build(order("slow", tmp_path))))
    asking.start()
    until(lambda: (tmp_path / "slow").exists() and (tmp_path / "slow").read_text())
    child = int((tmp_path / "slow").read_text())
    assert server._process is not None
    if end == "kill":
        server._process.kill()
    else:
        server._process.stdin.close()  # as when the worker that has the server dies
    asking.join(15)
    until(lambda: gone(child))
    assert [type(answer) for answer in answers] == [Died]
    assert isinstance(server.build(order("next", tmp_path)), Built)  # by a new server
