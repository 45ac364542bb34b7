import math

import pytest
import torch
from torch import nn
from transformers import AutoModelForCausalLM, AutoTokenizer

from inward.errors import ModelError, SettingsError
from inward.methods.rlif import scorer
from inward.models import ModelSettings
from inward.tasks import arithmetic
from inward.train import GroupPolicySettings, IntrinsicReward, LoraSettings, group_policy
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


def train(tmp_path, start, settings=SETTINGS, score=None, log=lambda metrics: None, name="out"):
    """Train, and return the last checkpoint, the sequences the reward saw and the kept steps."""
    tokenizer, seen, kept = AutoTokenizer.from_pretrained(start), [], []
    inner = score or scorer("self_certainty", 0)

    def recorded(policy, sequences):
        rewards = inner(policy, sequences)
        seen.append([(list(p), list(c), r) for (p, c), r in zip(sequences, rewards, strict=True)])
        return rewards

    ids = {prompt.id: tokenizer(prompt.text)["input_ids"] for prompt in PROMPTS}
    out = tmp_path / name
    out.mkdir()

    def keep(step, write):
        folder = tmp_path / f"{name}-{step}"
        folder.mkdir()
        write(folder)
        kept.append(folder)

    group_policy(
        PROMPTS,
        IntrinsicReward("certainty", recorded, ids),
        start=start,
        out=out,
        work=tmp_path / "work",
        settings=settings,
        model=CPU,
        seed=0,
        keep=keep,
        log=log,
    )
    return out, seen, kept


def test_self_certainty_is_taken_where_the_token_was_chosen_and_not_one_late(tiny_model):
    model = AutoModelForCausalLM.from_pretrained(tiny_model).eval()
    prompt, completion = [1, 5, 14, 24], [13, 20, 2]
    (reward,) = scorer("self_certainty", 0)(model, [(prompt, completion)])
    with torch.no_grad():
        z = model(torch.tensor([prompt + completion])).logits[0]
    certainty = z.logsumexp(-1) - z.mean(-1) - math.log(z.shape[-1])
    assert reward == pytest.approx(float(certainty[3:6].mean()), abs=1e-5)
    assert reward != pytest.approx(float(certainty[4:7].mean()), abs=1e-3)


def test_padding_does_not_change_a_reward_and_an_empty_completion_has_none(tiny_model):
    model = AutoModelForCausalLM.from_pretrained(tiny_model).eval()
    for name in ("self_certainty", "neg_entropy", "mean_logprob"):
        score = scorer(name, 0)
        together = score(model, [([1, 5], [13, 2]), ([1, 5, 14, 24], [13, 20, 20, 20, 2]), ([1], [])])
        assert together[0] == pytest.approx(score(model, [([1, 5], [13, 2])])[0], abs=1e-5)
        assert together[2] is None


def test_the_policy_is_scored_in_evaluation_mode_and_put_back():
    modes = []
    policy = nn.Dropout()
    policy.train()
    reward = IntrinsicReward("r", lambda model, sequences: modes.append(model.training) or [0.0], {"a": [1]})
    reward.policy = policy
    assert reward(completion_ids=[[2]], prompt_id=["a"], prompts=["?"], answer=["gold"]) == [0.0]
    assert modes == [False]
    assert policy.training


def test_first_step_is_grpo_on_the_recorded_traces(tmp_path, tiny_model):
    """Gradient of -mean over traces of A * mean over tokens of log p, A = (r - mean) / (std + 1e-4) of the group."""
    logs = []
    _, (seen,), _ = train(tmp_path, tiny_model, log=logs.append)
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
    assert logs[0]["grad_norm"] == pytest.approx(norm, rel=1e-4)
    assert logs[0]["reward"] == pytest.approx(sum(r for *_, r in seen) / len(seen), abs=1e-5)


def test_a_reward_for_one_token_raises_its_probability(tmp_path, tiny_model):
    def likes_21(policy, sequences):
        return [float(sum(token == 21 for token in completion)) for _, completion in sequences]

    settings = GroupPolicySettings(**{**vars_of(SETTINGS), "steps": 12, "learning_rate": 1e-2})
    out, seen, _ = train(tmp_path, tiny_model, settings, likes_21)
    rewards = [sum(r for *_, r in batch) / len(batch) for batch in seen]
    assert sum(rewards[-3:]) > 3 * sum(rewards[:3])
    assert AutoModelForCausalLM.from_pretrained(out).num_parameters() > 0


def vars_of(settings):
    return {name: getattr(settings, name) for name in settings.__dataclass_fields__}


@pytest.mark.parametrize("lora", [None, LoraSettings()])
def test_kept_checkpoints_are_plain(tmp_path, tiny_model, lora):
    settings = GroupPolicySettings(**{**vars_of(SETTINGS), "steps": 2, "lora": lora})
    out, _, kept = train(tmp_path, tiny_model, settings)
    names = set(AutoModelForCausalLM.from_pretrained(tiny_model).state_dict())
    assert [folder.name for folder in kept] == ["out-1", "out-2"]
    for folder in (*kept, out):
        assert set(AutoModelForCausalLM.from_pretrained(folder).state_dict()) == names
    last, final = (AutoModelForCausalLM.from_pretrained(f).state_dict() for f in (kept[-1], out))
    assert all(torch.allclose(last[name], final[name], atol=1e-6) for name in names)


def test_a_stopped_training_goes_on_to_the_same_weights(tmp_path, tiny_model):
    settings = GroupPolicySettings(**{**vars_of(SETTINGS), "steps": 4})
    (tmp_path / "whole").mkdir()
    whole, _, _ = train(tmp_path / "whole", tiny_model, settings)

    def stop(metrics):
        if metrics["step"] == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, tiny_model, settings, log=stop, name="stopped")
    resumed, seen, _ = train(tmp_path, tiny_model, settings, name="resumed")
    assert len(seen) == 2
    assert (resumed / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()


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
        ({"trl": {"beta": 1}}, r"trl\.beta is set by inward: use optim\.kl"),
    ],
)
def test_settings_out_of_range(wrong, message):
    with pytest.raises(SettingsError, match=message):
        GroupPolicySettings(**wrong)
