"""Confidences fitted without labels: temperatures and votes worked by hand, and what evaluation adds to its traces."""

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer

from inward import models, organism
from inward.answers import AnswerSettings
from inward.calibration import TEMPERATURES, fit_temperature
from inward.errors import DataError, ModelError, SettingsError
from inward.methods.calibrating import VOTES_SEED, CalibrationSettings, check_reference, recalibrated
from inward.methods.start import Start
from inward.models import ModelSettings, check_same_tokens
from inward.recalibrate import FILE, Recalibration, answer_confidence, read, vote_share, write
from inward.runs import hash_folder
from inward.sample import SamplingSettings, sample
from inward.score import score
from inward.tasks import arithmetic
from inward.types import FinishReason, ScoredTrace, Source, Span, Trace

NUMBERS = AnswerSettings(kind="number", strict=True, elicit="never")


def two_tokens(*gaps):
    """Confidences where the other of two tokens has a logit lower by the gap: 1 / (1 + e^(-gap/T))."""
    return lambda temperature: 1 / (1 + np.exp(-np.array(gaps) / temperature))


def test_the_temperature_makes_the_mean_confidence_the_mean_vote_share():
    """Logits 2 and 0: p_T = 3/4 where 2/T = log 3. Gaps 2 log 3 and 0 at T = 2: the mean of 3/4 and 1/2 is 5/8."""
    assert fit_temperature(two_tokens(2.0), np.array([0.75])) == pytest.approx(2 / math.log(3), rel=1e-4)
    pair = two_tokens(2 * math.log(3), 0.0)
    assert fit_temperature(pair, np.array([0.85, 0.4])) == pytest.approx(2.0, rel=1e-4)


def test_least_squares_match_answer_by_answer_and_not_on_average():
    """The second answer has 1/2 at any temperature, so the first counts: .85 where 2 log 3 / T = log(.85/.15)."""
    pair = two_tokens(2 * math.log(3), 0.0)
    expected = 2 * math.log(3) / math.log(0.85 / 0.15)
    assert fit_temperature(pair, np.array([0.85, 0.4]), "brier") == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("objective", ["mean", "brier"])
@pytest.mark.parametrize(("share", "end"), [(1.0, 0), (0.4, 1)])
def test_a_share_out_of_reach_gives_an_end_of_the_range(objective: str, share: float, end: int):
    """Of two tokens the surer one has at least 1/2, and all but 1 only as T goes to 0."""
    found = fit_temperature(two_tokens(2.0, 3.0), np.array([share, share]), objective)
    # At the low end the confidence rounds to 1 well before: any temperature there is as good.
    assert found < 0.2 if end == 0 else found == pytest.approx(TEMPERATURES[end], rel=1e-3)


def test_nothing_to_fit_on_is_an_error():
    with pytest.raises(DataError, match="no answer to fit a temperature on"):
        fit_temperature(two_tokens(), np.array([]))


def test_votes_are_counted_by_canonical_form_and_no_answer_is_a_vote_for_none():
    """`7` and `7.0` are the same number: 2 of 4."""
    assert vote_share("7", ["7", "8", None, "7.0"], "number") == 0.5
    assert vote_share(None, ["7", None], "number") == 0.0
    assert vote_share("7", [], "number") == 0.0


def written(prompt, completion, span):
    trace = Trace(
        prompt_id="q",
        index=0,
        source=Source.GREEDY,
        prompt_ids=tuple(prompt),
        completion_ids=tuple(completion),
        completion="",
        token_ends=(0,) * len(completion),
        finish_reason=FinishReason.STOP,
        policy="m",
    )
    return ScoredTrace(trace=trace, answer=None, answer_chars=None, answer_tokens=span, measures={})


TRACES = (
    written([1, 5, 6], [7, 8, 9, 2], Span(start=1, end=3)),
    written([1, 4], [9, 7], None),
    written([1, 4, 4, 4, 4], [10, 11, 12, 13, 14, 2], Span(start=4, end=5)),
)


