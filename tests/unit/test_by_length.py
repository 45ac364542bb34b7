"""Batches of unlike length that are read in parts: the same hidden states and gradients, with less padding."""

import copy
from types import SimpleNamespace

import pytest
import torch
from token_traces import pair, trace
from torch import nn
from transformers import AutoModelForCausalLM, GPT2Config, MixtralConfig

from inward import models
from inward.models import ModelSettings
from inward.train import PreferenceSettings, RewardModelSettings, by_length, preference, reward_model
from inward.train.by_length import cut, read_by_length
from inward.train.tuning import TuningSettings, tuning

LENGTHS = torch.tensor([5, 30, 7, 8, 22, 21, 9, 5, 14])
MASK = (torch.arange(30) < LENGTHS[:, None]).long()


@pytest.fixture
def plain(tiny_model):
    return models.load(tiny_model, ModelSettings(device="cpu")).model.double()


@pytest.fixture
def parted(plain, monkeypatch):
    monkeypatch.setattr(by_length, "PART_TOKENS", 20)
    model = copy.deepcopy(plain)
    read_by_length(model, None)
    return model


@pytest.fixture
def ids():
    return torch.randint(3, 31, MASK.shape, generator=torch.Generator().manual_seed(0))


def shapes(model):
    """Of what the model's first layer is given."""
    seen = []
    model.base_model.layers[0].register_forward_pre_hook(lambda _, args: seen.append(tuple(args[0].shape[:2])))
    return seen


def test_hidden_states_and_gradients_are_those_of_the_whole_batch(plain, parted, ids):
    seen, results = shapes(parted), []
    for model in (plain, parted):
        read = model.base_model(input_ids=ids, attention_mask=MASK, use_cache=False).last_hidden_state
        (read * MASK[..., None]).square().sum().backward()
        results.append([read.detach()[MASK.bool()], *(one.grad for one in model.base_model.parameters())])
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)
    assert seen == [(5, 9), (3, 22), (1, 30)]


def test_logits_of_the_model_are_those_of_the_whole_batch(plain, parted, ids):
    one, other = (model(input_ids=ids, attention_mask=MASK, use_cache=False).logits for model in (plain, parted))
    torch.testing.assert_close(one[MASK.bool()], other[MASK.bool()], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    "further",
    [
        {"attention_mask": MASK.flip(1)},
        {"attention_mask": MASK * (torch.arange(30) != 3)},
        {"attention_mask": MASK * (LENGTHS != 14)[:, None]},
        {"output_hidden_states": True},
        {"use_cache": True},
        {"position_ids": torch.arange(30)[None].expand(9, 30)},
    ],
    ids=["padded on the left", "a gap", "an empty row", "more asked for", "a cache", "positions told"],
)
def test_other_calls_are_left_as_they_are(plain, parted, ids, further):
    seen = shapes(parted)
    kwargs = {"input_ids": ids, "attention_mask": MASK, "use_cache": False, **further}
    one, other = (model.base_model(**kwargs) for model in (plain, parted))
    assert seen == [(9, 30)]
    assert one.keys() == other.keys()
    assert torch.equal(one.last_hidden_state, other.last_hidden_state)


def test_a_copy_reads_with_its_own_weights(parted, ids):
    other = copy.deepcopy(parted)
    for parameter in other.parameters():
        parameter.data.zero_()
    assert not other.base_model(input_ids=ids, attention_mask=MASK, use_cache=False).last_hidden_state.any()


def test_rows_are_cut_where_padding_costs_more_than_a_part(monkeypatch):
    monkeypatch.setattr(by_length, "PART_TOKENS", 100)
    # Whole: 5 x 60 = 300. Cut after three: 3 x 10 + 2 x 60 = 150, which saves 150. No further cut saves over 100.
    assert cut([8, 9, 10, 50, 60]) == [(3, 10), (2, 60)]
    monkeypatch.setattr(by_length, "PART_TOKENS", 150)
    assert cut([8, 9, 10, 50, 60]) == [(5, 60)]
    assert cut([7]) == [(1, 7)]


@pytest.mark.parametrize(
    "config",
    [
        GPT2Config(n_embd=16, n_layer=2, n_head=2, n_positions=30, vocab_size=31),
        MixtralConfig(
            hidden_size=16,
            intermediate_size=16,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=1,
            num_local_experts=2,
            vocab_size=31,
        ),
    ],
    ids=["gpt2", "mixtral"],
)
def test_models_with_outputs_of_their_own_read_in_parts(config, ids, monkeypatch):
    monkeypatch.setattr(by_length, "PART_TOKENS", 20)
    torch.manual_seed(0)
    plain = AutoModelForCausalLM.from_config(config).eval()
    parted, seen = copy.deepcopy(plain), []
    read_by_length(parted, None)
    parted.get_input_embeddings().register_forward_pre_hook(lambda _, args: seen.append(len(args[0])))
    one, other = (model(input_ids=ids, attention_mask=MASK, use_cache=False).logits for model in (plain, parted))
    assert seen == [5, 3, 1]
    torch.testing.assert_close(one[MASK.bool()], other[MASK.bool()], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("devices", "parts"), [(0, 3), (1, 3), (2, 1)])
def test_a_model_that_a_process_has_on_several_devices_reads_whole_batches(plain, ids, monkeypatch, devices, parts):
    monkeypatch.setattr(by_length, "PART_TOKENS", 20)
    read_by_length(plain, SimpleNamespace(n_gpu=devices))
    seen = shapes(plain)
    plain.base_model(input_ids=ids, attention_mask=MASK, use_cache=False)
    assert len(seen) == parts


LONG, SHORT, OTHER = (*range(5, 25), 2), (13, 2), (14, 15, 2)
PAIRS = [pair(LONG, SHORT), pair(OTHER, SHORT), pair(LONG, OTHER)]
ONE_STEP = {"lora": None, "learning_rate": 1e-3, "num_epochs": 1, "batch_size": 4}


@pytest.mark.parametrize(
    ("train", "data", "settings"),
    [
        (preference, PAIRS, PreferenceSettings(**ONE_STEP)),
        (reward_model, PAIRS, RewardModelSettings(**ONE_STEP)),
        (reward_model, PAIRS, RewardModelSettings(**ONE_STEP, margin=False)),
        (tuning, [trace(LONG), trace(SHORT), trace(OTHER)], TuningSettings(**ONE_STEP)),
    ],
    ids=["dpo", "reward model", "reward model without margins", "fine-tuning"],
)
def test_every_training_reads_in_parts_and_its_first_step_is_that_of_whole_batches(
    train, data, settings, tiny_model, tmp_path, monkeypatch
):
    steps, tokens_read = {}, []

    def note(module, args):
        if isinstance(module, nn.Embedding):
            tokens_read.append(args[0].numel())

    for part_tokens in (4, 10_000):
        monkeypatch.setattr(by_length, "PART_TOKENS", part_tokens)
        out, logs = tmp_path / f"out-{part_tokens}", []
        out.mkdir()
        hook = nn.modules.module.register_module_forward_pre_hook(note)
        train(
            data,
            start=tiny_model,
            out=out,
            work=tmp_path / f"work-{part_tokens}",
            settings=settings,
            model=ModelSettings(device="cpu"),
            seed=0,
            log=logs.append,
        )
        hook.remove()
        steps[part_tokens] = (sum(tokens_read), logs[0]["loss"], logs[0]["grad_norm"])
        tokens_read.clear()
    assert steps[4][0] < 0.6 * steps[10_000][0]
    assert steps[4][1:] == pytest.approx(steps[10_000][1:], rel=1e-4)
