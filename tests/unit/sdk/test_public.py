"""What `import edgead` offers: every name, what each error also is, and that nothing is imported too early."""

from __future__ import annotations

import subprocess
import sys

import pytest

import edgead
from edgead import errors

PUBLIC = (
    "AbsentError Branches BuildConfig Bundle BundleError DataError Detector EdgeadError Engine EngineError Frame "
    "GateError MissingPackageError Pipeline Region Result Rules Sink Source SourceError StationConfig Timings "
    "UsageError Verdict WeightsError build"
)


def test_every_public_name_is_listed_and_described() -> None:
    assert edgead.__all__ == PUBLIC.split()
    assert set(edgead.__all__) <= set(dir(edgead))
    described = [name for name in edgead.__all__ if name not in vars(errors)]
    assert [name for name in described if not getattr(edgead, name).__doc__] == []
    with pytest.raises(AttributeError, match="no attribute 'Pipline'"):
        _ = edgead.Pipline


def test_every_error_is_public_and_in_the_tree_that_the_module_draws() -> None:
    classes = {name: one for name, one in vars(errors).items() if isinstance(one, type) and issubclass(one, Exception)}
    assert classes.keys() <= set(edgead.__all__)
    assert [name for name in classes if f"{name} " not in errors.__doc__] == []


@pytest.mark.parametrize(
    ("name", "builtin"),
    [
        ("UsageError", ValueError),
        ("MissingPackageError", ImportError),
        ("DataError", ValueError),
        ("BundleError", ValueError),
        ("WeightsError", ValueError),
        ("EngineError", RuntimeError),
        ("AbsentError", RuntimeError),
        ("GateError", RuntimeError),
        ("SourceError", OSError),
    ],
)
def test_an_error_also_is_the_builtin_one_that_a_caller_expects(name: str, builtin: type[Exception]) -> None:
    kind = getattr(edgead, name)
    assert issubclass(kind, edgead.EdgeadError)
    assert issubclass(kind, builtin)
    error = kind("the camera was lost: check its cable")
    assert str(error) == "the camera was lost: check its cable"


def test_what_is_not_asked_for_is_not_imported() -> None:
    program = (
        "import sys, edgead\n"
        "heavy = ('numpy', 'cv2', 'msgspec', 'yaml', 'typer', 'edgead.detector', 'edgead.stream', 'edgead.config')\n"
        "print([name for name in heavy if name in sys.modules])\n"
        "from edgead import Detector\n"
        "print([name for name in heavy if name in sys.modules])\n"
        "from edgead import Pipeline\n"
        "print(Pipeline.__module__, 'typer' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [
        "[]",
        "['numpy', 'cv2', 'msgspec', 'edgead.detector']",
        "edgead.stream.pipeline False",
    ]
