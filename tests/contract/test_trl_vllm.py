"""TRL's way through vLLM with an engine of our own in its place: what the reward is made of, and what is logged."""

import math
from typing import ClassVar

import pytest
import torch
from transformers import AutoModelForCausalLM

from inward.models import ModelSettings
from inward.tasks import arithmetic
from inward.train import GroupPolicySettings, IntrinsicReward, certainty, group_policy
from inward.train.vllm import MISMATCH, OF_COLOCATE, OF_SERVER

TOKENS = [[6, 7, 8, 2], [9, 10, 2], [11, 12, 13, 14], [7, 2]]
"""What the engine writes, group after group: not what the policy would draw."""
OFF = 0.25
"""Added to every log-probability that it reports."""
SETTINGS = GroupPolicySettings(
    steps=2,
    prompts_per_step=2,
    group_size=4,
    batch_rows=8,
    max_completion_tokens=4,
    temperature=0.5,
    learning_rate=1e-3,
    lr_scheduler="constant",
    warmup_steps=0,
    kl=0.0,
    save_every=2,
    trl={"use_vllm": True, "vllm_mode": "colocate", "vllm_importance_sampling_mode": "token_truncate"},
)


class Engine:
    """Stands where TRL makes its vLLM engine; keeps how it was made and when it was given weights."""

    made: ClassVar[dict] = {}
    synced: ClassVar[list] = []

    def __init__(self, model, accelerator, processing_class, **settings):
        Engine.made, Engine.synced = settings, []
        self.model, self.temperature = model, settings["temperature"]

    def sync_weights(self):
        Engine.synced.append(self.model.state_dict()["model.embed_tokens.weight"][6].clone())

    @torch.no_grad()
    def generate(self, prompts, images, num_generations, profiler=None):
        completions = [TOKENS[row % 4] for row in range(len(prompts))]
        logprobs = []
        for prompt, ids in zip(prompts, completions, strict=True):
            logits = self.model(input_ids=torch.tensor([[*prompt, *ids]])).logits[0, len(prompt) - 1 : -1]
            own = (logits / self.temperature).log_softmax(-1).gather(1, torch.tensor(ids)[:, None])[:, 0] + OFF
            logprobs.append([[one] for one in own.tolist()])
        return prompts, completions, logprobs, None


@pytest.fixture
def trained(tmp_path, tiny_model, monkeypatch):
    """Train with the engine; gives the traces and rewards of each step, and the logged metrics."""

    def run(settings):
        monkeypatch.setattr("trl.trainer.grpo_trainer.VLLMGeneration", Engine)
        monkeypatch.setattr("trl.trainer.rloo_trainer.VLLMGeneration", Engine)
        seen, logged, inner = [], [], certainty("neg_entropy")

        def reward(traces):
            seen.append((traces, list(inner(traces))))
            return seen[-1][1]

        group_policy(
            arithmetic.prompts(4, 0),
            IntrinsicReward("certainty", reward, temperature=0.5),
            start=tiny_model,
            work=tmp_path / "work",
            settings=settings,
            model=ModelSettings(device="cpu"),
            seed=0,
            at_checkpoint=lambda step, policy, write: False,
            log=logged.append,
        )
        return seen, logged

    return run


def test_rewards_come_from_a_pass_of_the_policy_and_the_engines_mismatch_is_logged(trained, tiny_model):
    seen, logged = trained(SETTINGS)
    assert len(seen) == 2
    (traces, rewards), policy = seen[0], AutoModelForCausalLM.from_pretrained(tiny_model)
    assert list(map(list, traces.completion_ids)) == TOKENS * 2
    for prompt, ids, reward in zip(traces.prompt_ids, traces.completion_ids, rewards, strict=True):
        logits = policy(input_ids=torch.tensor([[*prompt, *ids]])).logits[0, len(prompt) - 1 : -1] / 0.5
        entropy = -(logits.softmax(-1) * logits.log_softmax(-1)).sum(-1).mean()
        assert reward == pytest.approx(-entropy.item(), abs=1e-5)
    first = next(one for one in logged if "loss" in one)
    assert first["engine_mismatch"] == pytest.approx(OFF, abs=1e-5)
    assert first["engine_mismatch_max"] == pytest.approx(OFF, abs=1e-5)
    assert first["engine_weight"] == pytest.approx(math.exp(-OFF), abs=1e-5)  # p_trainer / p_engine of each token


def test_weights_go_to_the_engine_before_each_step(trained):
    trained(SETTINGS)
    assert len(Engine.synced) == 2
    assert not torch.equal(*Engine.synced)


def test_the_engine_draws_from_the_distribution_that_is_scored(trained):
    trained(SETTINGS)
    drawn = {name: Engine.made[name] for name in ("temperature", "top_p", "top_k", "max_completion_length")}
    assert drawn == {"temperature": 0.5, "top_p": 1.0, "top_k": 0, "max_completion_length": 4}
    assert Engine.made["repetition_penalty"] == 1.0 and not Engine.made["min_p"]


def test_rloo_logs_no_mismatch(trained):
    settings = GroupPolicySettings(
        estimator="rloo",
        steps=1,
        prompts_per_step=2,
        group_size=4,
        batch_rows=8,
        max_completion_tokens=4,
        kl=0.0,
        trl={"use_vllm": True},
    )
    _, logged = trained(settings)
    assert logged and not any(key in line for line in logged for key in MISMATCH.values())


def test_the_fields_of_vllm_exist():
    from trl.trainer.grpo_config import GRPOConfig
    from trl.trainer.rloo_config import RLOOConfig

    ours = {*OF_SERVER, *OF_COLOCATE, "use_vllm", "vllm_mode", "vllm_structured_outputs_regex"}
    assert ours <= set(GRPOConfig.__dataclass_fields__) & set(RLOOConfig.__dataclass_fields__)
    known = {name for name in GRPOConfig.__dataclass_fields__ if name.startswith("vllm_")}
    assert {name for name in known - ours if not name.startswith("vllm_importance_sampling_")} == set()
    assert "vllm_importance_sampling_mode" not in RLOOConfig.__dataclass_fields__
