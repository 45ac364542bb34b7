import threading
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inward.equivalence import canonical, grade, grade_many, is_list, majority, same
from inward.types import AnswerKind, Outcome

KINDS: tuple[AnswerKind, ...] = ("auto", "number", "latex", "choice", "text")


NUMBERS: list[tuple[str, str, bool | None]] = [
    ("18", "18", True),
    ("18", "19", False),
    ("1,000", "1000.0", True),
    ("1,234,567", "1234567", True),
    ("1{,}000", "1000", True),
    ("1000", "1e3", True),
    ("1200", "1.2E3", True),
    ("0.012", "1.2e-2", True),
    ("3/4", "0.75", True),
    ("6/8", "3/4", True),
    ("\\frac{3}{4}", ".75", True),
    ("-3/4", "-0.75", True),
    ("1/3", "0.3333", False),
    ("0.1", "0.10", True),
    ("007", "7", True),
    ("0", "-0.0", True),
    ("0", "0e5", True),
    ("5", "-5", False),
    ("-5", "−5", True),
    ("$18", "18", True),
    ("-$18", "-18", True),
    ("$-18", "-18", True),
    ("\\$18", "18", True),
    ("18 apples", "18", True),
    ("18", "18 apples", True),
    ("3.5km", "3.5", True),
    ("18.", "18", True),
    ("50%", "50", True),
    ("50", "50%", True),
    ("50%", "0.5", True),
    ("0.5", "50%", True),
    ("50%", "50 percent", True),
    ("50%", "0.05", False),
    ("0.5", "50", False),
    ("1/3", "0.333333", True),
    ("0.66666667", "2/3", True),
    ("0.666666", "2/3", False),
    ("1.6e-19", "3e-25", False),
    ("1.602e-19", "1.6e-19", False),
    ("1.6 \\times 10^{-19}", "1.6e-19", True),
    ("1.6 x 10^-19", "1.6e-19", True),
    ("1 1/2", "3/2", True),
    ("1\\frac{1}{2}", "1.5", True),
    ("-1 1/2", "-1.5", True),
    ("0.\\overline{3}", "1/3", True),
    ("1.2\\overline{34}", "611/495", True),
    ("3.5/7", "0.5", True),
    ("1 234", "1234", True),
    ("x = 5", "5", True),
    ("5", "x = 5", True),
    ("2^3", "8", True),
    ("2\\sqrt{3}", "2", False),
    ("5!", "5", False),
    ("5!", "120", True),
    ("5 cm", "5", True),
    ("5 cm", "5 centimeters", True),
    ("5 cm", "5 m", False),
    ("500 cm", "5 m", True),
    ("120 minutes", "2 hours", True),
    ("5 million", "5000000", True),
    ("5 million", "5", False),
    ("50 cents", "$0.50", True),
    ("$5", "5 euros", False),
    ("5 m^2", "50000 cm^2", True),
    ("\u202e18\u202c", "18", True),
    ("1\x008", "18", True),
    ("5x", "5", False),
    ("1,2345", "12345", False),
    ("10-12", "10", False),
    ("10-12", "10-12", True),
    ("", "18", False),
    ("eighteen", "18", False),
    ("18", "eighteen", None),
    ("18", "", None),
    ("Eighteen", "eighteen.", True),
    ("1/0", "1", False),
    ("1", "1/0", None),
    ("1e999999999", "10e999999998", True),
    ("1e999999999", "1e999999998", False),
    ("1e99999999999999999999", "1e99999999999999999999", True),
    ("1", "1e99999999999999999999", None),
    ("9" * 10**6, "9" * 10**6 + ".0", True),
    ("9" * 10**6, "9" * 10**6 + "1", False),
    ("1" + "0" * 10**6, "1e1000000", True),
    ("98765432109876543210", "98765432109876543211", False),
    ("9" * 2000 + "/7", "1", False),
]


@pytest.mark.parametrize(("answer", "gold", "expected"), NUMBERS)
def test_same_number(answer: str, gold: str, expected: bool | None):
    assert same(answer, gold, "number") is expected


CHOICES: list[tuple[str, str, bool | None]] = [
    ("A", "A", True),
    ("A", "B", False),
    ("a", "A", False),
    ("(A)", "A", True),
    ("A", "(A)", True),
    (" A ", "A", True),
    ("A.", "A", True),
    ("A)", "A", True),
    ("**A**", "A", True),
    ("{A}", "[A]", True),
    ("AB", "A", False),
    ("yes", "yes", True),
    ("12", "1", False),
    ("A", "", None),
]


