"""Replies whose tokens are named by their texts, as SGLang does: ids from `token_ids`, the others by their text."""

from unittest.mock import Mock

import pytest
from transformers.tokenization_utils_base import PreTrainedTokenizerBase

from inward.sample.completions import Request, Vocabulary, read_reply
from inward.sample.endpoint import Unreadable

TEXTS = ["<s>", "</s>", "4", "�", "�", "so"]
"""Of the ids 0 to 5; 3 and 4 are bytes that make no character alone."""
TOKENIZER = Mock(spec=PreTrainedTokenizerBase, batch_decode=lambda rows: [TEXTS[row[0]] for row in rows])
VOCABULARY = Vocabulary(TOKENIZER, len(TEXTS), (1,))


def reply(ids, tops, *, named=False, top=2):
    """A reply of the ids, each with the log-probability that the first token of its table has."""
    values = [next(iter(one.values())) for one in tops]
    choice = {
        "finish_reason": "length",
        "token_ids": ids,
        "logprobs": {"tokens": [TEXTS[i] for i in ids], "token_logprobs": values, "top_logprobs": tops},
    }
    request = Request(prompt_ids=(0,), max_tokens=len(ids), top=top, named=named)
    return read_reply({"choices": [choice]}, request, VOCABULARY)


def test_a_text_of_one_token_is_its_id():
    assert reply([2], [{"4": -0.1, "so": -3.0}], named=True).tops == ({2: -0.1, 5: -3.0},)


def test_of_tokens_written_alike_the_taken_one_is_known_by_its_own_id():
    made = reply([4, 2], [{"�": -0.1, "so": -3.0}, {"4": -0.2, "�": -2.0}])

    assert made.ids == (4, 2)
    assert made.tops[0] == {4: -0.1, 5: -3.0}
    assert sorted(made.tops[1].values()) == [-2.0, -0.2] and min(made.tops[1]) < 0


def test_a_text_that_tokens_share_is_no_taken_token_at_another_log_probability():
    choice = {
        "finish_reason": "length",
        "token_ids": [4],
        "logprobs": {"tokens": ["�"], "token_logprobs": [-5.0], "top_logprobs": [{"�": -0.1, "so": -3.0}]},
    }
    made = read_reply({"choices": [choice]}, Request(prompt_ids=(0,), max_tokens=1, top=2), VOCABULARY)

    assert made.logprob == (-5.0,)
    assert made.tops[0][5] == -3.0 and 4 not in made.tops[0]


def test_a_branch_needs_to_know_which_token_is_meant():
    with pytest.raises(Unreadable, match="several tokens share"):
        reply([2], [{"4": -0.1, "�": -3.0}], named=True)


def test_two_tokens_that_fall_into_one_text_are_noticed():
    with pytest.raises(Unreadable, match=r"has 1 tokens where 2 were asked for.*written alike.*server.rescore=true"):
        reply([3], [{"�": -0.1}])
    assert reply([3], [{"�": -0.1}], top=1).ids == (3,)
