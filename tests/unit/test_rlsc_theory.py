"""Identities behind RLSC (arXiv 2506.06395), R1 to R10, and across methods, C1 to C8.

Expected values are taken over every completion of a tabular policy, or every group of samples, by the definition in
float64; inward computes its signals in float32. F = sum_y p(y)^2 is the probability that two samples coincide, G the
number of samples of a prompt, p_a the probability of answer a.
"""

import itertools
import math
from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor

from inward.answers import AnswerSettings
from inward.batch import TokenSignals
from inward.confidence import mean_logprob, neg_entropy, self_certainty
from inward.equivalence import majority
from inward.losses import alpha_share, confidence_weight, weighted_nll
from inward.methods.rlsc import _samples
from inward.signals import token_signals
from inward.types import FinishReason, Prompt, SamplingParams, Source, Trace, TraceGroup

FLOAT32 = 2e-6
"""Absolute tolerance of signals and gradients of size one."""

# A tabular policy: three words, the first ends the completion, at most two tokens.

EOS = 0
COMPLETIONS = [(EOS,), *itertools.product((1, 2), (0, 1, 2))]
PREFIXES = [(), (1,), (2,)]
LENGTHS = torch.tensor([len(whole) for whole in COMPLETIONS])
MASK = torch.arange(2) < LENGTHS[:, None]
TOKENS = torch.tensor([[*whole, EOS][:2] for whole in COMPLETIONS])
STATES = torch.tensor([[0, PREFIXES.index(whole[:1]) if len(whole) > 1 else 0] for whole in COMPLETIONS])
"""Row of the logit table that generates token t; of padding, any."""
ANSWERS = [None, "4", "5", "4", "5", "5", "6"]
"""What each of the 7 completions answers."""


@pytest.fixture
def table() -> Tensor:
    """Logits of the next token after each of the 3 prefixes."""
    return torch.randn(3, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64).requires_grad_()


def enumerated(table: Tensor) -> TokenSignals:
    """inward's signals of all 7 completions."""
    return token_signals(table[STATES], TOKENS, MASK)


def scored(table: Tensor) -> Tensor:
    """inward's log-probability of all 7 completions."""
    return enumerated(table).logprob.sum(1)


def log_pi(table: Tensor) -> Tensor:
    """The same by the definition, in float64."""
    return (table.log_softmax(-1)[STATES, TOKENS] * MASK).sum(1)


def collision(table: Tensor) -> Tensor:
    """F by the definition."""
    return log_pi(table).exp().square().sum()


def gradient(value: Tensor, at: Tensor) -> Tensor:
    return torch.autograd.grad(value, at, retain_graph=True)[0].double()


def expected(values: Tensor, probability: Tensor) -> Tensor:
    """E over samples, through which no gradient flows."""
    return (probability.detach() * values).sum()


def mean_gradient(table: Tensor, weight: Tensor, alpha: float = 0.0) -> Tensor:
    """Gradient of the loss, averaged over samples of the policy."""
    return gradient(expected(weighted_nll(scored(table), weight, alpha), log_pi(table).exp()), table)


def close(given: Tensor, wanted: Tensor) -> None:
    torch.testing.assert_close(given, wanted, atol=FLOAT32, rtol=0)


def test_the_enumeration_is_complete(table: Tensor):
    assert LENGTHS.tolist() == [1, 2, 2, 2, 2, 2, 2]
    assert log_pi(table).exp().sum().item() == pytest.approx(1)
    close(scored(table).double(), log_pi(table))


# R1 to R4: what the gradient is, in expectation.


def test_r1_the_loss_follows_half_the_gradient_of_the_collision_probability(table: Tensor):
    """grad F = 2 E[p grad log p]; the loss -sg[p] log p has -E[p grad log p], the paper's equation 4."""
    weight = confidence_weight(scored(table), LENGTHS, "sequence")
    uphill = gradient(collision(table), table)
    assert uphill.norm() > 0.1
    close(mean_gradient(table, weight), -uphill / 2)


