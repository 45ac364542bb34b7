"""Each case writes the expected span into the completion itself: [[...]] stands around the answer."""

import random
import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inward.answers import earliest, find, locate, probe_prompt, token_span
from inward.errors import SettingsError
from inward.types import AnswerKind, Span

KINDS: tuple[AnswerKind, ...] = ("auto", "number", "latex", "choice", "text")


def unmark(marked: str) -> tuple[str, Span | None]:
    """Take [[ and ]] out of a text and return the span they stood around; None without them."""
    if "[[" not in marked:
        return marked, None
    before, rest = marked.split("[[")
    inside, after = rest.split("]]")
    return before + inside + after, Span(start=len(before), end=len(before) + len(inside))


def check(marked: str, answer: str | None, kind: AnswerKind, labels: tuple[str, ...] | None = None) -> None:
    completion, span = unmark(marked)
    found = find(completion, kind) if labels is None else find(completion, kind, labels)
    assert (found and found.answer, found and found.chars) == (answer, span)


NUMBERS = [
    ("", None),
    ("no digits here", None),
    ("She has [[18]] apples.", "18"),
    ("[[18]]", "18"),
    ("First 3, then 4, so [[7]].", "7"),
    ("She makes $[[18]] a day", "18"),
    ("It fell by [[18]]%.", "18"),
    ("It fell by [[18]]\\% ", "18"),
    ("a walk of [[3.5]]km", "3.5"),
    ("It costs €[[3.50]].", "3.50"),
    ("total [[1234]].", "1234"),
    ("total [[1,234,567]].", "1234567"),
    ("total [[1,234.50]] dollars", "1234.50"),
    ("total $[[12{,}345]]$", "12345"),
    ("total $[[10,\\!000]]$", "10000"),
    ("values 1, 2, [[3]]", "3"),
    ("values 1,2,[[3]]", "3"),
    ("values 100,200,30,[[4]]", "4"),
    ("in 2019,[[300]]", "300"),
    ("It is [[-5]] degrees", "-5"),
    ("It is [[−5]] degrees", "-5"),
    ("He owes [[-$18]] now", "-18"),
    ("He owes $[[-18]] now", "-18"),
    ("5 - 10 = [[-5]]", "-5"),
    ("5 - 10 = [[- 5]]", "-5"),
    ("between 10-[[12]]", "12"),
    ("[[between 10 and 12]]", "between 10 and 12"),
    ("between 10–[[12]]", "12"),
    ("5 - [[3]]", "3"),
    ("5 -[[3]]", "3"),
    ("(5)-[[3]]", "3"),
    ("- [[3]] is a list item", "3"),
    ("well--[[3]]", "3"),
    ("([[-3]])", "-3"),
    ("\n[[-3]]", "-3"),
    ("COVID-[[19]]", "19"),
    ("about [[1.2e5]] stars", "1.2e5"),
    ("about [[1.2E-5]] grams", "1.2E-5"),
    ("chance of [[.5]]", ".5"),
    ("He ate [[3/4]] of it", "3/4"),
    ("He lost [[-3/4]] of it", "-3/4"),
    ("He ate $[[\\frac{3}{4}]]$ of it", "3/4"),
    ("He ate $[[\\dfrac34]]$ of it", "3/4"),
    ("He ate [[-\\frac{3}{4}]] of it", "-3/4"),
    ("the 15/01/[[2024]]", "2024"),
    ("on 2024-01-[[15]]", "15"),
    ("Python [[3]] or Python 3.11.2", "3"),
    ("only version 1.2.3", None),
    ("at [[10:30]]", "10:30"),
    ("[[12345678901234567890]]", "12345678901234567890"),
    ("sum of 98765432109 and 1 is [[98765432110]]", "98765432110"),
    ("[[5]] units of H2O", "5"),
    ("an area of [[5]] m^2 or so", "5"),
    ("an area of [[5]] m^{2} or so", "5"),
    ("scaled to [[10^-5]]", "1e-5"),
    ("scaled to [[10^{-5}]]", "1e-5"),
    ("[[5]] square m2", "5"),
    ("价格是[[18]]元", "18"),
    ("été 🎉 ça fait [[42]] é", "42"),
    ("#### [[18]]\nThat took 5 minutes.", "18"),
    ("####[[-5]]", "-5"),
    ("#### $[[1,000]]", "1000"),
    ("#### **[[18]]** 7", "18"),
    ("#### 3\n#### [[4]]\n5", "4"),
    ("The answer is [[18]].\n#### 1. Check\nWe have 20", "18"),
    ("##### 7\nso [[8]]", "8"),
    ("\\boxed{[[18]]} after 20 steps", "18"),
    ("\\boxed{3} then \\boxed{[[4]]} 5", "4"),
    ("\\boxed{[[\\frac{3}{4}]]} 5", "3/4"),
    ("\\boxed{\\$[[18]]\\text{ per day}} 5", "18"),
    ("\\boxed{x = [[5]]} 7", "5"),
    ("\\boxed{[[4]]} and \\boxed{\\text{none}} 9", "4"),
    ("#### [[1]]\n\\boxed{2} answer is 3, 4", "1"),
    ("\\boxed{[[2]]} answer is 3, 4", "2"),
    ("The answer is [[3]], found in 4 steps.", "3"),
    ("The answer is: $[[3]]. It took 4 steps.", "3"),
    ("Final Answer: [[3]] eggs (4 steps)", "3"),
    ("**Answer:** [[3]]\n4", "3"),
    ("### Final Answer\n\n[[3]]\n\nDone in 4", "3"),
    ("The answer is:\n\n[[3]]\n4", "3"),
    ("The answer would be approximately 3.5 or 4", None),
    ("The answer is 3 + 4 = [[7]], see step 2", "7"),
    ("The answer is [[18]] (20 - 2 = 18)", "18"),
    ("The answer is [[18]], because 20 - 2 = 18", "18"),
    ("The answer is the sum of 5 and 6, which is [[11]]. Step 9", "11"),
    ("Answer: There are 5 boxes of 6, so [[30]].", "30"),
    ("The answer is not 5. It is [[6]]", "6"),
    ("The answer is 3. Wait, the answer is [[4]]. 5", "4"),
    ("The answer is [[4]]. The answer is clear. 5", "4"),
    ("The answer is [[−1,234.5]]", "-1234.5"),
    ("\\boxed{[[2\\sqrt{3}]]} after 4 steps", "2\\sqrt{3}"),
    ("\\boxed{[[2^3]]}", "2^3"),
    ("\\boxed{[[5!]]}", "5!"),
    ("\\boxed{[[90]]^\\circ}", "90"),
    ("\\boxed{3 \\times 4 = [[12]]}", "12"),
]


