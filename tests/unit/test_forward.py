"""One forward pass: batches, order, padding, and the way out for a model whose last layer cannot be read."""

import warnings

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from inward import forward
from inward.batch import SIGNALS
from inward.errors import ModelError
from inward.forward import completion_logprobs, head_of, sequence_signals
from inward.forward.prefix import can_share, continuing, windows
from inward.signals import completion_logits, token_signals

SEQUENCES = [([1, 5, 6], [7, 8, 2]), ([1, 4], [9] * 7), ([1] * 6, []), ([1, 3, 3, 3, 3], [4]), ([3], [5, 6])]
GROUPS = [
    *(([1, 5, 6], completion) for completion in ([7, 8, 2], [9], [3] * 9, [])),
    *(([1, 4], completion) for completion in ([9] * 7, [2])),
    ([1, 3, 3, 3, 3], [4, 6]),
]
"""Two prompts of several completions, and one of one."""


def make(**changes):
    torch.manual_seed(0)
    small = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = LlamaConfig(vocab_size=31, initializer_range=0.4, pad_token_id=0, **{**small, **changes})
    return LlamaForCausalLM(config).eval()


@pytest.fixture(scope="module")
def model():
    return make()


@torch.no_grad()
def alone(model, prompt, completion, temperature=1.0):
    """Signals of one sequence from the model's full logits."""
    logits = model(input_ids=torch.tensor([[*prompt, *completion]])).logits / temperature
    tokens = torch.tensor([completion])
    return token_signals(completion_logits(logits, len(completion)), tokens, torch.ones_like(tokens, dtype=torch.bool))


def assert_rows(signals, model, sequences=SEQUENCES, temperature=1.0, tolerance=1e-4):
    for row, (prompt, completion) in enumerate(sequences):
        assert signals.mask[row].tolist() == [t < len(completion) for t in range(signals.mask.shape[1])]
        if completion:
            expected = alone(model, prompt, completion, temperature)
            for name in SIGNALS:
                got = getattr(signals, name)[row, : len(completion)].tolist()
                assert got == pytest.approx(getattr(expected, name)[0].tolist(), abs=tolerance), (row, name)
        assert not any(getattr(signals, name)[row, len(completion) :].any() for name in SIGNALS)


@pytest.mark.parametrize("temperature", [1.0, 0.7])
@pytest.mark.parametrize("tokens", [1, 12, forward.CPU_BATCH_TOKENS])
def test_every_row_has_the_signals_it_has_alone(model, monkeypatch, tokens, temperature):
    monkeypatch.setattr(forward, "CPU_BATCH_TOKENS", tokens)
    signals = sequence_signals(model, SEQUENCES, 0, temperature=temperature)
    assert signals.logprob.shape == (5, 7)
    assert_rows(signals, model, temperature=temperature)


@pytest.mark.parametrize("tokens", [1, 12, forward.CPU_BATCH_TOKENS])
@pytest.mark.parametrize("heads", [1, 2])
def test_a_prompt_of_several_completions_is_read_once_and_gives_the_signals_of_each_alone(monkeypatch, tokens, heads):
    model = make(num_key_value_heads=heads)
    monkeypatch.setattr(forward, "CPU_BATCH_TOKENS", tokens)
    assert_rows(sequence_signals(model, GROUPS, 0, temperature=0.7), model, GROUPS, 0.7, tolerance=1e-5)
    assert forward._SHARES[model]


def read(model, sequences):
    """Shapes of what the embedding reads, the comparisons at first use left out."""
    sequence_signals(model, sequences, 0)
    shapes = []
    hook = model.model.embed_tokens.register_forward_hook(lambda module, args, out: shapes.append(tuple(args[0].shape)))
    sequence_signals(model, sequences, 0)
    hook.remove()
    return shapes


def test_neither_a_prompt_nor_a_last_token_is_read_for_every_completion(monkeypatch):
    """Three prompts, the longest of 5 tokens; six completions, the longest of 9, whose last token is not read."""
    assert read(make(), GROUPS) == [(3, 5), (6, 8)]
    assert read(make(), [GROUPS[0], GROUPS[4]]) == [(2, 9)]  # each prompt comes once


