"""The last layer in tiles against the plain formulas in float64: every output, gradients, padding.

Hand-worked, in units of ln 2, for p = 1/2, 1/4, 1/8, 1/8: the two largest are 1/2 and 1/4, and the collision
probability is 1/4 + 1/16 + 1/64 + 1/64 = 22/64.
"""

import math

import pytest
import torch

from inward.signals import Head, head_logits, head_logprobs, head_signals, token_signals
from inward.signals.statistics import GROUP

P = torch.tensor([[1 / 2, 1 / 4, 1 / 8, 1 / 8]])
EXTRA = ("top1", "top2", "log_collision")
EVERY = ("logprob", "entropy", "self_certainty", "disparity", *EXTRA)
ONE = torch.ones(1, 1, dtype=torch.bool)


def exact(logits, tokens):
    """Every output by its formula, in float64."""
    log_p = logits.double().log_softmax(-1)
    p = log_p.exp()
    top = p.topk(2, -1).values
    others = p.scatter(-1, tokens[..., None], -1.0).amax(-1)
    return {
        "logprob": log_p.gather(-1, tokens[..., None]).squeeze(-1),
        "entropy": -(p * log_p).sum(-1),
        "self_certainty": -math.log(logits.shape[-1]) - log_p.mean(-1),
        "disparity": p.gather(-1, tokens[..., None]).squeeze(-1) - others,
        "top1": top[..., 0],
        "top2": top[..., 1],
        "log_collision": p.square().sum(-1).log(),
    }


def assert_exact(signals, expected, tolerance=1e-5):
    for name in EVERY:
        torch.testing.assert_close(getattr(signals, name).double(), expected[name], rtol=0, atol=tolerance, msg=name)


