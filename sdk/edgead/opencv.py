"""Whether OpenCV is whole: its packages install over each other, and removing one leaves the others without files."""

from __future__ import annotations

from importlib import import_module

from edgead.errors import EngineError

PACKAGES = ("opencv-python", "opencv-python-headless", "opencv-contrib-python", "opencv-contrib-python-headless")
NEEDED = ("imdecode", "VideoCapture", "utils")  # one of each part that a broken installation lacks


def installed() -> dict[str, str]:
    """The packages of OpenCV that are installed, with their versions."""
    from importlib.metadata import PackageNotFoundError, version  # with a mail parser and more: where it is asked for

    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def reinstall_command() -> str:
    """The command that leaves one whole OpenCV."""
    here = " ".join(installed()) or "opencv-python-headless"
    return f"pip uninstall -y {here} && pip install --force-reinstall opencv-python-headless"


def fault() -> str:
    """What is wrong with OpenCV, in one sentence; empty where nothing is."""
    try:
        module = import_module("cv2")
    except ImportError as error:
        return f"OpenCV cannot be loaded ({error}); {reinstall_command()}"
    missing = [name for name in NEEDED if not hasattr(module, name)]
    if missing:
        lacks = f"cv2 has no {', '.join(missing)}, as after one of its packages was removed"
        return f"OpenCV is broken: {lacks}; {reinstall_command()}"
    return ""


def conflict() -> str:
    """Which packages of OpenCV lie over each other; empty where there is one at most."""
    here = installed()
    if len(here) < 2:
        return ""
    names = " and ".join(f"{name} {number}" for name, number in here.items())
    return f"{names} are installed over each other, and removing one breaks the rest; {reinstall_command()}"


def check_opencv() -> None:
    """Raise EngineError where OpenCV cannot work."""
    if sentence := fault():
        raise EngineError(sentence)