@pytest.mark.parametrize(("marked", "answer"), NUMBERS)
def test_number(marked: str, answer: str | None):
    check(marked, answer, "number")


LATEX = [
    ("", None),
    ("nothing", None),
    ("\\boxed{[[5]]}", "5"),
    ("\\fbox{[[5]]}", "5"),
    ("$\\boxed{[[\\frac{1}{2}]]}$", "\\frac{1}{2}"),
    ("\\boxed{[[\\sqrt{\\frac{a}{b^{2}}}]]} and {more}", "\\sqrt{\\frac{a}{b^{2}}}"),
    ("\\boxed{1} or \\boxed{[[2]]}", "2"),
    ("\\boxed{[[2]]} or \\boxed{3", "2"),
    ("\\boxed{[[2]]} or \\boxed{}", "2"),
    ("\\boxed{\\boxed{[[2]]}}", "2"),
    ("{ \\boxed{[[2]]}", "2"),
    ("} \\boxed{[[2]]}", "2"),
    ("\\boxed{[[\\{1, 2\\}]]}", "\\{1, 2\\}"),
    ("\\boxed{[[\\left\\{ x \\right\\}]]}", "\\left\\{ x \\right\\}"),
    ("\\boxed {[[5]]}", "5"),
    ("\\boxed{ [[x + 1]] }", "x + 1"),
    ("\\boxed{$[[x]]$}", "x"),
    ("\\boxed [[5]].", "5"),
    ("$\\boxed [[5]]$", "5"),
    ("\\boxed{[[\\text{Paris}]]}", "\\text{Paris}"),
    ("\\boxed{[[\\begin{pmatrix} 1 \\\\ 2 \\end{pmatrix}]]}", "\\begin{pmatrix} 1 \\\\ 2 \\end{pmatrix}"),
    ("\\boxed{[[5]]}, not \\$7\\$", "5"),
    ("\\\\boxed{[[5]]}", "5"),
    ("The answer is $[[x^2]]$.", "x^2"),
    ("The answer is $$[[x^2]]$$", "x^2"),
    ("The answer is:\n\\[ [[x^2]] \\]", "x^2"),
    ("The answer is therefore \\([[x^2]]\\), as $y=1$", "x^2"),
    ("$y$ first. The answer is $[[x]]$ where $y=2$", "x"),
    ("The answer is $[[a]]$. No: the answer is unclear", "a"),
    ("The answer is $[[18]] and he paid $5", "18"),
    ("The answer is [[7]], as $x=3$", "7"),
    ("We get 3/4 and then [[1,000]]", "1000"),
    ("\\boxed{5 and so [[6]]", "6"),
    ("The answer is [[x^2 + 1]].", "x^2 + 1"),
    ("The answer is [[(1, 2)]].", "(1, 2)"),
    ("The answer is [[12,9]].", "12,9"),
    ("The answer is [[$3$, $4$]].", "$3$, $4$"),
    ("The answer is [[3x]]\nas $y=2$", "3x"),
    ("The answer is [[7]] for $x=3$", "7"),
    ("With $x=2$ we get $[[x^2+1]]$.", "x^2+1"),
    ("With $x=2$ we get [[5]].", "5"),
    ("It is \\[ [[x^2]] \\]", "x^2"),
    ("He paid $5 and $[[6]]", "6"),
    ("réponse 🎉 \\boxed{[[é^2]]} ñ", "é^2"),
]