def test_a_cache_that_forgets_is_not_shared():
    model = make(sliding_window=4, layer_types=["sliding_attention", "full_attention"])
    assert not can_share(model.model, model.config)
    assert_rows(sequence_signals(model, GROUPS, 0), model, GROUPS)
    assert not forward._SHARES[model]


class Counting(torch.nn.Module):
    """A backbone's layer that depends on how many tokens go through at once, as no text tells."""

    def forward(self, states):
        return states + states.shape[1]


def test_a_model_that_gives_other_states_from_a_cache_reads_every_prompt_whole(monkeypatch):
    model = make()
    monkeypatch.setattr(model.model, "norm", Counting())
    assert sequence_signals(model, GROUPS, 0).mask.sum() == 23
    assert not forward._SHARES[model]


def test_completions_of_prompts_go_in_batches_of_bounded_tokens():
    """Completions of 3, 1, 9, -, 7, 1 and 2 tokens; prompts of 3 tokens at most in the first window, then of 2."""
    rows = [0, 1, 2, 4, 5, 6]
    assert [(prompts, [*places]) for prompts, places in windows(GROUPS, rows, 6)] == [
        ([(1, 3, 3, 3, 3)], [6]),
        ([(1, 5, 6), (1, 4)], [0, 1, 2, 4, 5]),
    ]
    # 9 alone; 7 alone; of 3 tokens and a prompt of 3 each, 14 // 3 = 4 rows.
    assert list(continuing(GROUPS, [0, 1, 2, 4, 5], 3, 14)) == [[2], [4, 0], [1, 5]]
    # A prompt of 50 tokens leaves room for one row: 4 * 14 // (50 + 3) = 1.
    assert list(continuing(GROUPS, [0, 1, 5], 50, 14)) == [[0], [1], [5]]


def test_batches_take_the_longest_first_and_stay_within_the_limit():
    """Lengths 6, 9, -, 6, 3: 9 alone (two would be 18), then 6 with 6 (12; a third would be 18), then 3."""
    assert list(forward.batches(SEQUENCES, [0, 1, 3, 4], 14)) == [[1], [0, 3], [4]]
    assert list(forward.batches(SEQUENCES, [0, 1, 3, 4], 2)) == [[1], [0], [3], [4]]


def test_only_the_check_of_a_model_makes_logits(model, monkeypatch):
    shapes = []
    hook = model.lm_head.register_forward_hook(lambda module, args, output: shapes.append(tuple(output.shape)))
    monkeypatch.delitem(forward._AGREES, model, raising=False)
    for _ in range(2):
        sequence_signals(model, SEQUENCES, 0)
    hook.remove()
    assert shapes == [(1, 6, 31)]


def test_nothing_to_score(model):
    for sequences, shape in (([], (0, 0)), ([([1, 2], [])], (1, 0))):
        assert sequence_signals(model, sequences, 0).logprob.shape == shape


def test_a_completion_needs_a_prompt(model):
    for sequences in ([([], [1, 2])], [([], [1, 2]), ([], [3])]):
        with pytest.raises(ValueError, match="without a prompt"):
            sequence_signals(model, sequences, 0)


def test_the_models_own_mode_is_left_alone(model):
    model.train()
    sequence_signals(model, SEQUENCES, 0)
    assert model.training
    model.eval()


class Shifted(LlamaForCausalLM):
    """A model that does to its logits what no configuration tells of."""

    def forward(self, *args, **kwargs):
        output = super().forward(*args, **kwargs)
        assert output.logits is not None
        output.logits = output.logits * 1.5
        return output


def test_a_model_with_logits_of_its_own_is_scored_by_them_with_a_warning(monkeypatch):
    model = Shifted(make().config).eval()
    monkeypatch.setattr(forward, "LOGIT_BYTES", 4 * 31 * 12)
    for _ in range(2):
        with pytest.warns(UserWarning, match="do not give the logits of Shifted; scoring with its full logits"):
            signals = sequence_signals(model, SEQUENCES, 0, temperature=0.7)
        assert_rows(signals, model, temperature=0.7)


class Doubled(torch.nn.Linear):
    """A last layer that is no plain matrix product, as that of a quantised model."""

    def forward(self, input):
        return 2 * super().forward(input)


