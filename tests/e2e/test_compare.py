"""`inward compare` from the command line, on run folders written for it: no model is run."""

import dataclasses
import json
import re
from pathlib import Path

import pytest
import synthetic
import synthetic_online as online
from commands import Ended, call

from inward import evaluate
from inward.cli import console
from inward.runs import RunFolder
from inward.types import Artifact, EvalItem, Manifest, Outcome, ScoredGroup

ANSWER = {"kind": "number", "strict": True}
EVALUATION = {"num_samples": 2, "temperature": 1.0, "batch_rows": 8, "seed": 1}


def manifest(seed: int, reward: str = "self_certainty", **changes: object) -> Manifest:
    settings = {"reward": reward, "answer": ANSWER, "evaluation": EVALUATION, "optim": {"steps": 4}}
    one = dataclasses.replace(
        online.manifest(seed, reward=reward),
        settings=settings,
        data=Artifact(name="embedded", sha256=f"{seed:064d}", num_records=20),
    )
    return dataclasses.replace(one, **changes)


def items(right: int, samples: int = 2, of: int = 8) -> list[EvalItem]:
    """So many of the problems answered rightly, the first ones."""
    prompts = [(synthetic.Prompt(id=f"q{n}", text="?"), n < right) for n in range(of)]
    made = [online.answered(prompt, "1", [ok] * (1 + samples)) for prompt, ok in prompts]
    return [
        dataclasses.replace(item, majority_outcome=Outcome.CORRECT if ok else Outcome.INCORRECT)
        for (item, _), (_, ok) in zip(made, prompts, strict=True)
    ]


def groups(judged: list[EvalItem], question: str = "?") -> list[ScoredGroup]:
    """The traces that were judged."""
    return [
        online.answered(synthetic.Prompt(id=one.prompt_id, text=question), "1", [True] * (1 + len(one.samples)))[1]
        for one in judged
    ]


def write(
    path: Path,
    one: Manifest,
    *,
    after: list[EvalItem] | None,
    before: list[EvalItem] | None = None,
    question: str = "?",
) -> Path:
    with RunFolder.open(path, one) as folder:
        for step in range(4):
            folder.log("monitor", step=step, traces=256.0)
        folder.log("trained", steps=4, kept_step=4)
        for name, judged in (("before", before), ("after", after)):
            if judged:
                folder.map(f"{name}/scored", groups(judged, question), list, ScoredGroup, shard_size=64)
                folder.map(f"{name}/items", judged, list, EvalItem, shard_size=64)
                folder.write_json(f"{name}/report.json", evaluate.report(judged, "sums", name))
        folder.write_json("summary.json", {"counts": {"steps": 4}, "seconds": {"train": 2.5, "evaluate_after": 9.0}})
    return path


@pytest.fixture
def runs(tmp_path: Path) -> list[Path]:
    """Two seeds of self-certainty, with 5 and 7 of 8 problems right after 4 of 8, and gold with all 8."""
    return [
        write(tmp_path / "a", manifest(1), before=items(4), after=items(5)),
        write(tmp_path / "b", manifest(2), before=items(4), after=items(7)),
        write(tmp_path / "gold", manifest(1, "gold"), before=items(4), after=items(8)),
    ]


def compared(*args: str | Path) -> dict:
    ended = call("compare", *args, "--json")
    assert ended.code == 0, ended.err
    return json.loads(ended.out)


def refused(*args: str | Path) -> str:
    ended = call("compare", *args)
    assert ended.code == 1
    return ended.error


def lines(ended: Ended) -> str:
    return re.sub(r" +", " ", ended.err)


def test_runs_that_differ_in_their_seed_are_one_group(runs: list[Path]):
    found = compared(*runs)
    assert [group["label"] for group in found["groups"]] == ["rlif self_certainty, seeds 1, 2", "rlif gold, seed 1"]
    # 5/8 and 7/8
    assert found["groups"][0]["metrics"]["greedy_accuracy"] == {"mean": 0.75, "low": 0.625, "high": 0.875}
    assert found["start"]["metrics"]["greedy_accuracy"]["value"] == 0.5


