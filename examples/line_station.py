"""A station on the line: frames in, a reject signal out, a record kept.

    python examples/line_station.py BUNDLE SOURCE RECORD.jsonl

SOURCE is a camera number, a video, a folder of images or a stream's URL. Replace `reject` by what moves your
ejector: a GPIO pin, a PLC register, a relay.
"""

import sys
from pathlib import Path

from edgead import Detector, EdgeadError, Result


def reject(result: Result) -> None:
    print(f"reject part {result.index} ({result.name}): score {result.score:.2f}", flush=True)


def main(bundle: str, source: str, record: str) -> None:
    with Detector(bundle) as detector, Path(record).open("a", encoding="utf-8") as log:
        for result in detector.stream(source):
            if result.is_anomalous:
                reject(result)
            log.write(result.to_json() + "\n")
            log.flush()


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    try:
        main(*sys.argv[1:])
    except EdgeadError as error:
        sys.exit(f"line_station: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
