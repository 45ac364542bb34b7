"""RLSF's way through real multiple-choice questions, with a model too small to answer them."""

import dataclasses

import pytest

from inward import models, rank
from inward.answers import AnswerSettings
from inward.models import ModelSettings, Policy, decode, encode, render, token_ends
from inward.rank import PairSettings
from inward.sample import SamplingSettings, probe, sample
from inward.score import score
from inward.tasks import BENCHMARKS
from inward.tasks.files import read_prompts
from inward.types import FinishReason, Prompt, SamplingParams, Source, Trace, TraceGroup

SETS = ("commonsenseqa", "arc_easy", "arc_challenge", "mmlu_stem")
SETTINGS = AnswerSettings(elicit="always")


@pytest.fixture(scope="module")
def stories(shared) -> Policy:
    return models.load(shared("models/stories260K"), ModelSettings(device="cpu"))


@pytest.fixture(scope="module")
def questions(shared) -> list[Prompt]:
    """Two short ones of every set, and the first that has three options."""
    found = []
    for name in SETS:
        folder = shared(f"data/{name}")
        (file, *_) = sorted(folder.glob("*.jsonl"))
        prompts = read_prompts(str(file), shape=BENCHMARKS[name].row)
        short = [one for one in prompts if len(one.text) < 400]
        three = [one for one in short if len(one.labels) == 3]
        found += [dataclasses.replace(one, id=f"{name}-{one.id}") for one in (*short[:2], *three[:1])]
    return found


def test_every_question_brings_its_own_labels(questions):
    seen = {one.labels for one in questions}
    assert {("A", "B", "C", "D"), ("A", "B", "C", "D", "E"), ("A", "B", "C")} <= seen
    for one in questions:
        assert all(f"\n{label}. " in one.text for label in one.labels)


def test_traces_are_sampled_asked_and_scored(stories, questions):
    params = SamplingSettings(strategy="both", group_size=2, num_branches=2, max_completion_tokens=16)
    groups = probe(sample(questions, stories, params.params(stories, 0)), stories, SETTINGS)
    for group in score(groups, SETTINGS, confidence="option_disparity", policy=stories):
        for one in group.traces:
            assert one.trace.answer_probe is not None
            assert one.answer is None or one.answer in group.prompt.labels
            assert (one.measures["option_disparity"] == 0.0) == (one.answer_tokens is None)


def test_pairs_prefer_the_option_with_the_larger_mass(stories, questions):
    """One trace per option: the surest option is the chosen one of every pair of the question that it is in."""
    scored = list(
        score(map(lambda one: stated(one, stories), questions), SETTINGS, confidence="option_disparity", policy=stories)
    )
    pairs = rank.pairs(scored, PairSettings(gamma=None), seed=0)
    assert {pair.prompt.id for pair in pairs} == {one.id for one in questions}
    for group in scored:
        assert [one.answer for one in group.traces] == list(group.prompt.labels)
        by_answer = {one.answer: one.measures["option_disparity"] for one in group.traces}
        # All traces share the text before the label: the surest option leads the next by what that one trails it by.
        first, second, *_ = sorted(by_answer.values(), reverse=True)
        assert first == pytest.approx(-second, abs=1e-6)
        own = [pair for pair in pairs if pair.prompt.id == group.prompt.id]
        surest = max(by_answer, key=lambda label: by_answer[label])
        assert [pair.rejected_answer for pair in own].count(surest) == 0
        assert all(by_answer[pair.chosen_answer] > by_answer[pair.rejected_answer] for pair in own)


def stated(prompt: Prompt, policy: Policy) -> TraceGroup:
    """A group in which one trace states each option: `The answer is (B`, all alike up to the label."""
    traces = []
    for index, label in enumerate(prompt.labels):
        ids = tuple(encode(policy.tokenizer, f"The answer is ({label}", special=False))
        text = decode(policy.tokenizer, ids)
        traces.append(
            Trace(
                prompt_id=prompt.id,
                index=index,
                source=Source.GIVEN,
                prompt_ids=tuple(render(prompt, policy)),
                completion_ids=ids,
                completion=text,
                token_ends=token_ends(policy.tokenizer, [ids], [text])[0],
                finish_reason=FinishReason.LENGTH,
                policy=policy.name,
            )
        )
    params = SamplingParams(
        strategy="sample", group_size=len(traces), num_branches=0, temperature=1.0, top_p=1.0,
        max_completion_tokens=8, seed=0,
    )  # fmt: skip
    return TraceGroup(prompt=prompt, traces=tuple(traces), sampling=params)
