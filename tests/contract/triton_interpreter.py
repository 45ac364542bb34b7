"""The Triton kernels, run by its interpreter on the CPU, against the plain formulas in float64."""

import math

import torch

from inward.signals import Head, head_logprobs, head_signals, kernels, tiles

NAMES = ("logprob", "entropy", "self_certainty", "disparity", "top1", "top2", "log_collision")


def plain(logits, tokens):
    log_p = logits.log_softmax(-1)
    p = log_p.exp()
    top = p.topk(2, -1).values
    own = p.gather(-1, tokens[..., None]).squeeze(-1)
    others = p.scatter(-1, tokens[..., None], -1.0).amax(-1)
    entropy = -(p * log_p.masked_fill(p == 0, 0.0)).sum(-1)
    certainty = -math.log(logits.shape[-1]) - log_p.mean(-1)
    collision = p.square().sum(-1).log()
    return dict(
        zip(NAMES, (own.log(), entropy, certainty, own - others, top[..., 0], top[..., 1], collision), strict=True)
    )


def check(softcap, biased, dtype):
    torch.manual_seed(0)
    hidden = torch.randn(1, 3, 16).to(dtype).requires_grad_()
    weight = torch.randn(75, 16).to(dtype).requires_grad_()
    bias = torch.randn(75).to(dtype).requires_grad_() if biased else None
    tokens, mask = torch.tensor([[3, 40, 74]]), torch.ones(1, 3, dtype=torch.bool)
    head = Head(weight=weight, bias=bias, scale=0.5, softcap=softcap)
    # Two stripes of 40 and 35 words, each read in blocks of 32 words and a rest.
    settings = {"temperature": 0.7, "tile_bytes": 4 * 3 * 40}
    signals = head_signals(hidden, head, tokens, mask, **settings)
    logprob, entropy = head_logprobs(hidden, head, tokens, mask, **settings)
    product = torch.nn.functional.linear(hidden, weight, bias).double()
    logits = 0.5 * product
    logits = (softcap * (logits / softcap).tanh() if softcap else logits) / 0.7
    expected, tolerance = plain(logits, tokens), 1e-5
    for name in NAMES:
        torch.testing.assert_close(getattr(signals, name).double(), expected[name], rtol=0, atol=tolerance, msg=name)
    inputs = [one for one in (hidden, weight, bias) if one is not None]
    factors = torch.tensor([[1.0, -0.5, 2.0]])
    given = torch.autograd.grad((factors * logprob + factors.flip(1) * entropy).sum(), inputs)
    loss = (factors * expected["logprob"] + factors.flip(1) * expected["entropy"]).sum()
    rounding = 1e-5 if dtype == torch.float32 else 0.03
    for one, other in zip(given, torch.autograd.grad(loss, inputs), strict=True):
        torch.testing.assert_close(one.float(), other.float(), rtol=rounding, atol=rounding)
        assert other.abs().max() > 0.1


tiles.kernels = lambda kind: kernels
kernels.BLOCK = 32
check(None, False, torch.float32)
check(3.0, True, torch.float32)
check(None, True, torch.bfloat16)
print("agree")
