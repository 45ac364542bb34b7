"""Options of multiple-choice questions: their mass where the answer stands, and asking for one of them."""

import dataclasses
import sys

import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import PreTrainedTokenizerFast

from inward import models
from inward.answers import AnswerSettings
from inward.confidence import OPTION_CONFIDENCE
from inward.errors import DataError, ModelError, SettingsError
from inward.models import ModelSettings, Policy, decode, encode, token_ends
from inward.sample import SamplingSettings, probe
from inward.score import score
from inward.score.by_model import label_ids
from inward.types import FinishReason, Prompt, ScoredTrace, Source, Span, Trace, TraceGroup

QUESTION = "Where do fish swim?\nSelect one of the following:\nA. tree\nB. pond\nC. sky\n"
CHOICE = AnswerSettings(kind="choice")


@pytest.fixture(scope="module")
def stories(shared) -> Policy:
    return models.load(shared("models/stories260K"), ModelSettings(device="cpu"))


def group(policy: Policy, *completions: str, labels: tuple[str, ...] = ("A", "B", "C")) -> TraceGroup:
    """Traces without signals, of exactly the tokens that the tokenizer makes of each text."""
    traces = []
    for index, text in enumerate(completions):
        ids = tuple(encode(policy.tokenizer, text, special=False))
        written = decode(policy.tokenizer, ids)
        traces.append(
            Trace(
                prompt_id="q",
                index=index,
                source=Source.GIVEN,
                prompt_ids=tuple(encode(policy.tokenizer, QUESTION, special=True)),
                completion_ids=ids,
                completion=written,
                token_ends=token_ends(policy.tokenizer, [ids], [written])[0],
                finish_reason=FinishReason.LENGTH,
                policy=policy.name,
            )
        )
    params = SamplingSettings(strategy="sample").params(policy, 0)
    return TraceGroup(prompt=Prompt(id="q", text=QUESTION, labels=labels), traces=tuple(traces), sampling=params)


def scored(policy: Policy, made: TraceGroup, settings: AnswerSettings = CHOICE, **options) -> tuple[ScoredTrace, ...]:
    (one,) = score([made], settings, policy=policy, **options)
    return one.traces


def test_measures_of_options_worked_by_hand():
    """.5 - .2 and .5 / .8; .1 - .6 and .1 / .8; no mass at all, as without a span."""
    mass = torch.tensor([[0.5, 0.2, 0.1], [0.6, 0.1, 0.1], [0.0, 0.0, 0.0]])
    chosen = torch.tensor([0, 2, 0])
    values = {name: measure(mass, chosen).tolist() for name, measure in OPTION_CONFIDENCE.items()}
    assert values["option_disparity"] == pytest.approx([0.3, -0.5, 0.0])
    assert values["option_probability"] == pytest.approx([0.625, 0.125, 0.0])


def test_a_label_is_written_by_its_letter_its_byte_and_its_letter_after_a_space(stories):
    tokens = [stories.tokenizer.convert_ids_to_tokens(list(ids)) for ids in label_ids(stories.tokenizer, ("A", "B"))]
    assert [set(one) for one in tokens] == [{"<0x41>", "A"}, {"<0x42>", "B", "▁B"}]


def test_brackets_and_full_stops_may_stand_beside_a_label():
    words = ("A", " A", "(A", "**A**", "A.", "A)", "AB", "A:", "A+", "a", ".", "B")
    backend = Tokenizer(WordLevel({word: index for index, word in enumerate(words)}))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, clean_up_tokenization_spaces=False)
    assert label_ids(tokenizer, ("A", "B")) == ((0, 1, 2, 3, 4, 5), (11,))


@pytest.mark.parametrize("text", ["The answer is B.", "the answer is (C)", "A. The answer is A"])
def test_the_mass_of_options_is_that_of_the_distribution_that_wrote_the_label(stories, text):
    """Against the model's own logits, by a forward pass of its own that ends in front of the label."""
    (one,) = scored(stories, group(stories, "so it is", text))[1:]
    ids = list(one.trace.prompt_ids + one.trace.completion_ids[: one.answer_tokens.start])
    with torch.no_grad():
        p = stories.model(torch.tensor([ids])).logits[0, -1].double().softmax(-1)
    vocabulary = stories.tokenizer.get_vocab()
    forms = {"A": ("<0x41>", "A"), "B": ("<0x42>", "B", "▁B"), "C": ("<0x43>", "C")}
    mass = {label: sum(float(p[vocabulary[form]]) for form in written) for label, written in forms.items()}
    others = [value for label, value in mass.items() if label != one.answer]
    assert one.measures["option_disparity"] == pytest.approx(mass[one.answer] - max(others), abs=1e-6)
    assert one.measures["option_probability"] == pytest.approx(mass[one.answer] / sum(mass.values()), rel=1e-4)


