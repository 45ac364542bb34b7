"""`inward grade`: verdicts a careful reader gives, by what can go wrong. A gold answer, right ones and wrong ones."""

import time

import pytest

from inward.cli.extracting import expected, extracted
from inward.equivalence import grade

# What: gold answer, right predictions, and those that are wrong or none.
# fmt: off
KINDS: dict[str, tuple[str, list[str], list[str]]] = {
    "a bound is no number": ("5", ["5", "about 5", "approximately 5", "≈ 5", "\\sim 5", "<b>5</b>", "So:\n> 5"],
        ["> 5", "\\boxed{\\ge 5}", "The answer is ≤5.", "at least 5", "The answer is more than 5 apples.", "5 or more",
         "#### at most 5", "\\text{at least } 5", "5+", "x > 5", "5 < x", "up to 5", "no fewer than 5", "over 5"]),
    "nor is a range, a ratio, a tolerance or another base": ("12", ["12", "12:"],
        ["12-13", "The answer is 12–13.", "12 to 13", "between 12 and 13", "from 11 to 12", "\\boxed{12:1}", "12 ± 1",
         "12 \\pm 1", "#### 12 +/- 1", "12_5", "12^2"]),
    "letters written onto a number are factors": ("5", ["5 m", "5m", "5 a day"],
        ["5a", "5i", "5x^2", "\\boxed{5y}", "|5|x"]),
    "bounds equal relations": ("x \\ge 5", ["at least 5", "5 or more", "\\ge 5", "x ≥ 5", "\\{x : x \\ge 5\\}",
        "x is at least 5",
        "[5, \\infty)"], ["> 5", "at most 5", "5", "x > 5", "more than 5"]),
    "two bounds": ("(-\\infty,-1)\\cup(2,\\infty)", ["x > 2, x < -1", "(-∞,-1) or (2,∞)",
        "(-\\infty,-1) U (2,\\infty)"],
        ["x > -1, x < 2", "(-1,2)", "x > 2"]),
    "signs": ("3", ["-(-3)", "+3", "3"], ["-3", "-(-(-3))", "−3", "‑3"]),
    "minus signs": ("-3", ["−3", "‑3", "－3", "–3", "minus 3", "negative 3", "(-3)"], ["3", "-(-3)", "|-3|"]),
    "fractions of one character": ("2.5", ["2½", "2 ½", "The answer is 2½.", "\\boxed{2½}", "5/2", "5⁄2"], ["½",
        "2¼", "-2½"]),
    "digits of other scripts": ("35", ["٣٥", "３５", "३५", "𝟑𝟓", "35"], ["٣", "５３"]),
    "raised digits": ("0.005", ["5×10⁻³", "5 × 10⁻³ m", "5·10^{-3}"], ["5", "5×10³", "10⁻³"]),
    "raised digits in algebra": ("x^{12}", ["x¹²", "x^{12}"], ["x¹", "x12"]),
    "thousands": ("1234", ["1'234", "1’234", "1,\\!234", "1 234", "1.234e3"], ["1,23,4", "234", "1.234"]),
    "k": ("18000", ["18k", "$18k", "18,000"], ["18", "18 k m"]),
    "style": ("7", ["\\underline{7}", "\\boldsymbol{7}", "\\textcolor{red}{7}", "\\large 7", "**7**", "`7`"],
        ["\\sqrt{7}"]),
    "repeating": ("1/3", ["0.\\bar{3}", "0.\\overline{3}", "⅓"], ["0.3", "0.33", "0.\\bar{6}"]),
    "units": ("60 km/h", ["60 \\frac{\\text{km}}{\\text{h}}", "60 kph"], ["60 mph", "60 \\frac{\\text{m}}{\\text{s}}"]),
    "compound units": ("90 minutes", ["1h 30m", "1 h 30 min", "1 hour, 30 minutes"], ["1h 20m", "1h"]),
    "feet and inches": ("66 inches", ["5'6\"", "5 ft 6 in"], ["5'5\"", "5 inches"]),
    "temperature": ("37.5 degrees Celsius", ["37.5℃", "37.5^\\circ C", "37.5 °C"], ["37.5℉", "36.5^\\circ C"]),
    "times": ("3:30 pm", ["3:30 PM", "3:30 p.m.", "15:30", "3:30", "It starts at 3:30\\text{ p.m.}"],
        ["3:30 am", "3:03 pm", "4:30 pm", "3", "03:30 am"]),
    "ratios": ("2:3", ["2 to 3", "2 : 3", "2\\colon 3", "4:6", "2∶3"], ["3:2", "2", "3", "2-3"]),
    "names": ("(1, 2)", ["y=2, x=1", "P(1,2)", "x=1 and y=2"], ["x=2, y=1", "P(2,1)"]),
    "names of functions": ("y=2x+1", ["f(x)=2x+1", "2x+1"], ["f(x)=2x", "2x-1"]),
    "brackets": ("[1,2)", ["[1,2[", "\\{x \\mid 1 \\le x < 2\\}", "1≤x<2"], ["]1,2[", "[1,2]", "1, 2"]),
    "a list is no interval": ("1, 2", ["2, 1", "x=2 \\lor x=1", "1 or 2"], ["1 < x < 2", "[1,2]", "1"]),
    "nothing": ("\\emptyset", ["∅", "\\varnothing", "\\{ \\}", "the empty set", "no solution",
        "There are no solutions."],
        ["0", "\\{0\\}", "all real numbers"]),
    "words": ("no solution", ["There is no solution.", "no solutions", "\\text{No solution}"], ["one solution", "0"]),
    "articles": ("library", ["a library", "The library."], ["a bank"]),
    "no": ("no", ["No.", "It is no.", "\\text{No}"], ["yes", "not no"]),
    "angles": ("\\frac{\\sqrt{3}}{2}", ["\\sin 60^\\circ", "\\cos 30°", "sqrt(3)/2", "√(3)/2"], ["\\cos 60^\\circ"]),
    "factorials": ("n!", ["The answer is $n!$.", "\\boxed{n !}"], ["n", "(n+1)!"]),
    "complex": ("3+4i", ["3 + 4 i", "4i + 3"], ["3 - 4 i", "7"]),
    "what leads to an expression": ("x+1", ["= x+1", "**$x+1$**", "`x+1`", "Ans: $x+1$", "La respuesta es $x+1$.",
        "the answer is then x+1", "**Final Answer**\n\n\\[\nx+1\n\\]", "It is $x+1$, not $x^9$.", "\\boxed{x+1"],
        ["= x-1", "Ans: $x$", "It is $x^9$, not $x+1$."]),
    "thoughts": ("18", ["<think>the answer is 20</think>\n**18**", "<think>\\boxed{20}</think> It is 18.",
        "<think>20</think><answer>18</answer>",
        "<answer>\\boxed{18}</answer> after 3 tries"], ["<think>the answer is 18</think>\n**20**",
        "<answer>20</answer> (not 18)"]),
    "boxes": ("18", ["\\boxed{\\text{Janet makes } 18 \\text{ dollars}}", "The answer is 18 \\boxed{}", "\\boxed{18"],
        ["\\boxed{18} is incorrect. \\boxed{20}", "18 is wrong", "18 is not the answer", "\\boxed{}"]),
}
# fmt: on
CASES = [
    (what, gold, prediction, right)
    for what, (gold, good, bad) in KINDS.items()
    for right, several in ((True, good), (False, bad))
    for prediction in several
]