def test_seeds_of_one_method_are_set_against_each_other_where_that_is_asked_for(runs: list[Path], tmp_path: Path):
    together = compared(*runs[:2])
    assert [len(group["runs"]) for group in together["groups"]] == [2] and "--each" in together["warnings"][0]
    page = tmp_path / "each.html"
    found = compared(*runs[:2], "--each", "--out", page)
    assert [group["label"] for group in found["groups"]] == [
        "rlif self_certainty, seed 1",
        "rlif self_certainty, seed 2",
    ]
    first, second = (group["runs"][0] for group in found["groups"])
    # 7/8 against 5/8: two problems turned right, none wrong.
    assert first["from_first"] is None and second["from_first"]["greedy_accuracy"]["value"] == 0.25
    assert (second["flips_from_first"]["gained"], second["flips_from_first"]["lost"]) == (2, 0)
    assert found["warnings"] == [] and "rlif self_certainty, seed 2" in page.read_text(encoding="utf-8")
    # Runs of one label are told apart by their folders.
    again = write(tmp_path / "again", manifest(1), before=items(4), after=items(6))
    assert [group["label"] for group in compared(runs[0], again, "--each")["groups"]] == ["a", "again"]


def test_differences_are_paired_to_the_start_and_to_the_first_group_seed_by_seed(runs: list[Path]):
    others = [*runs, write(runs[0].parent / "gold2", manifest(2, "gold"), after=items(8))]
    first, gold = compared(*others)["groups"]
    assert [run["from_start"]["greedy_accuracy"]["value"] for run in first["runs"]] == [0.125, 0.375]
    assert first["runs"][0]["from_first"] is None
    # 8/8 against 5/8 with seed 1, and against 7/8 with seed 2
    assert [run["from_first"]["greedy_accuracy"]["value"] for run in gold["runs"]] == [0.375, 0.125]
    assert gold["runs"][0]["labels_used"] is True


def test_answers_that_flipped_are_counted_against_the_start_and_the_first_group(runs: list[Path]):
    first, gold = compared(*runs)["groups"]
    # 4 of 8 right before, 7 after: 3 flipped, all one way: 2 / 2^3; gold against seed 1 with 5 of 8: 3 again
    assert first["runs"][1]["flips_from_start"] == {"lost": 0, "gained": 3, "p_value": 0.25}
    assert gold["runs"][0]["flips_from_first"] == {"lost": 0, "gained": 3, "p_value": 0.25}
    assert "gold embedded:base 0 4 0.1250" in lines(call("compare", *runs))


def test_costs_count_training_alone(runs: list[Path]):
    [run] = compared(runs[0])["groups"][0]["runs"]
    assert run["cost"] == {"seconds": 2.5, "traces": 1024.0, "steps": 4.0}


def test_the_tables_and_the_page(runs: list[Path], tmp_path: Path):
    ended = call("compare", *runs, "--out", tmp_path / "page.html")
    assert ended.code == 0, ended.err
    shown = lines(ended)
    assert "greedy accuracy 0.500 0.750 1.000" in shown
    assert "0.62..0.88" in shown
    assert "paired differences to embedded:base" in shown
    page = (tmp_path / "page.html").read_text("utf-8")
    assert "Highest greedy accuracy without labels: 75.0%, rlif self_certainty, seeds 1, 2" in page
    assert "http" not in page.replace("http-equiv", "").replace("www.w3.org", "")
    assert page.count("<script") == 2
    said = f"page {tmp_path / 'page.html'}: the tables, and 8 questions with the answers of the runs side by side"
    assert f"{said}, changed ones first" in shown


