"""`inward calibrate` and the evaluation that uses what it leaves, on the embedded base model."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from commands import Ended, call, fork, write_lines
from transformers import AutoModelForCausalLM

from inward import organism
from inward.recalibrate import FILE, read
from inward.runs import RunFolder
from inward.tasks import arithmetic
from inward.types import ScoredGroup, Source

ROOT = Path(__file__).parents[2]
SMALL = (
    *("--set", "prompts.limit=40", "--set", "calibration.num_votes=4", "--set", "calibration.max_completion_tokens=24"),
    *("--set", "distill.steps=4", "--set", "distill.prompts_per_step=8"),
)
EXTRA = {
    "temperature": (),
    "votes": (),
    "reference": ("--reference", "embedded:chat"),
    "distill": (),
}


def words(method: str, prompts: str | Path = "embedded") -> list[str]:
    model = ("--model", "embedded:base", "--prompts", str(prompts))
    return ["calibrate", *model, "--method", method, *EXTRA[method], "--seed", "3", *SMALL]


def run(out: Path, method: str, *extra: str, prompts: str | Path = "embedded") -> Ended:
    return call(*words(method, prompts), *extra, "--out", out)


def summary(out: Path) -> dict[str, Any]:
    return json.loads((out / "summary.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module", params=EXTRA)
def done(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path, Ended]:
    out = tmp_path_factory.mktemp(request.param) / "out"
    ended = run(out, request.param)
    assert ended.code == 0, ended.err
    return request.param, out, ended


def test_what_was_fitted_is_said_and_kept(done: tuple[str, Path, Ended]):
    method, out, ended = done
    fitted = summary(out)["recalibration"]
    assert fitted["method"] == method and summary(out)["labels_used"] is False
    assert fitted["num_prompts"] + fitted["num_without_span"] == 40
    if method == "reference":
        assert (fitted["num_votes"], fitted["vote_share"]) == (None, None)
        assert fitted["reference"] == "embedded:chat"
    else:
        assert fitted["num_votes"] == 4 and 0 < fitted["vote_share"] < fitted["confidence_before"]
        # Answers are single digits, equal where they are the same text.
        groups = [
            one.traces for one in RunFolder.read(out).records("answers", ScoredGroup) if one.traces[0].answer_tokens
        ]
        shares = [sum(vote.answer == first.answer for vote in votes) / 4 for first, *votes in groups]
        assert len(shares) == fitted["num_prompts"]
        assert fitted["vote_share"] == pytest.approx(sum(shares) / len(shares))
    if method in ("temperature", "votes"):
        assert fitted["confidence_after"] == pytest.approx(fitted["vote_share"], abs=1e-3)
    if method == "distill":
        assert (
            abs(fitted["confidence_after"] - fitted["vote_share"]) < fitted["confidence_before"] - fitted["vote_share"]
        )
    assert (fitted["temperature"] or 0) > 1 if method == "temperature" else fitted["temperature"] is None
    said = re.search(r"confidence +([0-9.]+) before, ([0-9.]+) after", ended.err)
    assert said and [float(one) for one in said.groups()] == [
        pytest.approx(fitted[key], abs=6e-4) for key in ("confidence_before", "confidence_after")
    ]
    assert f"checkpoint  {out / 'checkpoint'}" in ended.err


def test_the_checkpoint_is_a_plain_model_with_the_fit_beside_it(done: tuple[str, Path, Ended]):
    method, out, _ = done
    checkpoint = out / "checkpoint"
    assert AutoModelForCausalLM.from_pretrained(checkpoint).num_parameters() == 335_424
    same = (checkpoint / "model.safetensors").read_bytes() == (organism.path("base") / "model.safetensors").read_bytes()
    assert same is (method != "distill")
    kept = read(checkpoint)
    if method == "distill":
        assert kept is None
    else:
        assert kept is not None and kept.method == method
        assert kept.confidence_after == summary(out)["recalibration"]["confidence_after"]
        assert "20" not in re.sub(r"[0-9]*\.[0-9]+|[0-9a-f]{64}", "", (checkpoint / FILE).read_text())  # no date
    assert not (out / "trainer").exists()


def test_the_same_command_does_nothing_twice(done: tuple[str, Path, Ended]):
    method, out, _ = done
    files = {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.suffix in (".parquet", ".safetensors")}
    before = summary(out)["recalibration"]
    assert run(out, method).code == 0
    assert {path: path.stat().st_mtime_ns for path in files} == files
    assert summary(out)["recalibration"] == before


@pytest.mark.parametrize("done", ["temperature", "distill"], indirect=True)
def test_what_is_lost_is_made_again_in_the_same_bytes(done: tuple[str, Path, Ended], tmp_path: Path):
    method, out, _ = done
    again = tmp_path / "out"
    shutil.copytree(out, again)
    made = {path: path.read_bytes() for path in sorted(again.rglob("*")) if path.suffix in (".parquet", ".safetensors")}
    made |= {path: path.read_bytes() for path in (again / "checkpoint").iterdir()}
    shutil.rmtree(again / "checkpoint")
    for name in ("fit.json", "answers/00001.parquet", "answers/complete.json"):
        (again / name).unlink()
    assert run(again, method).code == 0
    assert {path: path.read_bytes() for path in made} == made


@pytest.mark.parametrize("done", ["temperature"], indirect=True)
def test_a_calibrated_checkpoint_is_calibrated_anew_and_it_is_said(done: tuple[str, Path, Ended], tmp_path: Path):
    _, out, first = done
    reading = ("--set", "answer={kind: number, elicit: never, strict: true}")
    ended = run(tmp_path / "again", "votes", "--model", str(out / "checkpoint"), *reading)
    assert ended.code == 0, ended.err

    assert "was calibrated before: the new fit is made from the model alone" in ended.err
    assert "was calibrated before" not in first.err
    was, now = summary(out)["recalibration"], summary(tmp_path / "again")["recalibration"]
    assert read(tmp_path / "again/checkpoint").method == "votes" and read(out / "checkpoint").method == "temperature"
    # The same weights and draws: the fit that lay beside them has no part in it.
    assert now["confidence_before"] == was["confidence_before"]


@pytest.mark.parametrize("done", ["temperature"], indirect=True)
def test_a_run_folder_in_place_of_its_checkpoint_is_refused_with_the_way_there(
    done: tuple[str, Path, Ended], tmp_path: Path
):
    out = done[1]
    error = f"{out} is a run folder and no model: its model is {out / 'checkpoint'}"
    assert run(tmp_path / "again", "votes", "--model", str(out)).error == error
    assert evaluation(out, tmp_path / "judged").error == error
    words = ("run", "rlsc", "--model", out, "--prompts", "embedded", "--out", tmp_path / "run")
    assert call(*words, "--dry-run").error == call(*words).error == error
    assert not list(tmp_path.iterdir())


def evaluation(checkpoint: Path, out: Path) -> Ended:
    return call(
        *("evaluate", "--model", checkpoint, "--task", "arithmetic", "--out", out),
        *("--set", "evaluation.num_problems=40", "--set", "answer.kind=number", "--set", "answer.elicit=never"),
        *("--set", "answer.strict=true", "--set", "evaluation.num_samples=4"),
    )


def evaluated(checkpoint: Path, out: Path) -> dict[str, Any]:
    ended = evaluation(checkpoint, out)
    assert ended.code == 0, ended.err
    metrics = summary(out)["before"]
    assert ("ECE, recalibrated" in ended.err) == ("ece_recalibrated" in metrics)
    return metrics


def test_an_evaluation_finds_the_new_confidence(done: tuple[str, Path, Ended], tmp_path: Path):
    method, out, _ = done
    metrics = evaluated(out / "checkpoint", tmp_path / "judged")
    groups = RunFolder.read(tmp_path / "judged").records("before/scored", ScoredGroup)
    measured = {(trace.trace.source, "recalibrated" in trace.measures) for group in groups for trace in group.traces}
    if method == "distill":
        assert measured == {(Source.GREEDY, False), (Source.SAMPLE, False)}
        assert "ece_recalibrated" not in metrics
        return
    assert measured == {(Source.GREEDY, True), (Source.SAMPLE, False)}
    assert all(metrics[f"{name}_recalibrated"]["value"] is not None for name in ("ece", "brier", "auroc"))
    if method == "temperature":
        # One temperature on answers of one token: who is surer hardly changes, how sure does.
        assert metrics["auroc_recalibrated"]["value"] == pytest.approx(metrics["auroc"]["value"], abs=0.05)
        assert metrics["ece_recalibrated"]["value"] != metrics["ece"]["value"]
    if method == "votes":
        # Drawn alike, and as many: the evaluation's own samples are the votes.
        assert metrics["auroc_recalibrated"] == metrics["auroc_vote_share"]


@pytest.mark.parametrize("done", ["votes"], indirect=True)
def test_an_evaluation_with_and_without_the_fit_are_different_runs(done: tuple[str, Path, Ended], tmp_path: Path):
    """The weights are the same, so a resumed folder would mix the two."""
    shutil.copytree(done[1] / "checkpoint", tmp_path / "bare")
    (tmp_path / "bare" / FILE).unlink()
    assert "ece_recalibrated" not in evaluated(tmp_path / "bare", tmp_path / "judged")
    assert "belongs to another run" in evaluation(done[1] / "checkpoint", tmp_path / "judged").error


def asked(path: Path, shift: int | None) -> Path:
    """Prompts with gold answers that are right, shifted, or missing."""
    rows = [
        {"id": one.prompt.id, "prompt": str(one.prompt.text)}
        | ({} if shift is None else {"answer": str((int(one.answer) + shift) % 10)})
        for one in arithmetic.problems(40, 1)
    ]
    return write_lines(path, rows)


@pytest.mark.parametrize("method", ["temperature", "distill"])
def test_gold_answers_beside_the_prompts_reach_nothing(method: str, tmp_path: Path):
    made = []
    for name, shift in (("right", 0), ("wrong", 3), ("none", None)):
        ended = run(tmp_path / name, method, prompts=asked(tmp_path / f"{name}.jsonl", shift))
        assert ended.code == 0, ended.err
        files = [*(tmp_path / name / "answers").iterdir(), *(tmp_path / name / "checkpoint").iterdir()]
        made.append({file.name: file.read_bytes() for file in files})
    assert made[0] == made[1] == made[2]


@pytest.mark.parametrize("done", ["distill"], indirect=True)
@pytest.mark.parametrize("after", ["answers/00000.parquet", "trainer/checkpoint-2/state.pt"])
def test_a_distillation_killed_on_the_way_ends_in_the_same_bytes(
    done: tuple[str, Path, Ended], tmp_path: Path, after: str
):
    method, undisturbed, _ = done
    out = tmp_path / "out"
    fork(*words(method), "--out", out).strike((out / after).exists)
    assert not (out / "checkpoint").exists()

    assert run(out, method).code == 0

    for name in ("checkpoint/model.safetensors", "answers/00000.parquet", "answers/00001.parquet", "fit.json"):
        assert (out / name).read_bytes() == (undisturbed / name).read_bytes()
    assert summary(out)["recalibration"] == summary(undisturbed)["recalibration"]


@pytest.mark.parametrize(
    ("method", "extra", "message"),
    [
        ("luck", (), "calibration.method"),
        ("reference", (), "--reference MODEL"),
        ("temperature", ("--reference", "embedded:chat"), "--reference MODEL"),
        ("votes", ("--set", "calibration.votes_temperature=0"), "temperature must be above 0"),
        ("distill", ("--set", "distill.steps=0"), "steps must be at least 1"),
        ("votes", ("--set", "calibration.votes=3"), "unknown setting calibration.votes"),
    ],
)
def test_what_cannot_work_is_refused_before_any_work(tmp_path: Path, method: str, extra: tuple[str, ...], message: str):
    ended = call(
        *("calibrate", "--model", "embedded:base", "--prompts", "embedded", "--method", method),
        *("--out", tmp_path / "out", *extra),
    )
    assert ended.code == 1
    assert message in ended.error
    assert not (tmp_path / "out").exists()


def test_a_reference_that_changed_stops_the_evaluation(tmp_path: Path):
    shutil.copytree(organism.path("chat"), tmp_path / "reference")
    done = call(
        *("calibrate", "--model", "embedded:base", "--prompts", "embedded", "--method", "reference", *SMALL),
        *("--reference", tmp_path / "reference", "--out", tmp_path / "out"),
    )
    assert done.code == 0, done.err
    config = tmp_path / "reference" / "config.json"
    config.write_text(config.read_text() + "\n")
    ended = call(
        *("evaluate", "--model", tmp_path / "out/checkpoint", "--task", "arithmetic", "--out", tmp_path / "judged"),
        *("--set", "evaluation.num_problems=4", "--set", "answer.kind=number"),
    )
    assert "its files have changed; run `inward calibrate` again" in ended.error


@pytest.mark.parametrize("done", ["reference", "distill"], indirect=True)
def test_the_page_on_summaries_has_its_keys_and_no_other(done: tuple[str, Path, Ended]):
    _, out, _ = done
    text = (ROOT / "docs/summary.md").read_text(encoding="utf-8")
    section = text.partition("\n## Calibration")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (`.*?`) \|", section, re.MULTILINE)
    keys = {key for row in rows for key in re.findall(r"\w+", row)}
    assert keys == set(summary(out)) | set(summary(out)["recalibration"])


@pytest.mark.parametrize("done", ["temperature"], indirect=True)
def test_the_recipe_of_the_embedded_models_is_taken_for_them(done: tuple[str, Path, Ended]):
    _, out, _ = done
    recipe = yaml.safe_load((ROOT / "src/inward/methods/calibrate-embedded.yaml").read_text(encoding="utf-8"))
    assert summary(out)["recipe"] == "shipped:calibrate-embedded"
    kept = RunFolder.read(out).manifest.settings["answer"]
    assert {key: kept[key] for key in recipe["answer"]} == recipe["answer"]  # pyright: ignore[reportIndexIssue]
