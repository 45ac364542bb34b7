import copy
import dataclasses
import json
import shutil

import pytest
from transformers import AutoTokenizer

from inward import models
from inward.errors import DataError, ModelError, SettingsError
from inward.models import ModelSettings, decode, render, token_ends
from inward.types import Message, Prompt

CPU = ModelSettings(device="cpu")


@pytest.fixture(scope="module")
def policy(tiny_model):
    return models.load(tiny_model, CPU, name="tiny")


def test_special_ids_context_and_generation_config_are_read(policy):
    assert policy.eos_ids == (2,)
    assert policy.context == 64
    assert policy.model.generation_config.repetition_penalty in (None, 1.0)


def test_every_end_of_sequence_id_counts(shared):
    stories = models.load(shared("models/stories260K"), CPU)
    assert stories.eos_ids == (1, 2)


def test_a_model_without_special_tokens(shared):
    adder = models.load(shared("models/adder-qwen3-228"), CPU)
    assert adder.eos_ids == ()
    assert adder.default_new_tokens == 11


def test_text_is_tokenised_as_it_stands_without_a_chat_template(policy):
    assert render(Prompt(id="q", text="Q:1+2?\nA:"), policy) == policy.tokenizer("Q:1+2?\nA:")["input_ids"]


def test_text_becomes_a_user_turn_where_there_is_a_template(tiny_model, tmp_path):
    folder = shutil.copytree(tiny_model, tmp_path / "chat")
    (folder / "chat_template.jinja").write_text("{% for m in messages %}Q:{{ m.content }}{% endfor %}A:")
    chat = models.load(folder, CPU)
    assert decode(chat.tokenizer, render(Prompt(id="q", text="1+2"), chat)) == "Q:1+2A:"
    turns = Prompt(id="q", messages=(Message(role="user", content="1"), Message(role="user", content="2")))
    assert decode(chat.tokenizer, render(turns, chat)) == "Q:1Q:2A:"
    plain = models.load(folder, ModelSettings(device="cpu", chat_template="never"))
    assert decode(plain.tokenizer, render(Prompt(id="q", text="1+2"), plain)) == "1+2"


def test_a_conversation_needs_a_template(policy):
    with pytest.raises(DataError, match="prompt q: tiny has no chat template"):
        render(Prompt(id="q", messages=(Message(role="user", content="1"),)), policy)


def test_a_character_without_a_token_is_refused(policy):
    with pytest.raises(DataError, match="prompt q: the tokenizer cannot encode"):
        render(Prompt(id="q", text="Zürich"), policy)


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        ("{{ 1 / 0 }}", "fails on it (ZeroDivisionError: division by zero)"),
        ("{{ range(10 ** 6) | list }}", "fails on it (OverflowError: "),
        ("{{ messages + 1 }}", "fails on it (TypeError: "),
        ("{{ 'x' * 10 ** 15 }}", "fails on it (MemoryError: "),
        ("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "fails on it (RecursionError: "),
        ("{% for m in messages %}{{ m.content }}", "refuses it: "),
        ("{{ raise_exception('roles must alternate') }}", "refuses it: roles must alternate"),
    ],
)
def test_a_chat_template_that_fails_is_named(policy, template, reason):
    chat = dataclasses.replace(policy, tokenizer=copy.deepcopy(policy.tokenizer), name="chat")
    chat.tokenizer.chat_template = template
    with pytest.raises(DataError) as raised:
        render(Prompt(id="q", text="1+2"), chat)
    assert str(raised.value).startswith(f"prompt q: the chat template of chat {reason}")
    assert "model.chat_template=never" in str(raised.value)


def test_a_character_without_a_token_is_refused_in_a_conversation_too(policy):
    chat = dataclasses.replace(policy, tokenizer=copy.deepcopy(policy.tokenizer))
    chat.tokenizer.chat_template = "{{ messages[0].content }}"
    with pytest.raises(DataError, match="prompt q: the tokenizer cannot encode 'Zürich'"):
        render(Prompt(id="q", text="Zürich"), chat)


