"""From logits, or hidden states and the last layer, to per-token signals: the only place where positions shift by one.

A causal model's output at position i describes token i + 1. `completion_logits` and `completion_states` make that
shift once; everything after it is aligned: entry t of a signal describes the distribution that generated completion
token t. All signals come from raw logits at temperature 1 unless the caller asks for another, and are computed in
float32. Averages over the vocabulary run over every column of the logits, those that pad it included, unless
`Head.words` says how many are words.
"""

from inward.signals.head import Head, head_logits
from inward.signals.plain import completion_logits, completion_states, token_signals
from inward.signals.scoring import head_logprobs, head_signals
from inward.signals.tiles import TILE_BYTES

__all__ = [
    "TILE_BYTES",
    "Head",
    "completion_logits",
    "completion_states",
    "head_logits",
    "head_logprobs",
    "head_signals",
    "token_signals",
]
