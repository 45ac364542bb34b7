"""`inward harness` on made-up logs in the form of lm-evaluation-harness, and `inward compare` of two of them."""

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest
from commands import ENVIRONMENT, call

from inward.runs import RunFolder
from inward.types import EvalItem, EvalReport

NAME = "samples_toy_2025-01-02T03-04-05.jsonl"


def log(folder: Path, shares: list[tuple[float, bool]], name: str = NAME) -> Path:
    """Questions with two options; the chosen one has the share told, and is right or not as told."""
    folder.mkdir(exist_ok=True)
    rows = [
        {
            "doc_id": number,
            "doc": {},
            "target": str(int(not right)),
            "arguments": {f"gen_args_{i}": {"arg_0": f"Q{number}", "arg_1": f" {one}"} for i, one in enumerate("ab")},
            "resps": [],
            "filtered_resps": [[str(math.log(share)), "False"], [str(math.log(1 - share)), "False"]],
            "filter": "none",
            "metrics": ["acc"],
            "doc_hash": str(number),
            "acc": float(right),
        }
        for number, (share, right) in enumerate(shares)
    ]
    file = folder / name
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return file


SURE = [(0.75, True), (0.75, True), (0.75, True), (0.75, False), (0.55, False), (0.55, True)]


def test_calibration_of_a_multiple_choice_log(tmp_path: Path):
    file = log(tmp_path / "a", SURE)
    ended = call("harness", file, "--out", tmp_path / "out")
    assert ended.code == 0, ended.err
    found = json.loads((tmp_path / "out" / "summary.json").read_text("utf-8"))["before"]
    value = {key: estimate["value"] for key, estimate in found.items()}
    # Bins: 4 at 0.75 with 3/4 right, 2 at 0.55 with 1/2 right: ECE = 2/6 * 0.05.
    assert value["ece"] == pytest.approx(0.05 / 3)
    # (3 * 0.25^2 + 0.75^2 + 0.55^2 + 0.45^2) / 6
    assert value["brier"] == pytest.approx((0.1875 + 0.5625 + 0.3025 + 0.2025) / 6)
    # Right at 0.75, 0.75, 0.75, 0.55 against wrong at 0.75, 0.55: wins (3 + 0.5) + ties (3 * 0.5 + 0) = 5 of 8
    assert value["auroc"] == pytest.approx(5 / 8)
    assert (value["greedy_accuracy"], value["length"]) == (pytest.approx(4 / 6), None)
    assert found["ece"]["low"] <= found["ece"]["value"] <= found["ece"]["high"]
    assert "<b>toy</b>" in (tmp_path / "out" / "report.html").read_text("utf-8")
    report = RunFolder.read(tmp_path / "out").read_json("before/report.json")
    assert report["calibration"][0]["risk_coverage"]
    assert set(report) == set(EvalReport.__dataclass_fields__)


def test_the_same_command_continues_and_another_log_is_refused(tmp_path: Path):
    out = tmp_path / "out"
    assert call("harness", log(tmp_path / "a", SURE), "--out", out).code == 0
    kept = [file.stat().st_mtime_ns for file in sorted((out / "before" / "items").glob("*.parquet"))]
    (out / "summary.json").unlink()
    assert call("harness", tmp_path / "a" / NAME, "--out", out).code == 0
    assert [file.stat().st_mtime_ns for file in sorted((out / "before" / "items").glob("*.parquet"))] == kept
    refused = call("harness", log(tmp_path / "b", SURE[:3]), "--out", out)
    assert (refused.code, "belongs to another run" in refused.error) == (1, True)


def test_two_logs_are_compared_with_an_exact_test(tmp_path: Path):
    """Right to wrong 1, wrong to right 2 of 3 that flipped: p = min(1, 2 (1 + 3) / 8) = 1."""
    other = [(0.75, right) for right in (False, True, True, True, True, True)]
    # Which option is right belongs to the problem: the second model chooses the other one where it flips.
    rows = [json.loads(line) for line in log(tmp_path / "a", SURE).read_text("utf-8").splitlines()]
    for row, (_, right) in zip(rows, other, strict=True):
        if row["acc"] != float(right):
            row["filtered_resps"].reverse()
            row["acc"] = float(right)
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / NAME).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    for name in "ab":
        assert call("harness", tmp_path / name / NAME, "--out", tmp_path / f"out-{name}").code == 0
    ended = call("compare", tmp_path / "out-a", tmp_path / "out-b", "--json")
    assert ended.code == 0, ended.err
    groups = json.loads(ended.out)["groups"]
    assert groups[0]["runs"][0]["flips_from_first"] is None
    assert groups[1]["runs"][0]["flips_from_first"] == {"lost": 1, "gained": 2, "p_value": 1.0}


def test_vote_shares_of_repeats_are_a_confidence(tmp_path: Path):
    rows = [
        {
            "doc_id": number,
            "target": "11",
            "arguments": {"gen_args_0": {"arg_0": "7 + 4?", "arg_1": {}}},
            "resps": [[f"The answer is {one}." for one in votes]],
            "filtered_resps": [votes[0]],
            "filter": "maj",
            "metrics": ["exact_match"],
            "exact_match": float(votes[0] == "11"),
        }
        for number, votes in enumerate([("11", "11", "11", "11"), ("3", "11", "3", "5")])
    ]
    file = tmp_path / "votes.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    assert call("harness", file, "--out", tmp_path / "out").code == 0
    items = list(RunFolder.read(tmp_path / "out").records("before/items", EvalItem))
    assert [item.greedy.confidences for item in items] == [{"vote_share": 1.0}, {"vote_share": 0.5}]
    found = json.loads((tmp_path / "out" / "summary.json").read_text("utf-8"))["before"]
    # ((1 - 1)^2 + 0.5^2) / 2
    assert (found["brier_vote_share"]["value"], found["ece"]["value"]) == (pytest.approx(0.125), None)


def test_neither_command_loads_torch(tmp_path: Path):
    file = log(tmp_path / "a", SURE)
    script = (
        "import sys\nfrom inward.cli import main\n"
        f"for words in (['harness', {str(file)!r}, '--out', {str(tmp_path / 'out')!r}], "
        f"['export', {str(tmp_path / 'out')!r}, '--out', {str(tmp_path / 'x.json')!r}]):\n"
        "    sys.argv = ['inward', *words]\n"
        "    try:\n        main()\n    except SystemExit as stop:\n        assert not stop.code\n"
        "print(*{name.partition('.')[0] for name in sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", script], env=ENVIRONMENT, capture_output=True, text=True, check=True)
    assert not {"torch", "transformers", "trl"} & {*done.stdout.split()}
