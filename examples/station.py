"""What `edgead build` and `edgead run` do, from Python:  python examples/station.py [BUILD.yaml] STATION.yaml

With two files the bundle is built first. Each file is the one that the command takes.
"""

import sys

import edgead
from edgead import EdgeadError, Pipeline

try:
    *builds, station = sys.argv[1:] or sys.exit(__doc__)
    for settings in builds:
        print(edgead.build(settings).path)
    with Pipeline.from_config(station, on_result=print) as line:
        status = line.run()
    print(f"{status.frames} frames, {status.verdicts['NG']} NG", file=sys.stderr)
except EdgeadError as error:
    sys.exit(f"station: {error}")