def test_r1_so_does_the_loss_of_several_samples_on_average(table: Tensor):
    """All 49 pairs of independent samples."""
    logprob, probability = scored(table), log_pi(table).exp()
    pairs = [torch.tensor(pair) for pair in itertools.product(range(7), repeat=2)]
    losses = [
        weighted_nll(logprob[pair], confidence_weight(logprob[pair], LENGTHS[pair], "sequence"), 0.0).sum()
        for pair in pairs
    ]
    chance = torch.stack([probability[pair].prod() for pair in pairs])
    close(gradient(expected(torch.stack(losses), chance), table), -2 * gradient(collision(table), table) / 2)


def test_r2_the_sum_over_all_completions_instead_of_samples_has_no_gradient(table: Tensor):
    """sum_y p_old(y) grad log p(y) = grad sum_y p(y) = 0 at p = p_old: equations 5 to 7 must run over samples."""
    weight = confidence_weight(scored(table), LENGTHS, "sequence")
    close(gradient(weighted_nll(scored(table), weight, 0.0).sum(), table), torch.zeros(3, 3).double())
    assert mean_gradient(table, weight).norm() > 0.05


def test_r3_alpha_moves_nothing_in_expectation_where_the_sampler_scores(table: Tensor):
    """E[alpha grad log p] = 0; what it adds is variance, E |alpha grad log p|^2 > 0."""
    none = confidence_weight(scored(table), LENGTHS, "none")
    close(mean_gradient(table, none, alpha=0.7), torch.zeros(3, 3).double())
    weight = confidence_weight(scored(table), LENGTHS, "sequence")
    close(mean_gradient(table, weight, alpha=0.7), mean_gradient(table, weight))
    steps = torch.stack([gradient(one, table) for one in weighted_nll(scored(table), none, 0.7)])
    assert expected(steps.square().sum((1, 2)), log_pi(table).exp()) > 0.1


def test_r4_alpha_pulls_to_the_sharper_policy_that_sampled():
    """Sampled at temperature 1/2, scored at 1: -grad = alpha (q - p), q = p^2 / sum p^2.

    p = (.5, .3, .2): q = (.25, .09, .04) / .38 = (.657895, .236842, .105263), so .1 (q - p) is as below.
    """
    z = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64).log().requires_grad_()
    logprob = token_signals(z.expand(3, 1, 3), torch.arange(3)[:, None], torch.ones(3, 1, dtype=torch.bool)).logprob
    losses = weighted_nll(logprob.sum(1), torch.zeros(3), 0.1)
    step = -gradient(expected(losses, (z / 0.5).softmax(0)), z)
    assert step.tolist() == pytest.approx([0.0157895, -0.0063158, -0.0094737], abs=1e-7)
    assert (-gradient(expected(losses, z.softmax(0)), z)).abs().max() < 1e-7


# R5 to R7: size.


def test_r5_collision_probability_by_hand():
    """p = (1/2, 1/4, 1/4): F = 1/4 + 2/16 = .375, between e^-H = 2^-1.5 = .353553 and max p = .5."""
    logprob = torch.tensor([0.5, 0.25, 0.25]).log()
    f = expected(confidence_weight(logprob, torch.ones(3, dtype=torch.long), "sequence"), logprob.exp())
    assert f.item() == pytest.approx(0.375)


@pytest.mark.parametrize("scale", [0.0, 0.3, 1.0, 3.0, 40.0])
def test_r5_bounds_of_the_collision_probability(table: Tensor, scale: float):
    """e^-H <= F <= max p and 1/7 <= F <= 1, so that 0 <= -log F (the Renyi-2 entropy) <= H."""
    logprob = log_pi(scale * table).detach()
    f = expected(confidence_weight(scored(scale * table), LENGTHS, "sequence"), logprob.exp()).item()
    entropy = -expected(logprob, logprob.exp()).item()
    assert math.exp(-entropy) - FLOAT32 <= f <= logprob.exp().max().item() + FLOAT32
    assert 1 / 7 - FLOAT32 <= f <= 1 + FLOAT32
    assert (f == pytest.approx(1, abs=1e-4)) is (scale == 40.0)


