import dataclasses
import math
import shutil

import pytest
import torch
from transformers import AutoModelForCausalLM

from inward.errors import ModelError, SettingsError
from inward.models import ModelSettings, load_model
from inward.tasks import arithmetic
from inward.train import (
    GroupPolicySettings,
    IntrinsicReward,
    LoraSettings,
    certainty,
    group_policy,
    load_reward_model,
    model_reward,
    save,
    sequence_rewards,
)
from inward.train.group_policy import config

CPU = ModelSettings(device="cpu")
SETTINGS = GroupPolicySettings(
    steps=1,
    prompts_per_step=3,
    group_size=4,
    batch_rows=12,
    max_completion_tokens=8,
    learning_rate=1e-3,
    lr_scheduler="constant",
    warmup_steps=0,
    kl=0.0,
    loss="trace_mean",
    save_every=1,
)
PROMPTS = arithmetic.prompts(6, 0)


class Trained:
    """What a training did: the traces and rewards of each step, the kept checkpoints, the last one's folder."""

    def __init__(self):
        self.seen, self.kept = [], []

    @property
    def last(self):
        return self.kept[-1]


def train(tmp_path, start, settings=SETTINGS, reward=None, log=lambda metrics: None, name="out", end_at=None):
    done, inner = Trained(), reward or certainty("self_certainty")

    def recorded(traces):
        rewards = list(inner(traces))
        done.seen.append(list(zip(traces.prompt_ids, traces.completion_ids, rewards, strict=True)))
        return rewards

    def at_checkpoint(step, policy, write):
        folder = tmp_path / f"{name}-{step}"
        if not folder.exists():
            folder.mkdir()
            write(folder)
        done.kept.append(folder)
        return step == end_at

    done.steps = group_policy(
        PROMPTS,
        IntrinsicReward("certainty", recorded),
        start=start,
        work=tmp_path / "work",
        settings=settings,
        model=CPU,
        seed=0,
        at_checkpoint=at_checkpoint,
        log=log,
    )
    return done


def changed(**values):
    return dataclasses.replace(SETTINGS, **values)


def test_first_step_is_grpo_on_the_recorded_traces(tmp_path, tiny_model):
    """Gradient of -mean over traces of A * mean over tokens of log p, A = (r - mean) / (std + 1e-4) of the group."""
    logs = []
    (seen,) = train(tmp_path, tiny_model, log=logs.append).seen
    model = AutoModelForCausalLM.from_pretrained(tiny_model)
    groups: dict[tuple[int, ...], list] = {}
    for prompt, completion, reward in seen:
        groups.setdefault(tuple(prompt), []).append((completion, reward))
    assert [len(group) for group in groups.values()] == [4, 4, 4]
    loss = torch.zeros(())
    for prompt, group in groups.items():
        rewards = torch.tensor([reward for _, reward in group])
        advantages = (rewards - rewards.mean()) / (rewards.std() + 1e-4)
        for (completion, _), advantage in zip(group, advantages, strict=True):
            ids = torch.tensor([[*prompt, *completion]])
            log_p = model(ids).logits[0, :-1].log_softmax(-1).gather(1, ids[0, 1:, None])[len(prompt) - 1 :]
            loss = loss - advantage * log_p.mean() / len(seen)
    loss.backward()
    norm = math.sqrt(sum(float(p.grad.pow(2).sum()) for p in model.parameters()))
    assert logs[0]["grad_norm"] == pytest.approx(norm, rel=1e-5)
    assert logs[0]["reward"] == pytest.approx(sum(r for *_, r in seen) / len(seen), abs=1e-5)


def summed(model, prompt, completion):
    """log p of a completion."""
    ids = torch.tensor([[*prompt, *completion]])
    return model(ids).logits[0, :-1].log_softmax(-1).gather(1, ids[0, 1:, None])[len(prompt) - 1 :].sum()


def rloo_norm(seen, policy, reference, kl):
    """Norm of the gradient of -mean over traces of A * log p, with A = s - mean of the group's other three s and
    s = reward - kl * (log p - log p of the reference)."""
    groups: dict[tuple[int, ...], list] = {}
    for prompt, completion, reward in seen:
        groups.setdefault(tuple(prompt), []).append((completion, reward))
    assert [len(group) for group in groups.values()] == [4, 4, 4]
    loss = torch.zeros(())
    for prompt, group in groups.items():
        own = [summed(policy, prompt, completion) for completion, _ in group]
        with torch.no_grad():
            lowered = [
                reward - kl * float(log_p - summed(reference, prompt, completion))
                for (completion, reward), log_p in zip(group, own, strict=True)
            ]
        for place, log_p in enumerate(own):
            others = [value for other, value in enumerate(lowered) if other != place]
            loss = loss - (lowered[place] - sum(others) / 3) * log_p / len(seen)
    loss.backward()
    return math.sqrt(sum(float(p.grad.pow(2).sum()) for p in policy.parameters()))


