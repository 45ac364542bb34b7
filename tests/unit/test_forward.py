"""One forward pass: batches, order, padding, and the way out for a model whose last layer cannot be read."""

import warnings

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from inward import forward
from inward.batch import SIGNALS
from inward.errors import ModelError
from inward.forward import head_of, sequence_signals
from inward.signals import completion_logits, token_signals

SEQUENCES = [([1, 5, 6], [7, 8, 2]), ([1, 4], [9] * 7), ([1] * 6, []), ([1, 3, 3, 3, 3], [4]), ([3], [5, 6])]


def make(**changes):
    torch.manual_seed(0)
    small = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = LlamaConfig(vocab_size=31, initializer_range=0.4, pad_token_id=0, **{**small, **changes})
    return LlamaForCausalLM(config).eval()


@pytest.fixture(scope="module")
def model():
    return make()


@torch.no_grad()
def alone(model, prompt, completion, temperature=1.0):
    """Signals of one sequence from the model's full logits."""
    logits = model(input_ids=torch.tensor([[*prompt, *completion]])).logits / temperature
    tokens = torch.tensor([completion])
    return token_signals(completion_logits(logits, len(completion)), tokens, torch.ones_like(tokens, dtype=torch.bool))


def assert_rows(signals, model, sequences=SEQUENCES, temperature=1.0, tolerance=1e-4):
    for row, (prompt, completion) in enumerate(sequences):
        assert signals.mask[row].tolist() == [t < len(completion) for t in range(signals.mask.shape[1])]
        if completion:
            expected = alone(model, prompt, completion, temperature)
            for name in SIGNALS:
                got = getattr(signals, name)[row, : len(completion)].tolist()
                assert got == pytest.approx(getattr(expected, name)[0].tolist(), abs=tolerance), (row, name)
        assert not any(getattr(signals, name)[row, len(completion) :].any() for name in SIGNALS)


@pytest.mark.parametrize("temperature", [1.0, 0.7])
@pytest.mark.parametrize("tokens", [1, 12, forward.BATCH_TOKENS])
def test_every_row_has_the_signals_it_has_alone(model, monkeypatch, tokens, temperature):
    monkeypatch.setattr(forward, "BATCH_TOKENS", tokens)
    signals = sequence_signals(model, SEQUENCES, 0, temperature=temperature)
    assert signals.logprob.shape == (5, 7)
    assert_rows(signals, model, temperature=temperature)


def test_batches_take_the_longest_first_and_stay_within_the_limit():
    """Lengths 6, 9, -, 6, 3: 9 alone (two would be 18), then 6 with 6 (12; a third would be 18), then 3."""
    assert list(forward._batches(SEQUENCES, [0, 1, 3, 4], 14)) == [[1], [0, 3], [4]]
    assert list(forward._batches(SEQUENCES, [0, 1, 3, 4], 2)) == [[1], [0], [3], [4]]


def test_only_the_check_of_a_model_makes_logits(model, monkeypatch):
    shapes = []
    hook = model.lm_head.register_forward_hook(lambda module, args, output: shapes.append(tuple(output.shape)))
    monkeypatch.delitem(forward._AGREES, model, raising=False)
    for _ in range(2):
        sequence_signals(model, SEQUENCES, 0)
    hook.remove()
    assert shapes == [(1, 6, 31)]


def test_nothing_to_score(model):
    for sequences, shape in (([], (0, 0)), ([([1, 2], [])], (1, 0))):
        assert sequence_signals(model, sequences, 0).logprob.shape == shape


def test_a_completion_needs_a_prompt(model):
    with pytest.raises(ValueError, match="without a prompt"):
        sequence_signals(model, [([], [1, 2])], 0)


def test_the_models_own_mode_is_left_alone(model):
    model.train()
    sequence_signals(model, SEQUENCES, 0)
    assert model.training
    model.eval()


class Shifted(LlamaForCausalLM):
    """A model that does to its logits what no configuration tells of."""

    def forward(self, *args, **kwargs):
        output = super().forward(*args, **kwargs)
        assert output.logits is not None
        output.logits = output.logits * 1.5
        return output


def test_a_model_with_logits_of_its_own_is_scored_by_them_with_a_warning(monkeypatch):
    model = Shifted(make().config).eval()
    monkeypatch.setattr(forward, "LOGIT_BYTES", 4 * 31 * 12)
    for _ in range(2):
        with pytest.warns(UserWarning, match="do not give the logits of Shifted; scoring with its full logits"):
            signals = sequence_signals(model, SEQUENCES, 0, temperature=0.7)
        assert_rows(signals, model, temperature=0.7)


class Doubled(torch.nn.Linear):
    """A last layer that is no plain matrix product, as that of a quantised model."""

    def forward(self, input):
        return 2 * super().forward(input)


def test_a_last_layer_of_another_kind_is_refused_and_scored_by_the_models_logits():
    model = make()
    model.lm_head = Doubled(16, 31, bias=False)
    with pytest.raises(ModelError, match="no plain linear layer but Doubled"):
        head_of(model)
    with pytest.warns(UserWarning, match="full logits"):
        assert_rows(sequence_signals(model, SEQUENCES, 0), model)


def test_weights_that_are_elsewhere_are_refused():
    with torch.device("meta"):
        model = make()
    with pytest.raises(ModelError, match="sharded, offloaded or quantised"):
        head_of(model)


def test_a_model_is_forgotten_with_its_check():
    model = make()
    with warnings.catch_warnings():
        sequence_signals(model, SEQUENCES, 0)
    assert model in forward._AGREES
    known = len(forward._AGREES)
    del model
    assert len(forward._AGREES) == known - 1