@pytest.mark.parametrize(("marked", "answer"), LATEX)
def test_latex(marked: str, answer: str | None):
    check(marked, answer, "latex")


CHOICES = [
    ("", None),
    ("([[A]])", "A"),
    ("[[A]].", "A"),
    ("[[A]])", "A"),
    ("[[B]]", "B"),
    ("**[[C]]**", "C"),
    ("**([[C]])**", "C"),
    ("**[[C]]. bank**", "C"),
    ("[[B]]. bank", "B"),
    ("I looked.\n[[D]]\nThat is all", "D"),
    ("I looked, so [[D]]", "D"),
    ("The answer is [[B]]", "B"),
    ("The answer is ([[B]]).", "B"),
    ("The answer is **[[B]]**", "B"),
    ("The answer is: [[B]]. bank", "B"),
    ("Answer: [[B]]", "B"),
    ("**Answer:** [[B]]", "B"),
    ("The correct option is [[B]]", "B"),
    ("The correct choice is option [[B]]", "B"),
    ("Available options are: A, B, C. So the correct option is [[B]]", "B"),
    ("The best answer would be [[B]] (not C)", "B"),
    ("\\boxed{[[B]]} unlike (C)", "B"),
    ("\\boxed{\\text{([[B]])}} unlike (C)", "B"),
    ("#### [[B]]\nunlike (C)", "B"),
    ("Option [[B]] is correct, unlike (C)", "B"),
    ("([[B]]) is the right one, unlike (C)", "B"),
    ("The answer is ([[A]]). (B) is tempting.", "A"),
    ("It could be A or B, but [[B]].", "B"),
    ("It could be A or B, so [[B]]", "B"),
    ("The answer is A or B.", None),
    ("The answer is (A) or (B).", None),
    ("The answer is A/B", None),
    ("Both (A) and (B)", None),
    ("The answer is [[A]] and not B.", "A"),
    ("The answer is [[C]]. Or is it A or B?", "C"),
    ("The answer is A. No, the answer is [[C]].", "C"),
    ("The answer is not A; it is [[C]] here", "C"),
    ("(A) 5 (B) 6 ([[C]]) 7", "C"),
    ("The answer is [[A]] because it fits", "A"),
    ("The answer is [[A]] and not B", "A"),
    ("I would choose [[B]] here", "B"),
    ("A bird flew", None),
    ("Answer: A bird flew", None),
    ("The answer is a bird", None),
    ("choose a book", None),
    ("Choose A book", None),
    ("The answer is b", None),
    ("(b)", None),
    ("He lives in Area B5 of BASE", None),
    ("The answer is E = mc^2", None),
    ("The answer is C++", None),
    ("an A-level", None),
    ("Answer choices: A, B and so on", None),
    ("The answer is F", None),
    ("选择 ([[B]]) 吧 🎉", "B"),
]


