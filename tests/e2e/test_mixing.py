"""`inward interpolate` from the embedded base to the embedded instruct model, on eight problems."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from commands import Ended, call

from inward import organism
from inward.evaluate import METRICS
from inward.evaluate.judging import FROM_OUTSIDE
from inward.runs import RunFolder

ROOT = Path(__file__).parents[2]
WORDS = ("interpolate", "--from", "embedded:base", "--to", "embedded:instruct")
SMALL = ("--set", "evaluation.num_problems=8", "--set", "evaluation.num_samples=2")
MADE = {key for key in METRICS if not key.endswith(FROM_OUTSIDE)}
RATIOS = ("0", "0.25", "1.25", "1")


def command(out: Path, *extra: str, ratios: str = ",".join(RATIOS)) -> Ended:
    """A later option wins over an earlier one of the same name."""
    return call(*WORDS, "--out", out, "--ratios", ratios, "--task", "arithmetic", *SMALL, *extra)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Ended]:
    out = tmp_path_factory.mktemp("mixing") / "out"
    ended = command(out)
    assert ended.code == 0, ended.err
    return out, ended


@pytest.fixture
def summary(finished: tuple[Path, Ended]) -> dict[str, Any]:
    return json.loads((finished[0] / "summary.json").read_text(encoding="utf-8"))


def test_the_folder_holds_every_mix_and_its_judgement(finished: tuple[Path, Ended]):
    out, _ = finished

    names = {file.name for file in out.iterdir()}
    assert names == {"mixes", "judged", "manifest.json", "lock", "log.jsonl", "summary.json", "report.html"}
    assert {file.name for file in (out / "mixes").iterdir()} == {file.name for file in (out / "judged").iterdir()}
    assert {file.name for file in (out / "judged").iterdir()} == set(RATIOS)
    for ratio in RATIOS:
        assert {file.name for file in (out / "judged" / ratio).iterdir()} == {"scored", "items", "report.json"}
    for ratio, name in (("0", "base"), ("1", "instruct")):
        weights = [folder / "model.safetensors" for folder in (out / "mixes" / ratio, organism.path(name))]
        assert weights[0].read_bytes() == weights[1].read_bytes()


def test_the_summary_holds_the_curve_and_paired_differences_from_its_first_ratio(summary: dict[str, Any]):
    curve, differences = summary["curve"], summary["differences"]

    assert [row["ratio"] for row in curve] == [0.0, 0.25, 1.25, 1.0]
    assert [row["ratio"] for row in differences] == [0.25, 1.25, 1.0]
    for row in (*curve, *differences):
        assert set(row) == {"ratio", *MADE}
        assert all(set(row[key]) == {"value", "low", "high", "n"} for key in MADE)
    for row, difference in zip(curve[1:], differences, strict=True):
        changed = row["entropy"]["value"] - curve[0]["entropy"]["value"]
        assert difference["entropy"]["value"] == pytest.approx(changed, abs=1e-12)
    # The base model writes in many styles, the other in one.
    assert differences[-1]["entropy"]["high"] < 0
    assert curve[0]["greedy_accuracy"]["n"] == 8
    assert summary["pass_k"] == 2 and summary["seed"] == 1
    assert summary["recipe"] == "shipped:evaluate-embedded"
    assert (summary["model"], summary["to"], summary["task"]) == ("embedded:base", "embedded:instruct", "arithmetic")
    assert set(summary["seconds"]) == {"mix", "evaluate"} and all(summary["seconds"].values())


def test_the_page_on_summaries_has_its_keys_and_no_other(summary: dict[str, Any]):
    text = (ROOT / "docs/summary.md").read_text(encoding="utf-8")
    section = text.partition("\n## Interpolation")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (`.*?`) \|", section, re.MULTILINE)

    assert {key for row in rows for key in re.findall(r"\w+", row)} == set(summary)


def test_ratio_0_is_the_start_model_as_evaluate_judges_it(tmp_path: Path, summary: dict[str, Any]):
    ended = call("evaluate", "--model", "embedded:base", "--out", tmp_path / "out", "--task", "arithmetic", *SMALL)

    assert ended.code == 0, ended.err
    alone = json.loads((tmp_path / "out" / "summary.json").read_text(encoding="utf-8"))["before"]
    assert {key: summary["curve"][0][key] for key in MADE} == alone


def test_the_manifest_names_both_models_by_hash(finished: tuple[Path, Ended]):
    manifest = RunFolder.read(finished[0]).manifest
    to: Any = manifest.settings["to"]

    assert manifest.method == "interpolate" and manifest.start.name == "embedded:base"
    assert to["name"] == "embedded:instruct"
    assert re.fullmatch("[0-9a-f]{64}", to["sha256"]) and to["sha256"] != manifest.start.sha256
    assert manifest.settings["ratios"] == [0.0, 0.25, 1.25, 1.0]
    assert manifest.labels_used is False


def test_the_terminal_shows_progress_a_row_per_ratio_and_the_places(finished: tuple[Path, Ended]):
    out, ended = finished

    for shown in (
        "mix the weights",
        "sample mix 0.25",
        "grade mix 1.25",
        "embedded:base to embedded:instruct",
        "pass@2",
    ):
        assert shown in ended.err
    assert [line.split()[0] for line in ended.err.splitlines() if re.match(r" *[\d.]+ {2,}-?\d\.\d+ ", line)] == [
        *RATIOS
    ]
    for name in ("report.html", "summary.json"):
        assert any(line.endswith(str(out / name)) for line in ended.err.splitlines())
    assert "<h1>Greedy accuracy is " in (out / "report.html").read_text(encoding="utf-8")


def test_the_same_command_makes_only_what_is_missing(finished: tuple[Path, Ended]):
    out, _ = finished
    found = [file for name in ("mixes", "judged") for file in (out / name).rglob("*")]
    files = [file for file in found if file.is_file() and file.name != "report.json"]
    before = {file: (file.stat().st_ino, file.stat().st_mtime_ns, file.read_bytes()) for file in files}
    lost = out / "judged" / "1" / "items" / "00000.parquet"
    lost.unlink()
    shutil.rmtree(out / "mixes" / "0.25")

    ended = command(out)

    assert ended.code == 0, ended.err
    made = {file for file in files if (file.stat().st_ino, file.stat().st_mtime_ns) != before[file][:2]}
    assert made - {lost.with_name("complete.json")} == {lost, *(out / "mixes" / "0.25").iterdir()}
    assert all(file.read_bytes() == before[file][2] for file in files)


def test_other_ratios_or_another_second_model_are_another_run(finished: tuple[Path, Ended]):
    ended = command(finished[0], ratios="0,1")
    assert ended.code == 1
    assert "settings.ratios: this folder has [0.0, 0.25, 1.25, 1.0], asked for [0.0, 1.0]" in ended.error

    ended = command(finished[0], "--to", "embedded:chat")
    assert ended.code == 1
    assert "settings.to.sha256: this folder has" in ended.error


@pytest.mark.parametrize(
    ("ratios", "error"),
    [
        ("a,b", "--ratios takes numbers separated by commas, as in 0,0.5,1; got 'a,b'"),
        ("0,,1", "--ratios takes numbers separated by commas, as in 0,0.5,1; got '0,,1'"),
        ("", "--ratios takes numbers separated by commas, as in 0,0.5,1; got ''"),
        ("0,nan", "--ratios takes finite numbers; got '0,nan'"),
        ("-inf,1", "--ratios takes finite numbers; got '-inf,1'"),
        ("0,1,1.0", "--ratios names a ratio twice: '0,1,1.0'"),
        ("0,-0", "--ratios names a ratio twice: '0,-0'"),
    ],
)
def test_ratios_that_are_none_are_refused(tmp_path: Path, ratios: str, error: str):
    ended = command(tmp_path / "out", ratios=ratios)

    assert (ended.code, ended.error) == (1, error)
    assert not (tmp_path / "out").exists()


def test_a_model_of_another_shape_is_refused_before_a_folder_is_made(tmp_path: Path, tiny_model: Path):
    ended = command(tmp_path / "out", "--to", str(tiny_model))

    assert ended.code == 1
    assert re.match("the models differ in .*; mix models of one architecture", ended.error)
    assert not (tmp_path / "out").exists()


def test_without_problems_there_is_nothing_to_judge(tmp_path: Path):
    ended = call(*WORDS, "--out", tmp_path / "out")

    assert (ended.code, ended.error) == (
        1,
        "nothing to evaluate on: give a task (--task) or a data file (--data)",
    )


def test_settings_of_evaluation_apply_and_a_single_mix_may_lie_outside(tmp_path: Path):
    (tmp_path / "s.yaml").write_text(yaml.safe_dump({"answer": {"kind": "number", "elicit": "never"}}), "utf-8")
    (tmp_path / "p.jsonl").write_text('{"id": "a", "prompt": "Q:1+2+3?\\nA:", "answer": "6"}\n', encoding="utf-8")

    ended = call(
        *(*WORDS, "--out", tmp_path / "out", "--ratios", "-0.5", "--data", tmp_path / "p.jsonl"),
        *("--config", tmp_path / "s.yaml", "--set", "evaluation.num_samples=0"),
    )

    assert ended.code == 0, ended.err
    summary = json.loads((tmp_path / "out" / "summary.json").read_text(encoding="utf-8"))
    assert [row["ratio"] for row in summary["curve"]] == [-0.5] and summary["differences"] == []
    assert summary["curve"][0]["pass_at_k"]["value"] is None
    assert summary["recipe"] == str(tmp_path / "s.yaml")
    assert (tmp_path / "out" / "mixes" / "-0.5" / "model.safetensors").is_file()
