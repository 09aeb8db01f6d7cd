"""Every kernel file is built for every GPU of the table; how it is built on a device, and what is said where not."""

from __future__ import annotations

import subprocess
from pathlib import Path

import emulated
import pytest

from edgead.cuda import compile as cuda
from edgead.cuda.compile import CAPABILITIES, OPTIONS, SOURCES, Compiler, compilers, machine_code
from edgead.errors import EngineError

CUDA_13 = 13000


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "edgead/kernels"


def counted(monkeypatch: pytest.MonkeyPatch, *named: str) -> list[str]:
    """Put compilers of these names in place of the real ones; those named "broken..." refuse."""
    calls: list[str] = []

    def one(name: str) -> Compiler:
        def compile_file(source: Path, target: str) -> bytes:
            calls.append(f"{name} {source.stem} {target}")
            if name.startswith("broken"):
                raise EngineError(f"{name} has no {target}")
            return name.encode()

        return Compiler(name, compile_file)

    monkeypatch.setattr(cuda, "compilers", lambda version: map(one, named))
    return calls


@pytest.mark.parametrize("file", emulated.FILES)
def test_nvcc_builds_it_for_every_gpu(file: str, tmp_path: Path) -> None:
    targets = [f"-gencode=arch=compute_{number},code=sm_{number}" for number in CAPABILITIES]
    nvcc, out = emulated.toolkit() / "bin/nvcc", tmp_path / "kernels.fatbin"
    strict = ["-Werror=all-warnings", "-Xptxas=-v,-warn-spills"]
    command = [nvcc, "-fatbin", *targets, *OPTIONS, *strict, "-o", out, SOURCES / f"{file}.cu"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "spill" not in done.stderr.replace("0 bytes spill stores, 0 bytes spill loads", "")
    kernels = emulated.KERNEL.findall((SOURCES / f"{file}.cu").read_text())
    built = [line for line in done.stderr.splitlines() if "Compiling entry function" in line]
    assert len(built) == len(kernels) * len(CAPABILITIES)


@pytest.mark.parametrize("file", emulated.FILES)
def test_nvrtc_builds_it_without_a_toolkit(file: str) -> None:
    emulated.toolkit()
    nvrtc = next(compilers(CUDA_13))
    assert nvrtc.name.startswith("NVRTC 13.")
    code = nvrtc.compile(SOURCES / f"{file}.cu", "sm_87")
    assert code.startswith(b"\x7fELF")
    for name, _ in emulated.KERNEL.findall((SOURCES / f"{file}.cu").read_text()):
        assert name.encode() in code


def test_nvcc_builds_it_where_there_is_no_nvrtc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{emulated.toolkit()}/bin:/usr/bin:/bin")
    monkeypatch.setattr(cuda, "_load_nvrtc", lambda major: None)
    (nvcc,) = compilers(CUDA_13)
    assert nvcc.compile(SOURCES / "fuse.cu", "sm_110").startswith(b"\x7fELF")
    with pytest.raises(EngineError, match="sm_72"):
        nvcc.compile(SOURCES / "fuse.cu", "sm_72")


def test_a_compiler_newer_than_the_driver_is_not_asked() -> None:
    emulated.toolkit()
    assert not any(compiler.name.startswith("NVRTC 13") for compiler in compilers(12060))


def test_a_mistake_in_a_kernel_is_shown(tmp_path: Path) -> None:
    emulated.toolkit()
    broken = tmp_path / "broken.cu"
    broken.write_text("__global__ void broken() { nothing; }")
    with pytest.raises(EngineError, match='identifier "nothing" is undefined'):
        next(compilers(CUDA_13)).compile(broken, "sm_75")


def test_what_was_built_is_kept(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = counted(monkeypatch, "first", "second")
    source = SOURCES / "fuse.cu"
    assert [machine_code(source, 87, CUDA_13) for _ in range(2)] == [b"first", b"first"]
    assert machine_code(source, 110, CUDA_13) == b"first"
    assert calls == ["first fuse sm_87", "first fuse sm_110"]
    assert len(list(cache.iterdir())) == 2
    calls = counted(monkeypatch, "newer")
    assert machine_code(source, 87, CUDA_13) == b"newer"
    assert calls == ["newer fuse sm_87"]


def test_what_was_built_from_another_text_is_not_taken(
    cache: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    calls = counted(monkeypatch, "first")
    source = tmp_path / "k.cu"
    for text in ("one", "two", "one"):
        source.write_text(text)
        machine_code(source, 87, CUDA_13)
    assert len(calls) == 2


def test_a_cache_that_cannot_be_written_is_done_without(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = counted(monkeypatch, "first")
    monkeypatch.setenv("XDG_CACHE_HOME", "/dev/null/cache")
    assert [machine_code(SOURCES / "fuse.cu", 87, CUDA_13) for _ in range(2)] == [b"first", b"first"]
    assert len(calls) == 2


def test_the_next_compiler_is_asked(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = counted(monkeypatch, "broken one", "second")
    assert machine_code(SOURCES / "fuse.cu", 121, CUDA_13) == b"second"
    assert len(calls) == 2


@pytest.mark.parametrize(
    ("named", "version", "capability", "sentence"),
    [
        ((), 12060, 87, "nothing here compiles the CUDA kernels for sm_87: pip install nvidia-cuda-nvrtc-cu12$"),
        ((), 13000, 87, "pip install 'nvidia-cuda-nvrtc<14'$"),
        (("broken one",), 13000, 130, "tried: broken one has no sm_130"),
        (("first",), 13000, 72, "7.2 is too old: 7.5 is the least"),
    ],
)
def test_nothing_builds_it(
    cache: Path,
    monkeypatch: pytest.MonkeyPatch,
    named: tuple[str, ...],
    version: int,
    capability: int,
    sentence: str,
) -> None:
    counted(monkeypatch, *named)
    with pytest.raises(EngineError, match=sentence):
        machine_code(SOURCES / "fuse.cu", capability, version)
