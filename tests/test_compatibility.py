"""Each item of a contract's checklist has its row in `docs/compatibility`, and each row a test.

That the tests exist is looked at for every page (`test_every_test_that_a_page_names_exists`).
"""

import re
from pathlib import Path

import pytest

PAGES = Path(__file__).parent.parent / "docs" / "compatibility"
ITEMS = {"batch": 52, "moloco": 50, "moesif": 32}
_ROW = re.compile(r"^\| (?P<item>\d+) \| (?P<rest>.+) \|$", re.MULTILINE)


@pytest.mark.parametrize("vendor", [vendor for vendor in ITEMS if (PAGES / f"{vendor}.md").exists()])
def test_every_item_of_a_checklist_names_its_tests(vendor: str) -> None:
    rows = list(_ROW.finditer((PAGES / f"{vendor}.md").read_text("utf-8")))
    assert [int(row["item"]) for row in rows] == list(range(1, ITEMS[vendor] + 1))
    for row in rows:
        assert re.search(r"`test_\w+`", row["rest"]), row["item"]
