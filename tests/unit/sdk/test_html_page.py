"""The frame of self-contained pages: what it lets in, and what it leaves as it is."""

from __future__ import annotations

from edgead.html_page import page_template


def test_a_page_loads_nothing_and_runs_only_its_own_scripts() -> None:
    page = page_template("p { color: red; }\n", "<p>$text</p>\n").substitute(title="A &amp; B", text="5 $ {and} more")
    assert "default-src 'none'" in page
    assert "script-src" not in page
    assert "<title>A &amp; B</title>" in page
    assert "<h1>A &amp; B</h1>\n<p>5 $ {and} more</p>\n</body></html>" in page
    assert "p { color: red; }\n</style>" in page
    assert "script-src 'unsafe-inline'" in page_template("", "", has_script=True).template
