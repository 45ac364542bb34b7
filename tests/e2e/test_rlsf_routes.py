"""RLSF's routes, rounds and baselines by the command line, on the embedded model: what lies where, and what it says."""

import json
from pathlib import Path
from typing import Any

import pytest
from commands import Ended, call

from inward.evaluate import METRICS
from inward.runs import RunFolder

FEW = (
    "prompts.limit=16",
    "sampling.group_size=6",
    "sampling.num_branches=2",
    "sampling.max_completion_tokens=24",
    "pairs.max_pairs=32",
    "optim.num_epochs=1",
    "optim.batch_size=16",
    "tuning.num_epochs=1",
    "reward.num_epochs=1",
    "policy.steps=2",
    "policy.prompts_per_step=4",
    "policy.group_size=4",
    "policy.batch_rows=16",
    "policy.max_completion_tokens=24",
    "evaluation.num_problems=8",
    "evaluation.num_samples=2",
    "evaluation.num_branches=3",
    "evaluation.max_completion_tokens=24",
)


def words(out: Path, *extra: str) -> list[str | Path]:
    settings = [word for one in FEW for word in ("--set", one)]
    asked = ("--model", "embedded:chat", "--prompts", "embedded", "--eval-task", "arithmetic")
    return ["run", "rlsf", *asked, "--out", out, *settings, *extra]


def run(out: Path, *extra: str) -> tuple[dict[str, Any], Ended]:
    ended = call(*words(out, *extra))
    assert ended.code == 0, ended.err
    return json.loads((out / "summary.json").read_text(encoding="utf-8")), ended


def test_rounds_are_judged_one_by_one_and_drawn_as_a_curve(tmp_path: Path):
    out = tmp_path / "out"
    summary, ended = run(out, "--set", "rounds=3")

    assert {path.name for path in (out / "rounds").iterdir()} == {"02", "03"}
    assert {path.name for path in (out / "rounds/02").iterdir()} == {"traces", "scored", "pairs", "checkpoint"}
    curve = summary["curve"]
    # 32 pairs at most in batches of 16 are two steps a round.
    assert [row["round"] for row in curve] == [0, 1, 2, 3]
    steps = [row["step"] for row in curve]
    assert steps[0] == 0 and sorted({path.name for path in (out / "curve").iterdir()}) == [
        f"{step:05d}" for step in steps[1:-1]
    ]
    assert curve[0]["greedy_accuracy"] == summary["before"]["greedy_accuracy"]
    assert curve[-1]["entropy"] == summary["after"]["entropy"] != curve[-2]["entropy"]
    assert summary["counts"]["traces"] == 3 * 16 * 8
    assert summary["counts"]["prompts"] == 16
    assert set(summary["seconds"]) >= {"sample", "score", "rank", "train", "evaluate_curve"}
    assert any(line.endswith(str(out / "rounds/03/checkpoint")) for line in ended.err.splitlines())
    assert "round" not in "".join(summary["seconds"])


def test_the_same_command_again_trains_nothing_twice(tmp_path: Path):
    run(tmp_path / "out", "--set", "rounds=2")
    events = list(RunFolder.read(tmp_path / "out").events())
    run(tmp_path / "out", "--set", "rounds=2")
    new = list(RunFolder.read(tmp_path / "out").events())[len(events) :]
    assert not {"shard", "train", "trained", "built"} & {event["event"] for event in new}


def test_the_reward_model_is_kept_and_judged(tmp_path: Path):
    out = tmp_path / "out"
    summary, ended = run(out, "--set", "route=reward_model")
    assert (out / "reward_model/config.json").exists() and (out / "checkpoint/config.json").exists()
    rankings = {one["score"]: one for one in summary["reward_model"]}
    assert "reward_model" in rankings and len(rankings) > 1
    assert summary["baseline"] is None
    assert {"train_reward", "train"} <= set(summary["seconds"])
    assert "baseline" not in ended.err