def test_r5_uniform_completions_are_the_least(table: Tensor):
    """Seven completions of 1/7 each: the first token ends with 1/7, or is one of two with 3/7."""
    uniform = torch.tensor([[1 / 7, 3 / 7, 3 / 7], [1 / 3] * 3, [1 / 3] * 3]).log()
    weight = confidence_weight(scored(uniform), LENGTHS, "sequence")
    assert weight.tolist() == pytest.approx([1 / 7] * 7)


def test_r6_the_gradient_by_log_probability_is_minus_the_weight():
    """-(p + alpha) for p = 1/2, 1/4 and alpha = .1: -.6, -.35; nothing flows through p."""
    logprob = torch.tensor([0.5, 0.25]).log().requires_grad_()
    weight = confidence_weight(logprob, torch.tensor([1, 2]), "sequence")
    weighted_nll(logprob, weight, 0.1).sum().backward()
    assert logprob.grad.tolist() == pytest.approx([-0.6, -0.35])


@pytest.mark.parametrize("kind", ["sequence", "length_normalised"])
def test_r6_a_weight_is_detached_whoever_makes_it(kind):
    logprob = torch.tensor([0.5, 0.25]).log().requires_grad_()
    length = torch.tensor([1, 2])
    assert not confidence_weight(logprob, length, kind).requires_grad
    attached = (logprob / length).exp() if kind == "length_normalised" else logprob.exp()
    weighted_nll(logprob, attached, 0.0).sum().backward()
    assert logprob.grad.tolist() == pytest.approx((-attached).tolist())


def test_r7_the_probability_of_a_long_completion_is_zero_in_float32():
    """e^-104 < 1.4e-45; 300 tokens of -.1 give e^-30 = 9.4e-14, which alpha = .1 buries."""
    logprob = torch.tensor([-104.0, -104.0]).requires_grad_()
    weight = confidence_weight(logprob, torch.tensor([1040, 1040]), "sequence")
    assert weight.tolist() == [0.0, 0.0]
    weighted_nll(logprob, weight, 0.0).sum().backward()
    assert logprob.grad.tolist() == [0.0, 0.0]
    weighted_nll(logprob, weight, 0.1).sum().backward()
    assert logprob.grad.tolist() == pytest.approx([-0.1, -0.1])
    assert alpha_share(weight, 0.1) == 1.0 and alpha_share(weight, 0.0) == 0.0
    assert confidence_weight(torch.tensor([-30.0]), torch.tensor([300]), "sequence").item() == pytest.approx(9.36e-14)


def test_r7_alpha_has_half_the_weight_after_23_tokens():
    """e^(-.1 * 23) = .100259 > .1 > .090718 = e^(-.1 * 24)."""
    shares = [alpha_share(torch.tensor([-0.1 * length]).exp(), 0.1) for length in (23, 24)]
    assert shares == pytest.approx([0.1 / 0.200259, 0.1 / 0.190718], rel=1e-5)
    assert shares[0] < 0.5 < shares[1]


def test_r7_the_mean_over_tokens_does_not_vanish():
    """e^-.1 = .904837 at any length."""
    weight = confidence_weight(torch.tensor([-0.1, -104.0]), torch.tensor([1, 1040]), "length_normalised")
    assert weight.tolist() == pytest.approx([0.904837] * 2)


# R8: answers in place of completions.


def mass(probability: Tensor) -> Tensor:
    """p_a of the answer of each of the 7 completions; one without an answer shares it with none."""
    same = torch.tensor([[one is not None and one == other for other in ANSWERS] for one in ANSWERS])
    return (same * probability).sum(1)


def answer_collision(table: Tensor) -> Tensor:
    """sum_a p_a^2: the sum over completions of p(y) p_a(y)."""
    return (log_pi(table).exp() * mass(log_pi(table).exp())).sum()


def test_r8_the_probability_of_the_answer_as_weight_follows_half_the_collision_of_answers(table: Tensor):
    share = mass(log_pi(table).exp()).float().detach()
    weight = confidence_weight(scored(table), LENGTHS, "answer", answer_share=share)
    close(mean_gradient(table, weight), -gradient(answer_collision(table), table) / 2)