@pytest.mark.parametrize("batch_rows", [12, 4])
def test_a_step_is_rloo_on_the_recorded_traces(tmp_path, tiny_model, batch_rows):
    """The first from the start model, where the divergence is 0, the second from the checkpoint between the two."""
    logs = []
    settings = changed(estimator="rloo", loss="token_mean", steps=2, batch_rows=batch_rows, kl=0.5, learning_rate=0.01)
    done = train(tmp_path, tiny_model, settings, log=logs.append)
    between = AutoModelForCausalLM.from_pretrained(done.kept[0])
    start = AutoModelForCausalLM.from_pretrained(tiny_model)
    expected = [
        rloo_norm(seen, policy, AutoModelForCausalLM.from_pretrained(tiny_model), 0.5)
        for seen, policy in zip(done.seen, (start, between), strict=True)
    ]
    assert [one["grad_norm"] for one in logs[:2]] == pytest.approx(expected, rel=1e-4)
    unlowered = rloo_norm(done.seen[1], AutoModelForCausalLM.from_pretrained(done.kept[0]), start, 0.0)
    assert logs[1]["grad_norm"] != pytest.approx(unlowered, rel=1e-2)


def test_kept_checkpoints_of_rloo_with_an_adapter_are_plain(tmp_path, tiny_model):
    settings = changed(estimator="rloo", loss="token_mean", lora=LoraSettings(), kl=0.1)
    done = train(tmp_path, tiny_model, settings)
    start, after = (AutoModelForCausalLM.from_pretrained(f).state_dict() for f in (tiny_model, done.last))
    assert set(start) == set(after)
    assert any(not torch.equal(start[name], after[name]) for name in start)


@pytest.mark.parametrize(("estimator", "loss"), [("grpo", "trace_mean"), ("rloo", "token_mean")])
def test_a_reward_model_scores_the_exact_tokens_of_every_step(tmp_path, tiny_model, estimator, loss):
    torch.manual_seed(3)
    folder = tmp_path / "reward"
    folder.mkdir()
    save(load_model(tiny_model, CPU, scalar_head=True), tiny_model, folder, CPU)
    before = (folder / "model.safetensors").read_bytes()
    settings = changed(estimator=estimator, loss=loss, steps=2)
    done = train(tmp_path, tiny_model, settings, model_reward(folder, CPU))
    scorer = load_reward_model(folder, CPU)
    for batch in done.seen:
        alone = [sequence_rewards(scorer, [(prompt, completion)])[0] for prompt, completion, _ in batch]
        assert [reward for *_, reward in batch] == pytest.approx(alone, abs=1e-5)
        assert len(set(alone)) > 3
    assert (folder / "model.safetensors").read_bytes() == before


def test_a_reward_for_one_token_raises_its_probability(tmp_path, tiny_model):
    def likes_21(traces):
        return [float(sum(token == 21 for token in ids)) for ids in traces.completion_ids]

    done = train(tmp_path, tiny_model, changed(steps=12, learning_rate=1e-2), likes_21)
    rewards = [sum(r for *_, r in batch) / len(batch) for batch in done.seen]
    assert sum(rewards[-3:]) > 3 * sum(rewards[:3])
    assert AutoModelForCausalLM.from_pretrained(done.last).num_parameters() > 0


@pytest.mark.parametrize("lora", [None, LoraSettings()])
def test_kept_checkpoints_are_plain(tmp_path, tiny_model, lora):
    done = train(tmp_path, tiny_model, changed(steps=2, lora=lora))
    start = AutoModelForCausalLM.from_pretrained(tiny_model).state_dict()
    assert [folder.name for folder in done.kept] == ["out-1", "out-2"]
    first, second = (AutoModelForCausalLM.from_pretrained(folder).state_dict() for folder in done.kept)
    assert set(first) == set(second) == set(start)
    for one, other in ((start, first), (first, second)):
        assert any(not torch.equal(one[name], other[name]) for name in start)


def test_the_last_step_is_told_of_wherever_it_falls(tmp_path, tiny_model):
    done = train(tmp_path, tiny_model, changed(steps=3, save_every=2))
    assert [folder.name for folder in done.kept] == ["out-2", "out-3"]


def test_a_training_ends_where_it_is_told_to(tmp_path, tiny_model):
    done = train(tmp_path, tiny_model, changed(steps=5), end_at=2)
    assert done.steps == len(done.seen) == 2


def test_a_stopped_training_goes_on_to_the_same_weights(tmp_path, tiny_model):
    (tmp_path / "whole").mkdir()
    whole = train(tmp_path / "whole", tiny_model, changed(steps=4))

    def stop(metrics):
        if metrics["step"] == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, tiny_model, changed(steps=4), log=stop, name="stopped")
    resumed = train(tmp_path, tiny_model, changed(steps=4), name="resumed")
    assert len(resumed.seen) == 2
    assert (resumed.last / "model.safetensors").read_bytes() == (whole.last / "model.safetensors").read_bytes()


