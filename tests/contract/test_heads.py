"""What inward assumes of transformers and PEFT: backbone and last layer, called alone, give the model's own logits.

And of PyTorch and Triton: how a DTensor deals rows out, and that kernels compute what they say.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import transformers
from launching import launch
from transformers import AutoModelForCausalLM

from inward import forward
from inward.batch import SIGNALS
from inward.errors import ModelError
from inward.forward import head_of, sequence_signals
from inward.signals import completion_logits, token_signals

VOCABULARY = 37
SEQUENCES = [([1, 5, 6], [7, 8, 2]), ([1, 4], [9, 3, 3, 36, 5, 4, 11]), ([1, 3, 3, 3, 3], [4])]
SMALL = {
    "vocab_size": VOCABULARY,
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": 64,
    "initializer_range": 0.4,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
HEADS = {"head_dim": 8}
FAMILIES = {
    "Llama": {},
    "Qwen2": {},
    "Qwen3": HEADS,
    "Gemma2": HEADS | {"final_logit_softcapping": 3.0, "sliding_window": 4},
    "Gemma3Text": HEADS | {"final_logit_softcapping": 3.0, "sliding_window": 4},
    "Cohere": {"logit_scale": 0.3},
    "Cohere2": {"logit_scale": 0.3, "sliding_window": 4},
    "Granite": {"logits_scaling": 3.0},
    "HyperCLOVAX": {"logits_scaling": 0.3},
    "MiniCPM3": {
        "dim_model_base": 4,
        "q_lora_rank": 8,
        "kv_lora_rank": 8,
        "qk_nope_head_dim": 8,
        "qk_rope_head_dim": 8,
        "v_head_dim": 8,
        "num_key_value_heads": 2,
    },
    "FalconH1": HEADS
    | {
        "lm_head_multiplier": 0.3,
        "mamba_d_ssm": 16,
        "mamba_n_heads": 2,
        "mamba_d_head": 8,
        "mamba_d_state": 4,
        "mamba_n_groups": 1,
        "mamba_chunk_size": 4,
    },
    "GPT2": {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 64},
    "GPTNeoX": {},
    "Phi": {},
    "Phi3": {},
    "Mistral": {"sliding_window": 4},
    "OPT": {"ffn_dim": 32, "word_embed_proj_dim": 16},
    "Bloom": {"n_layer": 2, "n_head": 2},
}
"""Configurations that differ from a small Llama's, with scales and softcaps that change the logits visibly."""
RENAMED = {"GPT2": {"hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads"}}


def build(family, **changes):
    torch.manual_seed(0)
    settings = {key: value for key, value in SMALL.items() if key not in RENAMED.get(family, ())}
    config = getattr(transformers, f"{family}Config")(**{**settings, **FAMILIES[family], **changes})
    model = AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                parameter.normal_()
    return model


@torch.no_grad()
def largest_difference(model, temperature=1.0):
    """To the full-logit formula, over all signals and sequences."""
    signals, differences = sequence_signals(model, SEQUENCES, 0, temperature=temperature), []
    for row, (prompt, completion) in enumerate(SEQUENCES):
        logits = model(input_ids=torch.tensor([[*prompt, *completion]])).logits.float() / temperature
        tokens = torch.tensor([completion])
        mask = torch.ones_like(tokens, dtype=torch.bool)
        expected = token_signals(completion_logits(logits, len(completion)), tokens, mask)
        for name in SIGNALS:
            differences.append(getattr(signals, name)[row, : len(completion)] - getattr(expected, name)[0])
    return torch.cat(differences).abs().max().item()


@pytest.mark.parametrize("family", FAMILIES)
def test_backbone_and_head_give_the_models_own_signals(family):
    """No warning, so the head was used; and the model is sure enough of something for an error to show."""
    model = build(family)
    assert largest_difference(model) < 1e-4
    assert forward._AGREES[model]
    assert sequence_signals(model, SEQUENCES, 0).self_certainty.max() > 0.05


