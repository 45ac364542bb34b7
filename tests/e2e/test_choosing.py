"""`inward choose` on run folders that no training made, and on small ones that were."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from commands import Ended, call, write_lines
from synthetic import manifest
from synthetic_online import answered

from inward.runs import RunFolder
from inward.tasks import arithmetic
from inward.types import Artifact, EvalItem, Prompt

RISE_AND_FALL = ((0, (0.25, 0.5) * 8), (10, (0.5, 0.75) * 8), (20, (0.1, 0.2) * 8))
HIGHER = ((0, (0.25, 0.5) * 8), (5, (0.75, 1.0) * 8))


def online(path: Path, probes: Sequence[tuple[int, Sequence[float]]], **settings: Any) -> Path:
    """A run of rlif as its probes tell it."""
    with RunFolder.open(path, manifest(method="rlif", **settings)) as folder:
        folder.write_json("probe.json", {"prompts": [f"q{i}" for i in range(16)], "votes": []})
        for step, support in probes:
            folder.log("probe", step=step, support=support, entropy=1.0)
            if step:
                (path / f"checkpoints/{step:05d}").mkdir(parents=True)
        folder.log("trained", steps=probes[-1][0], kept_step=10)
    return path


def choices(ended: Ended) -> list[dict[str, Any]]:
    assert ended.code == 0, ended.err
    return json.loads(ended.out)["choices"]


def test_of_one_run_the_best_before_the_stop_is_kept(tmp_path: Path):
    folder = online(tmp_path / "a", RISE_AND_FALL)
    ended = call("choose", folder, "--json")
    [made] = choices(ended)

    assert list(json.loads(ended.out)) == ["choices", "left_out"]
    assert list(made) == [
        *(
            "start",
            "source",
            "voters",
            "votes",
            "ballot",
            "advice",
            "paired",
            "kept",
            "best",
            "confidence",
            "confidence_alike",
            "no_difference",
            "abstains",
        ),
        *("reason", "candidates"),
    ]
    assert (made["start"], made["source"], made["paired"]) == (manifest().start.name, "training prompts", True)
    assert made["voters"] == "start model"
    assert (made["kept"]["run"], made["kept"]["label"]) == (str(folder), "step 10")
    assert made["kept"]["checkpoint"] == str(folder / "checkpoints/00010")
    assert made["kept"]["support_change"]["value"] == pytest.approx(0.25)
    assert made["confidence"] == 1.0 and made["no_difference"] == []
    assert [one["stopped"] for one in made["candidates"]] == [False, False, True]
    assert all(one["greedy_accuracy"] is None for one in made["candidates"])


def test_of_several_runs_below_one_folder_the_best_is_kept(tmp_path: Path):
    online(tmp_path / "a", RISE_AND_FALL)
    online(tmp_path / "b", HIGHER, seed=1)
    [made] = choices(call("choose", tmp_path, "--json"))

    assert (made["kept"]["run"], made["kept"]["label"]) == (str(tmp_path / "b"), "step 5")
    assert len(made["candidates"]) == 4
    words = call("choose", tmp_path).out
    assert f"keep        step 5 of {tmp_path / 'b'}" in words and "step 20, stopped" in words


def judged(path: Path, rights: Sequence[bool], **settings: Any) -> Path:
    """A run whose start model is right on every other question, and its step 10 as told.

    Of its two samples one is always right, the other on question 1 alone: so its votes hardly say anything.
    """
    with RunFolder.open(path, manifest(method="rlif", **settings)) as folder:
        for stage, given in (("before/items", (True, False) * 8), ("curve/00010/items", rights)):
            rows = [
                answered(Prompt(id=f"q{n}", text=f"Q:{n}"), str(n), (right, n == 1, True))[0]
                for n, right in enumerate(given)
            ]
            folder.once(stage, lambda rows=rows: rows, EvalItem)
        folder.log("trained", steps=10)
    return path


def test_where_the_start_models_votes_tell_nothing_three_runs_elect(tmp_path: Path):
    """On half of the questions every step 10 has all three votes, on the others those of two runs of three."""
    for seed, name in enumerate("ab"):
        judged(tmp_path / name, (True,) * 16, seed=seed)
    [two] = choices(call("choose", tmp_path, "--json"))
    judged(tmp_path / "c", (True,) * 16, seed=2, settings={"evaluation": {"num_samples": 2, "batch_rows": 8}})
    [asked_else] = choices(call("choose", tmp_path, "--json"))
    for name in "ab":
        settings = {"evaluation": {"num_samples": 2, "cot_prompt": name}}  # of a decoding that no checkpoint takes
        shutil.rmtree(tmp_path / name)
        judged(tmp_path / name, (True,) * 16, settings=settings)
    [three] = choices(call("choose", tmp_path, "--json"))

    for one in (two, asked_else):
        assert (one["voters"], one["kept"]["label"]) == ("start model", "start model")
        assert one["best"]["label"] == "step 10"
    assert (three["voters"], three["source"], three["kept"]["label"]) == ("other runs", "evaluation answers", "step 10")
    assert three["kept"]["support"] == pytest.approx(5 / 6)
    words = call("choose", tmp_path).out
    assert "support by the other runs" in words and "Runs that err alike support wrong answers" in words


def ballot(
    path: Path, halves: Sequence[int], num_samples: int = 8, answer: dict[str, Any] | None = None, **more: Any
) -> Path:
    """An evaluation of the start model: every sample is right, but for half of them on some questions."""
    asked = {"num_samples": num_samples} | ({"top_p": more.pop("top_p")} if "top_p" in more else {})
    settings = {"evaluation": asked} | ({"answer": answer} if answer else {})
    with RunFolder.open(path, manifest(method="evaluate", settings=settings, data=None, **more)) as folder:
        rows = [
            answered(
                Prompt(id=f"q{n}", text=f"Q:{n}"), str(n), (True, *((n not in halves, True) * (num_samples // 2)))
            )[0]
            for n in range(16)
        ]
        folder.once("before/items", lambda: rows, EvalItem)
    return path


TWO = {"evaluation": {"num_samples": 2}}


def test_an_evaluation_of_the_start_model_with_more_samples_votes_for_it(tmp_path: Path):
    judged(tmp_path / "a", (True,) * 16, settings=TWO)
    few = call("choose", tmp_path, "--json")
    told = call("choose", tmp_path).out
    ballot(tmp_path / "votes", ())
    ballot(tmp_path / "fewer", (), num_samples=4)
    ballot(tmp_path / "else", (), top_p=0.9)
    many = call("choose", tmp_path, "--json")

    [weak], [strong] = choices(few), choices(many)
    assert (weak["votes"], weak["kept"]["label"]) == (2, "start model")
    assert "has 2 votes a question." in told
    command = "inward evaluate --model embedded:chat --data arithmetic:test --set evaluation.num_samples=16 --out votes"
    assert (weak["ballot"], weak["advice"]) == (None, command) and f"that folder: {command}" in told
    assert (strong["votes"], strong["ballot"], strong["kept"]["label"]) == (8, str(tmp_path / "votes"), "step 10")
    # Of its greedy answers all have every vote; its samples are as the start model's two.
    assert strong["kept"]["support_change"]["value"] == pytest.approx(0.25)
    assert f"8 votes a question, those of {tmp_path / 'votes'}." in call("choose", tmp_path).out
    left = {Path(one["run"]).name: one["why"] for one in json.loads(many.out)["left_out"]}
    assert left["fewer"] == f"{tmp_path / 'votes'} has as many samples of the start model or more, and votes"
    assert "evaluation.top_p is 0.9 here, null in" in left["else"]


def test_an_evaluation_that_does_not_vote_is_told_why(tmp_path: Path):
    judged(tmp_path / "a", (True,) * 16, settings=TWO | {"answer": {"strict": True}})
    ballot(tmp_path / "two", (), num_samples=2, answer={"strict": True})
    ballot(tmp_path / "lenient", (), answer={"strict": False})
    ballot(tmp_path / "stranger", (), start=Artifact(name="embedded:base", sha256="6a" * 32))
    other = Artifact(name="arithmetic:test", sha256="c3" * 32)
    ballot(tmp_path / "asked", (), answer={"strict": True}, evaluation=other)
    left = {Path(one["run"]).name: one["why"] for one in json.loads(call("choose", tmp_path, "--json").out)["left_out"]}

    assert left["two"] == "it has 2 samples to each question, and the run 2"
    assert "answer.strict is false here, true in" in left["lenient"]
    assert "it is of embedded:base, of which there is no run here" in left["stranger"]
    assert left["asked"].endswith("was asked other questions")


def test_beside_a_run_with_probes_of_its_own_an_evaluation_votes_as_well(tmp_path: Path):
    folder = judged(tmp_path / "a", (True,) * 16, settings=TWO | {"stop": {"start_samples": 4}})
    with RunFolder.open(folder, manifest(method="rlif", settings=TWO | {"stop": {"start_samples": 4}})) as opened:
        opened.write_json("probe.json", {"prompts": ["q0", "q1"], "votes": []})
        for step, support in ((0, (0.5, 0.5)), (10, (0.1, 0.1))):
            opened.log("probe", step=step, support=support, entropy=1.0)
    [alone] = choices(call("choose", tmp_path, "--json"))
    ballot(tmp_path / "votes", ())
    [beside] = choices(call("choose", tmp_path, "--json"))

    assert (alone["source"], alone["votes"], alone["kept"]["label"]) == ("training prompts", 4, "start model")
    assert (beside["source"], beside["votes"], beside["kept"]["label"]) == ("evaluation answers", 8, "step 10")


def test_what_the_start_models_votes_cannot_tell_apart_the_other_runs_decide(tmp_path: Path):
    """Early and full have the same share of the votes, for on the last four questions these are half and half; the
    others side with full there. Off has fewer."""
    judged(tmp_path / "early", (True,) * 12 + (False,) * 4, settings=TWO)
    judged(tmp_path / "full", (True,) * 16, settings=TWO)
    ballot(tmp_path / "votes", range(12, 16))
    [two] = choices(call("choose", tmp_path, "--json"))
    judged(tmp_path / "off", (False,) * 5 + (True,) * 11, settings=TWO)
    [three] = choices(call("choose", tmp_path, "--json"))

    assert (two["voters"], Path(two["kept"]["run"]).name) == ("start model", "early")
    assert two["no_difference"] == [f"step 10 of {tmp_path / 'full'}"]
    assert (three["voters"], Path(three["kept"]["run"]).name) == ("other runs", "full")
    by_run = {Path(one["run"]).name: one for one in three["candidates"] if one["run"]}
    assert by_run["off"]["out"] and not by_run["early"]["out"]
    assert "among what the start model's votes cannot tell apart, " in three["reason"]
    assert by_run["off"]["probability_best"] == 0 and by_run["early"]["probability_best"] < 0.2


def test_what_cannot_be_weighed_is_named(tmp_path: Path):
    online(tmp_path / "a", RISE_AND_FALL)
    online(tmp_path / "gold", RISE_AND_FALL, labels_used=True)
    online(tmp_path / "blind", [(0, ()), (10, ())])
    ended = call("choose", tmp_path, "--json")
    why = {Path(one["run"]).name: one["why"] for one in json.loads(ended.out)["left_out"]}

    assert len(choices(ended)) == 1
    assert "gold answers" in why["gold"] and "no votes" in why["blind"]


def test_a_folder_without_runs_and_runs_without_votes_are_refused(tmp_path: Path):
    assert "holds none" in call("choose", tmp_path).error
    online(tmp_path / "blind", [(0, ()), (10, ())])
    refused = call("choose", tmp_path)
    assert refused.code == 1 and "nothing to choose from" in refused.error


FEW = ("--set", "evaluation.num_samples=2", "--set", "evaluation.max_completion_tokens=32")
SMALL = ("prompts.limit=8", "sampling.group_size=4", "sampling.num_branches=2", "optim.num_epochs=1")


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders with a mix that is judged by right and by wrong gold answers, and the problems beside them."""
    rows = [
        {"id": one.prompt.id, "prompt": str(one.prompt.text), "answer": one.answer}
        for one in arithmetic.problems(12, seed=9)
    ]
    wrong = [{**row, "answer": rows[i - 5]["answer"]} for i, row in enumerate(rows)]
    folders: dict[str, Path] = {}
    for case, asked in (("right", rows), ("wrong", wrong)):
        folders[case] = tmp_path_factory.mktemp(case)
        data = write_lines(folders[case] / "data.jsonl", asked)
        ends = ("--from", "embedded:base", "--to", "embedded:instruct", "--ratios", "0.5,0")
        ended = call("interpolate", *ends, "--data", data, "--out", folders[case] / "runs/mix", *FEW)
        assert ended.code == 0, ended.err
    return folders


