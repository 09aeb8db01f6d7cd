"""YAML as edgead reads it: safe, no key twice, and errors that say where without showing what stands there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from edgead.errors import UsageError
from edgead.files import read_whole


class _Loader(yaml.SafeLoader):
    """A safe loader for which a key that stands twice in a mapping is an error, not the last one's."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key_node, _ in node.value:
            if not isinstance(key_node, yaml.ScalarNode) or key_node.tag == "tag:yaml.org,2002:merge":
                continue
            if key_node.value in seen:
                name = f"the key '{key_node.value}'" if re.fullmatch(r"[\w.-]{1,40}", key_node.value) else "a key"
                raise yaml.constructor.ConstructorError(None, None, f"{name} is there twice", key_node.start_mark)
            seen.add(key_node.value)
        return super().construct_mapping(node, deep)


def parse_yaml(text: str, where: str) -> Any:
    """The value that `text` stands for; raises UsageError that names `where` it stands and the line."""
    try:
        return yaml.load(text, Loader=_Loader)  # noqa: S506 - a safe loader
    except yaml.YAMLError as error:
        raise UsageError(f"{where} is not valid YAML: {_place(error)}") from None
    except ValueError as error:  # a date like 2024-13-45
        raise UsageError(f"{where} is not valid YAML: {error}") from None


def read_yaml(path: Path) -> dict[str, Any]:
    """The keys and values of a file, none where it is empty; raises UsageError."""
    try:
        text = read_whole(path).decode()
    except UnicodeDecodeError:
        raise UsageError(f"{path} is not text in UTF-8: save it as that") from None
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from error
    content = parse_yaml(text, str(path))
    if content is not None and not isinstance(content, dict):
        raise UsageError(f"{path} must hold keys and values, such as `data: good_parts/`")
    return {str(key): value for key, value in (content or {}).items()}


def _place(error: yaml.YAMLError) -> str:
    """What is wrong and where, without the text that stands there: it may be a password."""
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or type(error).__name__
    return f"{problem} (line {mark.line + 1})" if mark is not None else str(problem)
