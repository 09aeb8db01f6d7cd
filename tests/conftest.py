"""What every test may ask for: a tiny real bundle, a detector on it, a folder of parts, and the command line."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import cv2
import emulated
import pytest
import tiny
from lines import begin_counting_threads, fake_detector, threads

from edgead import Detector, cli

Output = tuple[int, str, str]


def pytest_addoption(parser: pytest.Parser) -> None:
    """What lets another package run `tests/contract` over its own sink, source or engine; what a fault run is given."""
    group = parser.getgroup("edgead")
    group.addoption("--sink", help="Run the sinks' contract over this spec; {folder} is one to write to.")
    group.addoption(
        "--source",
        help="Run the sources' contract over this spec; {folder} holds 0.png to 4.png, and frames.npy of them.",
    )
    group.addoption("--engine", help="Run the engines' contract over the engine of this name.")
    group = parser.getgroup("faults", "the fault-injection run of tests/faults")
    group.addoption("--faults", type=int, default=40, help="how many faults a run has")
    group.addoption("--fault-seeds", default="1", help="the seeds of its schedules, with commas between")
    group.addoption("--fault-results", metavar="FILE", help="where its figures go")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """With one of these options, keep the tests that every sink, source or engine has to pass."""
    for option, fixture in {"--sink": "sink_spec", "--source": "source_spec", "--engine": "engine_name"}.items():
        if config.getoption(option):
            items[:] = [item for item in items if fixture in getattr(item, "fixturenames", ())]


@pytest.fixture(scope="session")
def _state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("state")


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch, _state: Path) -> None:
    """No EDGEAD_* variable of the developer's shell reaches a test, and no test the developer's state folder."""
    monkeypatch.setenv("XDG_STATE_HOME", str(_state))
    for name in [name for name in os.environ if name.startswith("EDGEAD_")]:
        monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def _own_threads() -> None:
    """A test answers for its own threads: a server of an earlier one may wait for its last connection."""
    begin_counting_threads()


@pytest.fixture(autouse=True)
def _no_gpu(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """No GPU of the developer's machine judges in a test that does not ask for one."""
    if request.node.get_closest_marker("gpu") is None and emulated.REAL_PYCUDA not in os.environ:
        monkeypatch.setitem(sys.modules, "pycuda", None)


@pytest.fixture(scope="session", autouse=True)
def _interruptible() -> None:
    """Ctrl-C works in what the tests start, also where a script runs them in its background and ignores it."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Torch on one thread: on a busy machine more wait for each other, four times as long as the work takes."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real .edgead file with two golden frames; what is bright is anomalous. Read it, do not change it."""
    path = tmp_path_factory.mktemp("bundle") / "tiny.edgead"
    tiny.write_tiny(path)
    return path


@pytest.fixture
def tiny_method(monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a method that trains and exports in a moment."""
    import tiny_method  # with torch

    tiny_method.register(monkeypatch)
    return "tiny"


@pytest.fixture
def detector(tiny_bundle: Path) -> Iterator[Detector]:
    with Detector(tiny_bundle, engine="onnx", threads=1) as detector:
        yield detector


@pytest.fixture
def parts(tmp_path: Path) -> Path:
    """A folder of three parts, the last of them (part_10) bad, and a file that is no image."""
    folder = tmp_path / "parts"
    folder.mkdir()
    for name, image in {"part_1": tiny.good(1), "part_2": tiny.good(2), "part_10": tiny.bad(3)}.items():
        cv2.imwrite(str(folder / f"{name}.png"), image)
    (folder / "notes.txt").write_text("no image")
    return folder


@pytest.fixture
def edgead(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Call the command line; gives the exit code, standard output and standard error."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("signal.signal", lambda *_: None)
    monkeypatch.setattr("logging.basicConfig", lambda **_: None)

    def call(*arguments: object) -> Output:
        with pytest.raises(SystemExit) as left:
            cli.main([str(argument) for argument in arguments])
        return (left.value.code, *capsys.readouterr())

    return call


@pytest.fixture
def quick(tiny_bundle: Path) -> Iterator[Detector]:
    """A detector that takes no time: its network is `lines.Brightness`."""
    with fake_detector(tiny_bundle) as detector:
        yield detector


@pytest.fixture
def no_thread_left() -> Iterator[None]:
    """The line leaves no thread behind."""
    yield
    assert threads() == []


@pytest.fixture(scope="session")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> emulated.Emulator:
    return emulated.Emulator(emulated.shared_folder() or tmp_path_factory.mktemp("emulator"))


@pytest.fixture(scope="session")
def engine_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where engines of TensorRT are kept for all tests; set EDGEAD_CACHE to another where that matters."""
    return tmp_path_factory.mktemp("engines")


@pytest.fixture
def gpu_machine(
    emulator: emulated.Emulator, engine_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[emulated.Emulator]:
    """A machine with an emulated GPU and a fake TensorRT; at the end nothing may be left on it."""
    with emulator.installed(monkeypatch), emulated.tensorrt(monkeypatch):
        monkeypatch.setenv("EDGEAD_CACHE", str(engine_cache))
        yield emulator
    for choice in engine_cache.rglob("*.choice.json"):  # engines may stay, options must not
        choice.unlink()