def test_r8_the_share_among_three_samples_follows_two_thirds_of_it(table: Tensor):
    """A sample counts itself: share = (1 + votes of the others) / G, and (G - 1) / G of R8's gradient is left.

    The 1 / G is a baseline where every completion has an answer. One without has share 0, so that what remains of it
    is E[answered grad log p] / G: a pull towards giving an answer. All 343 groups of three.
    """
    logprob, probability = scored(table), log_pi(table).exp().detach()
    answered = torch.tensor([one is not None for one in ANSWERS])
    total = torch.zeros(())
    for group in itertools.product(range(7), repeat=3):
        rows, given = torch.tensor(group), [ANSWERS[row] for row in group]
        share = torch.tensor([given.count(one) / 3 if one else 0.0 for one in given])
        weight = confidence_weight(logprob[rows], LENGTHS[rows], "answer", answer_share=share)
        total = total + probability[rows].prod() * weighted_nll(logprob[rows], weight, 0.0).mean()
    itself = gradient(expected(answered * log_pi(table) / 3, probability), table)
    close(gradient(total, table), -gradient(answer_collision(table), table) / 3 - itself)


# R9 and R10: symmetry, padding, the Shannon row.


def test_r9_nothing_beside_the_completion_counts(table: Tensor):
    """Logits, tokens and gradients of padding, whatever they are, are no part of p(y)."""
    logits = table[STATES].detach()
    junk = logits.masked_fill(~MASK[..., None], 50.0).requires_grad_()
    signals = token_signals(junk, TOKENS.masked_fill(~MASK, 2), MASK)
    weight = confidence_weight(signals.logprob.sum(1), LENGTHS, "sequence")
    assert torch.equal(weight, confidence_weight(scored(table), LENGTHS, "sequence"))
    by_logit = torch.autograd.grad(weighted_nll(signals.logprob.sum(1), weight, 0.1).sum(), junk)[0]
    assert (by_logit[~MASK] == 0).all() and (by_logit[MASK].abs().sum(-1) > 0).all()


def test_r9_the_order_of_samples_does_not_count(table: Tensor):
    logprob, order = scored(table), torch.tensor([4, 2, 0, 6, 1, 3, 5])

    def losses(rows: Tensor) -> Tensor:
        return weighted_nll(logprob[rows], confidence_weight(logprob[rows], LENGTHS[rows], "length_normalised"), 0.1)

    assert torch.equal(losses(order), losses(torch.arange(7))[order])


def test_r10_the_one_in_the_weight_of_shannon_entropy_is_a_baseline(table: Tensor):
    """Weights 1 + log p and log p both follow grad E[log p] = -grad H: alpha = 1 and alpha = 0."""
    uphill = gradient((log_pi(table).exp() * log_pi(table)).sum(), table)
    for alpha in (0.0, 1.0):
        close(mean_gradient(table, scored(table), alpha), -uphill)


# C1 to C8: across methods.


def advantages(group: Tensor) -> Tensor:
    """GRPO's: sample standard deviation (ddof 1), epsilon 1e-4."""
    return (group - group.mean()) / (group.std() + 1e-4)


def random_group(lengths: Sequence[int]) -> TokenSignals:
    """Traces of random logits over five words."""
    logits = 2 * torch.randn(len(lengths), 4, 5, generator=torch.Generator().manual_seed(0))
    mask = torch.arange(4) < torch.tensor(lengths)[:, None]
    return token_signals(logits, torch.arange(4 * len(lengths)).view(-1, 4) % 5, mask)


@pytest.mark.parametrize("measure", [self_certainty, neg_entropy, mean_logprob])
def test_c1_sum_and_mean_rank_alike_where_lengths_are_equal_and_only_there(measure: Callable[..., Tensor]):
    """They differ by the factor T."""
    for lengths in ([3, 3, 3, 3], [1, 2, 3, 4]):
        signals = random_group(lengths)
        mean, total = (measure(signals, signals.mask, length_norm=how) for how in ("mean", "sum"))
        torch.testing.assert_close(total, mean * torch.tensor(lengths))
        assert (mean.argsort().tolist() == total.argsort().tolist()) is (lengths[0] == lengths[1])