def test_a_trace_without_an_answer_has_measures_of_zero(stories):
    (one,) = scored(stories, group(stories, "so it is"), confidence="option_disparity")
    assert (one.answer, one.answer_tokens) == (None, None)
    assert (one.measures["option_disparity"], one.measures["option_probability"]) == (0.0, 0.0)


def test_measures_of_options_are_left_out_where_there_is_no_choice_or_no_model(stories):
    made = group(stories, "The answer is B.")
    assert "option_disparity" in scored(stories, made, AnswerSettings(kind="auto"))[0].measures
    assert "option_disparity" not in scored(stories, made, AnswerSettings(kind="text"))[0].measures
    with_signals = dataclasses.replace(made, traces=tuple(one.trace for one in scored(stories, made)))
    (alone,) = score([with_signals], CHOICE)
    assert "option_disparity" not in alone.traces[0].measures


def test_the_measures_need_a_model_a_choice_and_labels_of_one_token(stories):
    made = group(stories, "The answer is B.")
    with pytest.raises(SettingsError, match="option_disparity needs the distribution over the options"):
        list(score([made], CHOICE, confidence="option_disparity"))
    with pytest.raises(SettingsError, match=r"answers of kind number have none; set answer\.kind=choice"):
        scored(stories, made, AnswerSettings(kind="number"), confidence="option_probability")
    with pytest.raises(DataError, match="prompt q: option_probability compares options, and none are known"):
        scored(stories, group(stories, "It is B.", labels=()), AnswerSettings(), confidence="option_probability")
    wide = group(stories, "The answer is pond.", labels=("pond", "sky"))
    with pytest.raises(ModelError, match="writes the label 'pond'; set confidence=answer_disparity"):
        scored(stories, wide, confidence="option_disparity")
    assert "option_disparity" not in scored(stories, wide)[0].measures


def test_every_prompt_is_read_by_its_own_labels(stories):
    (one,) = scored(stories, group(stories, "The answer is 2.", labels=("1", "2", "3", "4")))
    assert (one.answer, one.measures["option_disparity"] > -1) == ("2", True)
    assert scored(stories, group(stories, "The answer is E."))[0].answer is None
    # A prompt without labels is read by those of the settings.
    assert scored(stories, group(stories, "The answer is E.", labels=()))[0].answer == "E"


def test_the_question_names_the_prompts_own_labels(stories, monkeypatch):
    module = sys.modules["inward.sample.probe"]
    asked = []
    decode_rows = module.decode_rows

    def watched(policy, texts, rows, decoding):
        asked.extend(decode(policy.tokenizer, ids) for ids in texts)
        return decode_rows(policy, texts, rows, decoding)

    monkeypatch.setattr(module, "decode_rows", watched)
    groups = [group(stories, "so it is", labels=("1", "2", "3")), group(stories, "so it is", labels=())]
    settings = AnswerSettings(kind="choice", elicit="always")
    assert all(one.traces[0].answer_probe is not None for one in probe(groups, stories, settings))
    assert asked[0].endswith("Available options are: 1, 2, 3. So the correct option is")
    assert asked[1].endswith("Available options are: A, B, C, D, E. So the correct option is")


def test_the_option_replied_is_located_in_the_trace_and_measured_there(stories):
    made = group(stories, "I like B. so it is")
    (asked,) = (dataclasses.replace(one, answer_probe=" (B), I think") for one in made.traces)
    (one,) = scored(stories, dataclasses.replace(made, traces=(asked,)))
    # " I like B. so it is": the label is the token that is written once 8 characters are.
    start = asked.completion.index("B")
    (token,) = [t for t, end in enumerate(asked.token_ends) if end == start + 1]
    assert one.answer_tokens == Span(start=token, end=token + 1)
    assert -1 < one.measures["option_disparity"] < 1
