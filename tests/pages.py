"""What a page holds beside the trace explorer's own script and data."""

import re

from inward.report import explorer

DATA = re.compile(r'<script type="application/json" id="explorer-data">([^<]*)</script>')


def without_explorer(page: str) -> str:
    """The page without that script, word for word, and without the data; both are there once, or neither is."""
    code = f"<script>{explorer.script()[0]}</script>"
    assert page.count(code) == len(DATA.findall(page)) <= 1
    return DATA.sub("", page.replace(code, ""))
