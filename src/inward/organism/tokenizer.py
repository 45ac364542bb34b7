"""The tokenizer of the embedded models: 31 tokens, all of them readable, and four letters more for `choice`.

Three special tokens, nine words and nineteen characters. A text with any other character cannot be encoded
and raises, rather than turning into tokens that the models have never seen.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

__all__ = ["BOS_ID", "CHOICE_VOCABULARY", "EOS_ID", "MAX_LENGTH", "PAD_ID", "VOCABULARY", "make_tokenizer"]

_PAD, _BOS, _EOS = "<pad>", "<bos>", "<eos>"
_WORDS = ("####", "Q:", "A:", "so", "hmm", "step", "idk", "check", "ok")

VOCABULARY: tuple[str, ...] = (_PAD, _BOS, _EOS, *_WORDS, *"0123456789+-*=;.? \n")
"""The tokens in the order of their ids."""

CHOICE_VOCABULARY: tuple[str, ...] = (*VOCABULARY, *"ABCD")
"""Those of the model that answers with the label of an option."""

PAD_ID, BOS_ID, EOS_ID = 0, 1, 2

MAX_LENGTH = 160
"""Longest sequence the embedded models can read, in tokens."""


def make_tokenizer(vocabulary: tuple[str, ...] = VOCABULARY) -> PreTrainedTokenizerFast:
    """Make the tokenizer: it puts `<bos>` in front, adds nothing behind, and pads on the left."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    ids = {token: index for index, token in enumerate(vocabulary)}
    backend = Tokenizer(models.WordLevel(ids))
    words = "|".join(re.escape(word) for word in _WORDS)
    backend.pre_tokenizer = pre_tokenizers.Split(Regex(rf"{words}|.|\n"), "isolated")
    backend.decoder = decoders.Fuse()
    backend.post_processor = processors.TemplateProcessing(
        single=f"{_BOS} $A", pair=f"{_BOS} $A $B", special_tokens=[(_BOS, BOS_ID)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token=_PAD,
        bos_token=_BOS,
        eos_token=_EOS,
        padding_side="left",
        model_max_length=MAX_LENGTH,
        model_input_names=["input_ids", "attention_mask"],
        clean_up_tokenization_spaces=False,
    )
