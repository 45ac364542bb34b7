"""The table of confidence measures: which rows there are and what stands in them."""

import re

from inward.report.measures import estimated, side_by_side
from inward.types import Estimate

NAN = float("nan")


def estimate(value: float) -> Estimate:
    return Estimate(value=value, low=value - 0.1, high=value + 0.1, n=10)


def rows(page: str) -> list[list[str]]:
    """The cells of each row, without the intervals."""
    found = re.findall(r"<tr[^>]*>(.*?)</tr>", page)
    return [
        re.findall(r"<t[hd][^>]*>(?:<span>)?(.*?)(?:</span>.*?)?(?:<small>.*?</small>)?</t[hd]>", row) for row in found
    ]


def test_each_measure_has_a_row_for_every_checkpoint_that_has_it():
    before = {"ece": estimate(0.25), "brier": estimate(0.2), "auroc": estimate(0.75), "accuracy_at_80": estimate(0.5)}
    after = before | {"ece": estimate(0.125), "ece_vote_share": estimate(0.0625)}
    page = side_by_side([("Before", estimated(before)), ("After", estimated(after))])
    assert rows(page) == [
        ["Measure", "ECE", "Brier", "AUROC", "Right at 80%"],
        ["Answer probability"],
        ["Before", "0.250", "0.200", "0.750", "50.0%"],
        ["After", "0.125", "0.200", "0.750", "50.0%"],
        ["Vote share"],
        ["After", "0.062", "–", "–", "–"],
    ]
    assert "0.025 to 0.225" in page


def test_a_measure_that_is_not_defined_has_no_row_and_without_any_there_is_no_table():
    undefined = {"ece_recalibrated": Estimate(value=NAN, low=NAN, high=NAN, n=0)}
    assert side_by_side([("Value", estimated(undefined))]) == ""
    assert side_by_side([]) == ""
