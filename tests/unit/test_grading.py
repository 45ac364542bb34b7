"""`inward grade`: what is read off a prediction, what kind a gold answer is, and how a stopped work goes on."""

import json
import time
from pathlib import Path
from typing import Any

import pytest
from commands import call
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from inward.cli import grading
from inward.cli.extracting import choices_of, expected, extracted
from inward.equivalence import canonical, grade
from inward.errors import DataError, SettingsError
from inward.types import AnswerKind, Outcome

CAPITALS = {"A": "Rome", "B": "Paris", "C": "New York"}
NUMBERS = {"1": "3", "2": "4", "3": "5"}

# Gold answer, choices, question, kind, and the gold answer as it is read.
KINDS = [
    ("18", {}, "", "number", "18"),
    ("1,234", {}, "", "number", "1,234"),
    ("-3.5", {}, "", "number", "-3.5"),
    ("3/4", {}, "", "number", "3/4"),
    ("50%", {}, "", "number", "50%"),
    ("$3.50", {}, "", "number", "$3.50"),
    ("5 cm", {}, "", "number", "5 cm"),
    ("1+1=2\nso 16+2=18\n#### 18", {}, "", "number", "18"),
    ("We get \\boxed{18}.", {}, "", "number", "18"),
    ("We get \\boxed{\\frac{1}{2}}.", {}, "", "latex", "\\frac{1}{2}"),
    ("\\boxed{1} and \\boxed{2}", {}, "", "latex", "1, 2"),
    ("$x^2$", {}, "", "latex", "x^2"),
    ("x=5", {}, "", "latex", "x=5"),
    ("(1, 2]", {}, "", "latex", "(1, 2]"),
    ("\\{1, 2\\}", {}, "", "latex", "\\{1, 2\\}"),
    ("1.6 \\times 10^{-19}", {}, "", "latex", "1.6 \\times 10^{-19}"),
    ("1, 2", {}, "", "latex", "1, 2"),
    ("90^\\circ", {}, "", "latex", "90^\\circ"),
    ("\\text{even}", {}, "", "text", "even"),
    ("Paris", {}, "", "text", "Paris"),
    ("yes", {}, "", "text", "yes"),
    ("x", {}, "", "latex", "x"),
    ("B", {}, "", "choice", "B"),
    ("(B)", {}, "", "choice", "B"),
    ("\\text{(B)}", {}, "", "choice", "B"),
    ("G", {}, "", "choice", "G"),
    ("B", CAPITALS, "", "choice", "B"),
    ("(B) Paris", CAPITALS, "", "choice", "B"),
    ("paris", CAPITALS, "", "choice", "B"),
    ("2", NUMBERS, "", "choice", "2"),
    ("5", NUMBERS, "", "choice", "3"),
    ("B", {}, "Which? (A) one (B) two", "choice", "B"),
    ("two", {}, "Which?\nA. one\nB. two", "text", "two"),
]


@pytest.mark.parametrize(("gold", "choices", "question", "kind", "read"), KINDS)
def test_kind_and_gold_answer(gold: str, choices: dict[str, str], question: str, kind: AnswerKind, read: str):
    task = expected(gold, None, choices, question)
    assert (task.kind, task.gold) == (kind, read)


