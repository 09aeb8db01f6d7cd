"""An industrial camera for long: wrong frames, and how soon it is back after it was unplugged.

    python benchmarks/genicam_soak.py [--minutes 60] [--unplug 240] [--lost 0] [--out FILE]

Aravis' own fake GigE camera (`arv-fake-gv-camera-0.8`) sends over loopback a ramp that moves by one gray level from
frame to frame, so every pixel of every frame is known but for one number: a frame is wrong where its neighbors do not
differ by one level, or it is of another size. `--unplug` kills the camera every so many seconds and starts it again
after three; `--lost` is the share of packets, per thousand, that the camera leaves out. Needs the Debian packages
aravis-tools, gir1.2-aravis-0.8 and python3-gi, and a Python that sees them.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import shutil
import subprocess
import time
from pathlib import Path

import numpy as np

from edgead.stream.backoff import Backoff
from edgead.stream.cameras import open_cameras
from edgead.stream.capture import FrameGrabber
from edgead.system.device import describe_device
from edgead.types import ImageU8

CAMERA = "arv-fake-gv-camera-0.8"
SPEC = "genicam:EDGEAD9?format=Mono8&width=512&height=256&fps=25"
DOWN_S = 3.0


def camera(lost: int) -> subprocess.Popen[bytes]:
    command = [CAMERA, "-i", "127.0.0.1", "-s", "EDGEAD9", "-r", str(lost)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def take_port() -> None:
    """Keep tests and other soaks from starting a second fake camera, which would be silent: there is one port for all.
    They lock the camera's program likewise."""
    try:
        fcntl.flock(os.open(shutil.which(CAMERA) or CAMERA, os.O_RDONLY), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise SystemExit("another fake camera has port 3956, of a test or a soak: wait until it is over") from None


def wrong(image: ImageU8) -> bool:
    """Whether a frame is not the ramp: levels 0 to 254 and again."""
    if image.shape != (256, 512, 3):
        return True
    gray = image[..., 0].astype(np.int16)
    return not ((np.diff(gray, axis=0) % 255 == 1).all() and (np.diff(gray, axis=1) % 255 == 1).all())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--unplug", type=float, default=240.0)
    parser.add_argument("--lost", type=int, default=0)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    take_port()
    process = camera(arguments.lost)
    time.sleep(2)
    frames = bad = 0
    recovered: list[float] = []
    back_at = 0.0
    started = time.monotonic()
    unplug_at = started + arguments.unplug
    try:
        with FrameGrabber(open_cameras([SPEC], timeout=2.0), Backoff(0.5, 2.0)) as grabber:
            grabber.start()
            while time.monotonic() < started + 60 * arguments.minutes:
                for _, frame in grabber.take(1):
                    frames += 1
                    bad += wrong(frame.image)
                    if back_at and frame.clock > back_at:
                        recovered.append(round(time.monotonic() - back_at, 2))
                        back_at = 0.0
                if time.monotonic() >= unplug_at and not back_at:
                    process.kill()
                    process.wait()
                    time.sleep(DOWN_S)
                    process = camera(arguments.lost)
                    back_at, unplug_at = time.monotonic(), time.monotonic() + arguments.unplug
            status = grabber.captures[0].status()
    finally:
        process.kill()
        process.wait()
    result = {
        "minutes": arguments.minutes,
        "lost_packets_per_thousand": arguments.lost,
        "frames": frames,
        "wrong": bad,
        "damaged": status.unreadable,
        "unplugged": len(recovered) + bool(back_at),
        "back_after_s": recovered,
        "machine": describe_device(),
    }
    print(json.dumps(result))
    if arguments.out:
        arguments.out.write_text(json.dumps(result, indent=1) + "\n")
    if bad:
        raise SystemExit(f"{bad} wrong frames")


if __name__ == "__main__":
    main()