@pytest.fixture(scope="module")
def tiny(tiny_model: Path):
    return models.load(tiny_model, ModelSettings(device="cpu"))


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
@pytest.mark.parametrize("readable", [True, False])
def test_confidence_is_the_mean_probability_of_the_answer_tokens_at_a_temperature(
    tiny, temperature: float, readable: bool, monkeypatch: pytest.MonkeyPatch
):
    """Against the full logits, also of a model whose last layer cannot be read alone."""
    if not readable:
        monkeypatch.setattr("inward.forward._usable_head", lambda model, sequence: None)
    expected = []
    for one in TRACES:
        span, ids = one.answer_tokens, [*one.trace.prompt_ids, *one.trace.completion_ids]
        with torch.no_grad():
            probs = (tiny.model(input_ids=torch.tensor([ids])).logits[0] / temperature).softmax(-1)
        first = len(one.trace.prompt_ids)
        places = range(first + span.start, first + span.end) if span else ()
        expected.append(sum(float(probs[i - 1, ids[i]]) for i in places) / max(1, len(places)))
    found = answer_confidence(TRACES, tiny)(temperature)
    assert found.tolist() == pytest.approx(expected, abs=1e-5)
    assert found[1] == 0.0 < found[0]


def test_without_any_span_every_confidence_is_zero(tiny):
    assert answer_confidence(TRACES[1:2], tiny)(2.0).tolist() == [0.0]


@pytest.fixture(scope="module")
def base():
    return models.load(organism.path("base"), ModelSettings(device="cpu"), name="base")


@pytest.fixture(scope="module")
def params(base):
    settings = SamplingSettings(strategy="sample", group_size=4, max_completion_tokens=32)
    return dataclasses.replace(settings.params(base, 5), strategy="evaluate")


@pytest.fixture(scope="module")
def groups(base, params):
    asked = arithmetic.prompts(12, 0)
    return list(score(sample(asked, base, params), NUMBERS))


def fitted(method, **changes) -> Recalibration:
    made = Recalibration(
        method=method,
        temperature=None,
        objective=None,
        num_votes=None,
        votes_temperature=None,
        reference=None,
        reference_sha256=None,
        num_prompts=12,
        num_without_span=0,
        confidence_before=0.9,
        confidence_after=0.7,
        vote_share=None,
    )
    return dataclasses.replace(made, **changes)


def measured(groups):
    return [[trace.measures.get("recalibrated") for trace in group.traces] for group in groups]


def test_at_temperature_one_it_is_the_answer_probability_and_samples_are_left_alone(base, params, groups):
    made = recalibrated(groups, base, fitted("temperature", temperature=1.0), NUMBERS, params)
    for before, after in zip(groups, made, strict=True):
        greedy = after.traces[0]
        assert greedy.measures["recalibrated"] == pytest.approx(greedy.measures["answer_probability"], abs=1e-5)
        assert after.traces[1:] == before.traces[1:]
    assert "recalibrated" not in groups[0].traces[0].measures


def test_a_temperature_above_one_lowers_what_is_most_probable(base, params, groups):
    made = recalibrated(groups, base, fitted("temperature", temperature=2.0), NUMBERS, params)
    pairs = [(one.traces[0].measures["recalibrated"], one.traces[0].measures["answer_probability"]) for one in made]
    assert all(new < old for new, old in pairs if old)
    assert any(old for _, old in pairs)


