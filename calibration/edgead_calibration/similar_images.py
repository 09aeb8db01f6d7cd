"""Finds out whether good images are pictures of few parts or scenes, taken one after the other.

A promise about new parts rests on how many different ones were seen. Thirty pictures of a roll that turns slowly tell
little more than three, and statistics that lack one of them but know its neighbors judge it far too well: its score out
of fold is not that of a new part. Such images are groups, left out together and counted once each.

That images are alike says nothing by itself: parts of one of six kinds are, too, and each is another part. What tells
is the order in which they were taken. Of parts that came independently the image nearest to one is anywhere among its
neighbors in the list; of pictures of one thing it is among the very next, and the others are much farther. Where that
is so, images are joined by average linkage while their mean distance is below `SAME` of what is usual between any two.
Distances are those of thumbnails of unit length, so that exposure does not count.

How long one thing stays in view is told by the order as well: by the number of places over which images are more often
alike than any two. What lies `LONGER` times as far apart in the list and farther is joined only where it is nearly as
alike as an image and its nearest, as a scene is that comes again. Without that, parts with plain faces join to chains:
762 pictures of about 140 tiles under six lights gave 97 groups of up to 163 pictures, in which one pair in eleven shows
one tile; now they give 157 of up to 12, in which nine pairs in ten do.

The order is that of the list, or of the last number in each name: a part that was photographed under several lights has
running numbers behind the name of the light.

Measured (`EXCESS`, `FARTHER`): 0.38, 1.8 and 0.91, 5.3 of two sets that were filmed; 0.63, 1.4 of solar cells in the
order of their modules, whose parts leave each other out well enough by runs of neighbors (`conformal.assign_folds`);
at most 0.22, 1.1 of six others.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

NEXT, WINDOW = 4, 16  # places in the list: the next images, and those among which they are no nearer by chance
EXCESS = 0.25  # share of images whose nearest is among the next, above what that is by chance
SIGMAS = 3.0  # of that share by chance, which it exceeds too
FARTHER = 1.5  # times the distance to the nearest image, at least, to the nearest beyond the window
SAME = 0.5  # of the median distance of two images: nearer groups are one
LONGER = 1.5  # times the number of places over which images are alike: beyond, they have to be nearly the same
AGAIN = 1.5  # times the median distance to the nearest image: how much alike they are then
GONE = 0.1  # of what neighbors are more often alike than any two: less is none
MOST = 2000  # images that are compared; of more, groups are looked for in runs of so many
FEWEST = 16  # images below which nothing can be told

Array = NDArray[np.float32]


def find_groups(
    thumbnails: Sequence[Array], numbers: Sequence[int], names: Sequence[str] = (), *, always: bool = False
) -> list[int]:
    """The group of each image, 0 and up in the order of the list; `numbers` where they are no pictures of few things in
    a row, unless they are `always` to be grouped.

    `thumbnails` are vectors of one length, and `numbers` those of parts that are known to be one, which stay together.
    With `names` of the images the order in which they were taken may be that of the last numbers in them.
    """
    if len(thumbnails) < FEWEST:
        return list(numbers)
    rows = np.stack(thumbnails).astype(np.float32)
    rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)
    for order in _orders(names, len(rows)):
        runs = [order[start : start + MOST] for start in range(0, len(rows), MOST)]
        distances = [_distances(rows[run]) for run in runs if len(run) >= FEWEST]
        if not (always or all(map(are_in_sequence, distances))):
            continue
        found = np.arange(len(rows), 2 * len(rows))  # of a short rest, which is compared with nothing
        for run, of_run in zip(runs, distances, strict=False):
            ratios = of_run / _same(of_run) if always else _with_order(of_run)
            found[run] = run[0] * len(rows) * 2 + np.asarray(_linked(ratios))
        return _joined(found.tolist(), numbers)
    return list(numbers)


def _orders(names: Sequence[str], count: int) -> Iterator[NDArray[np.intp]]:
    """The orders in which images may have been taken: as they are listed, and by the last numbers in their names."""
    yield np.arange(count)
    found = [re.findall(r"\d+", name) for name in names]
    if found and all(found):
        by_number = np.argsort([float(digits[-1]) for digits in found], kind="stable")
        if (by_number != np.arange(count)).any():
            yield by_number


def are_in_sequence(distances: Array) -> bool:
    """Whether the nearest image, of distances (N, N), is one of the next in the list far more often than by chance, and
    those that are not much farther."""
    places = np.arange(len(distances))
    lag = np.abs(places[:, None] - places)
    others = np.where(lag > 0, distances, np.inf)
    nearest = others.argmin(1)
    apart = lag[places, nearest]
    near, window = apart <= NEXT, apart <= WINDOW
    chance = float((window & ~near).mean()) * NEXT / (WINDOW - NEXT)
    error = np.sqrt(max(chance, 1 / len(near)) / len(near))
    excess = float(near.mean()) - chance
    beyond = np.where(lag > WINDOW, distances, np.inf).min(1)
    known = np.isfinite(beyond)  # all but the middle of few
    farther = not known.any() or np.median(beyond[known]) >= FARTHER * np.median(others[places, nearest][known])
    return bool(excess > EXCESS and excess > SIGMAS * error and farther)


def _distances(rows: Array) -> Array:
    return np.asarray(np.sqrt(np.maximum(2 - 2 * rows @ rows.T, 0)), np.float32)


def _same(distances: Array) -> float:
    """The distance below which two images show one thing."""
    return SAME * float(np.median(distances[np.triu_indices(len(distances), 1)]))


def _with_order(distances: Array) -> Array:
    """Distances (N, N) as shares of the one below which two images show one thing, that of images far apart in the list
    being smaller."""
    places, same = np.arange(len(distances)), _same(distances)
    lag = np.abs(places[:, None] - places)
    nearest = float(np.median(np.where(lag > 0, distances, np.inf).min(1)))
    far = lag > LONGER * _places_in_view(distances, same)
    return np.asarray(distances / np.where(far, min(same, AGAIN * nearest), same), np.float32)


def _places_in_view(distances: Array, same: float) -> float:
    """Over how many places in the list one thing is seen. Where all are seen over m of them, the excess of images that
    are alike falls off evenly with their distance in the list, from 1 - 1 / m to nothing: its sum is (m - 1) / 2."""
    alike = np.array([float((np.diagonal(distances, lag) <= same).mean()) for lag in range(1, len(distances))])
    pairs = np.arange(len(alike), 0, -1)
    usual = float(np.average(alike[WINDOW:], weights=pairs[WINDOW:])) if len(alike) > WINDOW else 0.0
    excess = np.maximum(alike - usual, 0)
    gone = np.flatnonzero(excess <= GONE * excess[0])
    seen = excess[: gone[0]] if len(gone) else excess
    return 2 * float(seen.sum()) / float(excess[0]) if len(seen) else 1.0


def _linked(ratios: Array) -> list[int]:
    """Groups by average linkage (Sokal and Michener 1958), of means of the ratios (N, N) up to 1."""
    n = len(ratios)
    away = ratios.astype(np.float64)
    np.fill_diagonal(away, np.inf)
    members, group = np.ones(n), np.arange(n)
    nearest = away.argmin(1)
    while True:
        smallest = away[np.arange(n), nearest]
        first = int(smallest.argmin())
        if smallest[first] > 1:
            break
        second = int(nearest[first])
        mean = (members[first] * away[first] + members[second] * away[second]) / (members[first] + members[second])
        mean[first] = mean[second] = np.inf
        away[first], away[:, first] = mean, mean
        away[second], away[:, second] = np.inf, np.inf
        members[first] += members[second]
        group[group == second] = first
        changed = np.flatnonzero((nearest == first) | (nearest == second) | (away[:, first] < smallest))
        nearest[changed] = away[changed].argmin(1)
    return [int(number) for number in np.unique(group, return_inverse=True)[1]]


def _joined(groups: Sequence[int], numbers: Sequence[int]) -> list[int]:
    """Groups that have a part in common as one, numbered in the order of the images."""
    of_part: dict[int, int] = {}
    same = {group: group for group in groups}
    for group, number in zip(groups, numbers, strict=True):
        other = _root(same, of_part.setdefault(number, group))
        same[_root(same, group)] = other
    order: dict[int, int] = {}
    return [order.setdefault(_root(same, group), len(order)) for group in groups]


def _root(same: dict[int, int], group: int) -> int:
    while same[group] != group:
        group = same[group]
    return group