@pytest.mark.parametrize("name", ["sft", "majority_pairs", "random_pairs"])
def test_a_baseline_that_is_trained_is_marked(tmp_path: Path, name: str):
    summary, ended = run(tmp_path / "out", "--baseline", name)
    manifest = RunFolder.read(tmp_path / "out").manifest
    assert summary["baseline"] == manifest.settings["baseline"] == name
    assert f"as a baseline: {name}" in ended.err and f"baseline {name} on embedded:chat" in ended.err
    assert manifest.settings["route"] == ("sft" if name == "sft" else "dpo")
    counts = summary["counts"]
    if name == "sft":
        assert (counts["surest"], counts["surest_too_long"]) == (16, 0)
    else:
        assert counts["pairs"] > 0
        assert f"source: {name.removesuffix('_pairs')}" in str(manifest.settings["pairs"]).replace("'", "")
    assert set(summary["difference"]) <= set(METRICS)


@pytest.mark.parametrize("name", ["cot_decoding", "self_consistency"])
def test_a_baseline_that_only_decodes_trains_nothing(tmp_path: Path, name: str):
    summary, ended = run(tmp_path / "out", "--baseline", name)
    assert not {"traces", "checkpoint", "pairs"} & {path.name for path in (tmp_path / "out").iterdir()}
    assert summary["baseline"] == name and summary["counts"] == {"prompts": 16}
    report = json.loads((tmp_path / "out/after/report.json").read_text(encoding="utf-8"))
    assert report["decoding"] == name
    # The same samples of the same model: only the answer is found in another way.
    assert summary["after"]["sampled_accuracy"] == summary["before"]["sampled_accuracy"]
    assert summary["after"]["tokens_per_answer"]["value"] > summary["before"]["tokens_per_answer"]["value"]
    assert "checkpoint  " not in ended.err


def test_the_stages_one_at_a_time_along_another_route(tmp_path: Path):
    """Pairs of a DPO run train a reward model elsewhere; fine-tuning needs its own ranking."""
    out, other = tmp_path / "out", tmp_path / "other"
    settings = [word for one in FEW if not one.startswith("evaluation") for word in ("--set", one)]
    assert call("sample", "--model", "embedded:chat", "--prompts", "embedded", "--out", out, *settings).code == 0
    assert call("score", out).code == call("rank", out).code == 0
    assert call("train", out, "--out", other, "--set", "route=reward_model").code == 0
    assert (other / "reward_model").exists() and (other / "checkpoint").exists()

    refused = call("train", out, "--out", tmp_path / "sft", "--set", "route=sft")
    assert refused.code == 1 and "surest is not complete: run `inward rank` first" in refused.error
    ranked = call("rank", out, "--out", tmp_path / "sft", "--set", "route=sft")
    assert ranked.code == 0 and "16 traces in" in ranked.err
    changed = ("--out", tmp_path / "again", "--set", "tuning.num_best=2")
    refused = call("train", tmp_path / "sft", *changed)
    assert "the surest were made under other settings of `tuning.num_best`" in refused.error
    assert call("train", tmp_path / "sft").code == 0
    rounds = call("rank", out, "--out", tmp_path / "rounds", "--set", "rounds=2")
    assert "one stage at a time there is one round" in rounds.error


@pytest.mark.parametrize(
    ("extra", "error"),
    [
        (("--baseline", "best"), "baseline: Input should be"),
        (
            ("--baseline", "majority_pairs", "--set", "pairs.source=random"),
            "baseline=majority_pairs needs pairs.source",
        ),
        (("--set", "route=ppo"), "route: Input should be"),
    ],
)
def test_errors(tmp_path: Path, extra: tuple[str, ...], error: str):
    ended = call(*words(tmp_path / "out", *extra))
    assert ended.code == 1 and error in ended.error and not (tmp_path / "out").exists()
