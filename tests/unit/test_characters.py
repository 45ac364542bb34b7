"""Characters that stand for plain ones, and where they stood."""

import pytest

from inward.answers import find
from inward.characters import place_in, unified

# Text, and what it is in plain characters.
UNIFIED = [
    ("2½", "2 1/2"), ("2 ½", "2 1/2"), ("½ of it", "1/2 of it"), ("-¾", "-3/4"), ("10²", "10^2"), ("x¹²", "x^{12}"),
    ("5×10⁻³", "5×10^{-3}"), ("x₁₂", "x_{12}"), ("３．５％", "3.5%"), ("٣٥", "35"), ("१२", "12"), ("𝟏𝑥", "1x"),
    ("3⁄4", "3/4"), ("−5‑5", "-5-5"), ("20℃", "20°C"), ("2∶3", "2:3"),
    ("١٬٢٣٤٫٥", "1,234.5"), ("é – ’ 北！", "é – ’ 北！"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "plain"), UNIFIED)
def test_unified(text: str, plain: str):
    assert unified(text) == plain
    assert unified(plain) == plain


def test_places_are_those_of_the_text_as_it_was_written():
    #       0123456789
    text = "x² is 2½, ３"
    assert unified(text) == "x^2 is 2 1/2, 3"
    assert place_in(text, 0, 3) == (0, 2)
    assert place_in(text, 7, 12) == (6, 8)
    assert place_in(text, 14, 15) == (10, 11)


@pytest.mark.parametrize(
    ("text", "answer", "written"),
    [
        ("x² first. The answer is 2½.", "5/2", "2½"),
        ("<think>the answer is 3</think> x² and the answer is ٤!", "4", "٤"),
        ("about 5×10⁻³ of it", "5e-3", "5×10⁻³"),
        ("<answer> 7 </answer> 8", "7", "7"),
        ("The answer is at least ５.", "at least 5", "at least ５"),
    ],
)
def test_answers_are_found_where_they_are_written(text: str, answer: str, written: str):
    found = find(text, "number")
    assert found is not None and found.answer == answer
    assert text[found.chars.start : found.chars.end] == written
