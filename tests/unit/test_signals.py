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
from torch.utils._python_dispatch import TorchDispatchMode

from inward.signals import (
    Head,
    completion_logits,
    completion_states,
    head_logits,
    head_logprobs,
    head_signals,
    token_signals,
)

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


NAMES = ("logprob", "entropy", "self_certainty", "disparity")


def exact(logits, tokens, mask, temperature=1.0):
    """The plain formulas in float64."""
    log_p = (logits.double() / temperature).log_softmax(-1)
    p = log_p.exp()
    others = p.scatter(-1, tokens[..., None], -1.0).amax(-1)
    values = {
        "logprob": log_p.gather(-1, tokens[..., None]).squeeze(-1),
        "entropy": -(p * log_p.masked_fill(p == 0, 0.0)).sum(-1),
        "self_certainty": -math.log(logits.shape[-1]) - log_p.mean(-1),
        "disparity": p.gather(-1, tokens[..., None]).squeeze(-1) - others,
    }
    return {name: value.masked_fill(~mask, 0.0) for name, value in values.items()}


def assert_agree(signals, expected, tolerance=1e-5):
    for name in NAMES:
        value, other = getattr(signals, name), expected[name]
        assert value.dtype == torch.float32
        assert torch.allclose(value.double(), other, rtol=0.0, atol=tolerance), (name, (value - other).abs().max())


def random_case(vocabulary=101, dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(3, 5, 16, generator=generator).to(dtype)
    weight = torch.randn(vocabulary, 16, generator=generator).to(dtype)
    tokens = torch.randint(0, vocabulary, (3, 5), generator=generator)
    mask = torch.tensor([[True] * 5, [True] * 2 + [False] * 3, [False] * 5])
    return hidden, weight, tokens, mask


@pytest.mark.parametrize("tile_bytes", [1, 4 * 7, 4 * 64, 4 * 7 * 101, 2**25])
@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_the_head_in_tiles_of_any_size_gives_the_plain_formulas(tile_bytes, temperature):
    """Tiles of one score; of one token by 7 words; of 7 by 9 (dividing neither); of all 7 tokens; of everything."""
    hidden, weight, tokens, mask = random_case()
    signals = head_signals(hidden, Head(weight=weight), tokens, mask, temperature=temperature, tile_bytes=tile_bytes)
    assert_agree(signals, exact(hidden.double() @ weight.T.double(), tokens, mask, temperature))
    assert torch.equal(signals.mask, mask)


@pytest.mark.parametrize("tile_bytes", [4 * 64, 2**25])
@pytest.mark.parametrize("softcap", [None, 3.0])
def test_bias_scale_and_softcap(softcap, tile_bytes):
    hidden, weight, tokens, mask = random_case()
    bias = torch.linspace(-2.0, 2.0, 101)
    head = Head(weight=weight, bias=bias, scale=0.5, softcap=softcap)
    logits = 0.5 * (hidden.double() @ weight.T.double() + bias)
    if softcap:
        logits = 3 * torch.tanh(logits / 3)
    assert torch.allclose(head_logits(hidden, head).double(), logits, atol=1e-5)
    signals = head_signals(hidden, head, tokens, mask, temperature=2.0, tile_bytes=tile_bytes)
    assert_agree(signals, exact(logits, tokens, mask, 2.0))


@pytest.mark.parametrize("width", [1, 2, 3, 4])
def test_hand_worked_signals_through_a_head(width):
    """With an identity for hidden states, column t of the weight holds the logits of token t."""
    head = Head(weight=P.log().T.contiguous())
    mask = torch.ones(1, 3, dtype=torch.bool)
    signals = head_signals(torch.eye(3)[None], head, TOKENS, mask, tile_bytes=4 * 3 * width)
    for name, values in EXPECTED.items():
        assert getattr(signals, name)[0].tolist() == pytest.approx(values, abs=1e-6), name


@pytest.mark.parametrize("width", [1, 2, 4])
def test_words_as_strong_as_the_token_leave_no_disparity(width):
    """Logits 2, 0, 2, 1: words 0 and 2 tie, in one tile or in two; word 3 lies e^1 against e^2 below them."""
    head = Head(weight=torch.tensor([[2.0], [0.0], [2.0], [1.0]]))
    mask = torch.ones(1, 3, dtype=torch.bool)
    signals = head_signals(torch.ones(1, 3, 1), head, torch.tensor([[0, 2, 3]]), mask, tile_bytes=4 * 3 * width)
    total = 2 * math.exp(2) + math.exp(1) + 1
    expected = [0.0, 0.0, (math.exp(1) - math.exp(2)) / total]
    assert signals.disparity[0].tolist() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("width", [1, 2, 4])
@pytest.mark.parametrize("barred", [[0, 1], [2, 3]])
def test_words_barred_by_an_infinite_bias_give_no_nan(barred, width):
    """The other two share the probability; whole tiles may be barred, the first one too."""
    bias = torch.zeros(4)
    bias[barred] = -torch.inf
    token = ({0, 1, 2, 3} - set(barred)).pop()
    head = Head(weight=torch.ones(4, 1), bias=bias)
    mask = torch.ones(1, 1, dtype=torch.bool)
    signals = head_signals(torch.ones(1, 1, 1), head, torch.tensor([[token]]), mask, tile_bytes=4 * width)
    assert signals.entropy.item() == pytest.approx(LN2)
    assert signals.logprob.item() == pytest.approx(-LN2)
    assert signals.disparity.item() == 0.0
    assert signals.self_certainty.item() == math.inf


def test_not_a_number_in_one_hidden_state_shows_and_stays_there():
    hidden, weight, tokens, mask = random_case()
    hidden[0, 1] = torch.nan
    signals = head_signals(hidden, Head(weight=weight), tokens, mask, tile_bytes=4 * 64)
    for name in NAMES:
        assert getattr(signals, name).isnan().nonzero().tolist() == [[0, 1]], name


def test_nothing_to_score():
    hidden, weight, tokens, mask = random_case()
    signals = head_signals(hidden, Head(weight=weight), tokens, torch.zeros_like(mask))
    assert all(torch.equal(getattr(signals, name), torch.zeros(3, 5)) for name in NAMES)


@pytest.mark.parametrize("tile_bytes", [4 * 64, 2**25])
def test_bfloat16_weights(tile_bytes):
    """Logits reach 16, where bfloat16 steps by 1/16: half a step is what a score may be off."""
    hidden, weight, tokens, mask = random_case(dtype=torch.bfloat16)
    signals = head_signals(hidden, Head(weight=weight), tokens, mask, tile_bytes=tile_bytes)
    assert_agree(signals, exact(hidden.double() @ weight.T.double(), tokens, mask), tolerance=0.0625)
    # What the model itself does: product in bfloat16, the rest in float32.
    rounded = torch.nn.functional.linear(hidden, weight)
    assert_agree(signals, exact(rounded, tokens, mask), tolerance=1e-5 if tile_bytes == 2**25 else 0.0625)


class LargestTensor(TorchDispatchMode):
    """Records the most elements that any operation put out."""

    largest = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, tuple | list) else [out]:
            if isinstance(tensor, torch.Tensor):
                self.largest = max(self.largest, tensor.numel())
        return out


