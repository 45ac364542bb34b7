"""Verdicts beside those of Math-Verify: where the two differ, docs/grading.md says why."""

import json
import logging
import random
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from inward.equivalence import exact, same

PAGE = Path(__file__).parents[2] / "docs/grading.md"

# Gold answer and answer. Blocks as on the page.
# fmt: off
ALIKE = [
    # signs and zeros
    ("-5", "5"), ("5", "-5"), ("-0", "0"), ("-\\frac{1}{2}", "\\frac{-1}{2}"), ("\\frac{1}{-2}", "-\\frac12"),
    ("x-y", "y-x"), ("-\\infty", "\\infty"), ("\\infty", "\\infty"), ("1.50", "1.5"), ("2.0", "2"), ("007", "7"),
    # ways of writing
    ("\\dfrac{1}{2}", "\\frac{1}{2}"), ("\\frac12", "1/2"), ("\\frac{1}{2}", "0.5"), ("0.25", "\\frac{1}{4}"),
    ("1,234", "1234"), ("1{,}234", "1234"), ("\\$5", "5"), ("90^\\circ", "90"), ("90", "90^\\circ"),
    ("5 \\text{ cm}", "5"), ("5", "5 cm"), ("7", "7 \\text{ dollars}"), ("\\text{Paris}", "Paris"),
    ("\\text{(B)}", "B"), ("B", "C"), ("\\text{even}", "odd"), ("1\\frac{1}{2}", "\\frac{3}{2}"),
    ("1\\frac{1}{2}", "1.5"), ("2 \\cdot 10^{3}", "2000"), ("10^{-2}", "0.01"), ("\\left(1,2\\right)", "(1,2)"),
    ("\\text{listen}", "\\text{silent}"), ("5^2", "25"), ("2^{10}", "1024"), ("10!", "3628800"),
    # per cent
    ("50\\%", "0.5"), ("50\\%", "50"), ("0.5", "50\\%"), ("50", "50\\%"), ("10\\%", "0.1"), ("10\\%", "1"),
    ("12.5\\%", "0.125"),
    # fractions and decimals
    ("1/3", "0.333"), ("1/3", "0.3333"), ("1/3", "0.333333"), ("0.333333", "1/3"), ("2/3", "0.666667"),
    ("2/3", "0.666666"), ("2/3", "0.67"), ("\\pi", "3.14"), ("3.14", "\\pi"), ("\\pi", "3.141593"), ("\\pi", "22/7"),
    ("\\sqrt{2}", "1.414214"), ("\\sqrt{2}", "1.414"), ("e", "2.718282"), ("0.1", "0.11"), ("3.4", "3,4"),
    # lists, sets, tuples, intervals
    ("1, 2", "2, 1"), ("2,-2", "-2,2"), ("\\{1,2\\}", "1,2"), ("1,2", "\\{2,1\\}"), ("\\{1,2\\}", "\\{1,2,3\\}"),
    ("1,2,3", "1,2"), ("1,2", "1,2,3"), ("\\{1, 2\\}", "\\{2, 1, 1\\}"), ("1 \\text{ and } 2", "2, 1"),
    ("x=1 \\text{ or } x=2", "1,2"), ("1,2", "(1, 2)"), ("1, 2", "(2, 1)"), ("(1,2)", "(2,1)"), ("(1,2)", "1,2"),
    ("(1,2)", "2, 1"), ("(1,2)", "(1,2,3)"), ("(1,2)", "\\{1,2\\}"), ("[1,2]", "(1,2)"), ("[1,2)", "[1,2]"),
    ("(1,2)", "[1,2]"), ("[1,2]", "[1,2]"), ("[1,2]", "1,2"), ("(0,\\infty)", "[0,\\infty)"),
    ("(-\\infty,1)\\cup(2,\\infty)", "(2,\\infty)\\cup(-\\infty,1)"),
    ("(-\\infty,1)\\cup(2,\\infty)", "(-\\infty,1]\\cup(2,\\infty)"), ("\\frac{1}{2},\\frac{1}{3}", "0.5, 1/3"),
    ("(3,\\frac{\\pi}{2})", "(3,\\pi/2)"), ("\\sqrt{12}, 1", "1, 2\\sqrt{3}"), ("\\emptyset", "\\{\\}"),
    ("\\mathbb{R}", "(-\\infty,\\infty)"), ("((1,2),(3,4))", "((1,2),(3,4))"),
    ("\\begin{pmatrix}1&2\\\\3&4\\end{pmatrix}", "\\begin{bmatrix}1&2\\\\3&4\\end{bmatrix}"),
    ("\\begin{pmatrix}1&2\\\\3&4\\end{pmatrix}", "\\begin{pmatrix}1&3\\\\2&4\\end{pmatrix}"),
    ("\\begin{pmatrix}1\\\\2\\end{pmatrix}", "\\begin{pmatrix}1&2\\end{pmatrix}"),
    ("\\begin{pmatrix}1/2\\\\2\\end{pmatrix}", "\\begin{pmatrix}0.5\\\\2\\end{pmatrix}"),
    ("\\begin{pmatrix}1\\\\2\\end{pmatrix}", "(1,2)"), ("\\pm 2", "2,-2"), ("2,-2", "\\pm 2"),
    ("1 \\pm \\sqrt{2}", "1+\\sqrt2, 1-\\sqrt2"), ("\\pm 2", "2"), ("2", "\\pm 2"),
    # equations, names, relations
    ("x=5", "5"), ("5", "x=5"), ("x=5", "y=5"), ("x=5", "x=6"), ("x=1,y=2", "y=2,x=1"), ("x=1,y=2", "(1,2)"),
    ("a=1,b=2", "a=2,b=1"), ("y=2x+1", "2x+1"), ("2x+1", "y=2x+1"), ("y=2x+1", "y-2x-1=0"), ("y=2x+1", "2y=4x+2"),
    ("y=2x+1", "y=2x+2"), ("x^2+y^2=1", "y^2+x^2-1=0"), ("f(x)=x^2", "x^2"), ("x^2", "f(x)=x^2"), ("a_n=2n", "2n"),
    ("x<5", "5>x"), ("x<5", "x \\le 5"), ("x<5", "(-\\infty,5)"), ("1<x<2", "(1,2)"), ("x \\in [1,2]", "[1,2]"),
    ("[1,2]", "x\\in[1,2]"), ("x \\ge 3", "[3,\\infty)"), ("x\\geq 3", "x \\ge 3"), ("x \\neq 1", "x\\ne 1"),
    # algebra
    ("2\\sqrt{3}", "\\sqrt{12}"), ("2\\sqrt{3}", "3\\sqrt{2}"), ("(x+1)(x-1)", "x^2-1"), ("(x+1)^2", "x^2+1"),
    ("x^2-y", "-y+x^2"), ("n(n+1)/2", "\\frac{n^2+n}{2}"), ("\\frac{a}{b}", "a/b"), ("\\sin^2 x + \\cos^2 x", "1"),
    ("\\sin(\\pi/6)", "0.5"), ("xy", "yx"), ("\\binom{5}{2}", "10"), ("\\log_2 8", "3"), ("\\sqrt[3]{8}", "2"),
    ("3+4i", "4i+3"), ("3+4i", "3-4i"), ("|x|", "x"), ("\\sum_{k=1}^{3}k", "6"), ("\\int_0^1 x dx", "1/2"),
    ("x^2+C", "x^2+D"), ("2^{100}", "1267650600228229401496703205376"),
    ("2^{100}", "1267650600228229401496703205377"), ("\\frac{3}{4}\\pi", "0.75\\pi"), ("1/2 + 1/3", "5/6"),
    ("2:3", "2/3"), ("2:1", "1:2"), ("10^{100}", "10^{101}"), ("e^{2x}", "(e^x)^2"), ("101_2", "101"),
    ("1234_5", "1234_5"), ("\\sqrt{x^2}", "x"), ("12", "12_{10}"), ("(312,123,231)", "(312, 123, 231)"),
    ("3", "3, 3"), ("x<2", "x \\leq 2"), ("x<2", "y<2"), ("5", "5, 6"), ("-x", "x"), ("a, b", "b, a"),
    ("(-\\infty,2)\\cup(3,\\infty)", "x \\le 2 or x>3"), ("(1,2),(3,4)", "(3,4),(1,2)"), ("2:3", "3:2"),
    ("\\lceil n/2 \\rceil+1", "\\lceil n/3 \\rceil+1"), ("\\lfloor x \\rfloor", "x"),
]

