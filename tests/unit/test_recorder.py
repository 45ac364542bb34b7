"""Signals taken while a policy samples: those of a forward pass over what it wrote, or none."""

import pytest
import torch
from peft import LoraConfig, get_peft_model
from test_reward import trained
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from inward.batch import SIGNALS
from inward.forward import sequence_signals
from inward.models import evaluating
from inward.train import intrinsic_reward
from inward.train import recorder as recorder_module
from inward.train import reward as reward_module
from inward.train.recorder import Recorder

PROMPTS = [[1, 5, 14, 24], [1, 5]]
"""The second is padded on the left."""


@pytest.fixture
def policy(tiny_model):
    return AutoModelForCausalLM.from_pretrained(tiny_model).train()


def write(policy, **options):
    """Four rows of six tokens, two to each prompt: what `generate` gave, and prompts with completions."""
    torch.manual_seed(0)
    width = max(map(len, PROMPTS))
    ids = torch.tensor([[0] * (width - len(one)) + one for one in PROMPTS for _ in range(2)])
    mask = torch.tensor([[0] * (width - len(one)) + [1] * len(one) for one in PROMPTS for _ in range(2)])
    config = GenerationConfig(max_new_tokens=6, min_new_tokens=6, eos_token_id=2, pad_token_id=0)
    config.update(**{"do_sample": True, **options})
    written = policy.generate(input_ids=ids, attention_mask=mask, generation_config=config)
    return written, [(PROMPTS[row // 2], completion) for row, completion in enumerate(written[:, width:].tolist())]


def assert_alike(found, wanted):
    assert torch.equal(found.mask, wanted.mask)
    for name in SIGNALS:
        torch.testing.assert_close(getattr(found, name), getattr(wanted, name), atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize("temperature", [1.0, 2.0])
@pytest.mark.parametrize("adapter", [False, True])
def test_they_are_those_of_a_forward_pass(policy, temperature, adapter):
    if adapter:
        policy = get_peft_model(policy, LoraConfig(target_modules=["q_proj"], init_lora_weights=False)).train()
    recorder = Recorder(policy, temperature)
    _, pairs = write(policy)
    with evaluating(policy):
        assert_alike(recorder.taken(pairs), sequence_signals(policy, pairs, 0, temperature=temperature))


def test_penalties_and_truncation_choose_tokens_and_change_no_signal(policy):
    recorder = Recorder(policy, 1.0)
    _, pairs = write(policy, repetition_penalty=1.5, top_k=3, temperature=0.7)
    with evaluating(policy):
        assert_alike(recorder.taken(pairs), sequence_signals(policy, pairs, 0))


def test_completions_that_end_earlier_than_their_row_keep_the_signals_of_their_tokens(policy):
    recorder = Recorder(policy, 1.0)
    _, pairs = write(policy)
    cut = [(prompt, completion[:length]) for (prompt, completion), length in zip(pairs, (1, 4, 2, 3), strict=True)]
    with evaluating(policy):
        assert_alike(recorder.taken(cut), sequence_signals(policy, cut, 0))


def test_the_policy_samples_in_evaluation_mode_and_is_put_back(policy):
    policy.config.attention_dropout = 0.9
    for layer in policy.model.layers:
        layer.self_attn.attention_dropout = 0.9
    recorder = Recorder(policy, 1.0)
    _, pairs = write(policy)
    assert policy.training
    with evaluating(policy):
        assert_alike(recorder.taken(pairs), sequence_signals(policy, pairs, 0))


@pytest.mark.parametrize("change", ["token", "prompt", "number"])
def test_others_than_what_was_written_last_have_none(policy, change):
    recorder = Recorder(policy, 1.0)
    _, pairs = write(policy)
    prompt, completion = pairs[-1]
    last = {
        "token": [(prompt, [completion[0] + 1, *completion[1:]])],
        "prompt": [([*prompt, 7], completion)],
        "number": [],
    }
    assert recorder.taken([*pairs[:-1], *last[change]]) is None


def test_they_are_given_once(policy):
    recorder = Recorder(policy, 1.0)
    _, pairs = write(policy)
    assert recorder.taken(pairs) is not None
    assert recorder.taken(pairs) is None


def test_a_search_over_beams_leaves_none(policy):
    recorder = Recorder(policy, 1.0)
    _, pairs = write(policy, do_sample=False, num_beams=3)
    assert recorder.taken(pairs) is None


def test_embeddings_in_place_of_tokens_leave_none(policy):
    recorder = Recorder(policy, 1.0)
    ids = torch.tensor([PROMPTS[0]] * 2)
    config = GenerationConfig(max_new_tokens=3, min_new_tokens=3, eos_token_id=2, pad_token_id=0)
    policy.generate(
        inputs_embeds=policy.get_input_embeddings()(ids),
        attention_mask=torch.ones_like(ids),
        generation_config=config,
    )
    assert recorder.last is None


def test_rows_are_taken_in_tiles(policy, monkeypatch):
    monkeypatch.setattr(recorder_module, "TILE_BYTES", 4 * 3 * policy.config.vocab_size)
    recorder = Recorder(policy, 1.0)
    _, pairs = write(policy)
    with evaluating(policy):
        assert_alike(recorder.taken(pairs), sequence_signals(policy, pairs, 0))


def test_what_is_sampled_in_evaluation_mode_is_not_kept(policy):
    recorder = Recorder(policy, 1.0)
    with evaluating(policy):
        _, pairs = write(policy)
    assert recorder.taken(pairs) is None


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_recorders_of_two_rewards_see_the_same_and_leave_no_trace(policy, order):
    recorders = [Recorder(policy, 1.0), Recorder(policy, 2.0)]
    _, pairs = write(policy)
    for recorder in recorders:
        with evaluating(policy):
            wanted = sequence_signals(policy, pairs, 0, temperature=recorder.temperature)
        assert_alike(recorder.taken(pairs), wanted)
    for place in order:
        recorders[place].remove()
    assert "generate" not in vars(policy) and not policy._forward_hooks


def test_a_removed_recorder_behind_another_keeps_nothing(policy):
    behind, _ = Recorder(policy, 1.0), Recorder(policy, 2.0)
    behind.remove()
    _, pairs = write(policy)
    assert behind.taken(pairs) is None


def test_recorders_that_an_interrupted_training_left_are_removed_by_the_next(policy):
    for temperature in (1.0, 2.0):
        Recorder(policy, temperature, training="first")
    recorder = Recorder(policy, 1.0, training="second")
    assert not isinstance(recorder.inner, Recorder)
    recorder.remove()
    assert "generate" not in vars(policy)


def test_with_sharded_weights_the_reward_makes_its_forward_pass(tmp_path, tiny_model, policy, monkeypatch):
    """A process that had its signals would not take part in gathering weights for one that has not."""
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    reward = intrinsic_reward("self_certainty")
    begin = type(reward.callback).on_train_begin
    begin(reward.callback, None, None, None, model=policy)
    assert reward.recorder is None and "generate" not in vars(policy)


def test_a_trainers_reward_makes_no_forward_pass_of_its_own(tmp_path, tiny_model, policy, monkeypatch):
    tokenizer = AutoTokenizer.from_pretrained(tiny_model, padding_side="left")
    passes = []
    monkeypatch.setattr(reward_module, "sequence_signals", lambda *args, **kwargs: passes.append(args))
    reward, seen = intrinsic_reward("self_certainty"), []
    reward.watch = lambda traces, rewards, policy: seen.append(rewards)
    trained(policy, reward, ["Q:1+2?\nA:", "Q:3-4*5?\nA:"], tokenizer, tmp_path)
    assert len(seen) == 1 and not passes
    assert "generate" not in vars(policy)