@pytest.mark.parametrize(("what", "gold", "prediction", "right"), CASES)
def test_verdicts(what: str, gold: str, prediction: str, right: bool):
    for kind in (None, "latex" if what in ("a bound is no number", "thoughts", "boxes") else None):
        task = expected(gold, kind, {}, "")
        verdict = grade(extracted(prediction, task, strict=False), task.gold, task.kind)
        assert (verdict == "correct") is right and (right or verdict in ("incorrect", "no_answer")), (verdict, kind)


CITIES = {"A": "Rome", "B": "a library", "C": "It stays the same", "D": "-18", "E": "18"}
LABELS = [
    ("<answer>B</answer>", "B"), ("答案是B", "B"), ("选B", "B"), ("B - it fits", "B"), ("B: it fits best", "B"),
    ("Between A and B, B is better.", "B"), ("Only B is true.", "B"), ("A ✗\nB ✓\nC ✗", "B"), ("Ｂ", "B"),
    ("Eliminate A, C and D. B remains.", "B"), ("stays the same", "C"), ("The price stays the same.", "C"),
    ("library", "B"), ("9 - 27 = -18", "D"), ("9 * 2 = 18", "E"), ("A & B", None), ("I doubt it's B.", None),
    ("I am not sure whether it is B.", None), ("The answer is B? No, it is C.", "C"), ("A. a library", "A"),
    ("<think>(A)? no</think>(B)", "B"),
]  # fmt: skip


@pytest.mark.parametrize(("prediction", "label"), LABELS)
def test_labels(prediction: str, label: str | None):
    assert extracted(prediction, expected("B", "choice", CITIES, ""), strict=False) == label


def test_a_label_that_is_a_digit_can_be_denied():
    options = {"1": "Mars", "2": "Venus", "3": "Pluto"}
    task = expected("2", "choice", options, "")
    assert extracted("not 2", task, strict=False) is None
    assert extracted("The answer is 2.", task, strict=False) == "2"


@pytest.mark.parametrize(
    "text", ["answer is ", "½", "٣", "<answer>", "5 is wrong. ", "at least 5 ", "B is wrong ", "{5."]
)
def test_the_time_to_read_grows_with_the_length_alone(text: str):
    for gold in ("18", "2\\sqrt{3}", "B"):
        task = expected(gold, None, {}, "")
        began = time.process_time()
        extracted(text * (200_000 // len(text)), task, strict=False)
        assert time.process_time() - began < 5
