"""`inward export`: the same numbers in three forms, and cells that a spreadsheet does not run."""

import csv
import json
import math
from io import StringIO
from pathlib import Path

import pytest
import synthetic
from commands import call

from inward import evaluate
from inward.cli.exporting import ITEM_COLUMNS
from inward.runs import RunFolder
from inward.types import EvalItem, JudgedTrace, Outcome


def trace(answer: str | None, outcome: Outcome, index: int = 0, **confidences: float) -> JudgedTrace:
    return JudgedTrace(
        index=index, answer=answer, canonical=answer, outcome=outcome, lenient=outcome, probability=0.25,
        disparity=math.nan, confidences=confidences, has_span=True, entropy=0.5, logprob=-2.0, length=3, truncated=True,
    )  # fmt: skip


@pytest.fixture
def judged(tmp_path: Path) -> Path:
    """An evaluation of two problems, the first with a sample."""
    items = [
        EvalItem(
            prompt_id="a", gold="-5", greedy=trace("-5", Outcome.CORRECT), tokens=3,
            samples=(trace("=1+1|x", Outcome.INCORRECT, 1, vote_share=1.0),),
            majority="=1+1|x", majority_outcome=Outcome.INCORRECT,
        ),
        EvalItem(
            prompt_id="@b", gold="+1 <b>", greedy=trace(None, Outcome.NO_ANSWER), tokens=3, samples=(), majority=None,
            majority_outcome=Outcome.NO_ANSWER,
        ),
    ]  # fmt: skip
    path = tmp_path / "run"
    with RunFolder.open(path, synthetic.manifest(method="evaluate")) as folder:
        folder.map("before/items", items, list, EvalItem, shard_size=1)
        folder.write_json("summary.json", {"before": evaluate.report(items, "t", "m").metrics, "after": None})
    return path


def exported(path: Path, *words: str | Path) -> str:
    ended = call("export", path, *words)
    assert ended.code == 0, ended.err
    return ended.out


def test_metrics_with_value_interval_and_count(judged: Path):
    rows = {row["metric"]: row for row in json.loads(exported(judged))}
    assert {row["part"] for row in rows.values()} == {"before"}
    # Wilson's interval of 1 in 2: 0.5 -+ 1.96 sqrt(1/8 + 3.8415/16) / (1 + 3.8415/2) = 0.5 -+ 0.4055
    found = rows["greedy_accuracy"]
    assert (found["value"], found["low"], found["high"], found["n"]) == (
        *(0.5, pytest.approx(0.0945, abs=1e-4), pytest.approx(0.9055, abs=1e-4)),
        2,
    )
    assert rows["ece_disparity"]["value"] is None


def test_the_three_forms_hold_the_same_rows(judged: Path):
    found = json.loads(exported(judged))
    table = list(csv.DictReader(StringIO(exported(judged, "--format", "csv"))))
    assert [row["metric"] for row in table] == [row["metric"] for row in found]
    assert [row["value"] for row in table] == ["" if row["value"] is None else str(row["value"]) for row in found]
    lines = exported(judged, "--format", "markdown").splitlines()
    assert lines[:2] == ["| part | metric | value | low | high | n |", "|---|---|---|---|---|---|"]
    assert len(lines) == len(found) + 2


def test_a_row_for_every_judged_trace(judged: Path):
    rows = json.loads(exported(judged, "--items"))
    assert [(row["id"], row["trace"], row["answer"], row["outcome"]) for row in rows] == [
        ("a", "greedy", "-5", "correct"),
        ("a", "sample", "=1+1|x", "incorrect"),
        ("@b", "greedy", None, "no_answer"),
    ]
    assert tuple(rows[0]) == ITEM_COLUMNS
    assert (rows[1]["vote_share"], rows[0]["vote_share"], rows[0]["disparity"]) == (1.0, None, None)
    assert (rows[0]["majority_outcome"], rows[2]["majority_outcome"]) == ("incorrect", None)


def test_no_cell_of_a_csv_is_a_formula_and_numbers_stay_numbers(judged: Path):
    rows = list(csv.DictReader(StringIO(exported(judged, "--items", "--format", "csv"))))
    assert [row["answer"] for row in rows] == ["-5", "'=1+1|x", ""]
    assert (rows[2]["id"], rows[2]["gold"]) == ("'@b", "'+1 <b>")
    assert (rows[0]["logprob"], rows[0]["truncated"], rows[0]["disparity"]) == ("-2.0", "true", "")


def test_markdown_cells_cannot_break_the_table(judged: Path):
    lines = exported(judged, "--items", "--format", "markdown").splitlines()
    assert "=1+1\\|x" in lines[3] and "+1 &lt;b>" in lines[4]


def test_a_file_is_written_whole_and_nothing_to_the_terminal(judged: Path, tmp_path: Path):
    out = tmp_path / "sub" / "items.csv"
    assert exported(judged, "--items", "--format", "csv", "--out", out) == ""
    assert out.read_bytes().count(b"\n") == 4
    assert [file.name for file in out.parent.iterdir()] == ["items.csv"]


def test_differences_and_steps_of_a_curve_are_parts(tmp_path: Path):
    one = {"value": 0.1, "low": 0.0, "high": 0.2, "n": 8}
    with RunFolder.open(tmp_path / "run", synthetic.manifest(method="rlif")) as folder:
        summary = {name: {"ece": one} for name in ("before", "after", "difference")}
        folder.write_json("summary.json", summary | {"curve": [{"step": 10, "ece": one, "reward": 0.5}]})
    rows = json.loads(exported(tmp_path / "run"))
    assert [row["part"] for row in rows] == ["before", "after", "difference", "step 10"]
    assert call("export", tmp_path / "run", "--items").error.startswith(f"{tmp_path / 'run'} holds nothing judged")


def test_unknown_formats_and_unfinished_runs_are_refused(judged: Path):
    assert (
        "format 'xlsx' is unknown; choose one of json, csv, markdown"
        in call("export", judged, "--format", "xlsx").error
    )
    (judged / "summary.json").unlink()
    assert "no summary.json" in call("export", judged).error


@pytest.mark.parametrize("form", ["json", "csv", "markdown"])
@pytest.mark.parametrize("what", [(), ("--items",)])
def test_a_folder_with_nothing_to_write_is_refused_before_a_header(tmp_path: Path, form: str, what: tuple[str, ...]):
    with RunFolder.open(tmp_path / "run", synthetic.manifest(method="rlsf")) as folder:
        folder.write_json("summary.json", {"before": None, "after": None})
    ended = call("export", tmp_path / "run", "--format", form, *what)

    assert (ended.code, ended.out) == (1, "")
    assert "judge with --eval-task, or by inward evaluate" in ended.error