@pytest.mark.parametrize(("answer", "gold", "expected"), CHOICES)
def test_same_choice(answer: str, gold: str, expected: bool | None):
    assert same(answer, gold, "choice") is expected


TEXTS: list[tuple[str, str, bool | None]] = [
    ("Paris", "Paris", True),
    ("paris", "Paris", True),
    ("Paris.", "Paris", True),
    ("  Paris\n", "Paris", True),
    ("New\n York", "new york", True),
    ('"Paris"', "Paris", True),
    ("Straße", "STRASSE", True),
    ("北京。", "北京", False),
    ("北京", "北京", True),
    ("listen", "silent", False),
    ("Paris", "Rome", False),
    ("New York", "NewYork", False),
    ("18", "18.0", False),
    ("", "Rome", False),
    ("Rome", "...", None),
]


@pytest.mark.parametrize(("answer", "gold", "expected"), TEXTS)
def test_same_text(answer: str, gold: str, expected: bool | None):
    assert same(answer, gold, "text") is expected


EXPRESSIONS: list[tuple[str, str, bool | None]] = [
    ("x+1", "x + 1", True),
    ("\\dfrac{1}{2}", "\\frac{1}{2}", True),
    ("\\frac12", "\\frac{1}{2}", True),
    ("\\frac{1}{2}", "0.5", True),
    ("0.50", "1/2", True),
    ("-\\frac{1}{2}", "-0.5", True),
    ("\\left( 1, 2 \\right)", "(1,2)", True),
    ("(1,2)", "(2,1)", False),
    ("(1,2)", "[1,2]", False),
    ("90^\\circ", "90", True),
    ("90°", "90^{\\circ}", True),
    ("50\\%", "50", True),
    ("50\\%", "0.5", True),
    ("$5$", "5", True),
    ("\\$5", "5", True),
    ("\\(5\\)", "5", True),
    ("1{,}000", "1000", True),
    ("10,\\!000", "10000", True),
    ("5\\text{ cm}", "5", True),
    ("\\text{Paris}", "Paris", True),
    ("Paris", "\\text{paris}", True),
    ("\\text{listen}", "\\text{silent}", False),
    ("\\text{two}", "2", False),
    ("π", "\\pi", True),
    ("\\sqrt{12}", "2\\sqrt{3}", True),
    ("(x+1)^2", "x^2+2x+1", True),
    ("(x+1)^2(x-1)^2", "(x^2-1)^2", True),
    ("(x+1)^3", "x^2+2x+1", False),
    ("x = 5", "5", True),
    ("2^{10}", "1024", True),
    ("e^{x^2}", "e^{x^2}\\cdot 1", True),
    ("\\begin{pmatrix} 1 \\\\ 2 \\end{pmatrix}", "\\begin{pmatrix}1\\\\2\\end{pmatrix}", True),
    ("1 2", "12", False),
    ("3x", "3", False),
    ("7", "8", False),
    ("\\frac{", "1", False),
    ("", "1", False),
    ("1", "\\frac{", None),
    ("1", "", None),
    ("1", "9^{9^{9}}", None),
    ("9^{9^{9^9}}", "9^{9^{9}}", None),
    # No LaTeX, so unreadable; no number of that form is 1.
    ("9^9^9", "1", False),
    ("9**9**9", "1", False),
    ("9^{99999999}", "1", None),
    ("(9^{999})^{999}", "1", False),
    ("9^{9 \\cdot 9^9}", "1", None),
    ("99999999!", "1", None),
    ("((9!)!)!", "1", None),
    ("1e999999999", "1", False),
    ("9^{9^9}", "9^{9^9}", True),
    ("x+" * 2001 + "x", "2002x", None),
    ("1", "x+" * 2001 + "x", None),
    ("{\\frac{1}{2}", "\\frac{1}{2}", False),
    ("\\sqrt{2", "2", False),
    ("3ab", "3", False),
    ("12 xy", "12", False),
    ("2 3", "5", False),
    ("3, 4", "3.4", False),
    ("2, 1", "1, 2", True),
    ("1, 2", "1 \\text{ or } 2", True),
    ("1, 2, 2", "\\{2, 1\\}", True),
    ("1, 2", "1, 2, 3", False),
    ("1, 2, 3", "1, 2", False),
    ("\\sqrt{12}, 1", "1, 2\\sqrt{3}", True),
    ("1, 2", "(1, 2)", True),
    ("2, 1", "(1, 2)", False),
    ("(2, 1)", "1, 2", True),
    ("[1, 2]", "1, 2", False),
    ("(1, 2, 3)", "(1, 2)", False),
    ("\\langle 1, 2 \\rangle", "(1, 2)", True),
    ("[1, 2)", "[1, 2]", False),
    ("(2, \\infty) \\cup (-\\infty, 1)", "(-∞, 1) ∪ (2, ∞)", True),
    ("(2, \\infty) \\cup (-\\infty, 1]", "(-∞, 1) ∪ (2, ∞)", False),
    ("x < 5", "(-\\infty, 5)", True),
    ("x \\le 5", "(-\\infty, 5)", False),
    ("x \\in [1, 2]", "[1, 2]", True),
    ("\\pm 2", "-2, 2", True),
    ("1 \\pm \\sqrt{2}", "1-\\sqrt{2}, 1+\\sqrt{2}", True),
    ("\\pm 2", "2", False),
    ("x = 5", "y = 5", False),
    ("x = 1, y = 2", "(1, 2)", True),
    ("(x, y) = (1, 2)", "(1, 2)", True),
    ("2y = 4x + 2", "y = 2x + 1", True),
    ("f(x) = x^2", "x^2", True),
    ("101_2", "101_2", True),
    ("101_2", "101_3", False),
    ("101_2", "5", True),
    ("101", "101_2", True),
    ("-\\infty", "\\infty", False),
    ("infinity", "\\infty", True),
    ("3.14", "\\pi", False),
    ("3.141593", "\\pi", True),
    ("5\\text{ cm}", "5\\text{ m}", False),
    ("2\\sqrt{3}\\text{ cm}", "2\\sqrt{3}", True),
    ("2\\sqrt{3}\\text{ cm}", "2\\sqrt{3}\\text{ m}", False),
    ("30^\\circ", "\\frac{\\pi}{6}", False),
    ("np.arcsin(10/13)", "\\arcsin{\\frac{10}{13}}", True),
    ("m_{\\max }=n^2", "n^2", True),
    ("(312,123)", "(312, 123)", True),
    ("xy", "yx", True),
    ("u(t)+1", "1+u(t)", True),
    ("u(t)+1", "u(t)+2", False),
    ("\\sqrt{x^2}", "x", False),
    ("(x+1)^{1000}", "5", False),
    ("\\sum_{k=1}^{10^{12}} k^k", "5", None),
    ("\\binom{10^9}{10^8}", "5", None),
    ("e^{e^{e^{e^{e}}}}", "5", None),
    ("5", "\\frac{1}{0}", None),
]


