"""A completion of 3 tokens over a vocabulary of 4 words, worked by hand in units of ln 2.

| t | p                    | token | logprob | entropy | KL(U‖p) | disparity |
|---|----------------------|-------|---------|---------|---------|-----------|
| 0 | 1/2, 1/4, 1/8, 1/8   | 0     | -1      | 1.75    | .25     | 1/2 - 1/4 |
| 1 | 1/4, 1/4, 1/4, 1/4   | 2     | -2      | 2       | 0       | 0         |
| 2 | 1/8, 1/2, 1/4, 1/8   | 2     | -2      | 1.75    | .25     | 1/4 - 1/2 |
"""

import math

import pytest
import torch

from inward.signals import completion_logits, token_signals

LN2 = math.log(2)
P = torch.tensor([[1 / 2, 1 / 4, 1 / 8, 1 / 8], [1 / 4] * 4, [1 / 8, 1 / 2, 1 / 4, 1 / 8]])
TOKENS = torch.tensor([[0, 2, 2]])
EXPECTED = {
    "logprob": [-1 * LN2, -2 * LN2, -2 * LN2],
    "entropy": [1.75 * LN2, 2 * LN2, 1.75 * LN2],
    "self_certainty": [0.25 * LN2, 0.0, 0.25 * LN2],
    "disparity": [0.25, 0.0, -0.25],
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shift", [0.0, 4.0])
def test_hand_worked_signals(shift, dtype):
    logits = (P.log() + shift)[None].to(dtype)
    signals = token_signals(logits, TOKENS, torch.ones(1, 3, dtype=torch.bool))
    tolerance = 1e-6 if dtype is torch.float32 else 0.02
    for name, values in EXPECTED.items():
        assert getattr(signals, name)[0].tolist() == pytest.approx(values, abs=tolerance), name


def test_masked_tokens_have_signals_of_zero():
    mask = torch.tensor([[True, False, True]])
    signals = token_signals(P.log()[None], TOKENS, mask)
    assert signals.logprob[0].tolist() == pytest.approx([-LN2, 0.0, -2 * LN2])
    assert signals.entropy[0, 1] == signals.self_certainty[0, 1] == signals.disparity[0, 1] == 0


def test_one_hot_logits_show_the_shift():
    """Logits that put everything on the next token give log-probability 0; one place off gives -100."""
    sequence = torch.tensor([[3, 1, 2, 0, 1]])
    logits = torch.zeros(1, 5, 4)
    for position in range(4):
        logits[0, position, sequence[0, position + 1]] = 100.0
    completion = sequence[:, 2:]
    aligned = token_signals(completion_logits(logits, 3), completion, torch.ones(1, 3, dtype=torch.bool))
    assert aligned.logprob[0].tolist() == pytest.approx([0.0, 0.0, 0.0])
    assert aligned.disparity[0].tolist() == pytest.approx([1.0, 1.0, 1.0])
    late = token_signals(logits[:, -3:], completion, torch.ones(1, 3, dtype=torch.bool))
    assert late.logprob[0, 0] == pytest.approx(-100.0)


def test_too_few_positions_are_refused():
    with pytest.raises(ValueError, match="need logits of 4 positions"):
        completion_logits(torch.zeros(1, 3, 4), 3)


def test_a_word_masked_by_minus_infinity_adds_nothing_to_the_entropy():
    logits = torch.tensor([[[0.0, 0.0, -torch.inf, -torch.inf]]])
    signals = token_signals(logits, torch.tensor([[0]]), torch.ones(1, 1, dtype=torch.bool))
    assert signals.entropy[0, 0] == pytest.approx(LN2)
    assert signals.logprob[0, 0] == pytest.approx(-LN2)
    assert signals.disparity[0, 0] == 0.0


def test_agrees_with_float64_on_a_large_vocabulary():
    generator = torch.Generator().manual_seed(0)
    logits = 5 * torch.randn(2, 3, 5000, generator=generator)
    tokens = torch.randint(0, 5000, (2, 3), generator=generator)
    signals = token_signals(logits, tokens, torch.ones(2, 3, dtype=torch.bool))
    log_p = logits.double().log_softmax(-1)
    p = log_p.exp()
    own = p.gather(-1, tokens[..., None])
    other = p.scatter(-1, tokens[..., None], -1.0).amax(-1)
    assert torch.allclose(signals.entropy.double(), -(p * log_p).sum(-1), atol=1e-5)
    assert torch.allclose(signals.self_certainty.double(), -math.log(5000) - log_p.mean(-1), atol=1e-5)
    assert torch.allclose(signals.disparity.double(), own.squeeze(-1) - other, atol=1e-6)
