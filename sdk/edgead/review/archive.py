"""A folder of saved events under review: found by its index, looked at, labeled."""

from __future__ import annotations

import functools
import json
import logging
import threading
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from edgead.closing import Closing
from edgead.errors import DataError, EdgeadError
from edgead.images import read_image
from edgead.review.index import Entry, EventIndex
from edgead.review.labels import Label, add_label, read_labels, undo_label
from edgead.review.layout import HEATMAP, RESULT, event_folder, frame_file
from edgead.review.search import Found, Query, entry, facets, last_labeled, search

THUMB = 240  # pixels, the longer side
_QUALITY = 80  # JPEG
_EVERY_S = 2.0  # between two looks for new events
_WAIT_S = 0.3  # for such a look; what takes longer goes on in the background

_log = logging.getLogger(__name__)


class ReviewFolder(Closing):
    """Events, their pictures and their labels. Its methods may be called from any thread."""

    def __init__(self, folder: Path, file: Path | None = None) -> None:
        """Open `folder` and begin to read what its index does not know; `file` is the index, by default in the cache.

        Raises DataError where there is no such folder.
        """
        self.index = EventIndex(folder, file)
        self.folder = folder
        self.reading: int | None = 0  # events read so far, while what is new is being read
        self._looked = 0.0
        self._ending = threading.Event()
        self._thumb = functools.lru_cache(maxsize=2000)(_thumb)
        self._thread = threading.Thread(target=self._refresh, args=(True,), name="edgead review", daemon=True)
        self._thread.start()

    def _refresh(self, labels: bool) -> None:
        try:
            self.index.refresh(labels=labels, on_progress=self._progress)
        except InterruptedError:
            pass
        except Exception as error:  # a disk in trouble: what is known stays
            _log.error("the events in %s cannot be listed: %s", self.folder, error)
        finally:
            self.reading, self._looked = None, time.monotonic()

    def _progress(self, count: int) -> None:
        self.reading = count
        if self._ending.is_set():
            raise InterruptedError

    def search(self, query: Query) -> Found:
        """What is found, also of what is new; where there is much of that, it is read in the background (`reading`)."""
        if not self._thread.is_alive() and time.monotonic() > self._looked + _EVERY_S:
            self.reading = 0
            self._thread = threading.Thread(target=self._refresh, args=(False,), name="edgead review", daemon=True)
            self._thread.start()
            self._thread.join(_WAIT_S)
        return search(self.index, query)

    def entry(self, event: str) -> Entry | None:
        """What is listed of one event; None where it is gone."""
        return entry(self.index, event)

    def facets(self) -> dict[str, Any]:
        """See `edgead.review.search.facets`."""
        return facets(self.index)

    def event(self, event: str) -> dict[str, Any]:
        """All that is known of an event: its result and each person's label; raises UsageError or DataError."""
        path = event_folder(self.folder, event)
        try:
            result = json.loads((path / RESULT).read_bytes())
        except (OSError, ValueError) as error:
            raise DataError(f"the result of {event} cannot be read: {error}") from error
        return {"id": event, "result": result, "labels": read_labels(path)}

    def picture(self, event: str, *, heatmap: bool) -> tuple[bytes, str]:
        """A picture as its file has it, and its media type; raises UsageError where it is gone."""
        path = event_folder(self.folder, event)
        file = path / HEATMAP if heatmap and (path / HEATMAP).is_file() else frame_file(path)
        return file.read_bytes(), "image/png" if file.suffix == ".png" else "image/jpeg"

    def thumb(self, event: str) -> bytes:
        """A small JPEG of an event with its heatmap; raises UsageError or DataError."""
        path = event_folder(self.folder, event)
        return self._thumb(path / HEATMAP if (path / HEATMAP).is_file() else frame_file(path))

    def label(self, event: str, person: str, label: Label) -> Label:
        """Write what a person says; raises UsageError, DataError, or EdgeadError for a disk that does not take it."""
        said = add_label(event_folder(self.folder, event), person, label)
        self.index.update(event)
        return said

    def undo(self, person: str) -> str | None:
        """Take back what a person has said last, and give the event it was said of; None where nothing is left."""
        event = last_labeled(self.index, person)
        if event is not None:
            undo_label(event_folder(self.folder, event), person)
            self.index.update(event)
        return event

    def close(self) -> None:
        self._ending.set()
        self._thread.join()
        self.index.close()


def _thumb(path: Path) -> bytes:
    try:
        image = cv2.imread(str(path), cv2.IMREAD_REDUCED_COLOR_4) if path.suffix == ".jpg" else None
        if image is None or max(image.shape) < THUMB:
            image = read_image(path)
    except EdgeadError as error:
        raise DataError(f"no picture can be made of {path}: {error}") from error
    height, width = image.shape[:2]
    scale = min(1.0, THUMB / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = cv2.resize(np.asarray(image, np.uint8), size, interpolation=cv2.INTER_AREA)
    return cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])[1].tobytes()