@pytest.mark.parametrize("rows", [40, 80])
def test_no_tensor_grows_with_tokens_times_vocabulary(rows):
    """Rows of 50 tokens of 8 numbers and 4000 words, in tiles of 64 thousand of 8 or 16 million logits.

    The largest tensors are the tile, or 7 numbers for each stripe of words and each of 1024 tokens: neither knows the
    number of tokens.
    """
    hidden, weight = torch.randn(rows, 50, 8), torch.randn(4000, 8)
    tokens, mask = torch.zeros(rows, 50, dtype=torch.long), torch.ones(rows, 50, dtype=torch.bool)
    with LargestTensor() as record:
        head_signals(hidden, Head(weight=weight), tokens, mask, tile_bytes=4 * 64_000)
    assert record.largest <= max(64_000, 7 * most_stripes(4000, 64_000) * 1024)
    with LargestTensor() as record:
        token_signals(hidden @ weight.T, tokens, mask)
    assert record.largest == rows * 50 * 4000


def most_stripes(vocabulary, cells):
    """Where a tile has a block's 1024 tokens, and is cut to a multiple of 64 words."""
    return -(-vocabulary // max(1, cells // 1024 // 64 * 64 or cells // 1024))


def test_a_small_vocabulary_is_one_product(monkeypatch):
    products, whole = [], torch.mm

    def counted(states, weight, out):
        products.append((*states.shape, *weight.shape))
        return whole(states, weight, out=out)

    monkeypatch.setattr(torch, "mm", counted)
    hidden, weight, tokens, mask = random_case(vocabulary=31)
    head_signals(hidden, Head(weight=weight), tokens, mask)
    assert products == [(7, 16, 16, 31)]


def test_states_are_those_before_each_completion_token():
    """State i of row n is 10 n + i; completions begin at 1 and at 3, so the states before begin at 0 and at 2."""
    states = (torch.arange(2)[:, None] * 10.0 + torch.arange(5))[..., None]
    aligned = completion_states(states, torch.tensor([1, 3]), 3).squeeze(-1)
    assert aligned[0].tolist() == [0.0, 1.0, 2.0]
    assert aligned[1, :2].tolist() == [12.0, 13.0]
    with pytest.raises(ValueError, match="without a prompt"):
        completion_states(states, torch.tensor([1, 0]), 3)


def gradients(logprob, entropy, inputs):
    """Of a sum in which every entry has a factor of its own, so that a mix-up of positions shows."""
    factors = torch.linspace(-1.0, 1.5, logprob.numel()).view_as(logprob)
    return torch.autograd.grad((factors * logprob + factors.flip(1) * entropy).sum(), inputs)


@pytest.mark.parametrize("tile_bytes", [1, 4 * 101 * 2, 4 * 101 * 3, 2**25])
@pytest.mark.parametrize("temperature", [1.0, 0.6])
@pytest.mark.parametrize("softcap", [None, 3.0])
def test_trained_log_probabilities_and_their_gradient_in_blocks_of_any_size(tile_bytes, temperature, softcap):
    """Blocks of 1 token, of 2 and of 3 (dividing 7 neither), of all; against autograd through the plain formulas."""
    hidden, weight, tokens, mask = random_case()
    bias = torch.linspace(-2.0, 2.0, 101)
    inputs = [one.requires_grad_() for one in (hidden, weight, bias)]
    head = Head(weight=weight, bias=bias, scale=0.5, softcap=softcap)
    logprob, entropy = head_logprobs(hidden, head, tokens, mask, temperature=temperature, tile_bytes=tile_bytes)
    logits = 0.5 * (hidden.double() @ weight.double().T + bias.double())
    expected = exact(3 * torch.tanh(logits / 3) if softcap else logits, tokens, mask, temperature)
    for given, name in ((logprob, "logprob"), (entropy, "entropy")):
        assert given.dtype == torch.float32
        torch.testing.assert_close(given.double(), expected[name], atol=1e-5, rtol=0)
    for given, other in zip(
        gradients(logprob, entropy, inputs), gradients(expected["logprob"], expected["entropy"], inputs), strict=True
    ):
        torch.testing.assert_close(given, other, atol=1e-5, rtol=1e-5)
        assert other.abs().max() > 0.1


def test_trained_log_probabilities_by_hand():
    head = Head(weight=P.log().T.contiguous())
    logprob, entropy = head_logprobs(torch.eye(3)[None], head, TOKENS, torch.tensor([[True, False, True]]))
    assert logprob[0].tolist() == pytest.approx([-LN2, 0.0, -2 * LN2])
    assert entropy[0].tolist() == pytest.approx([1.75 * LN2, 0.0, 1.75 * LN2])


def test_a_barred_word_leaves_the_trained_entropy_and_its_gradient_finite():
    """Two words share the probability: entropy ln 2 at its top, gradient 0; d log p = (1 - p, -p) = (1/2, -1/2)."""
    hidden, bias = torch.zeros(1, 1, 4), torch.tensor([0.0, 0.0, -torch.inf, -torch.inf])
    hidden.requires_grad_()
    mask = torch.ones(1, 1, dtype=torch.bool)
    logprob, entropy = head_logprobs(hidden, Head(weight=torch.eye(4), bias=bias), torch.tensor([[0]]), mask)
    assert entropy.item() == pytest.approx(LN2) and logprob.item() == pytest.approx(-LN2)
    by_entropy, by_logprob = (
        torch.autograd.grad(one.sum(), hidden, retain_graph=True)[0] for one in (entropy, logprob)
    )
    assert by_entropy.flatten().tolist() == pytest.approx([0.0] * 4, abs=1e-7)
    assert by_logprob.flatten().tolist() == pytest.approx([0.5, -0.5, 0.0, 0.0])


def test_no_token_to_train_gives_zeros_and_no_gradient():
    hidden, weight, tokens, mask = random_case()
    hidden.requires_grad_()
    logprob, entropy = head_logprobs(hidden, Head(weight=weight), tokens, torch.zeros_like(mask))
    assert torch.equal(logprob, torch.zeros(3, 5)) and torch.equal(entropy, logprob)


def test_training_keeps_the_logits_of_one_tile_at_a_time():
    """1000 tokens of 4000 words: 4 million logits, in tiles of 64 thousand, also on the way back."""
    hidden, weight = torch.randn(10, 100, 8, requires_grad=True), torch.randn(4000, 8, requires_grad=True)
    tokens, mask = torch.zeros(10, 100, dtype=torch.long), torch.ones(10, 100, dtype=torch.bool)
    with LargestTensor() as record:
        logprob, entropy = head_logprobs(hidden, Head(weight=weight), tokens, mask, tile_bytes=4 * 64_000)
        (logprob.sum() + entropy.sum()).backward()
    assert record.largest <= max(64_000, 7 * most_stripes(4000, 64_000) * 1000)
    assert weight.grad.abs().max() > 0