@pytest.mark.parametrize(("answer", "gold", "expected"), EXPRESSIONS)
def test_same_expression(answer: str, gold: str, expected: bool | None):
    assert same(answer, gold, "latex") is expected


AUTO: list[tuple[str, str, bool | None]] = [
    ("18", "18.0", True),
    ("1,000", "1000", True),
    ("3/4", "\\frac{3}{4}", True),
    ("$18", "18", True),
    ("18", "18 apples", True),
    ("18", "19", False),
    ("(B)", "B", True),
    ("A", "B", False),
    ("Paris", "paris", True),
    ("Paris", "Rome", False),
    ("listen", "silent", False),
    ("北京", "东京", False),
    ("Paris", "18", False),
    ("18", "Paris", False),
    ("\\sqrt{12}", "2\\sqrt{3}", True),
    ("x", "9^{9^9}", None),
]


@pytest.mark.parametrize(("answer", "gold", "expected"), AUTO)
def test_same_auto(answer: str, gold: str, expected: bool | None):
    assert same(answer, gold, "auto") is expected


def test_expressions_are_compared_off_the_main_thread_too():
    seen: list[bool | None] = []
    worker = threading.Thread(target=lambda: seen.append(same("\\sqrt{12}", "2\\sqrt{3}", "latex")))
    worker.start()
    worker.join()
    assert seen == [True]