def test_a_last_layer_of_another_kind_is_refused_and_scored_by_the_models_logits():
    model = make()
    model.lm_head = Doubled(16, 31, bias=False)
    with pytest.raises(ModelError, match="no plain linear layer but Doubled"):
        head_of(model)
    with pytest.warns(UserWarning, match="full logits"):
        assert_rows(sequence_signals(model, SEQUENCES, 0), model)


def test_weights_that_are_elsewhere_are_refused():
    with torch.device("meta"):
        model = make()
    with pytest.raises(ModelError, match="offloaded or quantised"):
        head_of(model)


def test_a_model_is_forgotten_with_its_check():
    model = make()
    with warnings.catch_warnings():
        sequence_signals(model, SEQUENCES, 0)
    assert model in forward._AGREES
    known = len(forward._AGREES)
    del model
    assert len(forward._AGREES) == known - 1


def plain_terms(model, sequences, temperature):
    """Log-probabilities and entropies [N, C] from the model's own full logits, one sequence at a time."""
    width = max(len(completion) for _, completion in sequences)
    logprob, entropy = ([], [])
    for prompt, completion in sequences:
        ids = torch.tensor([[*prompt, *completion]])
        log_p = (model(input_ids=ids).logits[0, len(prompt) - 1 : -1] / temperature).log_softmax(-1)
        room = (0, width - len(completion))
        chosen = log_p.gather(1, torch.tensor(completion, dtype=torch.long)[:, None]).squeeze(1)
        logprob.append(torch.nn.functional.pad(chosen, room))
        entropy.append(torch.nn.functional.pad(-(log_p.exp() * log_p).sum(1), room))
    return torch.stack(logprob), torch.stack(entropy)


def parameter_gradients(model, logprob, entropy):
    """Of a sum in which every token has a factor of its own."""
    factors = torch.linspace(-1.0, 1.5, logprob.numel()).view_as(logprob)
    names, parameters = zip(*model.named_parameters(), strict=True)
    given = torch.autograd.grad((factors * logprob + factors.flip(1) * entropy).sum(), parameters)
    return dict(zip(names, given, strict=True))


def assert_trains_as_its_own_logits(model, temperature):
    logprob, entropy, mask = completion_logprobs(model, SEQUENCES, 0, temperature=temperature)
    expected = plain_terms(model, SEQUENCES, temperature)
    assert mask.tolist() == [[t < len(completion) for t in range(7)] for _, completion in SEQUENCES]
    torch.testing.assert_close(logprob, expected[0], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(entropy, expected[1], atol=1e-5, rtol=1e-5)
    given, other = parameter_gradients(model, logprob, entropy), parameter_gradients(model, *expected)
    for name, value in other.items():
        assert (given[name] - value).abs().max() <= 1e-5 * max(1.0, float(value.abs().max())), name
        assert value.abs().max() > 1e-3, name
    return given


@pytest.mark.parametrize("temperature", [1.0, 0.5])
@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("tile_bytes", [4 * 31 * 3, 2**25])
def test_trained_log_probabilities_are_those_of_the_models_own_logits(monkeypatch, temperature, tied, tile_bytes):
    """Blocks of three tokens, and of all; tied embeddings gather the gradient of both ends."""
    blockwise = forward.head_logprobs
    monkeypatch.setattr(forward, "head_logprobs", lambda *a, **k: blockwise(*a, **k, tile_bytes=tile_bytes))
    model = make(tie_word_embeddings=tied)
    given = assert_trains_as_its_own_logits(model, temperature)
    assert ("lm_head.weight" in given) is not tied


def test_training_makes_no_logits_beside_the_check(model):
    completion_logprobs(model, SEQUENCES, 0)
    hook = model.lm_head.register_forward_hook(lambda *_: pytest.fail("the model's own logits were made"))
    completion_logprobs(model, SEQUENCES, 0)
    hook.remove()


def test_a_model_with_logits_of_its_own_is_trained_by_them():
    model = Shifted(make().config).eval()
    with pytest.warns(UserWarning, match="do not give the logits of Shifted"):
        assert_trains_as_its_own_logits(model, 0.5)