def test_a_resumed_training_tells_of_the_checkpoint_it_resumes_from(tmp_path, tiny_model):
    """A kill may come after the trainer's checkpoint and before ours."""

    def kill(metrics):
        if metrics["step"] == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, tiny_model, changed(steps=4), log=kill)
    shutil.rmtree(tmp_path / "out-2")
    done = train(tmp_path, tiny_model, changed(steps=4))
    assert [folder.name for folder in done.kept] == ["out-2", "out-3", "out-4"]


def test_a_model_without_end_of_sequence_is_refused(tmp_path, shared):
    with pytest.raises(ModelError, match="no end-of-sequence token"):
        train(tmp_path, shared("models/adder-qwen3-228"))


def test_what_reaches_trl(tmp_path):
    """RLIF's settings, by TRL's names: a change here is a change of method."""
    made = config(GroupPolicySettings(), work=tmp_path, seed=7, device="cpu")
    pinned = {
        "max_steps": 80,
        "num_generations": 8,
        "per_device_train_batch_size": 8,
        "gradient_accumulation_steps": 128,
        "steps_per_generation": 128,
        "num_iterations": 1,
        "learning_rate": 3e-6,
        "lr_scheduler_type": "cosine",
        "warmup_steps": 8,
        "beta": 0.005,
        "temperature": 1.0,
        "top_p": 1.0,
        "top_k": 0,
        "max_completion_length": 3072,
        "loss_type": "dapo",
        "scale_rewards": "group",
        "mask_truncated_completions": False,
        "disable_dropout": True,
        "max_grad_norm": 1.0,
        "weight_decay": 0.0,
        "seed": 7,
    }
    assert {name: getattr(made, name) for name in pinned} == pinned


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"group_size": 1}, "at least 2"),
        ({"batch_rows": 7}, "must divide prompts_per_step"),
        ({"kl": -0.1}, "kl"),
        ({"steps": 0}, "at least 1"),
        ({"trl": {"beta": 1}}, r"trl\.beta is set by inward: use kl"),
        ({"trl": {"loss_type": "grpo"}}, r"trl\.loss_type is set by inward: use loss"),
        ({"estimator": "rloo", "trl": {"beta": 1}}, r"trl\.beta is set by inward: use kl"),
        ({"estimator": "rloo", "loss": "trace_mean"}, "does nothing under the estimator rloo"),
    ],
)
def test_settings_out_of_range(wrong, message):
    with pytest.raises(SettingsError, match=message):
        GroupPolicySettings(**wrong)


def test_a_step_must_divide_among_the_processes(tmp_path):
    made = config(SETTINGS, work=tmp_path, seed=0, device="cpu", processes=1)
    assert made.gradient_accumulation_steps == 1
    with pytest.raises(SettingsError, match=r"3 \* 4 traces does not divide among 2 processes of batch_rows = 12"):
        config(SETTINGS, work=tmp_path, seed=0, device="cpu", processes=2)


def test_what_reaches_trl_under_rloo(tmp_path):
    settings = GroupPolicySettings(estimator="rloo", kl=0.05, trl={"normalize_advantages": True})
    made = config(settings, work=tmp_path, seed=7, device="cpu")
    pinned = {
        "max_steps": 80,
        "num_generations": 8,
        "per_device_train_batch_size": 8,
        "gradient_accumulation_steps": 128,
        "steps_per_generation": 128,
        "num_iterations": 1,
        "beta": 0.05,
        "temperature": 1.0,
        "top_p": 1.0,
        "top_k": 0,
        "max_completion_length": 3072,
        "mask_truncated_completions": False,
        "disable_dropout": True,
        "normalize_advantages": True,
        "reward_clip_range": None,
        "seed": 7,
    }
    assert type(made).__name__ == "RLOOConfig"
    assert {name: getattr(made, name) for name in pinned} == pinned
    with pytest.raises(SettingsError, match="TRL refuses these settings of rloo"):
        config(dataclasses.replace(settings, trl={"loss_type": "grpo"}), work=tmp_path, seed=0, device="cpu")


def test_settings_of_vllm_pass_through(tmp_path):
    settings = changed(trl={"use_vllm": True, "vllm_mode": "colocate", "vllm_gpu_memory_utilization": 0.5})
    made = config(settings, work=tmp_path, seed=0, device="cpu")
    assert (made.use_vllm, made.vllm_mode, made.vllm_gpu_memory_utilization) == (True, "colocate", 0.5)


@pytest.mark.parametrize("estimator", ["grpo", "rloo"])
@pytest.mark.parametrize(
    ("rate", "message"),
    [
        (1e4, "the gradient of step 2 is not finite"),
        (1e30, "after step 1 the policy gives probabilities that are not finite"),
    ],
)
def test_a_diverged_training_says_so_and_keeps_the_checkpoint_before(tmp_path, tiny_model, rate, message, estimator):
    settings = changed(steps=3, learning_rate=rate, estimator=estimator, loss="token_mean")
    with pytest.raises(ModelError, match=rf"{message}, so the training has diverged: lower its learning_rate"):
        train(tmp_path, tiny_model, settings)
    assert [folder.name for folder in tmp_path.glob("out-*")] == ["out-1"]