@pytest.mark.parametrize(("marked", "answer"), CHOICES)
def test_choice(marked: str, answer: str | None):
    check(marked, answer, "choice")


OTHER_LABELS = [
    ("I think so", ("H", "I"), None),
    ("I, too", ("H", "I"), None),
    ("He is taller than I.", ("H", "I"), None),
    ("It was I", ("I",), None),
    ("The answer is I think clear", ("H", "I"), None),
    ("The answer is [[I]].", ("H", "I"), "I"),
    ("([[I]])", ("H", "I"), "I"),
    ("[[I]]. bank", ("H", "I"), "I"),
    ("The answer is [[F]]", ("E", "F"), "F"),
    ("The answer is [[12]]", ("1", "12"), "12"),
    ("The answer is 1.5", ("1", "2"), None),
    ("The answer is [[yes]]", ("yes", "no"), "yes"),
]


@pytest.mark.parametrize(("marked", "labels", "answer"), OTHER_LABELS)
def test_choice_among_other_labels(marked: str, labels: tuple[str, ...], answer: str | None):
    check(marked, answer, "choice", labels)


def test_no_labels_are_refused():
    with pytest.raises(SettingsError, match="labels is empty"):
        find("(A)", "choice", ())


TEXTS = [
    ("", None),
    ("Paris", None),
    ("It is Paris.", None),
    ("The answer is [[Paris]].", "Paris"),
    ("The answer is [[Paris]]", "Paris"),
    ("The answer is: [[Paris]]", "Paris"),
    ("the ANSWER is [[Paris]]!", "Paris"),
    ("Answer: [[Paris]]\nIt is in France.", "Paris"),
    ("**Answer:** [[Paris]]", "Paris"),
    ("**Final answer**: **[[Paris]]**.", "Paris"),
    ("Final Answer = [[Paris]]", "Paris"),
    ("## Final Answer\n[[Paris]]\n", "Paris"),
    ('The answer is "[[Paris]]". Yes.', "Paris"),
    ("The answer is [[New  York]]. It is big.", "New York"),
    ("The answer is [[3.5 km]]. Far.", "3.5 km"),
    ("The answer is [[J. K. Rowling]]. She wrote it.", "J. K. Rowling"),
    ("The answer is [[Dr. Who]]. He travels.", "Dr. Who"),
    ("The answer is [[yes, of course]].", "yes, of course"),
    ("The answer is Rome. No, the answer is [[Paris]].", "Paris"),
    ("The answer is [[Rome]]. The answer is ...", "Rome"),
    ("The answer is not Rome. Answer: [[Paris]]", "Paris"),
    ("The answer is not Rome.", None),
    ("The answer should be [[Paris]]", "Paris"),
    ("The answer must be [[Paris]]?", "Paris"),
    ("The answer to the question is [[Paris]].", "Paris"),
    ("The answer is\n\n[[Paris]]\n\nor so", "Paris"),
    ("The answer is [[-5 degrees]].", "-5 degrees"),
    ("The answer is [[北京]]。很大", "北京"),
    ("🎉 The answer is [[Zürich 🎉]]", "Zürich 🎉"),
    ("unanswered is none", None),
    ("the answer", None),
    ("the answer is", None),
    ("Answer choices: none", None),
    ("The answer is [[(B) bank]].", "(B) bank"),
]


@pytest.mark.parametrize(("marked", "answer"), TEXTS)
def test_text(marked: str, answer: str | None):
    check(marked, answer, "text")