def test_a_single_run_has_nothing_beside_it(runs: list[Path], tmp_path: Path):
    ended = call("compare", runs[0], "--out", tmp_path / "page.html")
    assert lines(ended).splitlines()[-1] == f"page {tmp_path / 'page.html'}"
    assert "<script" not in (tmp_path / "page.html").read_text("utf-8")


def test_an_evaluation_stands_beside_runs_and_is_no_start_model(runs: list[Path], tmp_path: Path):
    judged = dataclasses.replace(
        manifest(0), method="evaluate", data=None, start=Artifact(name="x/y", sha256="ab" * 32)
    )
    path = write(tmp_path / "judged", judged, before=items(6), after=None)
    found = compared(path, runs[0])
    assert [group["label"] for group in found["groups"]] == ["x/y", "rlif self_certainty, seed 1"]
    assert found["start"]["model"] == "embedded:base"
    assert found["groups"][0]["runs"][0]["cost"] == {"seconds": None, "traces": None, "steps": None}
    assert compared(path)["start"] is None


def test_other_numbers_of_samples_leave_out_what_depends_on_them(runs: list[Path], tmp_path: Path):
    settings = manifest(1).settings | {"evaluation": EVALUATION | {"num_samples": 3}}
    three = write(tmp_path / "three", manifest(1, settings=settings), after=items(5, samples=3))
    ended = call("compare", runs[0], three)
    assert "pass@k - - -" in lines(ended)
    assert "vote share" not in ended.err
    assert (
        "- majority accuracy, pass@k: depends on the number of samples a problem, which here are 2 and 3" in ended.err
    )
    found = compared(runs[0], three)
    of_votes = {f"{key}_vote_share" for key in ("ece", "brier", "auroc", "accuracy_at_80")}
    assert set(found["withheld"]) == {"pass_at_k", "majority_accuracy", "weighted_majority_accuracy"} | of_votes
    assert "sampled_accuracy" in found["groups"][1]["metrics"]


def evaluation(path: Path, judged: list[EvalItem], decoding: str = "greedy", **settings: object) -> Path:
    """A folder of `inward evaluate`."""
    asked = manifest(1).settings | {"evaluation": EVALUATION | {"decoding": decoding} | settings}
    one = manifest(1, method="evaluate", data=None, start=Artifact(name="x/y", sha256="ab" * 32), settings=asked)
    with RunFolder.open(path, one) as folder:
        folder.map("before/scored", groups(judged), list, ScoredGroup, shard_size=64)
        folder.map("before/items", judged, list, EvalItem, shard_size=64)
        folder.write_json("before/report.json", evaluate.report(judged, "sums", "x/y", decoding=decoding))
        folder.write_json("summary.json", {"counts": {}, "seconds": {}})
    return path


def sure(right: int, measure: str, confidence: float, tokens: int = 15) -> list[EvalItem]:
    """So many of 8 problems answered rightly, all with one confidence and at one cost."""
    return [
        dataclasses.replace(
            item, tokens=tokens, greedy=dataclasses.replace(item.greedy, confidences={measure: confidence})
        )
        for item in items(right)
    ]


def test_decodings_of_one_model_are_compared_with_their_costs_and_measures(tmp_path: Path):
    greedy = evaluation(tmp_path / "greedy", sure(4, "vote_share", 0.75), num_branches=4)
    branches = evaluation(tmp_path / "cot", sure(6, "vote_share", 1.0, tokens=50), "cot_decoding")
    ended = call("compare", greedy, branches, "--out", tmp_path / "page.html")
    assert ended.code == 0, ended.err
    shown = lines(ended)
    assert "tokens an answer 15.0 50.0" in shown
    # 4 of 8 right at .75: ECE 1/4, Brier (.25^2 + .75^2) / 2; 6 of 8 right at 1: 1/4 and 1/4; nothing told apart
    assert "x/y 0.250 0.312 0.500 0.500" in shown and "x/y cot_decoding 0.250 0.250 0.500 0.750" in shown
    found = compared(greedy, branches)
    assert [group["label"] for group in found["groups"]] == ["x/y", "x/y cot_decoding"]
    assert found["groups"][1]["runs"][0]["decoding"] == "cot_decoding"
    assert found["groups"][1]["runs"][0]["from_first"]["tokens_per_answer"]["value"] == 35.0
    page = (tmp_path / "page.html").read_text("utf-8")
    table = page.partition("<h2>Confidence measures side by side</h2>")[2].partition("</section>")[0]
    assert "Vote share" in table and "Recalibrated" not in table


