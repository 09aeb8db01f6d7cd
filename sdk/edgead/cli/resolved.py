"""Settings as YAML, each with where it came from: what `--resolved` prints."""

from __future__ import annotations

from typing import Any

import yaml

from edgead.config import Resolved
from edgead.config.fields import Config, Field, fields_of
from edgead.stream.sources.capture import redacted
from edgead.stream.sources.gstreamer import short_name


def resolved_lines(resolved: Resolved[Any]) -> list[str]:
    """A line for each setting, passwords left out; together they are YAML that can be read again."""
    config: Config = resolved.config
    fields = fields_of(type(config))
    texts = {name: _text(field, getattr(config, name)) for name, field in fields.items()}
    width = max(len(text) for text in texts.values() if len(text) <= 60)
    return [f"{text.ljust(width)}  # {resolved.origins[name]}" for name, text in texts.items()]


def _text(field: Field, value: Any) -> str:
    value = _without_secrets(value) if field.option.secret else value
    text = yaml.safe_dump(value, default_flow_style=True, width=10**9, allow_unicode=True, sort_keys=False)
    return f"{field.key}: {text.strip().removesuffix('...').strip()}"


def _without_secrets(value: Any) -> Any:
    """Addresses without user, password and query; of a GStreamer pipeline its first element alone."""
    if isinstance(value, dict):
        return {key: _without_secrets(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_secrets(one) for one in value]
    before, mark, pipeline = str(value).partition("gst:")
    if mark:
        return f"{before}{short_name(pipeline)}"
    return redacted(str(value))
