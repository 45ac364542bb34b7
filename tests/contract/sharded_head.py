"""A head dealt out to the processes that torchrun starts, against the same head whole; prints `agree` where it does."""

import os
import warnings

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor, Replicate, Shard, distribute_tensor
from transformers import LlamaConfig, LlamaForCausalLM

from inward.batch import SIGNALS
from inward.forward import head_of, sequence_signals
from inward.signals import Head, head_logits, head_logprobs, head_signals

NAMES = (*SIGNALS, "top1", "top2", "log_collision")
VOCABULARY = 101


def whole():
    """The same in every process."""
    torch.manual_seed(0)
    return torch.randn(VOCABULARY, 16), torch.randn(VOCABULARY)


def tokens_of(rank):
    """Of a process: 3 x 4 places, fewer tokens in the second."""
    torch.manual_seed(1 + rank)
    mask = torch.ones(3, 4, dtype=torch.bool)
    mask[1, 2 - rank :] = False
    return torch.randn(3, 4, 16), torch.randint(0, VOCABULARY, (3, 4)), mask


def run(rank, head, case):
    """Signals, and gradients of a loss whose every term has a factor of its own."""
    hidden, tokens, mask = case
    hidden = hidden.clone().requires_grad_()
    settings = {"temperature": 0.8, "tile_bytes": 4 * 6 * 40}
    signals = head_signals(hidden, head, tokens, mask, **settings)
    logprob, entropy = head_logprobs(hidden, head, tokens, mask, **settings)
    factors = torch.linspace(-1.0, 2.0 + rank, 12).view(3, 4)
    (factors * logprob + factors.flip(1) * entropy).sum().backward()
    return signals, hidden.grad


def check(placement, *, shared, words):
    rank, mesh = dist.get_rank(), init_device_mesh("cpu", (2,))
    weight, bias = whole()
    ranks = [0] if shared else [0, 1]
    reference, plain = {}, Head(weight=weight.requires_grad_(), bias=bias.requires_grad_(), scale=0.7, words=words)
    for one in ranks:
        reference[one] = run(one, plain, tokens_of(one))
    pieces = [distribute_tensor(one.detach(), mesh, [placement]).requires_grad_() for one in (weight, bias)]
    head = Head(weight=pieces[0], bias=pieces[1], scale=0.7, words=words)
    me = 0 if shared else rank
    signals, by_hidden = run(me, head, tokens_of(me))
    expected, expected_by_hidden = reference[me]
    for name in NAMES:
        torch.testing.assert_close(getattr(signals, name), getattr(expected, name), atol=1e-5, rtol=0, msg=name)
    torch.testing.assert_close(by_hidden, expected_by_hidden, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(head_logits(by_hidden, head), head_logits(by_hidden, plain))
    if placement == Shard(0) or shared:
        for piece, one in zip(pieces, (weight, bias), strict=True):
            assert isinstance(piece.grad, DTensor)
            torch.testing.assert_close(piece.grad.full_tensor(), one.grad, atol=1e-4, rtol=1e-4)


def check_model():
    """A model whose last layer is dealt out is scored through it, without a warning, as the whole model is."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=31, hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2, pad_token_id=0
    )
    model = LlamaForCausalLM(config).eval()
    sequences = [([1, 5, 6], [7, 8, 2]), ([1, 4], [9, 3])]
    expected = sequence_signals(model, sequences, 0)
    mesh = init_device_mesh("cpu", (2,))
    weight = nn.Parameter(distribute_tensor(model.lm_head.weight.detach(), mesh, [Shard(0)]))
    model.lm_head.weight = weight
    assert isinstance(head_of(model).weight, DTensor)
    signals = head_signals_of(model, sequences)
    for name in SIGNALS:
        torch.testing.assert_close(getattr(signals, name), getattr(expected, name), atol=1e-5, rtol=0, msg=name)


def head_signals_of(model, sequences):
    """The model's own forward pass cannot multiply plain states by a DTensor, so the check against it is left out."""
    from inward import forward

    forward._AGREES[model] = True
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return sequence_signals(model, sequences, 0)


if __name__ == "__main__":
    dist.init_process_group("gloo")
    for words in (None, 60, 40):
        check(Shard(0), shared=True, words=words)
        check(Shard(0), shared=False, words=words)
    check(Replicate(), shared=True, words=None)
    check_model()
    if int(os.environ["RANK"]) == 0:
        print("agree")
    # A process that ends with the group still open can abort in gloo's own threads.
    dist.destroy_process_group()