def test_a_baseline_is_called_by_its_name(runs: list[Path], tmp_path: Path):
    settings = manifest(1).settings | {"confidence": "answer_disparity", "baseline": "cot_decoding"}
    path = write(tmp_path / "baseline", manifest(1, method="rlsf", settings=settings), after=items(6))
    assert compared(runs[0], path)["groups"][1]["label"] == "rlsf baseline=cot_decoding, seed 1"


@pytest.mark.parametrize(
    ("changes", "label"),
    [
        ({}, "rlsf answer_disparity, seed 1"),
        ({"route": "dpo", "rounds": 1}, "rlsf answer_disparity, seed 1"),
        ({"route": "reward_model"}, "rlsf answer_disparity route=reward_model, seed 1"),
        ({"route": "dpo", "rounds": 3}, "rlsf answer_disparity rounds=3, seed 1"),
        ({"route": "sft", "baseline": "sft"}, "rlsf baseline=sft, seed 1"),
    ],
)
def test_runs_of_rlsf_are_told_apart_by_what_is_not_usual(
    runs: list[Path], tmp_path: Path, changes: dict[str, object], label: str
):
    settings = manifest(1).settings | {"confidence": "answer_disparity"} | changes
    path = write(tmp_path / "rlsf", manifest(1, method="rlsf", settings=settings), after=items(6))
    assert compared(runs[0], path)["groups"][1]["label"] == label


def test_a_checkpoint_with_a_fitted_confidence_says_so(tmp_path: Path):
    fitted = evaluation(tmp_path / "fitted", sure(4, "recalibrated", 0.5))
    assert compared(fitted)["groups"][0]["label"] == "x/y recalibrated"


def test_references_that_differ_are_not_compared(tmp_path: Path):
    one = evaluation(tmp_path / "a", sure(4, "reference_probability", 0.5), reference="embedded:base")
    none = evaluation(tmp_path / "b", sure(4, "vote_share", 0.5))
    other = evaluation(tmp_path / "c", sure(4, "reference_probability", 0.5), reference="embedded:chat")
    assert compared(one, none)["withheld"] == {}
    withheld = compared(one, none, other)["withheld"]
    assert withheld["ece_reference_probability"] == "is by other models: embedded:base, embedded:chat"


def test_equal_labels_give_way_to_the_names_of_folders(runs: list[Path], tmp_path: Path):
    settings = manifest(1).settings | {"optim": {"steps": 4, "kl": 0.1}}
    other = write(tmp_path / "kl", manifest(1, settings=settings), after=items(5))
    assert [group["label"] for group in compared(runs[0], other)["groups"]] == ["a", "kl"]


def test_another_start_model_is_a_warning(runs: list[Path], tmp_path: Path):
    one = manifest(1, start=Artifact(name="embedded:chat", sha256="ab" * 32))
    other = write(tmp_path / "chat", one, after=items(5))
    assert compared(runs[0], other)["warnings"] == [
        "the start model shown is embedded:base; trained from another one: chat (embedded:chat)"
    ]


