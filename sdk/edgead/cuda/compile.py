"""Compiles kernel files to machine code for one GPU: by NVRTC, or by nvcc, once for each GPU and version.

The code is compiled on the device and not shipped, since an older driver refuses what a newer toolkit compiles (JetPack
6 has CUDA 12.6). Multiplications and additions stay apart (no FMA): the kernels wait for memory, and so they compute
what the same files compute on a CPU in the tests.
"""

from __future__ import annotations

import ctypes
import hashlib
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from edgead.cuda.context import CudaContext, count_gpus
from edgead.errors import EdgeadError, EngineError
from edgead.files import cache_folder, write_file

SOURCES = Path(__file__).with_name("kernels")
OPTIONS = ("--std=c++17", "--fmad=false", f"-I{SOURCES}")
CAPABILITIES = {  # of the GPUs the kernels are built for in the tests; newer ones are tried
    75: "Turing: T4, RTX 20",
    80: "A100",
    86: "RTX 30, A10",
    87: "Jetson Orin",
    88: "Ampere",
    89: "RTX 40, L4",
    90: "H100, H200",
    100: "B200",
    103: "B300",
    110: "Jetson Thor",
    120: "RTX 50",
    121: "DGX Spark",
}


class Compiler(NamedTuple):
    """One way to compile: its name and version, and a function from a file and an architecture to a cubin."""

    name: str
    compile: Callable[[Path, str], bytes]


def machine_code(source: Path, capability: int, driver_version: int) -> bytes:
    """The cubin of a kernel file for a compute capability (87) and a driver (12060), from the cache or compiled now.

    Raises EngineError where nothing can compile it, with the reason of each compiler.
    """
    if capability < min(CAPABILITIES):
        raise EngineError(f"a GPU of compute capability {capability / 10} is too old: 7.5 is the least; use the CPU")
    reasons = []
    for compiler in compilers(driver_version):
        cached = cache_folder("kernels") / _key(source, capability, compiler.name)
        if cached.is_file():
            return cached.read_bytes()
        try:
            code = compiler.compile(source, f"sm_{capability}")
        except EngineError as error:
            reasons.append(" ".join(str(error).split()))  # on one line
            continue
        with suppress(EdgeadError):  # a device whose disk is read-only compiles at every start
            write_file(cached, code)
        return code
    cuda = driver_version // 1000
    package = f"nvidia-cuda-nvrtc-cu{cuda}" if cuda < 13 else "'nvidia-cuda-nvrtc<14'"
    tried = f"; tried: {'; '.join(reasons)}" if reasons else ""
    raise EngineError(f"nothing here compiles the CUDA kernels for sm_{capability}: pip install {package}{tried}")


def cuda_summary() -> str:
    """The GPUs by number and what compiles for them, for `edgead doctor`; raises EngineError naming what is missing."""
    gpus = [CudaContext(number) for number in range(count_gpus())]
    for gpu in gpus:
        gpu.close()
        machine_code(SOURCES / "fuse.cu", gpu.capability, gpu.driver_version)
    driver_version = gpus[0].driver_version
    names = " or ".join(compiler.name for compiler in compilers(driver_version))
    cuda = f"{driver_version // 1000}.{driver_version % 1000 // 10}"
    found = ", ".join(f"GPU {gpu.ordinal}: {gpu.name} sm_{gpu.capability}" for gpu in gpus)
    return f"{version('pycuda')}, {found}, driver for CUDA {cuda}, kernels by {names}"


def compilers(driver_version: int) -> Iterator[Compiler]:
    """What is installed, best first: NVRTC needs no host compiler, and one newer than the driver is of no use."""
    for major in range(driver_version // 1000, 10, -1):
        nvrtc = _load_nvrtc(major)
        if nvrtc is not None:
            yield Compiler(nvrtc.name, nvrtc.compile)
    program = shutil.which("nvcc") or shutil.which("nvcc", path="/usr/local/cuda/bin")
    if program:
        yield Compiler(f"nvcc at {program}", lambda source, target: _nvcc(program, source, target))


def _load_nvrtc(major: int) -> _Nvrtc | None:
    """The NVRTC of a CUDA version: the system's, or that of NVIDIA's package, which finds its other half only if that
    is loaded before it."""
    with suppress(OSError):
        return _Nvrtc(ctypes.CDLL(f"libnvrtc.so.{major}"))
    for library in _packaged(f"lib/libnvrtc.so.{major}*"):
        with suppress(OSError):
            for half in sorted(library.parent.glob(f"libnvrtc-builtins.so.{major}*")):
                ctypes.CDLL(str(half))
            return _Nvrtc(ctypes.CDLL(str(library)))
    return None


class _Nvrtc:
    """The few functions of libnvrtc that make a cubin."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self._library = library
        library.nvrtcGetErrorString.restype = ctypes.c_char_p
        numbers = ctypes.c_int(), ctypes.c_int()
        self._call("nvrtcVersion", *map(ctypes.byref, numbers))
        self.name = f"NVRTC {numbers[0].value}.{numbers[1].value}"

    def compile(self, source: Path, target: str) -> bytes:
        program = ctypes.c_void_p()
        text, name = source.read_bytes(), source.name.encode()
        self._call("nvrtcCreateProgram", ctypes.byref(program), text, name, 0, None, None)
        options = [option.encode() for option in (f"--gpu-architecture={target}", *OPTIONS)]
        try:
            self._call("nvrtcCompileProgram", program, len(options), (ctypes.c_char_p * len(options))(*options))
            return self._text(program, "nvrtcGetCUBIN")
        except EngineError as error:
            log = self._text(program, "nvrtcGetProgramLog").strip(b"\0\n ").decode(errors="replace")
            raise EngineError(f"{error}{': ' if log else ''}{log}") from error
        finally:
            self._call("nvrtcDestroyProgram", ctypes.byref(program))

    def _text(self, program: ctypes.c_void_p, function: str) -> bytes:
        size = ctypes.c_size_t()
        self._call(f"{function}Size", program, ctypes.byref(size))
        text = ctypes.create_string_buffer(size.value)
        self._call(function, program, text)
        return text.raw

    def _call(self, function: str, *arguments: object) -> None:
        status = getattr(self._library, function)(*arguments)
        if status:
            raise EngineError(f"{function}: {self._library.nvrtcGetErrorString(status).decode()}")


def _nvcc(program: str, source: Path, target: str) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "kernels.cubin")
        command = [program, "-cubin", f"-arch={target}", *OPTIONS, "-o", str(out), str(source)]
        done = subprocess.run(command, capture_output=True, text=True, errors="replace")  # noqa: S603 - our own files
        if done.returncode:
            raise EngineError(f"{program}: {done.stderr.strip()}")
        return out.read_bytes()


def _packaged(pattern: str) -> Iterator[Path]:
    """Files of NVIDIA's packages (nvidia-cuda-nvrtc and its like), wherever pip has put them."""
    found = find_spec("nvidia")
    for folder in found.submodule_search_locations or () if found else ():
        yield from sorted(Path(folder).glob(f"*/{pattern}"))


def _key(source: Path, capability: int, compiler: str) -> str:
    """A name in the cache for everything that the code depends on."""
    digest = hashlib.sha256(f"{compiler} {OPTIONS[:2]}".encode())
    for path in (source, *sorted(SOURCES.glob("*.cuh"))):
        digest.update(path.read_bytes())
    return f"{source.stem}-sm_{capability}-{digest.hexdigest()[:16]}.cubin"