# Gold answer, choices, prediction, what is read off it, and what if only announced answers count.
READ: list[tuple[str, dict[str, str], str | None, str | None, str | None]] = [
    ("18", {}, "18", "18", "18"),
    ("18", {}, "$18", "$18", "$18"),
    ("18", {}, "She has 18 apples and is happy.", "18", None),
    ("18", {}, "3+4=7\n#### 7", "7", "7"),
    ("18", {}, "The answer is 1,800.", "1,800", "1,800"),
    ("0.5", {}, "The chance is 50%.", "50%", None),
    ("0.5", {}, "The answer is 50\\%.", "50\\%", "50\\%"),
    ("2", {}, "so \\boxed{2\\sqrt{3}}", "2\\sqrt{3}", "2\\sqrt{3}"),
    ("18", {}, "I do not know.", None, None),
    ("18", {}, None, None, None),
    ("18", {}, " \n\x00", None, None),
    ("18", {}, "\\sqrt{324}", "\\sqrt{324}", "\\sqrt{324}"),
    ("18", {}, "18 - x", "18 - x", "18 - x"),
    ("18", {}, "3! + 12", "3! + 12", "3! + 12"),
    ("x+1", {}, "x + 1", "x + 1", "x + 1"),
    ("(1,2)", {}, "The point is (1, 2).", "(1, 2)", None),
    ("2, 3", {}, "The solutions are $x=2$ and $x=3$.", "$x=2$ and $x=3$", None),
    ("x+1", {}, "So the answer is $x+1$, as $y=2$.", "x+1", "x+1"),
    ("x+1", {}, "We get $x+1$.", "x+1", None),
    ("x+1", {}, "\\boxed{y} no, \\boxed{x+1}", "x+1", "x+1"),
    ("1, 2", {}, "\\boxed{1} and \\boxed{2}", "1, 2", "1, 2"),
    ("1, 2", {}, "\\boxed{1}, that is \\boxed{1, 2}", "1, 2", "1, 2"),
    ("2\\pi", {}, "\\boxed{1} and \\boxed{2\\pi}", "2\\pi", "2\\pi"),
    ("2\\pi", {}, "1+1\n#### 2\\pi", "2\\pi", "2\\pi"),
    ("yes", {}, "The answer is Yes.", "Yes", "Yes"),
    ("yes", {}, "Yes", "Yes", "Yes"),
    ("Paris", {}, "It is Paris.", "Paris", "It is Paris"),
    ("yes", {}, "\\boxed{\\text{Yes}}", "Yes", "Yes"),
    ("B", {}, "It could be A or B, but B.", "B", None),
    ("B", {}, "The answer is A or B.", None, None),
    ("B", {}, "b", "B", "B"),
    ("B", {}, "(b)", "B", "B"),
    ("G", {}, "The answer is G.", "G", "G"),
    ("B", CAPITALS, "The answer is (A).", "A", "A"),
    ("B", CAPITALS, "The answer is Paris.", "B", "B"),
    ("B", CAPITALS, "Paris", "B", "B"),
    ("B", CAPITALS, "B. Paris", "B", "B"),
    ("B", CAPITALS, "A) no. B) yes. Therefore B", "B", None),
    ("B", CAPITALS, "\\boxed{\\text{Paris}}", "B", "B"),
    ("B", CAPITALS, "In France it would be Paris, I think", "B", None),
    ("B", CAPITALS, "Rome, or was it Paris", None, None),
    ("B", CAPITALS, "Parisian", None, None),
    ("2", NUMBERS, "3", "3", "3"),
    ("2", NUMBERS, "The answer is 4.", "2", "2"),
]


@pytest.mark.parametrize(("gold", "choices", "prediction", "lenient", "strict"), READ)
def test_what_is_read_off_a_prediction(
    gold: str, choices: dict[str, str], prediction: str | None, lenient: str | None, strict: str | None
):
    task = expected(gold, None, choices, "")
    assert extracted(prediction, task, strict=False) == lenient
    assert extracted(prediction, task, strict=True) == strict


def test_options_that_stand_in_the_question():
    task = expected("B", None, {}, "Which is largest?\nA. a mouse\nB. a whale\nC. a cat")
    assert task.options == {"A": "a mouse", "B": "a whale", "C": "a cat"}
    assert extracted("The answer is a whale.", task, strict=True) == "B"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"prediction": "1"', "line 2: no JSON"),
        ("[1]", "line 2: a list, where an object"),
        ('{"gold": "1"}', "line 2: no `prediction`; it has gold"),
        ('{"prediction": "1"}', "line 2: no `gold`"),
        ('{"prediction": "1", "gold": null}', "line 2: `gold` is null"),
        ('{"prediction": "1", "gold": ""}', "line 2: the gold answer is empty"),
        ('{"prediction": ["1"], "gold": "1"}', "line 2: `prediction` must be text or a number, not a list"),
        ('{"prediction": "1", "gold": true}', "line 2: `gold` must be text or a number, not a bool"),
        ('{"prediction": "1", "gold": "1", "kind": "maths"}', "line 2: kind 'maths' is unknown"),
        ('{"prediction": "1", "gold": "1", "kind": ["number"]}', "line 2: kind"),
        ('{"prediction": "1", "gold": "1", "choices": "A"}', "line 2: `choices` must be a list"),
        ('{"prediction": "1", "gold": "1", "choices": [{"label": "A"}]}', "line 2: `choices` must be a list"),
        (
            '{"prediction": "1", "gold": "Z", "choices": [{"label": "A", "text": "x"}]}',
            "line 2: the gold answer 'Z' is neither a label nor the text of an option",
        ),
        (
            '{"prediction": "1", "gold": "A", "choices": [{"label": "A", "text": "x"}, {"label": "A", "text": "y"}]}',
            "line 2: two choices have the label 'A'",
        ),
        ('{"prediction": "1", "gold": "1", "verdict": "correct"}', "line 2: it has `verdict` already"),
    ],
)
def test_a_bad_line_is_named_before_any_work(tmp_path: Path, line: str, message: str):
    source, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_text(f'{{"prediction": "1", "gold": "1"}}\n{line}\n')
    done = call("grade", source, "--out", out)
    assert done.code == 1 and message in done.error
    assert not out.exists()