def test_other_problems_or_settings_are_refused_by_name(runs: list[Path], tmp_path: Path):
    problems = manifest(1, evaluation=Artifact(name="other", sha256="cd" * 32, num_records=8))
    error = refused(runs[0], write(tmp_path / "problems", problems, after=items(5), question="another?"))
    assert "they share no question: judge one again, by inward evaluate" in error
    assert "these checkpoints were not judged alike" in error
    assert f'problems.sha256: {runs[0]} has "{"b2" * 32}", {tmp_path / "problems"} has "{"cd" * 32}"' in error
    settings = manifest(1).settings | {"evaluation": EVALUATION | {"temperature": 0.7, "batch_rows": 4}}
    error = refused(runs[0], write(tmp_path / "settings", manifest(1, settings=settings), after=items(5)))
    assert f"evaluation.temperature: {runs[0]} has 1.0, {tmp_path / 'settings'} has 0.7" in error
    assert "batch_rows" not in error
    assert f"inward evaluate --model {tmp_path / 'settings' / 'checkpoint'} --set evaluation.temperature=1.0" in error


def test_a_checkpoint_of_an_embedded_model_judged_by_its_path_is_told_the_settings(tmp_path: Path):
    known = manifest(1, recipe="shipped:evaluate-embedded")
    settings = known.settings | {"answer": {"kind": "auto", "strict": False}}
    others = dataclasses.replace(
        known,
        method="evaluate",
        data=None,
        recipe="defaults",
        settings=settings,
        start=Artifact(name="a/checkpoint", sha256="ab" * 32),
    )
    first = write(tmp_path / "first", known, after=items(5))
    second = write(tmp_path / "second", others, before=items(5), after=None)
    for pair in ((first, second), (second, first)):
        error = refused(*pair)
        assert f"judge {second} again, as {first} was, with the same --task or --data:" in error
        assert "inward evaluate --model a/checkpoint --config " in error
        assert (
            Path(error.partition("--config ")[2].split()[0])
            .read_text("utf-8")
            .startswith("# Evaluation of the embedded")
        )


def test_runs_that_share_a_part_of_the_problems_are_compared_on_it(runs: list[Path], tmp_path: Path):
    """Of 8 problems the first 5 are right; the other run has 4 of them and the first 2 of these right."""
    few = manifest(1, "random", evaluation=Artifact(name="arithmetic:test", sha256="cd" * 32, num_records=4))
    path = write(tmp_path / "few", few, after=items(2, of=4))
    found = compared(runs[0], path)
    assert found["problems"] == 4
    assert [group["metrics"]["greedy_accuracy"]["mean"] for group in found["groups"]] == [1.0, 0.5]
    assert found["start"]["metrics"]["greedy_accuracy"]["value"] == 1.0
    assert found["groups"][1]["runs"][0]["flips_from_first"] == {"lost": 2, "gained": 0, "p_value": 0.5}
    assert found["warnings"] == [
        "not all runs were judged on the same problems (a 8; few 4): every metric and difference is of the 4 problems "
        "that all of them share"
    ]


def test_an_interval_is_written_so_that_it_holds_its_value():
    assert console.ends(0.996, 0.9951, 0.9979) == ("0.995", "0.998")
    assert console.ends(0.5, 0.449, 0.551) == ("0.45", "0.55")
    assert console.ends(-0.004, -0.0049, -0.0031, signed=True) == ("-0.005", "-0.003")
    assert console.ends(26.5, 25.74, 27.21) == ("25.7", "27.2")


def test_several_reports_of_rlsf_point_to_the_comparison(runs: list[Path], tmp_path: Path):
    path = write(tmp_path / "rlsf", manifest(1, method="rlsf"), after=items(6))
    for end in ((), ("--out", tmp_path / "seeds.html")):
        ended = call("report", path, runs[0], *end)
        assert ended.code == 1
        assert "inward compare RUN RUN --out compare.html" in ended.error


def test_a_run_that_was_not_judged_and_one_given_twice_are_refused(runs: list[Path], tmp_path: Path):
    bare = write(tmp_path / "bare", manifest(1, evaluation=None), after=None)
    assert f"{bare} holds no judged checkpoint (after/report.json)" in refused(runs[0], bare)
    assert "is given twice; name every run once" in refused(runs[0], runs[0])
    assert "is no run folder" in refused(tmp_path / "nowhere")