def test_a_reference_reads_the_same_tokens_after_the_same_trace(base, params, groups):
    chat = models.load(organism.path("chat"), ModelSettings(device="cpu"), name="chat")
    made = recalibrated(groups, base, fitted("reference", reference="chat"), NUMBERS, params, reference=chat)
    for group in made:
        greedy = group.traces[0]
        trace = greedy.trace
        expected = 0.0
        if greedy.answer_tokens is not None:
            ids = [*trace.prompt_ids, *trace.completion_ids]
            with torch.no_grad():
                probs = chat.model(input_ids=torch.tensor([ids])).logits[0].softmax(-1)
            places = [len(trace.prompt_ids) + i for i in range(greedy.answer_tokens.start, greedy.answer_tokens.end)]
            expected = sum(float(probs[i - 1, ids[i]]) for i in places) / len(places)
        assert greedy.measures["recalibrated"] == pytest.approx(expected, abs=1e-5)


def shares(groups, votes):
    return [
        vote_share(g.traces[0].answer, [one.answer for one in v], "number") for g, v in zip(groups, votes, strict=True)
    ]


def test_votes_drawn_alike_are_the_evaluations_own_samples(base, params, groups):
    made = recalibrated(groups, base, fitted("votes", num_votes=3, votes_temperature=1.0), NUMBERS, params)
    expected = shares(groups, [group.traces[1:4] for group in groups])
    assert [values[0] for values in measured(made)] == expected
    assert len(set(expected)) > 1


@pytest.mark.parametrize(("num", "temperature"), [(3, 0.5), (5, 1.0)])
def test_votes_at_another_temperature_or_more_of_them_are_drawn_beside(
    base, params, groups, num: int, temperature: float
):
    spec = fitted("votes", num_votes=num, votes_temperature=temperature)
    made = recalibrated(groups, base, spec, NUMBERS, params)
    beside = dataclasses.replace(
        params, strategy="sample", group_size=num, temperature=temperature, seed=params.seed + VOTES_SEED
    )
    votes = [group.traces for group in score(sample([g.prompt for g in groups], base, beside), NUMBERS)]
    assert [values[0] for values in measured(made)] == shares(groups, votes)
    drawn = [one.trace.completion_ids for one in votes[0]]
    assert drawn != [one.trace.completion_ids for one in groups[0].traces[1 : num + 1]]


def test_the_file_beside_a_checkpoint_is_read_as_it_was_written(tmp_path: Path):
    assert read(tmp_path) is None
    kept = fitted("votes", num_votes=16, votes_temperature=1.0, vote_share=0.75)
    write(kept, tmp_path)
    assert read(tmp_path) == kept


@pytest.mark.parametrize("damage", ["", "{}", "[1]", "method"])
def test_a_damaged_file_says_what_to_do(tmp_path: Path, damage: str):
    write(fitted("votes", num_votes=16, votes_temperature=1.0), tmp_path)
    if damage == "method":
        damage = json.dumps({**json.loads((tmp_path / FILE).read_text()), "method": "luck"})
    (tmp_path / FILE).write_text(damage)
    with pytest.raises(ModelError, match=r"(?s)inward_confidence\.json cannot be used .*inward calibrate"):
        read(tmp_path)


def test_a_reference_with_other_tokens_is_refused(tiny, tiny_model: Path):
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    tokenizer.add_tokens(["zebra"])
    other = dataclasses.replace(tiny, name="other", tokenizer=tokenizer)
    check_same_tokens(tiny, tiny)
    with pytest.raises(ModelError, match=r"other cannot judge the tokens of .* 'zebra' is .* there and missing here"):
        check_same_tokens(tiny, other)


def test_a_reference_whose_files_changed_is_refused(tiny_model: Path):
    start = Start("start", tiny_model, ModelSettings(device="cpu"))
    same = fitted("reference", reference="r", reference_sha256=hash_folder(tiny_model))
    check_reference(start, same, start)
    with pytest.raises(ModelError, match="no longer the model that start was calibrated with"):
        check_reference(start, dataclasses.replace(same, reference_sha256="0"), start)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_votes": 1}, "num_votes must be at least 2"),
        ({"method": "reference"}, "--reference MODEL"),
        ({"reference": "embedded:base"}, "--reference MODEL"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict, message: str):
    with pytest.raises(SettingsError, match=message):
        CalibrationSettings(**settings)