# Reason, as docs/grading.md words it: gold answer, answer, our verdict.
DIFFERENT: dict[str, list[tuple[str, str, bool | None]]] = {
    "Different units differ": [
        ("5 \\text{ cm}", "5 \\text{ m}", False), ("2 \\text{ hours}", "120 \\text{ minutes}", True),
        ("5\\text{ m}", "500\\text{ cm}", True), ("5 \\text{ million}", "5", False),
    ],
    "Letters after a number are factors": [("3ab", "3", False), ("3m", "3", False)],
    "Small numbers": [
        ("1.6 \\cdot 10^{-19}", "3 \\cdot 10^{-25}", False), ("0.0000001", "0.0000002", False),
    ],
    "Scientific notation": [("1e3", "1000", True), ("1.6 \\times 10^{-19}", "1.6e-19", True)],
    "Integers may carry rounding noise": [("100", "100.0000001", True)],
    "Mixed numbers and digit groups": [("1 1/2", "1.5", True), ("5", "2 3", False), ("1 234", "1234", True)],
    "Repeating decimals": [("0.\\overline{3}", "1/3", True)],
    "Bases": [("101_2", "101_3", False), ("11_2", "3", True)],
    "Infinity in other words": [("\\infty", "∞", True), ("(-\\infty, 2)", "(-∞,2)", True)],
    "Relations and intervals": [("(-\\infty,5)", "x<5", True), ("[1,2]", "1 \\le x \\le 2", True),
                                ("(1,2)", "1<x<2", True), ("(2,3)", "x>2 and x<3", True),
                                ("(-\\infty,2)\\cup(3,\\infty)", "x<2 or x>3", True),
                                ("x<2 or x>3", "(-\\infty,2)\\cup(3,\\infty)", True),
                                ("(-\\infty,2)\\cup(2,\\infty)", "x \\neq 2", True)],
    "Dates": [("2020-01-02", "2020-02-01", False)],
    "Signs as they are typed": [("-5", "–5", True), ("3\\sqrt{2}", "3√2", True)],
    "Angle brackets": [("\\langle 1,2\\rangle", "(1,2)", True)],
    "What cannot be read is not read in part": [("9", "9^{", False)],
    "Too large or too long": [("9^{9^9}", "1", None), ("1", "9^{9^{9^9}}", None), ("99999999!", "1", None)],
    "No number": [("\\frac{1}{0}", "1", None)],
    "A bound is no number": [("5", "> 5", False), ("5", "\\ge 5", False), ("x \\ge 5", "\\text{at least } 5", True)],
    "Characters of other scripts": [("1/2", "½", True), ("5/2", "2½", True), ("x^{12}", "x¹²", True), ("3", "٣", True)],
    "Nothing": [("\\emptyset", "\\varnothing", True), ("\\emptyset", "\\text{no solution}", True)],
    "Times of day": [("\\text{3:30 pm}", "15:30", True)],
    "Names": [("(1,2)", "P(1,2)", True), ("(1,2)", "y=2,x=1", True), ("y=2x+1", "f(x)=2x+1", True)],
    "Sets of numbers in other words": [("[1,2)", "[1,2[", True), ("[1,2)", "\\{x \\mid 1 \\le x < 2\\}", True),
                                       ("(-\\infty,-1)\\cup(2,\\infty)", "x<-1, x>2", True)],
    "Angles in degrees": [("\\frac{\\sqrt3}{2}", "\\sin 60^\\circ", True)],
    "Ratios in words": [("2:3", "2 to 3", True)],
}
# fmt: on


