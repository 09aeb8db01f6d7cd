"""Searches the index of events: what is asked for, as SQL, and what is found."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from edgead.review.index import Entry, EventIndex
from edgead.review.labels import DISAGREE

Order = Literal["newest", "oldest", "highest", "lowest", "nearest"]
Labeled = Literal["", "open", "mine-open", "good", "defect", "unsure", "disagree"]
MOST = 500  # events of one answer
_COLUMNS = "id, time, camera, verdict, score, kept, decision, kinds"
_ORDERS: dict[str, str] = {
    "newest": "time desc",
    "oldest": "time",
    "highest": "score desc",
    "lowest": "score is null, score",
    "nearest": "score is null, abs(score - 1)",  # to the threshold: where a label tells most
}


class Query(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is asked for; what is left empty asks for nothing."""

    camera: str | None = None
    verdict: str = ""
    kept: Literal["", "verdict", "borderline", "random"] = ""
    labeled: Labeled = ""  # open: by nobody; mine-open: not by `person`
    person: str = ""
    kind: str = ""
    since: float | None = None  # seconds since the epoch
    until: float | None = None
    low: float | None = None  # scores
    high: float | None = None
    text: str = ""  # part of an event's name
    order: Order = "newest"
    offset: int = msgspec.field(default=0)
    limit: int = msgspec.field(default=60)


@dataclass(frozen=True, slots=True)
class Found:
    """Some of the events that were asked for, and how many there are."""

    total: int
    entries: list[Entry]


def search(index: EventIndex, query: Query) -> Found:
    """The events that a query asks for, from `offset` on, at most `limit` of them."""
    where, values = _conditions(query)
    first, most = max(0, query.offset), max(0, min(query.limit, MOST))
    order = _ORDERS[query.order]
    if query.text:  # every name has to be looked at, which is done once for the count and the page
        numbers = [row[0] for row in index.query(f"select number from events where {where} order by {order}", values)]  # noqa: S608
        total, page = len(numbers), numbers[first : first + most]
    else:
        total = int(index.query(f"select count(*) from events where {where}", values)[0][0])  # noqa: S608
        sql = f"select number from events where {where} order by {order} limit ? offset ?"  # noqa: S608
        page = [row[0] for row in index.query(sql, [*values, most, first])]
    places = ", ".join("?" * len(page))
    rows = index.query(f"select number, {_COLUMNS} from events where number in ({places})", page)  # noqa: S608
    entries = {number: Entry(*row) for number, *row in rows}
    return Found(total, [entries[number] for number in page if number in entries])


def entry(index: EventIndex, event: str) -> Entry | None:
    """What is listed of one event; None where it is gone."""
    rows = index.query(f"select {_COLUMNS} from events where id = ?", [event])  # noqa: S608
    return Entry(*rows[0]) if rows else None


def _conditions(query: Query) -> tuple[str, list[Any]]:
    """The SQL that the asked-for events fulfil, and the values in it."""
    conditions: list[tuple[str, list[Any]]] = [("1", [])]
    if query.verdict:
        conditions.append(("verdict = ?", [query.verdict]))
    if query.camera is not None:
        conditions.append(("camera = ?", [query.camera]))
    for name, sign, value in (
        ("time", ">=", query.since),
        ("time", "<=", query.until),
        ("score", ">=", query.low),
        ("score", "<=", query.high),
    ):
        if value is not None:
            conditions.append((f"{name} {sign} ?", [value]))
    if query.kept:
        conditions.append(("kept like ?", [f"{query.kept}%"]))
    if query.kind:
        conditions.append(("id in (select event from labels where kind = ?)", [query.kind]))
    if query.text:
        literal = re.sub("([!%_])", r"!\1", query.text)
        conditions.append(("id like ? escape '!'", [f"%{literal}%"]))
    conditions.append(_of_labels(query))
    return " and ".join(sql for sql, _ in conditions), [value for _, values in conditions for value in values]


def _of_labels(query: Query) -> tuple[str, list[Any]]:
    if query.labeled == "":
        return "1", []
    if query.labeled == "open":
        return "decision = ''", []
    if query.labeled == "mine-open":
        return "id not in (select event from labels where person = ?)", [query.person]
    return "decision = ?", [query.labeled]


def facets(index: EventIndex) -> dict[str, Any]:
    """What can be asked for: cameras, verdicts, people and kinds of defects, each with how many events there are."""

    def counted(sql: str) -> dict[str, int]:
        return {str(name): int(count) for name, count in index.query(sql)}

    decisions = counted("select decision, count(*) from events group by decision")
    return {
        "cameras": counted("select camera, count(*) from events group by camera"),
        "verdicts": counted("select verdict, count(*) from events group by verdict"),
        "people": counted("select person, count(*) from labels group by person"),
        "kinds": counted("select kind, count(*) from labels where kind <> '' group by kind order by count(*) desc"),
        "decisions": {name: decisions.get(name, 0) for name in ("", "good", "defect", "unsure", DISAGREE)},
    }


def last_labeled(index: EventIndex, person: str) -> str | None:
    """The event that a person has labeled last."""
    rows = index.query("select event from labels where person = ? order by at desc limit 1", [person])
    return str(rows[0][0]) if rows else None
