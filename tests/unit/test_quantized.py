"""Adapters trained beside 4-bit weights: what is refused, and what is saved. Most of it needs bitsandbytes."""

import importlib.util
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from inward.errors import SettingsError
from inward.models import ModelSettings
from inward.tasks import arithmetic
from inward.train import (
    GroupPolicySettings,
    IntrinsicReward,
    LoraSettings,
    PreferenceSettings,
    RewardModelSettings,
    Samples,
    SelfConfidenceSettings,
    TuningSettings,
    certainty,
    check_group_policy,
    group_policy,
    load_reward_model,
    preference,
    quantized,
    reward_model,
    self_confidence,
    tuning,
)
from inward.train.quantized import check_quantized, load_base
from inward.types import FinishReason, PreferencePair, Prompt, Source, Trace

CPU = ModelSettings(device="cpu")
RANK = 2
LORA = LoraSettings(r=RANK, target_modules=("q_proj", "down_proj"), quantization="4bit")
ONCE = {"num_epochs": 1, "batch_size": 4, "learning_rate": 1e-2, "num_saves": 1, "lora": LORA}
needs_bitsandbytes = pytest.mark.skipif(
    importlib.util.find_spec("bitsandbytes") is None, reason="bitsandbytes is not installed: pip install inward[qlora]"
)


def test_without_bitsandbytes_there_are_no_four_bits(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(quantized, "find_spec", lambda name: None)
    with pytest.raises(SettingsError, match=r"pip install 'inward\[qlora\]'"):
        check_quantized(LORA, "cuda")
    check_quantized(LoraSettings(), "cuda")
    check_quantized(None, "cuda")


def test_four_bits_go_neither_with_every_device_nor_with_weights_in_parts(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(quantized, "find_spec", lambda name: name)
    with pytest.raises(SettingsError, match="not tried on mps"):
        check_quantized(LORA, "mps")
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    with pytest.raises(SettingsError, match="does not go with weights in parts"):
        check_quantized(LORA, "cuda")


def test_vllm_is_not_sent_packed_weights(monkeypatch: pytest.MonkeyPatch, tiny_model: Path):
    from transformers import AutoModelForCausalLM

    monkeypatch.setattr(quantized, "find_spec", lambda name: name)
    settings = GroupPolicySettings(lora=LORA, trl={"use_vllm": True})
    with pytest.raises(SettingsError, match=r"leave out trl\.use_vllm"):
        check_group_policy(settings, AutoModelForCausalLM.from_pretrained(tiny_model))


def trace(*ids: int) -> Trace:
    return Trace(
        prompt_id="one", index=0, prompt_ids=(3, 4, 5), completion_ids=ids, completion="", token_ends=(0,) * len(ids),
        finish_reason=FinishReason.STOP, source=Source.SAMPLE, policy="",
    )  # fmt: skip


PAIRS = [
    PreferencePair(
        prompt=Prompt(id="one", text="1+1"), chosen=trace(6 + number, 7, 2), rejected=trace(8, 9, 10, 2), gap=0.5,
        chosen_answer=None, rejected_answer=None,
    )
    for number in range(4)
]  # fmt: skip


def assert_adapted_in_full(out: Path, start: Path) -> None:
    """What the adapter is on has moved by a matrix of its rank, which an error of rounding would not be; no more."""
    before, after = load_file(start / "model.safetensors"), load_file(out / "model.safetensors")
    moved = 0
    for name, value in before.items():
        if name not in after:
            continue  # the last layer of a language model, of which a reward model has none
        change = after[name] - value
        if any(one in name for one in LORA.target_modules or ()):
            spectrum = torch.linalg.svdvals(change.double())
            assert spectrum[0] > 1e-4 and spectrum[RANK] < 1e-5 * spectrum[0] + 1e-6
            moved += 1
        else:
            assert torch.equal(after[name], value), name
    assert moved == 4


@needs_bitsandbytes
@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.*:FutureWarning")
@pytest.mark.parametrize("name", ["preference", "tuning", "reward_model"])
def test_a_checkpoint_is_the_start_in_full_with_the_adapter_merged(name: str, tiny_model: Path, tmp_path: Path):
    out = tmp_path / "out"
    out.mkdir()
    common: dict[str, Any] = {"start": tiny_model, "out": out, "work": tmp_path / "work", "model": CPU, "seed": 0}
    match name:
        case "preference":
            preference(PAIRS, settings=PreferenceSettings(**ONCE), **common)
        case "tuning":
            tuning([pair.chosen for pair in PAIRS], settings=TuningSettings(**ONCE), **common)
        case _:
            reward_model(PAIRS, settings=RewardModelSettings(**ONCE), **common)
            load_reward_model(out, CPU)
    assert_adapted_in_full(out, tiny_model)


@needs_bitsandbytes
@pytest.mark.parametrize("estimator", ["grpo", "rloo"])
def test_a_policy_on_its_own_reward(estimator: Any, tiny_model: Path, tmp_path: Path):
    settings = GroupPolicySettings(
        estimator=estimator, steps=1, prompts_per_step=2, group_size=4, batch_rows=8, max_completion_tokens=4,
        learning_rate=1e-2, warmup_steps=0, kl=0.1, save_every=1, lora=LORA,
    )  # fmt: skip
    adapters: list[torch.dtype] = []

    def kept(step: int, policy: Any, write: Any) -> bool:
        adapters.extend(one.dtype for one in policy.parameters() if one.requires_grad)
        (tmp_path / "out").mkdir()
        write(tmp_path / "out")
        return False

    group_policy(
        arithmetic.prompts(2, 0),
        IntrinsicReward("certainty", certainty("self_certainty")),
        start=tiny_model, work=tmp_path / "work", settings=settings, model=CPU, seed=0, at_checkpoint=kept,
    )  # fmt: skip
    assert set(adapters) == {torch.float32}
    assert_adapted_in_full(tmp_path / "out", tiny_model)


@needs_bitsandbytes
def test_own_samples(tiny_model: Path, tmp_path: Path):
    def kept(step: int, policy: Any, write: Any) -> bool:
        (tmp_path / "out").mkdir()
        write(tmp_path / "out")
        return False

    self_confidence(
        arithmetic.prompts(2, 0),
        lambda policy, asked, step: Samples(
            prompt_ids=[[3, 4]] * 2, completion_ids=[[5, 6, 2], [7, 2]], answer_share=[0.5, 0.5]
        ),
        start=tiny_model, work=tmp_path / "work", model=CPU, seed=0, at_checkpoint=kept,
        settings=SelfConfidenceSettings(steps=1, prompts_per_step=1, learning_rate=1e-2, save_every=1, lora=LORA),
    )  # fmt: skip
    assert_adapted_in_full(tmp_path / "out", tiny_model)


@needs_bitsandbytes
def test_linear_layers_are_packed_and_the_last_one_is_not(tiny_model: Path):
    for scalar_head in (False, True):
        base = load_base(tiny_model, CPU, LORA, scalar_head=scalar_head)
        packed = {name.rpartition(".")[2] for name, one in base.named_modules() if type(one).__name__ == "Linear4bit"}
        assert packed == {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}