def test_text_that_is_not_utf8(tmp_path: Path):
    source = tmp_path / "in.jsonl"
    source.write_bytes(b'{"prediction": "\xe9", "gold": "1"}\n')
    with pytest.raises(DataError, match="line 1: no UTF-8 text"):
        grading.grade_file(source, tmp_path / "out.jsonl", strict=False, jobs=1)


def test_a_missing_file_an_empty_one_and_the_same_one(tmp_path: Path):
    source, empty = tmp_path / "in.jsonl", tmp_path / "empty.jsonl"
    source.write_text('{"prediction": "1", "gold": "1"}\n')
    empty.write_text("\n")
    with pytest.raises(DataError, match="cannot read"):
        grading.grade_file(tmp_path / "none.jsonl", tmp_path / "out.jsonl", strict=False, jobs=1)
    with pytest.raises(DataError, match="holds no lines"):
        grading.grade_file(empty, tmp_path / "out.jsonl", strict=False, jobs=1)
    for out in (source, tmp_path, Path("/dev/full")):
        with pytest.raises(SettingsError, match="give another file"):
            grading.grade_file(source, out, strict=False, jobs=1)
    with pytest.raises(SettingsError, match="at least one"):
        grading.grade_file(source, tmp_path / "out.jsonl", strict=False, jobs=0)


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    lines = [
        {"id": 7, "prediction": "The answer is 18.", "gold": "#### 18"},
        {"prediction": "so 17", "gold": 18},
        {"prediction": None, "gold": "18", "note": {"a": ["é"]}},
        {"prediction": "\\boxed{(x+1)^2}", "gold": "x^2+2x+1"},
        {"prediction": "9^{9^{9^9}}", "gold": "2\\sqrt{3}"},
        {"prediction": "18, I guess it is", "gold": "18", "kind": "number"},
    ]
    path = tmp_path / "in.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + "\n".join(map(json.dumps, lines)).encode())
    return path


VERDICTS = ["correct", "incorrect", "no_answer", "correct", "unscored", "correct"]


def test_verdicts_are_added_in_order_and_counted(source: Path, tmp_path: Path):
    done = call("grade", source, "--out", tmp_path / "new/out.jsonl", "--jobs", "2")
    given = [json.loads(line) for line in source.read_text(encoding="utf-8-sig").splitlines()]
    out = rows(tmp_path / "new/out.jsonl")
    assert [row["verdict"] for row in out] == VERDICTS
    assert [row["extracted"] for row in out] == ["18", "17", None, "(x+1)^2", "9^{9^{9^9}}", "18"]
    assert all(list(row) == [*line, "extracted", "verdict", "seconds"] for row, line in zip(out, given, strict=True))
    assert all({k: row[k] for k in line} == line for row, line in zip(out, given, strict=True))
    counts = dict(line.split()[:2] for line in done.out.splitlines())
    # 3 right of the 5 that could be decided; the last of them was not announced.
    assert counts == {
        "correct": "3", "incorrect": "1", "no_answer": "1", "unscored": "1",
        "accuracy": "0.6000", "announced": "0.4000", "graded": "6",
    }  # fmt: skip


def test_only_announced_answers_count_where_that_is_asked_for(source: Path, tmp_path: Path):
    call("grade", source, "--out", tmp_path / "out.jsonl", "--strict")
    assert [row["verdict"] for row in rows(tmp_path / "out.jsonl")] == [
        *VERDICTS[:1],
        "no_answer",
        *VERDICTS[2:5],
        "no_answer",
    ]


@pytest.mark.parametrize("kept", range(7))
@pytest.mark.parametrize("torn", ["", '{"predic', "\n", '{"prediction": "so 17"}\n'])
def test_a_stopped_work_goes_on_where_it_stopped(source: Path, tmp_path: Path, kept: int, torn: str):
    out = tmp_path / "out.jsonl"
    call("grade", source, "--out", out)
    whole = out.read_text(encoding="utf-8").splitlines(keepends=True)
    # What was graded before is told by its time.
    old = [json.dumps({**json.loads(line), "seconds": -1}) + "\n" for line in whole[:kept]]
    out.write_text("".join(old) + (torn if kept < 6 else ""), encoding="utf-8")
    done = call("grade", source, "--out", out)
    assert [row["verdict"] for row in rows(out)] == VERDICTS
    assert [row["seconds"] == -1 for row in rows(out)] == [i < kept for i in range(6)]
    assert done.code == 0 and "correct            3" in done.out


