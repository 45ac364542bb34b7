import pytest
import torch
from transformers import DynamicCache

from inward import models
from inward.batch import SIGNALS
from inward.models import ModelSettings
from inward.sample import cache, decode
from inward.sample.cache import staying
from inward.sample.decode import Decoding, Row, decode_rows
from inward.types import Source

PROMPTS = [[1, 4, 13, 5], [1, 4, 14, 22, 13, 5], [1]]
ROWS = [Row(prompt=i % 3, key=str(i), source=Source.SAMPLE) for i in range(120)] + [
    Row(prompt=i, key="", source=Source.BRANCH, branch=rank) for i in range(3) for rank in range(4)
]
DECODING = Decoding(temperature=1.0, top_p=0.95, max_new_tokens=50, seed=0)


@pytest.fixture(scope="module")
def policy(tiny_model):
    return models.load(tiny_model, ModelSettings(device="cpu"))


def decoded_and_sizes(policy):
    """What was decoded, and the number of rows in each forward pass."""
    sizes = []
    hook = policy.model.lm_head.register_forward_hook(lambda _module, _inputs, logits: sizes.append(len(logits)))
    decoded = decode_rows(policy, PROMPTS, ROWS, DECODING)
    hook.remove()
    return decoded, sizes


def test_finished_rows_leave_once_they_are_a_quarter_of_the_batch_and_sixteen(policy):
    decoded, sizes = decoded_and_sizes(policy)
    lengths = [len(one.ids) if one.stopped else 51 for one in decoded]
    present, expected = len(ROWS), [len(PROMPTS)]  # each prompt is read once
    for step in range(1, 51):
        expected.append(present)
        unfinished = sum(length > step for length in lengths)
        if present - unfinished >= max(present / 4, 16):
            present = unfinished
    assert sizes == expected
    assert len(set(sizes)) >= 4  # the prompts, all rows, and two departures


def test_all_rows_stay_where_the_cache_cannot_be_selected(policy, monkeypatch):
    monkeypatch.setattr(decode, "prefill", lambda *args: None)
    assert set(decoded_and_sizes(policy)[1]) == {len(ROWS)}


@pytest.mark.parametrize(("share", "rows"), [(0.25, 16), (0.0, 1)])
def test_a_trace_does_not_depend_on_who_leaves(policy, monkeypatch, share, rows):
    """Leaving a quarter at a time, or each row as soon as it is finished, gives what leaving nobody gives."""
    monkeypatch.setattr(decode, "LEAVE_ROWS", 10**6)
    expected, all_stay = decoded_and_sizes(policy)
    monkeypatch.setattr(decode, "LEAVE_SHARE", share)
    monkeypatch.setattr(decode, "LEAVE_ROWS", rows)
    decoded, sizes = decoded_and_sizes(policy)
    assert len(set(all_stay)) == 2 < len(set(sizes))
    for one, other in zip(decoded, expected, strict=True):
        assert (one.ids, one.stopped) == (other.ids, other.stopped)
        for name in SIGNALS:
            assert getattr(one.signals, name) == pytest.approx(getattr(other.signals, name), abs=1e-5)


def test_the_roomy_cache_holds_what_a_dynamic_cache_holds(monkeypatch):
    """Over growth, selection of rows, and tokens taken back."""
    monkeypatch.setattr(cache, "ROOM", 2)
    roomy, plain = DynamicCache(), DynamicCache()
    roomy.layers.append(cache._RoomyLayer())
    torch.manual_seed(0)

    def add(rows, tokens):
        states = torch.randn(2, rows, 2, tokens, 3)
        for mine, theirs in zip(roomy.update(*states, 0), plain.update(*states, 0), strict=True):
            assert torch.equal(mine, theirs)
        assert roomy.get_seq_length() == plain.get_seq_length()

    for tokens in (3, 1, 1, 1, 4):
        add(3, tokens)
    for one in (roomy, plain):
        one.batch_select_indices(torch.tensor([2, 0, 0, 1]))
    add(4, 1)
    for one in (roomy, plain):
        one.crop(-2)
    add(4, 1)
    add(4, 5)


def test_rows_that_stay_keep_their_places_but_for_those_that_fill_the_gaps():
    gone = torch.tensor([False, True, False, True, False, False, True])
    # Four stay: rows 0, 2, 4 and 5. Two of them are among the first four, and the others fill places 1 and 3.
    assert staying(gone).tolist() == [0, 4, 2, 5]
    assert staying(torch.zeros(3, dtype=torch.bool)).tolist() == [0, 1, 2]
    assert staying(torch.ones(3, dtype=torch.bool)).tolist() == []