@pytest.mark.parametrize("family", ["Gemma2", "Gemma3Text", "Cohere", "Granite", "HyperCLOVAX", "FalconH1"])
def test_the_quirk_of_each_head_is_visible(family, monkeypatch):
    """Were scale and softcap left out, the check on the first call would notice."""
    model, found = build(family), head_of
    monkeypatch.setattr(forward, "head_of", lambda model: type(found(model))(weight=found(model).weight))
    with pytest.warns(UserWarning, match="full logits"):
        sequence_signals(model, SEQUENCES, 0)


def test_tied_weights():
    model = build("Llama", tie_word_embeddings=True)
    assert head_of(model).weight.data_ptr() == model.get_input_embeddings().weight.data_ptr()
    assert largest_difference(model, temperature=0.7) < 1e-4


def test_half_precision_weights():
    """Both sides round logits to bfloat16; the passes differ by their padding alone."""
    model = build("Llama").to(torch.bfloat16)
    assert largest_difference(model) < 0.15
    assert forward._AGREES[model]


def adapted(model, **settings):
    """The model with an adapter of large random weights."""
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(1)
    policy = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", r=4, **settings)).eval()
    with torch.no_grad():
        for name, parameter in policy.named_parameters():
            if "lora_B" in name or ("modules_to_save" in name and parameter.requires_grad):
                parameter.normal_(std=0.5)
    return policy


def test_an_adapter_in_the_backbone_counts_and_can_be_switched_off():
    plain = sequence_signals(build("Llama"), SEQUENCES, 0)
    policy = adapted(build("Llama"), target_modules=["q_proj", "down_proj"])
    assert largest_difference(policy) < 1e-4
    assert (sequence_signals(policy, SEQUENCES, 0).logprob - plain.logprob).abs().max() > 0.1
    with policy.disable_adapter():
        assert (sequence_signals(policy, SEQUENCES, 0).logprob - plain.logprob).abs().max() < 1e-5


def test_a_last_layer_trained_in_full_counts_and_can_be_switched_off():
    plain = sequence_signals(build("Llama"), SEQUENCES, 0)
    policy = adapted(build("Llama"), target_modules=["q_proj"], modules_to_save=["lm_head"])
    assert largest_difference(policy) < 1e-4
    assert (sequence_signals(policy, SEQUENCES, 0).logprob - plain.logprob).abs().max() > 0.1
    with policy.disable_adapter():
        assert (sequence_signals(policy, SEQUENCES, 0).logprob - plain.logprob).abs().max() < 1e-5


def test_an_adapter_on_the_last_layer_is_refused_and_scored_by_the_models_logits():
    policy = adapted(build("Llama"), target_modules=["q_proj", "lm_head"])
    with pytest.raises(ModelError, match="last layer of LlamaForCausalLM is no plain linear layer"):
        head_of(policy)
    with pytest.warns(UserWarning, match="full logits"):
        assert largest_difference(policy) < 1e-4


def test_a_learned_prompt_is_refused():
    from peft import PromptTuningConfig, get_peft_model

    policy = get_peft_model(build("Llama"), PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=2))
    with pytest.raises(ModelError, match="learned prompt"):
        head_of(policy)


def test_a_head_dealt_out_to_two_processes():
    """Equal and unequal tokens, all words or fewer (so few that the second process has none), with gradients."""
    assert "agree" in launch(Path(__file__).with_name("sharded_head.py"))[0].out


def test_kernels_in_tritons_interpreter():
    """The interpreter must be chosen before Triton is first imported, so in a process of its own."""
    pytest.importorskip("triton", reason="Triton is not installed; on Linux the dev extra brings it")
    ended = subprocess.run(
        [sys.executable, Path(__file__).with_name("triton_interpreter.py")],
        env={**os.environ, "TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert ended.returncode == 0, ended.stderr[-3000:]
    assert "agree" in ended.stdout
