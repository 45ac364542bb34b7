"""Rewards of the policy's own, by themselves and inside a plain GRPOTrainer."""

import math

import pytest
import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl.trainer.grpo_config import GRPOConfig
from trl.trainer.grpo_trainer import GRPOTrainer

from inward.answers import AnswerSettings
from inward.confidence import CERTAINTY
from inward.errors import SettingsError
from inward.forward import sequence_signals
from inward.train import IntrinsicReward, StepTraces, answer_of, certainty, intrinsic_reward


def traces(model, pairs, temperature=1.0):
    return StepTraces(
        step=0,
        prompt_keys=["a"] * len(pairs),
        prompt_ids=[prompt for prompt, _ in pairs],
        completion_ids=[completion for _, completion in pairs],
        completions=[""] * len(pairs),
        signals=sequence_signals(model, pairs, 0, temperature=temperature),
    )


@pytest.fixture(scope="module")
def model(tiny_model):
    return AutoModelForCausalLM.from_pretrained(tiny_model).eval()


def test_self_certainty_is_taken_where_the_token_was_chosen_and_not_one_late(model):
    prompt, completion = [1, 5, 14, 24], [13, 20, 2]
    (reward,) = certainty("self_certainty")(traces(model, [(prompt, completion)]))
    with torch.no_grad():
        z = model(torch.tensor([prompt + completion])).logits[0]
    by_position = z.logsumexp(-1) - z.mean(-1) - math.log(z.shape[-1])
    assert reward == pytest.approx(float(by_position[3:6].mean()), abs=1e-5)
    assert reward != pytest.approx(float(by_position[4:7].mean()), abs=1e-3)


@pytest.mark.parametrize("name", CERTAINTY)
def test_padding_does_not_change_a_reward_and_an_empty_completion_has_none(model, name):
    reward = certainty(name)
    together = reward(traces(model, [([1, 5], [13, 2]), ([1, 5, 14, 24], [13, 20, 20, 20, 2]), ([1], [])]))
    alone = reward(traces(model, [([1, 5], [13, 2])]))
    assert together[0] == pytest.approx(alone[0], abs=1e-5)
    assert together[2] is None


@pytest.mark.parametrize("name", CERTAINTY)
def test_a_sum_is_the_mean_times_the_number_of_tokens(model, name):
    seen = traces(model, [([1, 5], [13, 2]), ([1, 5, 14], [13, 20, 20, 20, 2])])
    means, sums = certainty(name)(seen), certainty(name, length_norm="sum")(seen)
    assert sums == pytest.approx([2 * means[0], 5 * means[1]], rel=1e-5)


def test_signals_at_another_temperature_are_those_of_the_divided_logits(model):
    prompt, completion = [1, 5], [13, 20, 2]
    (reward,) = certainty("mean_logprob")(traces(model, [(prompt, completion)], temperature=2.0))
    with torch.no_grad():
        z = model(torch.tensor([prompt + completion])).logits[0, 1:4] / 2.0
    by_token = z.log_softmax(-1).gather(1, torch.tensor(completion)[:, None])
    assert reward == pytest.approx(float(by_token.mean()), abs=1e-5)


def test_a_trace_that_is_infinitely_certain_has_no_weight(model):
    seen = traces(model, [([1, 5], [13, 2]), ([1, 5], [13, 2])])
    seen.signals.self_certainty[0, 0] = math.inf
    with pytest.warns(UserWarning, match="1 traces have no finite self_certainty"):
        rewards = certainty("self_certainty")(seen)
    assert rewards[0] is None and rewards[1] is not None


def test_the_policy_is_scored_in_evaluation_mode_and_without_gradient(tiny_model):
    policy = AutoModelForCausalLM.from_pretrained(tiny_model).train()
    modes: list[tuple[bool, bool]] = []
    reward = IntrinsicReward(
        "r", lambda seen: modes.append((policy.training, seen.signals.logprob.requires_grad)) or [0.0]
    )
    reward.policy, reward.tokenizer = policy, AutoTokenizer.from_pretrained(tiny_model)
    assert reward(prompts=["Q:1+2?"], completion_ids=[[13, 2]], answer=["gold"]) == [0.0]
    assert modes == [(False, False)]
    assert policy.training


def test_no_column_of_the_data_reaches_a_reward(tiny_model):
    seen: list[StepTraces] = []
    reward = IntrinsicReward("r", lambda one: seen.append(one) or [0.0])
    reward.policy = AutoModelForCausalLM.from_pretrained(tiny_model)
    reward.tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    reward(prompts=["Q:1+2?"], completion_ids=[[13, 2]], prompt_id=["p"], answer=["31415"])
    assert "31415" not in repr(seen[0])


def test_prompts_without_ids_are_told_apart_by_their_tokens(tiny_model):
    """Two groups of two, whichever process the traces are on: a position would say four groups."""
    keys: list[list[str]] = []
    reward = IntrinsicReward("r", lambda one: keys.append(list(one.prompt_keys)) or [0.0] * 4)
    reward.policy = AutoModelForCausalLM.from_pretrained(tiny_model)
    reward.tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    reward(prompts=["Q:1+2?", "Q:1+2?", "Q:1+3?", "Q:1+3?"], completion_ids=[[13, 2]] * 4)
    ((a, b, c, d),) = keys
    assert a == b != c == d