def test_gold_answers_do_not_move_the_choice(mixed: dict[str, Path]):
    made = [choices(call("choose", folder / "runs", "--json"))[0] for folder in mixed.values()]

    assert made[0]["source"] == "evaluation answers"
    assert [one["label"] for one in made[0]["candidates"]] == ["start model", "ratio 0.5"]
    assert made[0]["candidates"][1]["checkpoint"].endswith("mixes/0.5")
    accuracies = [[one["greedy_accuracy"]["value"] for one in each["candidates"]] for each in made]
    assert accuracies[0] != accuracies[1]
    right, wrong = (blind(one, folder) for one, folder in zip(made, mixed.values(), strict=True))
    assert right == wrong


def blind(made: dict[str, Any], folder: Path) -> str:
    """The choice without the true accuracies and the name of its folder."""
    for one in (made["kept"], made["best"], *made["candidates"]):
        one.pop("greedy_accuracy", None)
    return json.dumps(made).replace(str(folder), "")


def test_a_mix_and_a_training_are_weighed_on_the_same_answers(mixed: dict[str, Path]):
    folder = mixed["right"]
    words = ("run", "rlsf", "--model", "embedded:base", "--prompts", "embedded", "--eval-data", folder / "data.jsonl")
    ended = call(*words, "--out", folder / "runs/rlsf", *FEW, *(word for one in SMALL for word in ("--set", one)))
    assert ended.code == 0, ended.err
    [made] = choices(call("choose", folder / "runs/mix", folder / "runs/rlsf", "--json"))

    assert made["source"] == "evaluation answers"
    assert [one["run"] and Path(one["run"]).name for one in made["candidates"]] == [None, "mix", "rlsf"]
    assert made["candidates"][2]["checkpoint"].endswith("rlsf/checkpoint")
    assert all(one["greedy_accuracy"] for one in made["candidates"])