def test_c2_the_trajectory_gradient_is_the_token_gradient_and_that_of_entropy_minimisation(table: Tensor):
    """EM-RL-sequence = EM-RL-token + EM-FT: E[log pi grad log pi] = E[-sum_t H_t grad log pi] - E[grad sum_t H_t]."""
    signals, probability = enumerated(table), log_pi(table).exp().detach()

    def reinforce(measure: Callable[..., Tensor]) -> Tensor:
        return -mean_gradient(table, measure(signals, MASK, length_norm="sum"))

    weighted = signals.entropy * probability[:, None]
    minimised = -gradient(weighted.sum(), table)
    close(reinforce(mean_logprob), reinforce(neg_entropy) + minimised)
    assert min(reinforce(neg_entropy).norm(), minimised.norm()) > 0.05


def answered(*answers: str | None) -> list[float]:
    """The share of each sample's answer, as RLSC reads it off a group."""
    sampling = SamplingParams(
        strategy="sample",
        group_size=len(answers),
        num_branches=0,
        temperature=1.0,
        top_p=1.0,
        max_completion_tokens=4,
        seed=0,
    )
    traces = tuple(
        Trace(
            prompt_id="q",
            index=index,
            source=Source.SAMPLE,
            prompt_ids=(1,),
            completion_ids=(5, 2),
            completion=f"so {answer or 'what'}",
            token_ends=(4, 4),
            finish_reason=FinishReason.STOP,
            policy="tabular",
        )
        for index, answer in enumerate(answers)
    )
    group = TraceGroup(prompt=Prompt(id="q", text="?"), traces=traces, sampling=sampling)
    made = _samples([group, group], AnswerSettings(kind="number"))
    assert made.answer_share[len(answers) :] == made.answer_share[: len(answers)], "groups vote apart"
    return list(made.answer_share[: len(answers)])


def test_c3_the_share_of_an_answer_by_hand():
    """Three of five say 4, one 5, one nothing."""
    assert answered("4", "5", "4.0", None, "4") == pytest.approx([0.6, 0.2, 0.6, 0.0, 0.6])


@pytest.mark.parametrize(("size", "mean"), [(1, 1.0), (2, 0.73), (4, 0.595)])
def test_c3_the_mean_share_is_the_collision_of_answers_but_for_the_sample_itself(size: int, mean: float):
    """p = (.6, .3, .1): ((G-1) sum p^2 + 1) / G, sum p^2 = .46: 1, (.46 + 1) / 2, (1.38 + 1) / 4; all 3^G groups."""
    p = {"4": 0.6, "5": 0.3, "6": 0.1}
    shares = [
        math.prod(p[one] for one in group) * sum(answered(*group)) / size for group in itertools.product(p, repeat=size)
    ]
    assert sum(shares) == pytest.approx(mean)


def test_c4_a_unanimous_group_has_nothing_to_gain_by_its_vote_but_by_its_certainty():
    """Majority rewards 1, 1, 1, 1 have advantage 0; rewards of the distributions still tell the traces apart."""
    answers = ["4", "4.0", "4", "4"]
    assert answered(*answers) == [1.0] * 4
    assert majority(answers, "number") == "4"
    assert advantages(torch.ones(4)).tolist() == [0.0] * 4
    signals = random_group([4, 4, 4, 4])
    for measure in (self_certainty, neg_entropy):
        assert advantages(measure(signals, signals.mask)).abs().min() > 0.01


@pytest.mark.parametrize(
    ("measure", "moves"),
    [(self_certainty, False), (neg_entropy, False), (mean_logprob, True), (None, True)],
)
def test_c5_in_a_bandit_only_rewards_of_the_token_move_the_policy(measure: Callable[..., Tensor] | None, moves: bool):
    """E[r grad log p], the reward the same for every token or, with None, RLSC's probability of the token."""
    z = torch.tensor([0.55, 0.25, 0.15, 0.05], dtype=torch.float64).log().requires_grad_()
    mask = torch.ones(4, 1, dtype=torch.bool)
    signals = token_signals(z.expand(4, 1, 4), torch.arange(4)[:, None], mask)
    logprob = signals.logprob.sum(1)
    weight = measure(signals, mask) if measure else confidence_weight(logprob, mask.sum(1), "sequence")
    step = -gradient(expected(weighted_nll(logprob, weight, 0.0), z.softmax(0)), z)
    assert bool(step.norm() > 0.05) is moves
    if not moves:
        close(step, torch.zeros(4).double())