def test_the_answers_place_among_the_tokens_is_known_where_it_is_asked_for(tiny_model):
    """A digit writes one character, the end of sequence none."""
    seen: list[StepTraces] = []
    reward = IntrinsicReward("r", lambda one: seen.append(one) or [0.0])
    reward.policy = AutoModelForCausalLM.from_pretrained(tiny_model)
    reward.tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    ids = [*reward.tokenizer("12", add_special_tokens=False)["input_ids"], reward.tokenizer.eos_token_id]
    reward(prompts=["Q:1+2?"], completion_ids=[ids])
    assert seen[0].token_ends == [(1, 2, 2)]


def test_a_reward_without_its_callback_says_so():
    with pytest.raises(SettingsError, match="add its `callback`"):
        intrinsic_reward("self_certainty")(prompts=["?"], completion_ids=[[1]])


def test_an_unknown_measure_is_refused():
    with pytest.raises(SettingsError, match="self_certainty, neg_entropy, mean_logprob"):
        intrinsic_reward("confidence")


def trained(policy, reward, prompts, tokenizer, out) -> GRPOTrainer:
    """One step of a plain GRPOTrainer: four traces to each of two prompts."""
    args = GRPOConfig(
        output_dir=str(out),
        max_steps=1,
        per_device_train_batch_size=8,
        num_generations=4,
        max_completion_length=6,
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        report_to="none",
        save_strategy="no",
        disable_tqdm=True,
    )
    trainer = GRPOTrainer(
        policy,
        reward_funcs=[reward],
        args=args,
        train_dataset=Dataset.from_list([{"prompt": prompt} for prompt in prompts]),
        processing_class=tokenizer,
        callbacks=[reward.callback],
    )
    trainer.train()
    return trainer


def test_votes_in_a_plain_trainer_are_counted_among_the_traces_of_each_prompt(tmp_path, tiny_model):
    """Soft votes worked out again from the completions; the random model answers with the last digit it writes."""
    answer = AnswerSettings(kind="number")
    reward = intrinsic_reward("soft_vote", answer=answer)
    seen = []
    reward.watch = lambda traces, rewards, policy: seen.append((traces, rewards))
    tokenizer = AutoTokenizer.from_pretrained(tiny_model, padding_side="left")
    policy = AutoModelForCausalLM.from_pretrained(tiny_model)
    trained(policy, reward, ["Q:1+2?\nA:", "Q:3-4*5?\nA:"], tokenizer, tmp_path)
    ((traces, rewards),) = seen
    given = [answer_of(text, answer) for text in traces.completions]
    groups = {
        key: [a for a, k in zip(given, traces.prompt_keys, strict=True) if k == key] for key in traces.prompt_keys
    }
    assert [len(group) for group in groups.values()] == [4, 4]
    silenced = {key: None not in group and len(set(group)) == 4 for key, group in groups.items()}
    assert rewards == [
        0 if one is None or silenced[key] else groups[key].count(one) / 4
        for one, key in zip(given, traces.prompt_keys, strict=True)
    ]
    assert any(rewards)


@pytest.mark.parametrize("conversation", [False, True])
def test_the_reward_in_a_plain_trainer_is_that_of_the_sampled_tokens(tmp_path, tiny_model, conversation):
    tokenizer = AutoTokenizer.from_pretrained(tiny_model, padding_side="left")
    if conversation:
        tokenizer.chat_template = "{% for m in messages %}Q:{{ m['content'] }}?\nA:{% endfor %}"
    prompts = [[{"role": "user", "content": text}] if conversation else f"Q:{text}?\nA:" for text in ("1+2", "3-4*5")]
    policy = AutoModelForCausalLM.from_pretrained(tiny_model)
    before = {name: value.clone() for name, value in policy.state_dict().items()}
    reward = intrinsic_reward("self_certainty")
    seen = []
    inner = reward.reward
    reward.reward = lambda one: seen.append((one, inner(one))) or seen[-1][1]
    trainer = trained(policy, reward, prompts, tokenizer, tmp_path)
    ((step, rewards),) = seen
    assert {tokenizer.decode(ids, skip_special_tokens=True) for ids in step.prompt_ids} == {
        "Q:1+2?\nA:",
        "Q:3-4*5?\nA:",
    }
    start = AutoModelForCausalLM.from_pretrained(tiny_model)
    start.load_state_dict(before)
    pairs = list(zip(step.prompt_ids, step.completion_ids, strict=True))
    assert rewards == pytest.approx(certainty("self_certainty")(traces(start.eval(), pairs)), abs=1e-5)
    logged = next(row for row in trainer.state.log_history if "reward" in row)
    assert logged["num_tokens"] == sum(len(prompt) + len(completion) for prompt, completion in pairs)
    assert logged["rewards/self_certainty/mean"] == pytest.approx(sum(rewards) / len(rewards), abs=1e-5)
