"""Makes the frame of pages that carry everything in themselves: no request to anywhere, light and dark."""

from __future__ import annotations

from string import Template

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
  content="default-src 'none'; img-src data:; style-src 'unsafe-inline'{policy}">
<title>$title</title><style>
:root {{ color-scheme: light dark; --fg: #1c2530; --bg: #f6f7f9; --card: #fff; --dim: #5d6976; --line: #d9dee4; }}
@media (prefers-color-scheme: dark) {{
  :root {{ --fg: #e6eaef; --bg: #12161b; --card: #1b2129; --dim: #9aa7b5; --line: #2c343e; }} }}
body {{ font: 15px/1.5 system-ui, sans-serif; color: var(--fg); background: var(--bg); margin: 0 auto;
  max-width: {width}px; padding: 32px 24px 64px; }}
table {{ border-collapse: collapse; }}
{style}</style></head><body>
<h1>$title</h1>
{body}</body></html>
"""


def page_template(style: str, body: str, *, width: int = 1080, has_script: bool = False) -> Template:
    """A page with `$title`, which is escaped text, and what `style` and `body` leave open.

    `width` is in pixels; scripts run only where the page `has_script` of its own.
    """
    policy = "; script-src 'unsafe-inline'" if has_script else ""
    return Template(_PAGE.format(policy=policy, width=width, style=style, body=body))
