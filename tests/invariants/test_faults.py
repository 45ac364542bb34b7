"""Models, tokenizers and data that are not as they should be: each is handled, or refused in words that help."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from inward import models
from inward.answers import AnswerSettings
from inward.errors import DataError, ModelError, NoPairsError, SettingsError
from inward.models import ModelSettings, Policy
from inward.rank import PairSettings, pairs
from inward.sample import SamplingSettings, check_prompts, refuse_long, sample
from inward.score import score
from inward.train import GroupPolicySettings, IntrinsicReward, group_policy
from inward.types import FinishReason, Prompt, ScoredGroup

CPU = ModelSettings(device="cpu")
PROMPTS = [Prompt(id="a", text="Q:1+2?\nA:"), Prompt(id="b", text="Q:9-4?\nA:")]
FOUR = SamplingSettings(strategy="sample", group_size=4, max_completion_tokens=6)
ANSWER = AnswerSettings(kind="number", elicit="never")


GROUP_POLICY = GroupPolicySettings(
    steps=1,
    prompts_per_step=2,
    group_size=2,
    batch_rows=4,
    max_completion_tokens=6,
    learning_rate=1e-2,
    lr_scheduler="constant",
    warmup_steps=0,
    kl=0.0,
    loss="trace_mean",
    save_every=1,
)


@pytest.fixture
def policy(tiny_model: Path) -> Policy:
    """A model of its own for every test, to be spoiled."""
    return models.load(tiny_model, CPU)


def scored(policy: Policy, prompts: list[Prompt] = PROMPTS, settings: SamplingSettings = FOUR) -> list[ScoredGroup]:
    groups = list(sample(prompts, policy, settings.params(policy, 0)))
    return list(score(groups, ANSWER, confidence="mean_logprob"))


def bend(policy: Policy, token: int, by: float) -> None:
    """Add a number to the logit of a token, wherever the model is."""

    def bent(module: torch.nn.Module, inputs: object, logits: Tensor) -> Tensor:
        return logits + by * torch.nn.functional.one_hot(torch.tensor(token), logits.shape[-1])

    policy.model.get_output_embeddings().register_forward_hook(bent)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_logits_that_are_not_finite_are_refused(policy: Policy, value: float):
    with torch.no_grad():
        policy.model.get_output_embeddings().weight[3] = value
    with pytest.raises(ModelError, match=r"logits are not finite.+model\.dtype=float32"):
        scored(policy)


def test_tokens_that_a_model_rules_out_make_its_certainty_infinite_and_are_refused(policy: Policy):
    """A logit of -inf is a probability of 0, and KL(U || p) of such a p is infinite: no mean of it ranks anything."""
    last = policy.model.config.vocab_size - 1

    def without_the_last(module: torch.nn.Module, inputs: object, logits: Tensor) -> Tensor:
        return logits.index_fill(-1, torch.tensor([last]), -torch.inf)

    policy.model.get_output_embeddings().register_forward_hook(without_the_last)
    with pytest.raises(DataError, match=r"prompt a, trace 0: self_certainty is not finite"):
        scored(policy)


def test_ids_that_no_text_gives_are_kept_as_they_were_drawn(policy: Policy):
    """Special tokens amid a completion have no text, so its text gives other ids; the pairs hold the drawn ones."""
    bend(policy, policy.tokenizer.bos_token_id, 2.0)
    groups = scored(policy, settings=dataclasses.replace(FOUR, group_size=16))
    traces = [one.trace for group in groups for one in group.traces]
    unlike = [t for t in traces if models.encode(policy.tokenizer, t.completion, special=False) != [*t.completion_ids]]
    assert unlike
    drawn = {trace.completion_ids for trace in traces}
    made = pairs(groups, PairSettings(gamma=None), seed=0)
    assert (
        made and {ids for pair in made for ids in (pair.chosen.completion_ids, pair.rejected.completion_ids)} <= drawn
    )


def test_completions_without_an_end_are_marked_and_can_be_left_out(policy: Policy):
    bend(policy, policy.tokenizer.eos_token_id, -50.0)
    groups = scored(policy)
    traces = [one.trace for group in groups for one in group.traces]
    assert {trace.finish_reason for trace in traces} == {FinishReason.LENGTH}
    assert {len(trace.completion_ids) for trace in traces} == {FOUR.max_completion_tokens}
    with pytest.raises(NoPairsError, match="no preference pair is left"):
        pairs(groups, PairSettings(gamma=None, keep_truncated=False), seed=0)


def test_empty_completions_have_no_answer_and_the_least_confidence(policy: Policy):
    bend(policy, policy.tokenizer.eos_token_id, 50.0)
    groups = scored(policy)
    for one in (one for group in groups for one in group.traces):
        assert (one.trace.completion, one.trace.finish_reason) == ("", FinishReason.STOP)
        assert one.trace.completion_ids == (policy.tokenizer.eos_token_id,)
        assert (one.answer, one.measures["answer_disparity"]) == (None, 0.0)
    with pytest.raises(NoPairsError, match="no preference pair is left"):
        pairs(groups, PairSettings(gamma=None), seed=0)


def test_groups_of_one_trace_give_no_pair_and_no_advantage(policy: Policy):
    groups = scored(policy, settings=dataclasses.replace(FOUR, group_size=1))
    with pytest.raises(NoPairsError, match=r"sample more traces \(sampling\.group_size"):
        pairs(groups, PairSettings(gamma=None), seed=0)
    with pytest.raises(SettingsError, match="group_size must be at least 2"):
        dataclasses.replace(GROUP_POLICY, group_size=1)


def test_equal_confidences_give_no_pair(policy: Policy):
    equal = [
        dataclasses.replace(
            group, traces=tuple(dataclasses.replace(one, measures={"mean_logprob": -1.0}) for one in group.traces)
        )
        for group in scored(policy)
    ]
    with pytest.raises(NoPairsError, match="no preference pair is left"):
        pairs(equal, PairSettings(gamma=None), seed=0)


def test_equal_rewards_move_no_weight(tiny_model: Path, tmp_path: Path):
    """Each advantage is (r - mean) / (std + eps) = 0 / eps = 0: the gradient is 0 and not NaN."""
    logged: list[dict[str, float]] = []

    def keep(step: int, model: torch.nn.Module, write: Callable[[Path], None]) -> bool:
        write(tmp_path)
        return False

    group_policy(
        PROMPTS,
        IntrinsicReward("equal", lambda traces: [0.5] * len(traces.completion_ids)),
        start=tiny_model,
        work=tmp_path / "work",
        settings=GROUP_POLICY,
        model=CPU,
        seed=0,
        at_checkpoint=keep,
        log=logged.append,
    )
    assert logged[0]["grad_norm"] == 0.0
    before, after = (models.load_model(folder, CPU).state_dict() for folder in (tiny_model, tmp_path))
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_model_with_more_ids_than_its_tokenizer_has_tokens(policy: Policy):
    """Ids without a token have no text: their traces are kept, and their text is that of the others."""
    known = len(policy.tokenizer)
    policy.model.resize_token_embeddings(known + 50, mean_resizing=False)
    bend(policy, known + 7, 8.0)
    traces = [one.trace for group in scored(policy) for one in group.traces]
    assert any(known + 7 in trace.completion_ids for trace in traces)
    for trace in traces:
        assert trace.completion == models.decode(policy.tokenizer, [i for i in trace.completion_ids if i < known])


def test_one_prompt_twice_is_two_prompts_with_draws_of_their_own(policy: Policy):
    twice = [PROMPTS[0], Prompt(id="again", text=PROMPTS[0].text)]
    first, second = scored(policy, twice)
    assert [one.trace.prompt_ids for one in first.traces] == [one.trace.prompt_ids for one in second.traces]
    assert [one.trace.completion_ids for one in first.traces] != [one.trace.completion_ids for one in second.traces]
    assert all(pair.prompt.id in ("a", "again") for pair in pairs([first, second], PairSettings(gamma=None), seed=0))


def test_a_prompt_of_a_hundred_thousand_characters_is_refused_by_its_name(policy: Policy):
    long = Prompt(id="long", text="1+" * 50_000)
    too_long = check_prompts([*PROMPTS, long], policy)
    assert too_long == ["long"]
    with pytest.raises(DataError, match=r"the whole context of .+, 64 tokens: long \(1 in all\); shorten or remove"):
        refuse_long(too_long, policy)
