import dataclasses

import pytest

from inward import models
from inward.answers import AnswerSettings
from inward.errors import SettingsError
from inward.models import ModelSettings, decode
from inward.sample import SamplingSettings, probe, sample
from inward.types import Prompt

CPU = ModelSettings(device="cpu")
SETTINGS = SamplingSettings(strategy="branch", num_branches=3, max_completion_tokens=12)


@pytest.fixture(scope="module")
def stories(shared):
    return models.load(shared("models/stories260K"), CPU)


def groups(policy, texts=("Tom had a red ball. He", "One day, a bird")):
    prompts = [Prompt(id=str(i), text=text) for i, text in enumerate(texts)]
    return list(sample(prompts, policy, SETTINGS.params(policy, 0)))


def test_the_reply_is_the_greedy_continuation_of_the_question(stories):
    import torch

    (group, _) = probe(groups(stories), stories, AnswerSettings(kind="text", elicit="always"))
    trace = group.traces[0]
    question = stories.tokenizer(" So the answer is", add_special_tokens=False)["input_ids"]
    ids = [*trace.prompt_ids, *trace.completion_ids, *question]
    start = len(ids)
    for _ in range(20):
        with torch.no_grad():
            token = int(stories.model(torch.tensor([ids])).logits[0, -1].argmax())
        ids.append(token)
        if token in stories.eos_ids:
            break
    assert trace.answer_probe == decode(stories.tokenizer, ids[start:])


def test_only_traces_without_a_readable_answer_are_asked(stories):
    (group, _) = groups(stories)
    first = dataclasses.replace(group.traces[0], completion="the answer is 7.")
    mixed = dataclasses.replace(group, traces=(first, *group.traces[1:]))
    (asked,) = probe([mixed], stories, AnswerSettings(kind="number"))
    assert asked.traces[0].answer_probe is None
    assert all(trace.answer_probe is not None for trace in asked.traces[1:])


def test_never_leaves_the_groups_alone(stories):
    made = groups(stories)
    assert list(probe(made, stories, AnswerSettings(elicit="never"))) == made


def test_a_trace_without_room_for_the_question_is_not_asked(stories):
    made = groups(stories)
    narrow = dataclasses.replace(stories, context=len(made[0].traces[0].prompt_ids) + 12 + 20)
    asked = list(probe(made, narrow, AnswerSettings(kind="text")))
    assert all(trace.answer_probe is None for group in asked for trace in group.traces)


def test_a_tokenizer_that_cannot_write_the_question(tiny_model):
    tiny = models.load(tiny_model, CPU)
    made = groups(tiny, texts=("Q:1+2?\nA:",))
    with pytest.warns(UserWarning, match="cannot write 'So the answer is'"):
        assert list(probe(made, tiny, AnswerSettings(kind="text"))) == made
    with pytest.raises(SettingsError, match=r"set answer\.elicit=never"):
        list(probe(made, tiny, AnswerSettings(kind="text", elicit="always")))