@pytest.mark.parametrize(
    ("answer", "gold", "kind", "outcome"),
    [
        ("18", "$18", "number", Outcome.CORRECT),
        ("17", "18", "number", Outcome.INCORRECT),
        (None, "18", "number", Outcome.NO_ANSWER),
        ("", "18", "number", Outcome.INCORRECT),
        ("18", "many", "number", Outcome.UNSCORED),
        ("B", "B", "choice", Outcome.CORRECT),
        ("b", "B", "choice", Outcome.INCORRECT),
        ("1", "9^{9^9}", "latex", Outcome.UNSCORED),
        (None, "9^{9^9}", "latex", Outcome.NO_ANSWER),
    ],
)
def test_grade(answer: str | None, gold: str, kind: AnswerKind, outcome: Outcome):
    assert grade(answer, gold, kind) is outcome


def test_grade_many_judges_in_order():
    items = [
        ("18", "$18", "number"),
        (None, "1", "latex"),
        ("(x+1)^2", "x^2+2x+1", "latex"),
        ("1", "9^{9^{9^9}}", "latex"),
    ]
    outcomes = [Outcome.CORRECT, Outcome.NO_ANSWER, Outcome.CORRECT, Outcome.UNSCORED]
    graded = list(grade_many(items * 30, jobs=3))
    assert [one.outcome for one in graded] == outcomes * 30
    assert all(0 <= one.seconds < 60 for one in graded)


def test_grade_many_takes_no_more_than_it_needs():
    taken: list[int] = []

    def items():
        for i in range(10_000):
            taken.append(i)
            yield str(i), str(i), "number"

    judged = grade_many(items(), jobs=2)
    assert next(judged).outcome is Outcome.CORRECT
    judged.close()
    assert len(taken) <= 32


@pytest.mark.parametrize(
    ("answer", "several"),
    [("1, 2", True), ("\\{1, 2\\}", True), ("1 or 2", True), ("(1, 2)", False), ("1,234", False), ("5", False)],
)
def test_is_list(answer: str, several: bool):
    assert is_list(answer) is several


@pytest.mark.parametrize(
    ("answer", "kind", "form"),
    [
        ("$1,000.50", "number", "2001/2"),
        ("1e3", "number", "1000"),
        ("-0", "number", "0"),
        ("0.75", "number", "3/4"),
        ("12e5000", "number", "12e5000"),
        ("-12000e5000", "number", "-12e5003"),
        ("Many apples.", "number", "many apples"),
        ("(B).", "choice", "B"),
        ("  The  End. ", "text", "end"),
        ("\\dfrac{1}{2}", "latex", "1/2"),
        ("\\left[ X , 1 \\right]", "latex", "[X,1]"),
        ("(B)", "auto", "b"),
        ("(1, 2)", "auto", "(1,2)"),
        ("50%", "auto", "50"),
    ],
)
def test_canonical(answer: str, kind: AnswerKind, form: str):
    assert canonical(answer, kind) == form


@pytest.mark.parametrize(
    ("given", "kind", "expected"),
    [
        ((), "number", None),
        ((None, None), "number", None),
        (("7",), "number", "7"),
        (("7", "8", "8"), "number", "8"),
        (("7", None, None, None), "number", "7"),
        # 1,000 and 1000.0 are one answer with two votes, written as it was first.
        (("7", "1,000", "1000.0"), "number", "1,000"),
        (("7", "8"), "number", "7"),
        (("7", "8", "8", "7"), "number", "7"),
        (("8", "7", "8", "7"), "number", "8"),
        (("Rome", "PARIS", "paris."), "text", "PARIS"),
        (("a", "A", "(A)"), "choice", "A"),
        # Grouping is cheap: that the first and the last are equal takes algebra, so they are three answers.
        (("\\sqrt{12}", "\\frac12", "0.5", "2\\sqrt{3}", "2\\sqrt3"), "latex", "\\frac12"),
    ],
)
def test_majority(given: tuple[str | None, ...], kind: AnswerKind, expected: str | None):
    assert majority(given, kind) == expected


@given(st.text(max_size=30), st.sampled_from(KINDS))
def test_an_answer_equals_itself_unless_it_is_empty(answer: str, kind: AnswerKind):
    assert same(answer, answer, kind) is (True if canonical(answer, kind) else None)


@given(st.fractions(), st.fractions())
def test_fractions_are_equal_as_fractions_are(left: Fraction, right: Fraction):
    assert same(str(left), str(right), "number") is (left == right)


@given(st.decimals(-(10**15), 10**15, places=3), st.integers(-5, 5))
def test_shifting_the_point_and_the_exponent_changes_nothing(value: Decimal, shift: int):
    # 12.5 = 1250e-2 = 0.125e2
    assert same(str(value), f"{value.scaleb(shift):f}e{-shift}", "number") is True