@pytest.mark.parametrize("tokens", ["special", "text"])
def test_a_rendered_conversation_is_tokenised_as_transformers_does(policy, tokens):
    chat = dataclasses.replace(policy, tokenizer=copy.deepcopy(policy.tokenizer))
    opened = "{{ bos_token }}" if tokens == "special" else ""
    chat.tokenizer.chat_template = opened + "Q:{{ messages[0].content }}A:"
    asked = [{"role": "user", "content": "1+2"}]
    expected = chat.tokenizer.apply_chat_template(asked, add_generation_prompt=True, return_dict=False)
    assert render(Prompt(id="q", text="1+2"), chat) == expected


def test_an_end_of_sequence_that_the_tokenizer_appends_is_dropped(tiny_model, tmp_path):
    folder = shutil.copytree(tiny_model, tmp_path / "eos")
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    eos = {"SpecialToken": {"id": "<eos>", "type_id": 0}}
    tokenizer["post_processor"]["single"].append(eos)
    tokenizer["post_processor"]["special_tokens"]["<eos>"] = {"id": "<eos>", "ids": [2], "tokens": ["<eos>"]}
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    appended = models.load(folder, CPU)
    assert appended.tokenizer("1")["input_ids"][-1] == 2
    assert render(Prompt(id="q", text="1"), appended)[-1] != 2


def test_token_ends_count_characters_and_skip_special_tokens(policy):
    ids = [*policy.tokenizer("step 1+2=3;####3", add_special_tokens=False)["input_ids"], 2]
    text = decode(policy.tokenizer, ids)
    assert token_ends(policy.tokenizer, [ids], [text]) == [(4, 5, 6, 7, 8, 9, 10, 11, 15, 16, 16)]


@pytest.mark.parametrize("text", ["Tom had 12 big dogs. é – 日本", "Once upon a time"])
def test_token_ends_agree_with_and_without_offsets(shared, text):
    tokenizer = AutoTokenizer.from_pretrained(shared("models/stories260K"))
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    decoded = decode(tokenizer, ids)
    (fast,) = token_ends(tokenizer, [ids], [decoded])
    slow = models._ends_by_decoding(tokenizer, ids, decoded)
    assert fast[-1] == slow[-1] == len(decoded)
    for start, end in zip((0, *slow), slow, strict=False):
        assert start <= end
    # Bytes of one character share it: offsets give it to the first, decoding to the last.
    whole = [t for t, (a, b) in enumerate(zip(fast, slow, strict=True)) if a == b]
    assert len(whole) >= len(ids) - 3 * sum(ord(c) > 127 for c in text)


def test_ids_that_retokenise_differently_are_decoded_one_by_one(shared):
    tokenizer = AutoTokenizer.from_pretrained(shared("models/stories260K"))
    letters = [tokenizer.convert_tokens_to_ids(c) for c in "time"]
    (ends,) = token_ends(tokenizer, [letters], ["time"])
    assert ends == (1, 2, 3, 4)


@pytest.mark.parametrize(
    ("name", "message"),
    [("/nowhere/at/all", "no model folder at"), ("someone/unreachable-model", "nor reachable on the hub")],
)
def test_what_is_no_model_is_refused(name, message):
    with pytest.raises(ModelError, match=message):
        models.resolve(name, CPU)


def test_a_folder_without_config_is_refused(tmp_path):
    with pytest.raises(ModelError, match=r"without config\.json"):
        models.resolve(str(tmp_path), CPU)


def test_pickled_weights_are_refused_unless_allowed(tiny_model, tmp_path):
    import torch

    folder = shutil.copytree(tiny_model, tmp_path / "pickled")
    weights = models.load_model(tiny_model, CPU).state_dict()
    (folder / "model.safetensors").unlink()
    torch.save(weights, folder / "pytorch_model.bin")
    with pytest.raises(ModelError, match=r"pickled weights.*model\.allow_pickle=true"):
        models.load_model(folder, CPU)
    assert models.load_model(folder, ModelSettings(device="cpu", allow_pickle=True)).num_parameters() > 0


def test_code_that_comes_with_a_model_does_not_run(tiny_model, tmp_path):
    folder = shutil.copytree(tiny_model, tmp_path / "remote")
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "own", "auto_map": {"AutoConfig": "own.C", "AutoModelForCausalLM": "own.M"}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "own.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    with pytest.raises(ModelError):
        models.load_model(folder, CPU)
    assert not (tmp_path / "ran").exists()


def test_unknown_device_is_refused():
    with pytest.raises(SettingsError, match="device 'gpu' is unknown"):
        ModelSettings(device="gpu")