def random_case(vocabulary, count=6, dtype=torch.float32, wide=16):
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(2, count // 2, wide, generator=generator).to(dtype)
    weight = torch.randn(vocabulary, wide, generator=generator).to(dtype)
    tokens = torch.randint(0, vocabulary, (2, count // 2), generator=generator)
    return hidden, weight, tokens, torch.ones(2, count // 2, dtype=torch.bool)


@pytest.mark.parametrize("width", [1, 2, 4])
def test_the_strongest_two_and_the_collision_by_hand(width):
    signals = head_signals(
        torch.ones(1, 1, 1), Head(weight=P.log().T.contiguous()), torch.tensor([[1]]), ONE, tile_bytes=4 * width
    )
    assert signals.top1.item() == pytest.approx(1 / 2)
    assert signals.top2.item() == pytest.approx(1 / 4)
    assert signals.log_collision.item() == pytest.approx(math.log(22 / 64))


@pytest.mark.parametrize("vocabulary", [GROUP - 1, GROUP, GROUP + 1, 5 * GROUP, 5 * GROUP + 7, 1500])
@pytest.mark.parametrize("tile_bytes", [None, 4 * 6 * 3 * GROUP, 4 * 6 * 45])
def test_every_output_against_float64(vocabulary, tile_bytes):
    """Fewer words than a group, just one, one more; tiles of three groups, of none whole, of one and a rest."""
    hidden, weight, tokens, mask = random_case(vocabulary)
    logits = hidden.double() @ weight.double().T
    tokens[0, 0], tokens[0, 1] = logits[0, 0].argmax(), logits[0, 1].argsort()[-2]
    expected = exact(logits, tokens)
    assert_exact(head_signals(hidden, Head(weight=weight), tokens, mask, tile_bytes=tile_bytes), expected)
    assert_exact(token_signals(logits.float(), tokens, mask), expected, tolerance=5e-5)


@pytest.mark.parametrize("places", [(0, 1), (0, 32), (31, 63), (64, 65), (0, 65), (3, 3)])
def test_the_two_strongest_words_may_stand_anywhere(places):
    """In one group (columns 0 and 32 of 64 in two-strided groups), in two, in the rest after the groups, or tied."""
    weight = torch.full((66, 1), -3.0)
    weight[places[0]], weight[places[1]] = 2.0, 1.0
    weight[places[0]] = 2.0
    weight[10] = 1.0 if places[0] == places[1] else -3.0
    signals = head_signals(torch.ones(1, 1, 1), Head(weight=weight), torch.tensor([[places[0]]]), ONE)
    total = math.exp(2) + math.exp(1) + 64 * math.exp(-3)
    assert signals.top1.item() == pytest.approx(math.exp(2) / total)
    assert signals.top2.item() == pytest.approx(math.exp(1) / total)
    assert signals.disparity.item() == pytest.approx((math.exp(2) - math.exp(1)) / total)


def test_more_tokens_than_share_a_reading_of_the_weight():
    hidden, weight, tokens, mask = random_case(70, count=2600)
    mask[:, ::3] = False
    signals = head_signals(hidden, Head(weight=weight), tokens, mask)
    expected = exact(hidden.double() @ weight.double().T, tokens)
    assert_exact(signals, {name: value.masked_fill(~mask, 0.0) for name, value in expected.items()})


@pytest.mark.parametrize("shift", [-300.0, 300.0])
def test_logits_far_from_zero_lose_no_more_than_their_own_rounding(shift):
    hidden, weight, tokens, mask = random_case(200)
    bias = torch.full((200,), shift)
    logits = (hidden @ weight.T + bias).double()
    signals = head_signals(hidden, Head(weight=weight, bias=bias), tokens, mask, tile_bytes=4 * 6 * 32)
    assert_exact(signals, exact(logits, tokens), tolerance=2e-4)


@pytest.mark.parametrize("tile_bytes", [None, 4 * 6 * 7])
def test_rows_that_pad_the_vocabulary_get_no_probability(tile_bytes):
    """The padding rows are as large as any; left out, they change nothing, not even the mean over the vocabulary."""
    hidden, weight, tokens, mask = random_case(50)
    padded = torch.cat((weight, 5 * weight[:14])).requires_grad_()
    bias = torch.linspace(-1, 1, 64)
    head = Head(weight=padded, bias=bias, words=50)
    logits = hidden.double() @ weight.double().T + bias[:50].double()
    assert_exact(head_signals(hidden, head, tokens, mask, tile_bytes=tile_bytes), exact(logits, tokens))
    assert head_logits(hidden, head).shape == (2, 3, 50)
    logprob, entropy = head_logprobs(hidden, head, tokens, mask, tile_bytes=tile_bytes)
    (logprob.sum() + entropy.sum()).backward()
    assert padded.grad is not None
    assert padded.grad[:50].abs().max() > 0.1
    assert not padded.grad[50:].any()
    with pytest.raises(ValueError, match="words must be from 1 to the 64 rows"):
        Head(weight=padded, words=65)


@pytest.mark.parametrize("softcap", [None, 2.0])
@pytest.mark.parametrize("tile_bytes", [4 * 2 * 3, None])
def test_gradients_agree_with_finite_differences_in_float64(softcap, tile_bytes):
    hidden, weight, tokens, mask = random_case(7, count=4, dtype=torch.float64, wide=2)
    mask[1, 0] = False
    bias = torch.linspace(-1, 1, 7, dtype=torch.float64)

    def both(hidden, weight, bias):
        head = Head(weight=weight, bias=bias, scale=0.4, softcap=softcap)
        return head_logprobs(hidden, head, tokens, mask, temperature=0.8, tile_bytes=tile_bytes)

    assert torch.autograd.gradcheck(both, tuple(one.requires_grad_() for one in (hidden, weight, bias)))


@pytest.mark.parametrize("which", ["logprob", "entropy"])
def test_a_loss_of_one_of_the_two_has_its_gradient(which):
    hidden, weight, tokens, mask = random_case(40)
    hidden.requires_grad_()
    logprob, entropy = head_logprobs(hidden, Head(weight=weight), tokens, mask, tile_bytes=4 * 6 * 7)
    (given,) = torch.autograd.grad({"logprob": logprob, "entropy": entropy}[which].sum(), hidden)
    (expected,) = torch.autograd.grad(exact(hidden.double() @ weight.double().T, tokens)[which].sum(), hidden)
    torch.testing.assert_close(given, expected, atol=1e-5, rtol=0)


def test_gradients_of_half_precision_weights_are_rounded_once():
    """Added up in bfloat16 over 200 stripes they would be off by far more than one rounding of 1/256."""
    hidden, weight, tokens, mask = random_case(200, dtype=torch.bfloat16)
    inputs = [one.requires_grad_() for one in (hidden, weight)]
    logprob, _ = head_logprobs(hidden, Head(weight=weight), tokens, mask, tile_bytes=4 * 6)
    given = torch.autograd.grad(logprob.sum(), inputs)
    # The same logits: the product rounded to bfloat16, and its derivative.
    product = torch.nn.functional.linear(hidden, weight).detach().double().requires_grad_()
    exact(product, tokens)["logprob"].sum().backward()
    assert product.grad is not None
    expected = (product.grad @ weight.double(), product.grad.flatten(0, 1).T @ hidden.flatten(0, 1).double())
    for one, other in zip(given, expected, strict=True):
        assert one.dtype == torch.bfloat16
        torch.testing.assert_close(one.double(), other, rtol=1 / 128, atol=1 / 128)


def test_a_frozen_head_gets_no_gradient_and_costs_none():
    hidden, weight, tokens, mask = random_case(40)
    hidden.requires_grad_()
    logprob, _ = head_logprobs(hidden, Head(weight=weight), tokens, mask)
    logprob.sum().backward()
    assert weight.grad is None and hidden.grad.abs().max() > 0


def test_autocast_decides_the_type_of_the_product():
    hidden, weight, tokens, mask = random_case(40)
    weight.requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        logprob, _ = head_logprobs(hidden, Head(weight=weight), tokens, mask)
    rounded = torch.nn.functional.linear(hidden.bfloat16(), weight.bfloat16())
    torch.testing.assert_close(logprob.double(), exact(rounded, tokens)["logprob"], atol=1e-5, rtol=0)
    logprob.sum().backward()
    assert weight.grad.dtype == torch.float32