AUTO = [
    ("", None),
    ("nothing", None),
    ("so [[18]] eggs", "18"),
    ("\\boxed{[[x+1]]}\n#### 5", "x+1"),
    ("\\boxed{[[x+1]]}. The answer is (B)", "x+1"),
    ("3 eggs\n#### [[18]]\n7", "18"),
    ("3 eggs\n#### [[Paris]]\n", "Paris"),
    ("#### Plan\n3 eggs, so [[4]]", "4"),
    ("##### Plan\n[[4]]", "4"),
    ("##### Plan [[4]]", "4"),
    ("3 eggs. The answer is [[B]].", "B"),
    ("3 eggs. The answer is ([[B]]).", "B"),
    ("[[B]] is the correct one of 5", "B"),
    ("3 eggs, so ([[B]])", "B"),
    ("(A) 3 (B) 4. The answer is [[4]].", "4"),
    ("The answer is B. No, the answer is [[4]] of 5.", "4"),
    ("The answer is 4. No, the answer is [[B]].", "B"),
    ("2 million people. The answer is [[Paris]].", "Paris"),
    ("The answer is [[18]] apples, of 20.", "18"),
    ("The answer is $[[1,234]].", "1234"),
    ("The answer is 3 + 4 = [[7]].", "7"),
    ("A bird saw [[3]] worms", "3"),
    ("10-[[12]]", "12"),
    ("1/2 or 3/4", None),
]


@pytest.mark.parametrize(("marked", "answer"), AUTO)
def test_auto(marked: str, answer: str | None):
    check(marked, answer, "auto")


def test_auto_knows_other_labels():
    check("of 3 the answer is [[yes]]", "yes", "auto", ("yes", "no"))


@pytest.mark.parametrize("kind", ["text", "auto", "latex"])
def test_generic_probe(kind: AnswerKind):
    assert probe_prompt(kind) == "So the answer is"


def test_number_probe():
    assert probe_prompt("number") == "So the answer as a number is"


def test_choice_probe():
    assert probe_prompt("choice") == "Available options are: A, B, C, D, E. So the correct option is"
    assert probe_prompt("choice", ("Y", "N")) == "Available options are: Y, N. So the correct option is"


LOCATED: list[tuple[AnswerKind, str, str, str | None]] = [
    ("number", " 18.\nQuestion: 7 eggs", "9 * 2 = [[18]] eggs of 7", "18"),
    ("number", " 18.", "18 first, [[18]] last, then 180 and 118", "18"),
    ("number", " 8", "she has 18 or 80 or 1.8 or 8.1", None),
    ("number", " 1234.", "total [[1,234]]", "1234"),
    ("number", " $1,234.00", "total [[1234]] eggs", "1234.00"),
    ("number", " 0.75", "He ate [[3/4]]", "0.75"),
    ("number", " 4", "He ate 3/4", None),
    ("number", " 5", "5 - 10 = -5, of [[5]]", "5"),
    ("number", " -5", "5 - 10 = [[-5]], of 5", "-5"),
    ("number", " 5 + 4 = 9. Then 7", "7 and 5 and [[9]] and 4", "9"),
    ("number", " 18 because 20 - 2 is so", "20 - 2 = [[18]]", "18"),
    ("number", " that 16 - 7 leaves 9", "16 - 7 = [[9]]", "9"),
    ("number", " clear. 6", "6, so [[6]]", "6"),
    ("number", "\n\n18\n7", "7 [[18]]", "18"),
    ("number", " unknown", "7", None),
    ("number", "", "7", None),
    ("number", " 18", "", None),
    ("number", " 1/0", "[[1/0]]", "1/0"),
    (
        "number",
        " 98765432109876543210.",
        "sum 98765432109876543211, no: [[98765432109876543210]]",
        "98765432109876543210",
    ),
    ("number", " 1e999999999", "[[1e999999999]]", "1e999999999"),
    ("choice", " B. The", "(A) or ([[B]]). So it is", "B"),
    ("choice", " (B) bank", "The answer is [[B]]. Unlike (C), (B)\nfits", "B"),
    ("choice", " A.", "A bird, so ([[A]]). A bird", "A"),
    ("choice", " A.", "A bird flew", None),
    ("choice", ": C", "I take [[C]] since it fits", "C"),
    ("choice", " a bird", "(A)", None),
    ("choice", " A bird, so B", "(A) ([[B]])", "B"),
    ("choice", " D", "(A)", None),
    ("text", " Paris.\nQuestion:", "Paris is big, so [[Paris]]!", "Paris"),
    ("text", " Paris. It is big.", "So [[Paris]], of Parisians", "Paris"),
    ("text", " paris", "So [[Paris]]", "paris"),
    ("text", " New York", "It is [[New\nYork]].", "New York"),
    ("text", " the blue whale", "A [[blue whale]] is big, a whale", "the blue whale"),
    ("text", " a red fox", "red fox here, [[red fox]] there", "a red fox"),
    ("text", " whales, big", "the whale is [[big]]", "whales, big"),
    ("text", " 北京市", "我觉得是[[北京]]。", "北京市"),
    ("text", " Rome", "So Paris", None),
    ("text", " ...", "So ... Paris", None),
    ("text", "", "So Paris", None),
    ("text", " 234 eggs", "1,234 [[eggs]]", "234 eggs"),
    ("auto", " 18 apples.", "he has [[18]] of 20", "18"),
    ("auto", " 18.", "he has [[18]] of 118", "18"),
    ("auto", " 8", "he has 1.8 of 18", None),
    ("auto", " (B).", "A B, so ([[B]])", "B"),
    ("auto", " Paris.", "So [[Paris]] it is", "Paris"),
    ("auto", " 1234", "So [[1,234]] it is", "1234"),
    ("latex", " $\\frac{a}{b}$.", "\\boxed{[[\\frac{a}{b}]]}", "\\frac{a}{b}"),
    ("latex", " \\boxed{x+1}.", "So $[[x+1]]$", "x+1"),
    ("latex", " $x + 1$", "So $[[x + 1]]$ it is", "x + 1"),
    ("latex", " 3", "So $x^3 = [[3]]$", "3"),
]