def group_gradient(table: Tensor, reward: Callable[[int, int], float]) -> Tensor:
    """Expected gradient of groups of two, a fair coin beside each sample; all 7^2 * 2^2 cases."""
    logprob, probability = scored(table), log_pi(table).exp().detach()
    total = torch.zeros(())
    for rows in itertools.product(range(7), repeat=2):
        for coins in itertools.product(range(2), repeat=2):
            gained = advantages(torch.tensor([reward(row, coin) for row, coin in zip(rows, coins, strict=True)]))
            index = torch.tensor(rows)
            total = total + probability[index].prod() / 4 * weighted_nll(logprob[index], gained, 0.0).mean()
    return -gradient(total, table)


def test_c6_a_random_reward_moves_nothing_in_expectation(table: Tensor):
    close(group_gradient(table, lambda row, coin: float(coin)), torch.zeros(3, 3).double())
    assert group_gradient(table, lambda row, coin: float(row == 0)).norm() > 0.1


BETA = 0.5


def tilted(p: Tensor, reward: Tensor) -> Tensor:
    """p exp(r / beta), normalised: the optimum of E[r] - beta KL(. || p)."""
    return (p.log() + reward / BETA).softmax(0)


def test_c7_the_optimum_of_a_majority_reward_multiplies_the_odds():
    """By e^(1 / beta) = e^2: p_maj = .4, odds 2/3, become .666667 * 7.389056 = 4.926037, p_maj = .831253."""
    answers, p = ["5", "4", "6"], torch.tensor([0.3, 0.4, 0.3], dtype=torch.float64)
    winner = majority([one for one, votes in zip(answers, (3, 4, 3), strict=True) for _ in range(votes)], "number")
    reward = torch.tensor([float(one == winner) for one in answers], dtype=torch.float64)
    best = tilted(p, reward)
    assert best.tolist() == pytest.approx([(1 - 0.831253) / 2, 0.831253, (1 - 0.831253) / 2], abs=1e-6)
    assert (best[1].logit() - p[1].logit()).item() == pytest.approx(1 / BETA)
    z = best.log().requires_grad_()
    kl = (z.softmax(0) * (z.log_softmax(0) - p.log())).sum()
    torch.testing.assert_close(gradient((z.softmax(0) * reward).sum() - BETA * kl, z), torch.zeros(3).double())


def test_c7_repeated_it_ends_in_the_first_majority_whatever_is_right():
    """1 - p_k <= (1 - p_0) / p_0 * e^(-k / beta)."""
    p, reward = torch.tensor([0.3, 0.4, 0.3], dtype=torch.float64), torch.tensor([0.0, 1.0, 0.0], dtype=torch.float64)
    rest = []
    for step in range(8):
        rest.append(1 - p[1].item())
        assert rest[-1] <= 0.6 / 0.4 * math.exp(-step / BETA) + 1e-12
        p = tilted(p, reward)
    assert rest == sorted(rest, reverse=True) and rest[-1] < 1e-5


@pytest.mark.parametrize(
    "answers", [("4", "5", "4", "6"), ("5", "5", "4", None), ("6",), (None, "4", "4"), ("4", "4", "4")]
)
def test_c8_the_hard_vote_is_the_largest_share(answers: tuple[str | None, ...]):
    shares = answered(*answers)
    winner = majority(answers, "number")
    assert [one == winner for one in answers] == [share == max(shares) for share in shares]


def test_c8_a_tie_goes_to_the_answer_given_first():
    """Shares cannot tell the two apart; the vote does, the same way each time."""
    answers = ["5", "4", "4", "5"]
    assert answered(*answers) == [0.5] * 4
    assert {majority(answers, "number") for _ in range(5)} == {"5"}
    assert majority(answers[1:] + answers[:1], "number") == "4"
