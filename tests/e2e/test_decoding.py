"""`inward evaluate --decoding` and `--reference` on the embedded base model: twelve problems, three samples each."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from commands import Ended, call

from inward import confidence, models, organism
from inward.batch import collate, span_mask
from inward.cli.judge import _asking, judge_reward, sampling_params
from inward.config import EvaluationSettings
from inward.models import ModelSettings
from inward.runs import RunFolder
from inward.score.by_model import forward_signals
from inward.train import load_reward_model, sequence_rewards
from inward.types import EvalItem, JudgedTrace, Message, Outcome, Prompt, ScoredGroup, Source

CPU = ModelSettings(device="cpu")
SMALL = ("evaluation.num_problems=12", "evaluation.num_samples=3", "evaluation.num_branches=4", "model.device=cpu")
DECODINGS = ("greedy", "cot_prompt", "cot_decoding", "cot_decoding_sum", "self_consistency")


def judged(out: Path, decoding: str, *extra: str, task: tuple[str, ...] = ("--task", "arithmetic")) -> Ended:
    options = [word for setting in SMALL for word in ("--set", setting)]
    model = ("--model", "embedded:base", "--decoding", decoding)
    return call("evaluate", *model, *task, "--out", out, *options, *extra)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The same problems under every decoding; `greedy` with the chat model as a reference."""
    made: dict[str, Path] = {}
    for decoding in DECODINGS:
        made[decoding] = tmp_path_factory.mktemp("decoding") / decoding
        extra = ("--reference", "embedded:chat") if decoding == "greedy" else ()
        ended = judged(made[decoding], decoding, *extra)
        assert ended.code == 0, ended.err
    return made


def items(folder: Path) -> list[EvalItem]:
    return list(RunFolder.read(folder).records("before/items", EvalItem))


def groups(folder: Path) -> list[ScoredGroup]:
    return list(RunFolder.read(folder).records("before/scored", ScoredGroup))


def metrics(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "summary.json").read_text("utf-8"))["before"]


def plain(sample: JudgedTrace) -> tuple[Any, ...]:
    """What a sample is whatever its place in the group and in a batch."""
    return sample.answer, sample.outcome, sample.length, round(sample.probability, 4)


def test_every_decoding_draws_the_same_samples(folders: dict[str, Path]):
    drawn = {name: [[plain(one) for one in item.samples] for item in items(path)] for name, path in folders.items()}
    assert all(len(samples) == 3 for samples in drawn["greedy"])
    assert all(drawn[name] == drawn["greedy"] for name in DECODINGS)


@pytest.mark.parametrize("name", DECODINGS)
def test_the_answer_is_paid_for_in_the_tokens_of_the_traces_it_was_found_in(name: str, folders: dict[str, Path]):
    source = {"greedy": Source.GREEDY, "cot_prompt": Source.GREEDY, "self_consistency": Source.SAMPLE}
    lengths = [
        [len(t.trace.completion_ids) for t in group.traces if t.trace.source is source.get(name, Source.BRANCH)]
        for group in groups(folders[name])
    ]
    assert {len(row) for row in lengths} == {{"self_consistency": 3}.get(name, 4 if "cot_d" in name else 1)}
    assert [item.tokens for item in items(folders[name])] == [sum(row) for row in lengths]
    assert metrics(folders[name])["tokens_per_answer"]["value"] == pytest.approx(sum(map(sum, lengths)) / 12)
    assert json.loads((folders[name] / "before/report.json").read_text("utf-8"))["decoding"] == name


def test_cot_decoding_takes_the_surest_branch(folders: dict[str, Path]):
    for item, group in zip(items(folders["cot_decoding"]), groups(folders["cot_decoding"]), strict=True):
        sure = [t.measures["answer_disparity"] for t in group.traces if t.trace.source is Source.BRANCH and t.answer]
        assert item.greedy.disparity == pytest.approx(max(sure))


def test_self_consistency_is_the_majority(folders: dict[str, Path]):
    found = metrics(folders["self_consistency"])
    assert found["greedy_accuracy"] == found["majority_accuracy"]


def test_the_greedy_trace_of_cot_prompt_goes_on_from_its_addition(folders: dict[str, Path]):
    tokenizer = models.load_tokenizer(organism.path("base"), CPU)
    for group in groups(folders["cot_prompt"]):
        greedy, *samples = (one.trace for one in group.traces)
        assert models.decode(tokenizer, greedy.prompt_ids) == f"{group.prompt.text}step"
        assert {models.decode(tokenizer, one.prompt_ids) for one in samples} == {group.prompt.text}
        assert [one.index for one in (greedy, *samples)] == [0, 1, 2, 3]


def test_the_reference_judges_the_same_tokens_after_the_same_trace(folders: dict[str, Path]):
    """Against a forward pass of the chat model over prompt and completion."""
    reference = models.load(organism.path("chat"), CPU)
    for group, item in zip(groups(folders["greedy"]), items(folders["greedy"]), strict=True):
        signals = collate(forward_signals([one.trace for one in group.traces], reference))
        mask = span_mask([one.answer_tokens for one in group.traces], signals.mask.shape[1])
        expected = confidence.answer_probability(signals, mask).tolist()
        assert [one.measures["reference_probability"] for one in group.traces] == pytest.approx(expected, abs=1e-5)
        assert item.greedy.confidences["reference_probability"] == pytest.approx(min(expected[0], 1.0), abs=1e-5)
    found = metrics(folders["greedy"])
    assert found["ece_reference_probability"]["n"] == 12
    assert not any(key.endswith("reference_probability") for key in metrics(folders["cot_decoding"]))


