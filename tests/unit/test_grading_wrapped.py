"""`inward grade`: an answer gets the same verdict however it is announced, and an answer left open is none."""

import pytest

from inward.cli.extracting import expected, extracted
from inward.equivalence import grade

WRAPPERS = [
    "The answer is {}.",
    "\\boxed{{{}}}",
    "#### {}",
    "So we get {}",
    "**Answer: {}**",
    "Final answer: ${}$",
    "We have 3 + 4 = 7.\nThe answer is **{}**.",
    "Thus the final answer is $\\boxed{{{}}}$.",
    "3 + 4 = 7\n#### {}.",
]

# Gold answer, bare prediction, verdict.
# fmt: off
PAIRS = [
    ("5", "-5", "incorrect"), ("-3", "-3", "correct"), ("-1/2", "\\frac{-1}{2}", "correct"), ("-5", "−5", "correct"),
    ("-2\\sqrt{3}", "2\\sqrt{3}", "incorrect"), ("-x", "-x", "correct"), ("0.5", "\\frac{1}{2}", "correct"),
    ("1, 2", "2, 1", "correct"), ("1, 2", "1", "incorrect"), ("2", "1, 2", "incorrect"), ("1", "1, 2", "incorrect"),
    ("2", "\\pm 2", "incorrect"), ("2, -2", "\\pm 2", "correct"), ("1, 2", "x = 1 or x = 2", "correct"),
    ("(1,2),(3,4)", "(3,4), (1,2)", "correct"), ("(1, 2)", "(2, 1)", "incorrect"), ("a, b", "b, a", "correct"),
    ("5 m", "5 cm", "incorrect"), ("5 m", "500 cm", "correct"), ("5", "5 cm", "correct"), ("5 cm", "5", "correct"),
    ("2 hours", "120 minutes", "correct"), ("36 km/h", "10 m/s", "correct"), ("60 mph", "60 km/h", "incorrect"),
    ("60 mph", "60 miles per hour", "correct"), ("5 feet 6 inches", "66 inches", "correct"),
    ("90 minutes", "1 hour and 30 minutes", "correct"), ("5 m", "5 feet tall", "incorrect"),
    ("$5", "5 dollars", "correct"),
    ("5 pounds", "80 ounces", "correct"), ("5 pounds", "£5", "correct"), ("1 liter", "1000 cm^3", "correct"),
    ("$5", "500 cents", "correct"), ("20°C", "20°F", "incorrect"), ("5 million", "5", "incorrect"),
    ("5000000", "$5 million", "correct"), ("2.5 billion", "2500 million", "correct"), ("12 ft", "12 in", "incorrect"),
    ("(1,2)", "[1,2]", "incorrect"), ("(1,2)", "1<x<2", "correct"), ("x<2", "2>x", "correct"),
    ("(-\\infty,2)\\cup(3,\\infty)", "x<2 or x>3", "correct"), ("(2,3)", "x>2 and x<3", "correct"),
    ("x<2 or x>3", "(-\\infty,2)\\cup(3,\\infty)", "correct"), ("(-\\infty,2)\\cup(2,\\infty)", "x \\neq 2", "correct"),
    ("(-\\infty,2)\\cup(3,\\infty)", "x \\le 2 or x>3", "incorrect"), ("x<2", "y<2", "incorrect"),
    ("50%", "0.5", "correct"), ("0.5", "50 percent", "correct"), ("0.5", "50", "incorrect"),
    ("20\\%", "0.2", "correct"),
    ("1.5", "1 1/2", "correct"), ("2.75", "2\\frac{3}{4}", "correct"), ("33 inches", "2 3/4 feet", "correct"),
    ("1000000", "1 000 000", "correct"), ("1000000", "10^6", "correct"), ("10", "10^6", "incorrect"),
    ("300000 m", "3 \\times 10^5 m", "correct"), ("3", "3 \\times 10^5", "incorrect"), ("1024", "2^{10}", "correct"),
    ("2020-01-02", "2020-01-02", "correct"), ("2020-01-02", "2020-02-01", "incorrect"),
    ("January 2, 2020", "2020-01-02", "correct"), ("01/02/2020", "02/01/2020", "incorrect"),
    ("x^2+1", "1+x^2", "correct"), ("y=2x+1", "2x+1", "correct"), ("Paris", "paris", "correct"),
    ("\\infty", "infinity", "correct"), ("\\text{even}", "even", "correct"),
]

