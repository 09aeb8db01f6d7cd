"""Folders of saved events, as the sink that keeps them writes them."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import cv2
import tiny

NOON = 1_750_000_000.0  # some day, in seconds since the epoch


def save_event(folder: Path, number: int = 0, *, score: float = 2.0, image: Any = None, **changes: Any) -> str:
    """Write an event of a tiny part, a minute after the one before; gives what names it."""
    at = NOON + 60 * number
    verdict = "NG" if score > 1 else "OK"
    told = {
        "verdict": verdict, "judged": verdict, "score": score, "camera": "left", "time": at, "index": number,
        "kept_for": f"verdict {verdict}", "frame_size": [48, 64], "model": "0" * 12, "reasons": [],
        "regions": [{"x": 32, "y": 24, "width": 16, "height": 12, "score": score}] if score > 1 else [],
    } | changes  # fmt: skip
    date = datetime.fromtimestamp(at, timezone.utc)
    name = f"{date:%Y%m%dT%H%M%S.%f}_{number:06d}_{told['camera']}_{told['verdict']}"
    event = folder / f"{date:%Y-%m-%d}" / name
    event.mkdir(parents=True)
    frame = image if image is not None else tiny.bad(number) if score > 1 else tiny.good(number)
    cv2.imwrite(str(event / "frame.png"), frame)
    cv2.imwrite(str(event / "heatmap.jpg"), frame)
    (event / "result.json").write_text(json.dumps(told) + "\n")
    return f"{event.parent.name}/{name}"