def test_the_page_sets_the_measures_side_by_side(folders: dict[str, Path]):
    page = (folders["greedy"] / "report.html").read_text("utf-8")
    table = page.partition("<h2>Confidence measures side by side</h2>")[2].partition("</section>")[0]
    assert all(name in table for name in ("Answer probability", "Vote share", "Reference probability"))
    assert "Recalibrated" not in table


def test_the_page_says_how_the_answers_were_found(folders: dict[str, Path]):
    pages = {name: (path / "report.html").read_text("utf-8") for name, path in folders.items()}
    assert "answers by <b>cot_decoding</b>" in pages["cot_decoding"]
    assert "answers by" not in pages["greedy"]


def test_an_interrupted_decoding_is_finished_from_its_shards(folders: dict[str, Path], tmp_path: Path):
    again = tmp_path / "again"
    shutil.copytree(folders["cot_decoding_sum"], again)
    shutil.rmtree(again / "before/items")
    (again / "summary.json").unlink()
    scored = (again / "before/scored/00000.parquet").stat().st_mtime_ns
    ended = judged(again, "cot_decoding_sum")
    assert ended.code == 0, ended.err
    assert items(again) == items(folders["cot_decoding_sum"])
    assert metrics(again) == metrics(folders["cot_decoding_sum"])
    assert (again / "before/scored/00000.parquet").stat().st_mtime_ns == scored
    assert "another" not in judged(again, "cot_decoding_sum").err
    assert "decoding" in judged(again, "greedy").error


def test_a_reference_that_changes_is_refused(folders: dict[str, Path], tmp_path: Path):
    shutil.copytree(organism.path("chat"), tmp_path / "reference")
    out, options = tmp_path / "out", ("--reference", str(tmp_path / "reference"))
    assert judged(out, "greedy", *options).code == 0
    shutil.rmtree(out / "before")
    shutil.copy(organism.path("instruct") / "model.safetensors", tmp_path / "reference")
    assert "its files have changed since" in judged(out, "greedy", *options).error


@pytest.mark.parametrize(
    ("decoding", "extra", "message"),
    [
        ("beam", (), "--decoding (evaluation.decoding): Input should be 'greedy', 'cot_prompt'"),
        ("self_consistency", ("--set", "evaluation.num_samples=0"), "self_consistency is the vote of the samples"),
        ("cot_decoding", ("--set", "evaluation.num_branches=0"), "num_branches must be at least 1"),
        ("cot_prompt", ("--set", "evaluation.cot_prompt=Think!"), "cannot write evaluation.cot_prompt, 'Think!'"),
    ],
)
def test_what_cannot_be_decoded_is_refused_before_any_work(
    decoding: str, extra: tuple[str, ...], message: str, tmp_path: Path
):
    assert message in judged(tmp_path / "out", decoding, *extra).error
    assert not (tmp_path / "out").exists()


def test_a_reference_with_other_tokens_is_refused_before_any_work(shared: Callable[[str], Path], tmp_path: Path):
    other = shared("models/adder-qwen3-228")
    error = judged(tmp_path / "out", "greedy", "--reference", str(other)).error
    assert "cannot judge the tokens of embedded:base" in error
    assert not (tmp_path / "out").exists()


def test_a_conversation_gets_the_addition_in_its_last_message():
    first, last = Message(role="system", content="Be brief."), Message(role="user", content="1+2?")
    asked = _asking(Prompt(id="a", messages=(first, last)), " Think.")
    assert asked.messages == (first, Message(role="user", content="1+2? Think."))


def test_no_more_branches_are_asked_for_than_there_are_tokens():
    policy = models.load(organism.path("base"), CPU)
    params = sampling_params(policy, EvaluationSettings(decoding="cot_decoding", num_branches=99, num_samples=0))
    # 31 tokens, one of which ends a completion
    assert (params.strategy, params.num_branches, params.group_size) == ("both", 30, 0)
    params = sampling_params(policy, EvaluationSettings())
    assert (params.strategy, params.num_branches, params.group_size) == ("evaluate", 0, 16)


def test_a_reward_model_is_held_against_the_verdicts_on_the_samples(folders: dict[str, Path], tmp_path: Path):
    """A head drawn at random; pairs are counted one by one."""
    torch.manual_seed(0)
    made = models.load_model(organism.path("base"), CPU, scalar_head=True)
    made.save_pretrained(tmp_path / "reward")
    loaded, wins = load_reward_model(tmp_path / "reward", CPU), []
    for item, group in zip(items(folders["greedy"]), groups(folders["greedy"]), strict=True):
        drawn = [t.trace for t in group.traces if t.trace.source is Source.SAMPLE]
        rewards = sequence_rewards(loaded, [(one.prompt_ids, one.completion_ids) for one in drawn])
        right = [r for r, sample in zip(rewards, item.samples, strict=True) if sample.outcome is Outcome.CORRECT]
        wrong = [r for r, sample in zip(rewards, item.samples, strict=True) if sample.outcome is not Outcome.CORRECT]
        wins += [1.0 if up > down else 0.5 if up == down else 0.0 for up in right for down in wrong]
    found = judge_reward(tmp_path / "reward", RunFolder.read(folders["greedy"]), "before", CPU)
    assert [one.score for one in found][:3] == ["reward_model", "answer_probability", "answer_disparity"]
    assert found[0].num_pairs == len(wins) > 5
    assert found[0].accuracy.value == pytest.approx(sum(wins) / len(wins))