@pytest.fixture(scope="module", autouse=True)
def quiet() -> Iterator[None]:
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def math_verify(gold: str, answer: str, *, seconds: int = 20) -> bool:
    """Its verdict within so many seconds: enough on cores with other work."""
    from math_verify import parse, verify

    def read(text: str) -> list[Any]:
        text = re.sub(r"(?<!\\)\$", "", text)
        return parse(f"${text}$", parsing_timeout=seconds)

    return verify(read(gold), read(answer), timeout_seconds=seconds)


@pytest.mark.parametrize(("gold", "answer"), ALIKE)
def test_the_verdict_is_math_verifys(gold: str, answer: str):
    assert same(answer, gold, "latex") is math_verify(gold, answer)


@pytest.mark.parametrize(
    ("reason", "gold", "answer", "verdict"),
    [(reason, *case) for reason, cases in DIFFERENT.items() for case in cases],
)
def test_the_verdict_is_not_math_verifys_and_the_page_says_why(
    reason: str, gold: str, answer: str, verdict: bool | None
):
    assert same(answer, gold, "latex") is verdict
    seconds = 1 if verdict is None else 20  # what is too large for us takes it all the time it may
    assert math_verify(gold, answer, seconds=seconds) is not verdict
    assert f"**{reason}.**" in PAGE.read_text(encoding="utf-8")


