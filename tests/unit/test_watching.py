"""What is seen of traces while training reads the answer to a multiple-choice question by its own labels."""

import torch
from torch import nn

from inward.answers import AnswerSettings
from inward.batch import TokenSignals
from inward.methods.rlif import Settings, _reward
from inward.methods.watching import Monitor, answers_by_prompt, sights_of
from inward.train import StepTraces
from inward.types import (
    FinishReason,
    Prompt,
    SamplingParams,
    Source,
    Trace,
    TraceGroup,
    TraceSignals,
)

NUMBERED = Prompt(id="numbered", text="Which?", labels=("1", "2", "3", "4"))
LETTERED = Prompt(id="lettered", text="Which?", labels=("A", "B"))
ANSWER = AnswerSettings(kind="choice")
"""Its labels are A to E."""

SAID = {"numbered": "The answer is 3.", "lettered": "The answer is C."}
"""One of the four options; none of the two, though of those in the settings."""


def step() -> StepTraces:
    keys = ["numbered", "lettered"]
    ones = torch.zeros(2, 1)
    return StepTraces(
        step=0,
        prompt_keys=keys,
        prompt_ids=[[1], [1]],
        completion_ids=[[5], [5]],
        completions=[SAID[key] for key in keys],
        signals=TokenSignals(
            logprob=ones, entropy=ones, self_certainty=ones, disparity=ones, mask=torch.ones(2, 1, dtype=torch.bool)
        ),
    )


def test_the_reward_format_takes_the_labels_of_each_prompt():
    answers = answers_by_prompt([NUMBERED, LETTERED], ANSWER)
    assert _reward(Settings(reward="format"), answers, None)(step()) == [1.0, 0.0]


def test_monitors_of_a_step_take_the_labels_of_each_prompt():
    """One of two traces has an answer."""
    answers = answers_by_prompt([NUMBERED, LETTERED], ANSWER)
    monitor = Monitor(answers=answers, eos_ids=[5], start=None, kl_traces=0, temperature=1.0)
    assert monitor(step(), [1.0, 0.0], nn.Identity())["answer_rate"] == 0.5


def test_monitors_of_groups_take_the_labels_of_each_prompt():
    seen = sights_of([group(NUMBERED), group(LETTERED)], ANSWER)
    assert [(one.group, one.answer) for one in seen] == [("numbered", "3"), ("lettered", None)]


def test_an_answer_of_no_stated_kind_is_a_choice_where_the_prompt_has_options():
    answers = answers_by_prompt([NUMBERED, Prompt(id="open", text="How many?")], AnswerSettings())
    assert [(name, one.kind) for name, one in answers.items()] == [("numbered", "choice"), ("open", "auto")]


def group(prompt: Prompt) -> TraceGroup:
    trace = Trace(
        prompt_id=prompt.id,
        index=0,
        source=Source.SAMPLE,
        prompt_ids=(1,),
        completion_ids=(5,),
        completion=SAID[prompt.id],
        token_ends=(len(SAID[prompt.id]),),
        finish_reason=FinishReason.STOP,
        policy="none",
        signals=TraceSignals(logprob=(0.0,), entropy=(0.0,), self_certainty=(0.0,), disparity=(1.0,)),
    )
    params = SamplingParams(
        strategy="sample",
        group_size=1,
        num_branches=0,
        temperature=1.0,
        top_p=1.0,
        max_completion_tokens=1,
        seed=0,
    )
    return TraceGroup(prompt=prompt, traces=(trace,), sampling=params)
