"""Makes the topics of results: a template with fields, filled in for each, and where the status stands."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping

from edgead.errors import UsageError, nearest

FIELDS = ("station", "camera", "verdict")
_LONGEST = 30_000  # bytes of a template; filled in, it may have 65535


def checked_topic(template: str) -> str:
    """A template that results can go to; raises UsageError."""
    if len(template.encode("utf-8", "replace")) > _LONGEST:
        raise UsageError(f"the topic has more than {_LONGEST} bytes: give a shorter one")
    if any(sign in template for sign in "+#\0"):
        raise UsageError(f"the topic '{template}' holds a wildcard: results can only go to one topic")
    for field in re.findall(r"\{([^}]*)\}?", template):
        if field not in FIELDS:
            raise UsageError(f"the topic has an unknown field {{{field}}}: {nearest(field, FIELDS)}")
    return template


def fill(template: str, values: Mapping[str, str]) -> str:
    """The topic; what would add a level to it, or a wildcard, becomes '_' in a value."""
    return re.sub(r"\{(\w+)\}", lambda match: re.sub(r"[+#/\0\s]", "_", values[match[1]]), template)


def status_topic(template: str, station: str) -> str:
    """The levels before the first that changes from result to result, and 'status'."""
    levels = template.replace("{station}", fill("{station}", {"station": station})).split("/")
    fixed = list(itertools.takewhile(lambda level: "{" not in level, levels))
    return "/".join([*fixed, "status"])