OPTIONS = {"A": "Rome", "B": "Paris", "C": "London", "D": "Berlin"}
# Prediction, and the label read off it.
LABELS = [
    ("The answer is not A", None), ("The answer isn't A", None), ("The answer cannot be A.", None),
    ("(A) is wrong, so either B or C", None), ("The answer is A, I guess; or B", None), ("A, B, or C", None),
    ("My answer is C, maybe D", None), ("The answer is A (or B)", None), ("\\boxed{A} or \\boxed{B}", None),
    ("A, B", None),
    ("#### not B", None), ("Anything but A", None), ("The answer is not only A but also B", None), ("not Paris", None),
    ("The answer is not Paris.", None), ("I first thought B, but it is C", "C"), ("not (A), so (C)", "C"),
    ("A is incorrect. B", "B"), ("Option C: no. Answer: D", "D"), ("Neither A nor B, so C", "C"),
    ("The answer is B, not A.", "B"), ("B (not A)", "B"), ("It is A rather than B", "A"),
    ("Unlike (A), it is (B)", "B"),
    ("The answer is A. Wait, no, A is wrong. The answer is B.", "B"), ("The answer is A, no wait, B", "B"),
    ("B, because A doesn't work", "B"), ("Options A and B are wrong, so (C)", "C"), ("C is not correct; D is.", "D"),
    ("I don't think it's A. It's C", "C"), ("A: wrong. B: wrong. C: right.", "C"), ("It is not Paris, it is Rome", "A"),
    ("The answer is A or B, but B", "B"), ("The answer is B: No", "B"), ("I'd say B, though C is possible", "B"),
]

# Prediction, gold answer, verdict.
NUMBERS = [
    ("The answer is not 5", "5", "no_answer"), ("The answer cannot be 5.", "5", "no_answer"),
    ("x ≠ 5", "5", "no_answer"),
    ("5 or 6", "5", "no_answer"), ("5 or 6", "6", "no_answer"), ("The answer is 5, or maybe 6", "6", "no_answer"),
    ("\\boxed{5} or \\boxed{6}", "6", "no_answer"), ("#### 5 or 6", "5", "no_answer"), ("18 or so", "18", "correct"),
    ("The answer is 6, not 5", "6", "correct"), ("not 5 but 6", "6", "correct"), ("0.5 or 1/2", "0.5", "correct"),
    ("The answer is 5, no wait, 6", "6", "correct"), ("It is 5 or 6, so 6", "6", "correct"), ("5, 6", "6", "incorrect"),
    ("60 minutes or 1 hour", "1 hour", "correct"), ("Answer: 5 cm or 50 mm", "5 cm", "correct"),
    ("The answer is 5 km because 2+3=5", "5000 m", "correct"), ("She walked 5 km in total today", "5 m", "incorrect"),
    ("So the price is $5 million in all", "5000000", "correct"), ("\\boxed{7} cm", "7 m", "incorrect"),
    ("It took 2 hours and 30 minutes", "150 minutes", "correct"), ("\\boxed{700} cm", "7 m", "correct"),
    ("He needs 1 1/2 cups of flour in total", "1.5", "correct"), ("The answer is negative 7", "-7", "correct"),
    ("5 minus 3 is 2", "2", "correct"), ("The answer is $5M", "5000000", "correct"), ("#### 5cm", "5 m", "incorrect"),
]
# fmt: on


def verdict(prediction: str, gold: str) -> str:
    task = expected(gold, None, {}, "")
    return grade(extracted(prediction, task, strict=False), task.gold, task.kind).value


@pytest.mark.parametrize(("gold", "prediction", "right"), PAIRS)
def test_the_verdict_does_not_depend_on_how_an_answer_is_announced(gold: str, prediction: str, right: str):
    assert verdict(prediction, gold) == right
    for wrapper in WRAPPERS:
        wrapped = prediction.strip("$") if "${}$" in wrapper else prediction
        assert (wrapper, verdict(wrapper.format(wrapped), gold)) == (wrapper, right)


@pytest.mark.parametrize(("prediction", "label"), LABELS)
def test_a_label_that_is_denied_or_one_of_several_is_not_chosen(prediction: str, label: str | None):
    assert extracted(prediction, expected("B", "choice", OPTIONS, ""), strict=False) == label


@pytest.mark.parametrize(("prediction", "gold", "right"), NUMBERS)
def test_a_number_that_is_denied_or_one_of_several_is_not_given(prediction: str, gold: str, right: str):
    assert verdict(prediction, gold) == right


@pytest.mark.parametrize(
    ("prediction", "answer"),
    [
        (r"\boxed{3} is wrong.", None),
        (r"\boxed{3}. No wait, that is wrong.", None),
        (r"The answer is not \boxed{3}.", None),
        ("#### 3\nNo wait, that is wrong.", None),
        ("The answer is 3. No wait, that is wrong.", None),
        (r"\boxed{3}. Actually, the answer is 4.", "4"),
        (r"It is not \boxed{3}, it is 4", "4"),
        (r"First \boxed{3}. Wait, no: \boxed{4}.", "4"),
        (r"No, wait. We add 1 and 2 and get \boxed{3}", "3"),
        (r"Guessing 5 is wrong. \boxed{3}", "3"),
    ],
)
def test_what_is_taken_back_around_an_announcement_does_not_count(prediction, answer):
    for gold in ("3", "4"):
        task = expected(gold, "number", {}, "")
        assert extracted(prediction, task, strict=False) == answer