def test_verdicts_of_other_work_are_not_touched(source: Path, tmp_path: Path):
    out = tmp_path / "out.jsonl"
    call("grade", source, "--out", out)
    written = out.read_bytes()
    assert "line 2 was read otherwise" in call("grade", source, "--out", out, "--strict").error
    other = tmp_path / "other.jsonl"
    other.write_text('{"prediction": "1", "gold": "1"}\n')
    assert "line 1 belongs to another file" in call("grade", other, "--out", out).error
    assert out.read_bytes() == written
    notes = tmp_path / "notes.txt"
    notes.write_text("a\nb\n")
    assert "no verdict of `inward grade`" in call("grade", source, "--out", notes).error
    assert notes.read_text() == "a\nb\n"


def test_two_at_once_are_kept_apart(source: Path, tmp_path: Path):
    import fcntl

    out = tmp_path / "out.jsonl"
    with out.open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert "is being written by another process" in call("grade", source, "--out", out).error


def test_a_full_disk_is_a_plain_error(source: Path, tmp_path: Path):
    import resource

    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (150, limits[1]))
    try:
        done = call("grade", source, "--out", tmp_path / "out.jsonl")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "File too large; what is graded stays; give room and repeat" in done.error
    assert call("grade", source, "--out", tmp_path / "out.jsonl").code == 0
    assert [row["verdict"] for row in rows(tmp_path / "out.jsonl")] == VERDICTS


def test_nothing_heavy_is_imported():
    import subprocess
    import sys

    script = "import sys, inward.cli.grading\nassert not {'torch', 'numpy', 'sympy', 'transformers'} & {*sys.modules}"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


# fmt: off
PARTS = ["9", "^", "{", "}", "\\frac", "\\sqrt", "\\boxed{", "(", ")", "[", "]", "\\{", "\\}", ",", "x", "=", "+",
         "-", "!", "\\pi", "\\infty", "\\cup", "\\pm", "$", "\\text{", " or ", "answer is ", "#### ", "A", "(B)",
         "1,234", "%", " cm", "\x00", "\u202e", "א", "\\begin{pmatrix}", "\\end{pmatrix}", "\\\\", "&", "_", "|",
         "<", "\\sum_{k=1}^", "\\int", "e", ".", "/", "\n", " "]
# fmt: on
HOSTILE = st.lists(st.sampled_from(PARTS), max_size=14).map("".join) | st.text(max_size=20)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(HOSTILE, HOSTILE, st.sampled_from([None, "number", "latex", "choice", "text", "auto"]))
def test_nothing_that_is_written_crashes_or_hangs(prediction: str, gold: str, kind: AnswerKind | None):
    began = time.monotonic()
    try:
        task = expected(gold, kind, {}, prediction)
    except DataError:
        return
    answer = extracted(prediction, task, strict=False)
    assert grade(answer, task.gold, task.kind) in Outcome
    assert answer is None or canonical(answer, task.kind) is not None
    assert time.monotonic() - began < 60


@settings(max_examples=100, deadline=None)
@given(HOSTILE, st.sampled_from(["number", "latex", "text", "auto"]))
def test_no_answer_is_wrong_as_its_own_gold_answer(gold: str, kind: AnswerKind):
    assert grade(gold, gold, kind) in (Outcome.CORRECT, Outcome.UNSCORED)


BIG = 250_000


@pytest.mark.parametrize(
    "text",
    ["9" * BIG, "x" * BIG, " " * BIG + "1", "{" * BIG, "\\frac{" * (BIG // 6), "א" * BIG, "9^" * (BIG // 2),
     "\\boxed{" * (BIG // 7),
     "$" * BIG, "1," * (BIG // 2), "\x00" * BIG, "A or " * (BIG // 5)],
    ids=lambda text: repr(text[:8]),
)  # fmt: skip
@pytest.mark.parametrize("gold", ["18", "2\\sqrt{3}", "B", "yes"])
def test_a_quarter_of_a_megabyte(text: str, gold: str):
    task = expected(gold, None, {}, "")
    began = time.monotonic()
    answer = extracted(text, task, strict=False)
    assert grade(answer, task.gold, task.kind) in (Outcome.INCORRECT, Outcome.NO_ANSWER, Outcome.UNSCORED)
    assert time.monotonic() - began < 30


def test_choices_of_a_row():
    assert choices_of([{"label": "A", "text": "Rome"}]) == {"A": "Rome"}
    with pytest.raises(DataError, match="list of objects"):
        choices_of([{"label": 1, "text": "Rome"}])