@pytest.mark.parametrize(("kind", "probe", "marked", "answer"), LOCATED)
def test_locate(kind: AnswerKind, probe: str, marked: str, answer: str | None):
    completion, span = unmark(marked)
    found = locate(probe, completion, kind)
    assert (found and found.answer, found and found.chars) == (answer, span)


# token_ends of "<s>", " é" in two tokens of which the first writes the blank alone, "12", "3", "</s>".
ENDS = (0, 1, 2, 4, 5, 5)


@pytest.mark.parametrize(
    ("chars", "tokens"),
    [
        ((0, 5), (1, 5)),
        ((2, 5), (3, 5)),
        ((2, 3), (3, 4)),
        ((3, 4), (3, 4)),
        ((3, 5), (3, 5)),
        ((1, 2), (2, 3)),
        ((4, 9), (4, 5)),
        ((5, 6), None),
        ((2, 2), None),
    ],
)
def test_token_span(chars: tuple[int, int], tokens: tuple[int, int] | None):
    expected = tokens and Span(start=tokens[0], end=tokens[1])
    assert token_span(Span(start=chars[0], end=chars[1]), ENDS) == expected


def test_token_span_without_tokens():
    assert token_span(Span(start=0, end=1), ()) is None
    assert token_span(Span(start=0, end=1), (0, 0)) is None


@given(st.data())
def test_token_span_holds_the_writers_of_the_characters(data: st.DataObject):
    lengths = data.draw(st.lists(st.integers(0, 3), min_size=1, max_size=12))
    ends = [sum(lengths[: t + 1]) for t in range(len(lengths))]
    start = data.draw(st.integers(0, ends[-1]))
    stop = data.draw(st.integers(start, ends[-1]))
    writers = [t for t, n in enumerate(lengths) if n and ends[t] - n < stop and ends[t] > start and start < stop]
    expected = Span(start=writers[0], end=writers[-1] + 1) if writers else None
    assert token_span(Span(start=start, end=stop), ends) == expected


# fmt: off
PARTS = ["answer is ", "Answer:", "is not ", "####", "\\boxed{", "}", "\\frac", "{", "A", "(B)", "I", "18", "1,234",
         "-", "−", "$", ".",
         ",", "/", "e5", " ", "\n", "=", "**", "Paris", "é", "北京", "🎉", "_", "^", "\\"]
# fmt: on
SCRAMBLED = st.lists(st.sampled_from(PARTS), max_size=25).map("".join) | st.text(max_size=40)


