"""Changes single keys of a YAML file that a person has written: every other line stays as it is, and nothing is lost.

Only the lines of the keys that change are written anew; the file as it was before is kept beside it, in
`<name>.history`. What is written is read again first: where anything else would have changed, nothing does.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import yaml

from edgead.config.reading import parse_yaml, read_yaml
from edgead.errors import UsageError
from edgead.files import replace_file, write_file

Key = str | int


def replace_lists(file: Path, values: Mapping[str, Sequence[str]], at: Sequence[Key] = ()) -> Path:
    """Set keys of `file` to lists of texts, in the mapping below the keys `at`; a key whose list is empty goes.

    Gives the file that holds what was there before. Raises UsageError, and changes nothing, for a file in which that
    cannot be done without touching something else, EdgeadError for a disk that does not take it.
    """
    old = read_yaml(file)  # says what is wrong with it
    text = file.read_text(encoding="utf-8")
    wanted = _changed(old, values, at)
    new = _edited(text, values, at, file)
    if {str(key): value for key, value in (parse_yaml(new, str(file)) or {}).items()} != wanted:
        raise UsageError(f"the areas in {file} are written in a way that cannot be changed safely: change them by hand")
    now = datetime.now(timezone.utc).strftime("%Y%m%dT%H%M%S.%fZ")
    kept = file.with_name(f"{file.name}.history") / f"{now}{file.suffix}"
    mode = file.stat().st_mode & 0o777
    write_file(kept, text.encode())
    kept.chmod(mode)  # it may hold passwords of cameras

    def write(opened: Any) -> None:
        os.fchmod(opened.fileno(), mode)
        opened.write(new.encode())

    replace_file(file, write)
    return kept


def _changed(old: Mapping[Any, Any], values: Mapping[str, Sequence[str]], at: Sequence[Key]) -> dict[Any, Any]:
    """What the file is to say afterwards."""
    if not at:
        kept = {key: value for key, value in old.items() if key not in values}
        return kept | {key: list(value) for key, value in values.items() if value}
    first, *rest = at
    inner = old.get(first)
    if not isinstance(inner, dict):
        raise UsageError(f"there is no '{first}' in the file whose areas could be changed")
    return {**old, first: _changed(inner, values, rest)}


def _edited(text: str, values: Mapping[str, Sequence[str]], at: Sequence[Key], file: Path) -> str:
    node = yaml.compose(text, yaml.SafeLoader)
    for key in at:
        node = _below(node, key)
    if node is None and not at:
        return text + _written(values, 0)
    if not isinstance(node, yaml.MappingNode) or node.flow_style:
        raise UsageError(f"{file} has its keys in braces there: write each on a line of its own first")
    lines = text.splitlines(keepends=True)
    if lines and not lines[-1].endswith("\n"):
        lines[-1] += "\n"
    indent = node.start_mark.column
    spans = [(key.start_mark.line, _last_line(value) + 1) for key, value in node.value if key.value in values]
    end = max((_last_line(value) + 1 for _, value in node.value), default=len(lines))
    place = spans[0][0] if spans else end
    for first, after in sorted(spans, reverse=True):
        del lines[first:after]
    lines.insert(min(place, len(lines)), _written(values, indent))
    return "".join(lines)


def _below(node: Any, key: Key) -> Any:
    found = (
        [value for name, value in node.value if name.value == str(key)] if isinstance(node, yaml.MappingNode) else []
    )
    return found[0] if found else None


def _last_line(node: Any) -> int:
    """The line a value ends on; a block's own end mark lies behind the comments that follow it."""
    if isinstance(node, yaml.ScalarNode) or node.flow_style:
        mark = node.end_mark
        return int(mark.line if mark.column else max(node.start_mark.line, mark.line - 1))
    if not node.value:
        return int(node.start_mark.line)
    last = node.value[-1]
    return _last_line(last[1] if isinstance(last, tuple) else last)


def _written(values: Mapping[str, Sequence[str]], indent: int) -> str:
    pad = " " * indent
    return "".join(
        f"{pad}{key}:\n" + "".join(f"{pad}  - {json.dumps(text, ensure_ascii=False)}\n" for text in texts)
        for key, texts in values.items()
        if texts
    )