def test_the_page_has_no_other_difference():
    section = (
        PAGE.read_text(encoding="utf-8").partition("## Where it differs from Math-Verify")[2].partition("\n## ")[0]
    )
    assert re.findall(r"\*\*([^*]+)\.\*\*", section) == list(DIFFERENT)


def test_there_are_many_pairs():
    assert len(set(ALIKE)) == len(ALIKE) >= 150


@pytest.mark.parametrize("name", ["math500/test", "minerva_math/test", "olympiadbench/test"])
def test_real_gold_answers_rewritten_and_changed(name: str, shared: Callable[[str], Path]):
    """Answers written in another way stay right, and numbers that are changed become wrong, as for Math-Verify."""
    lines = shared(f"data/{name}.jsonl").read_text(encoding="utf-8").splitlines()
    golds = sorted({json.loads(line)["answer"] for line in lines})
    golds = [gold for gold in golds if exact.read(gold, words=False) is None and len(gold) < 60]
    judged = 0
    for gold in random.Random(0).sample(golds, 20):
        rewritten = gold.replace("\\frac", "\\dfrac").replace("\\left", "").replace("\\right", "").replace("+", " + ")
        assert same(rewritten, gold, "latex") is True, gold
        changed = re.sub(r"[0-9]", lambda digit: str((int(digit[0]) + 1) % 10), gold, count=1)
        verdict = same(changed, gold, "latex")
        if changed != gold and verdict is not None:
            assert verdict is math_verify(gold, changed), (gold, changed)
            judged += 1
    assert judged >= 10


DATA = [
    "aime24/test",
    "amc23/test",
    "arc_challenge/test",
    "arc_easy/test",
    "commonsenseqa/dev",
    "gsm8k/test",
    "math/train",
    "math500/test",
    "minerva_math/test",
    "mmlu_stem/test",
    "multiarith/test",
    "olympiadbench/test",
    "svamp/test",
]


@pytest.mark.parametrize("name", DATA)
def test_every_gold_answer_equals_itself(name: str, shared: Callable[[str], Path]):
    from inward.cli.extracting import choices_of, expected, extracted

    wrong: list[str] = []
    for number, line in enumerate(shared(f"data/{name}.jsonl").read_text(encoding="utf-8").splitlines()):
        row = json.loads(line)
        task = expected(row["answer"], None, choices_of(row.get("choices", ())), row["question"])
        boxed = [f"So it is $\\boxed{{{row['answer']}}}$."] if number % 10 == 0 else []
        for prediction in (row["answer"], *boxed):
            answer = extracted(prediction, task, strict=True)
            if answer is None or same(answer, task.gold, task.kind) is not True:
                wrong.append(f"{row['answer']!r} ({task.kind}) read as {answer!r}")
    assert not wrong
