"""Batches of unlike length that are read in parts: the same hidden states and gradients, with less padding."""

import copy

import pytest
import torch

from inward import models
from inward.models import ModelSettings
from inward.train import by_length
from inward.train.by_length import cut, read_by_length

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
        {"output_hidden_states": True},
        {"use_cache": True},
        {"position_ids": torch.arange(30)[None].expand(9, 30)},
    ],
    ids=["padded on the left", "a gap", "more asked for", "a cache", "positions told"],
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
