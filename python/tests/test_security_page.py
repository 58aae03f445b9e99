"""docs/security.md has the figures that the long runs left."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))
import security_page


def test_the_page_quotes_the_committed_figures():
    text = security_page.PAGE.read_text(encoding="utf-8")
    parts = security_page.committed()
    for name, table in parts.items():
        assert f"<!-- {name} -->\n\n{table}\n\n<!-- /{name} -->" in text, f"the page should have\n{table}"
    assert text.count("<!-- /") == len(parts)