@settings(max_examples=300)
@given(SCRAMBLED, st.sampled_from(KINDS))
def test_a_found_span_lies_within_the_completion(completion: str, kind: AnswerKind):
    found = find(completion, kind)
    if found is not None:
        assert 0 <= found.chars.start < found.chars.end <= len(completion)
        assert found.answer


@settings(max_examples=300)
@given(SCRAMBLED, SCRAMBLED, st.sampled_from(KINDS))
def test_a_located_span_lies_within_the_completion(probe: str, completion: str, kind: AnswerKind):
    found = locate(probe, completion, kind)
    if found is not None:
        assert 0 <= found.chars.start < found.chars.end <= len(completion)
        assert found.answer


@given(st.integers(-(10**15), 10**15), st.booleans())
def test_a_written_integer_is_found_whole(number: int, grouped: bool):
    written = f"{number:,}" if grouped else str(number)
    check(f"We had 5 and got [[{written}]] of them.", str(number), "number")


# fmt: off
PIECES = ["1", "1 ", "1,234", "1.", "1/", "1e", "\\frac{1", "- ", "-", "=", "(", "$", "$a ", "\\boxed{", "{", "}",
          "####", "#### ", "#### 1. a ", "answer", "answer ", "answer:", "answer is ",
          "A ", "A)", "*", "\\", "word ", " ", "\n", "\t"]
# fmt: on


# Each piece is the beginning of something a pattern looks for: a search that began anew at each would take hours.
# Without a balanced box, latex goes through the searches of number, too.
@pytest.mark.parametrize("piece", PIECES)
@pytest.mark.parametrize("kind", ["latex", "choice"])
def test_200_kb_of_repetition(piece: str, kind: AnswerKind):
    text = piece * (200_000 // len(piece))
    found = find(text, kind)
    assert found is None or 0 <= found.chars.start < found.chars.end <= len(text)


@pytest.mark.parametrize("kind", KINDS)
def test_locate_in_200_kb(kind: AnswerKind):
    rng = random.Random(0)
    text = "".join(rng.choices(string.ascii_letters + string.digits + " .,{}\\$", k=200_000)) + " ok 771 (B)"
    probe = {"number": " 771", "choice": " B", "text": " so ok", "auto": " zz ok", "latex": " ok qq"}[kind]
    assert locate(probe, text, kind) is not None
    assert kind == "text" or find(text, kind) is not None


@pytest.mark.parametrize(
    ("kind", "text", "answer"),
    [
        ("number", "3+4=7; #### 7", "7"),
        ("number", "so the answer is 7", "7"),
        ("number", "3+4=7", None),
        ("number", "####=+4", None),
        ("latex", r"thus \boxed{x}", "x"),
        ("latex", "thus 4", None),
        ("choice", "the answer is (B)", "B"),
        ("choice", "maybe (B)", None),
        ("auto", "maybe (B)", None),
        ("auto", "there are 12", None),
        ("auto", "the answer is Paris.", "Paris"),
    ],
)
def test_strict_takes_announced_answers_only(kind: AnswerKind, text: str, answer: str | None):
    found = find(text, kind, strict=True)
    assert (found and found.answer) == answer
    assert find(text, kind) is not None


@pytest.mark.parametrize(
    ("kind", "marked"),
    [
        ("number", "[[4]]+3=7;14-10=4;####4"),
        ("number", "14 of 40: she has [[4.0]], so 4"),
        ("number", "only once: ####[[12]]"),
        ("number", "in Markdown: the answer is _[[12]]_"),
        ("auto", "_[[12]]_ and then 12 of 12"),
        ("choice", "Is it [[B]]? A is warm. The answer is (B)"),
        ("text", "[[Paris]] or Lyon. The answer is Paris."),
        ("latex", "[[1/2]] at first, then \\boxed{\\frac{1}{2}}"),
        ("latex", "[[\\sqrt{2}]] at first, then \\boxed{\\sqrt{2}}"),
    ],
)
def test_the_earliest_occurrence_of_an_answer(kind: AnswerKind, marked: str):
    completion, span = unmark(marked)
    found = find(completion, kind)
    assert found is not None
    first = earliest(found, completion, kind)
    assert (first.answer, first.chars) == (found.answer, span)
