"""Kernels and tiles on a CUDA device against the plain formulas in float64; skipped where there is none."""

import pytest
import torch

from inward.signals import Head, head_logprobs, head_signals, tiles

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]


def case(dtype, count=1500, vocabulary=40_003, wide=128):
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(2, count // 2, wide, generator=generator).to("cuda", dtype)
    weight = (2 * wide**-0.5 * torch.randn(vocabulary, wide, generator=generator)).to("cuda", dtype)
    tokens = torch.randint(0, vocabulary, (2, count // 2), generator=generator).cuda()
    mask = torch.ones_like(tokens, dtype=torch.bool)
    mask[1, 100:300] = False
    return hidden, weight, tokens, mask


def exact(hidden, head, tokens, mask):
    """From the product as it is in the weight's own type; outputs are 0 where there is no token."""
    product = torch.nn.functional.linear(hidden, head.weight).double()
    logits = product * head.scale
    log_p = (head.softcap * (logits / head.softcap).tanh() if head.softcap else logits).log_softmax(-1)
    p = log_p.exp()
    top = p.topk(2, -1).values
    values = {
        "logprob": log_p.gather(-1, tokens[..., None]).squeeze(-1),
        "entropy": -(p * log_p).sum(-1),
        "top1": top[..., 0],
        "top2": top[..., 1],
        "log_collision": p.square().sum(-1).log(),
    }
    return {name: value.masked_fill(~mask, 0.0) for name, value in values.items()}


@pytest.mark.parametrize("softcap", [None, 3.0])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-4), (torch.bfloat16, 0.03)])
@pytest.mark.parametrize("triton", [True, False])
def test_signals_and_gradients(monkeypatch, triton, dtype, tolerance, softcap):
    """The product of a tile may add up in another order than that of the whole: in bfloat16 a step of 1/128."""
    if triton:
        pytest.importorskip("triton")
        assert tiles.kernels("cuda") is not None
    else:
        monkeypatch.setattr(tiles, "kernels", lambda kind: None)
    hidden, weight, tokens, mask = case(dtype)
    inputs = [one.requires_grad_() for one in (hidden, weight)]
    head = Head(weight=weight, scale=0.9, softcap=softcap)
    signals, expected = head_signals(hidden, head, tokens, mask), exact(hidden, head, tokens, mask)
    for name, value in expected.items():
        torch.testing.assert_close(getattr(signals, name).double(), value, rtol=0, atol=tolerance, msg=name)
    logprob, entropy = head_logprobs(hidden, head, tokens, mask)
    given = torch.autograd.grad(logprob.sum() + 0.5 * entropy.sum(), inputs)
    others = torch.autograd.grad(expected["logprob"].sum() + 0.5 * expected["entropy"].sum(), inputs)
    for one, other in zip(given, others, strict=True):
        scale = other.abs().max().item()
        torch.testing.assert_close(one, other, rtol=0, atol=tolerance * scale)


def test_memory_is_flat_as_tokens_grow():
    """Four times the tokens: the results and their places grow, 60 bytes each, and nothing else."""
    most = []
    for count in (4096, 16_384):
        hidden, weight, tokens, mask = case(torch.bfloat16, count=count, vocabulary=151_936)
        head_signals(hidden[:, :8], Head(weight=weight), tokens[:, :8], mask[:, :8])
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        head_signals(hidden, Head(weight=weight), tokens, torch.ones_like(mask))
        most.append(torch.cuda.max_memory_allocated() - before)
    assert most[1] - most[0] <= 256 * (16_384 - 4096)
