"""Identities behind RLIF's three rewards (arXiv 2506.17219), numbered U1 to U16.

Three kinds of policy: one distribution of logits z with p = softmax(z) (a bandit: one-token traces); every completion
of a tabular policy, enumerated; two traces of given probability and length. Expected values are taken by the
definition in float64; inward computes its signals in float32. H is entropy, SC = KL(U || p), V the size of the
vocabulary, T the number of completion tokens, eta a step size.
"""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from inward.batch import TokenSignals
from inward.confidence import LengthNorm, mean_logprob, neg_entropy, self_certainty
from inward.signals import token_signals

RLIF = (self_certainty, neg_entropy, mean_logprob)
FLOAT32 = 2e-6
"""Absolute tolerance of signals and gradients of size one."""

PROBS = torch.tensor([0.55, 0.25, 0.15, 0.05], dtype=torch.float64)
Z = PROBS.log() + 0.7
UNIFORM = torch.full((4,), 0.25, dtype=torch.float64)


def bandit(z: Tensor) -> TokenSignals:
    """Signals of every token of the vocabulary, each drawn from softmax(z): V tokens in one row."""
    size = len(z)
    return token_signals(z.expand(1, size, size), torch.arange(size)[None], torch.ones(1, size, dtype=torch.bool))


def bandit_entropy(z: Tensor) -> float:
    return float(bandit(z).entropy[0, 0])


def gradient(value: Tensor, at: Tensor) -> Tensor:
    return torch.autograd.grad(value, at, retain_graph=True)[0].double()


def covariance(p: Tensor, a: Tensor, b: Tensor) -> Tensor:
    return (p * a * b).sum() - (p * a).sum() * (p * b).sum()


def halving_ratio(error: Callable[[float], float], step: float = 0.1) -> float:
    """How much an error shrinks when the step is halved: 2 at first order, 4 at second."""
    return error(step) / error(step / 2)


def rewards(measure: Callable[..., Tensor], signals: TokenSignals, length_norm: LengthNorm = "mean") -> Tensor:
    return measure(signals, torch.zeros_like(signals.mask), length_norm=length_norm)


def advantages(group: Tensor) -> Tensor:
    """GRPO's, as TRL computes them: sample standard deviation (ddof 1), epsilon 1e-4."""
    centred = group - group.mean()
    return centred / (group.std() + 1e-4)


def random_logits(*shape: int, scale: float = 2.0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * scale


# A tabular policy: three words, the first ends the completion, at most three tokens.

EOS, VOCABULARY, LIMIT = 0, 3, 3


def completions(prefix: tuple[int, ...] = ()) -> list[tuple[int, ...]]:
    if len(prefix) == LIMIT or prefix[-1:] == (EOS,):
        return [prefix]
    return [whole for token in range(VOCABULARY) for whole in completions((*prefix, token))]


COMPLETIONS = completions()
PREFIXES = sorted({whole[:t] for whole in COMPLETIONS for t in range(len(whole))})
LENGTHS = torch.tensor([len(whole) for whole in COMPLETIONS], dtype=torch.float64)
MASK = torch.arange(LIMIT) < LENGTHS[:, None]
TOKENS = torch.tensor([[*whole, *[EOS] * (LIMIT - len(whole))] for whole in COMPLETIONS])
STATES = torch.tensor(
    [[PREFIXES.index(whole[:t]) if t < len(whole) else 0 for t in range(LIMIT)] for whole in COMPLETIONS]
)
"""Row of the logit table that generates token t; of padding, any."""


@pytest.fixture
def table() -> Tensor:
    """Logits of the next token after each of the 7 prefixes."""
    return random_logits(len(PREFIXES), VOCABULARY, scale=1.0).requires_grad_()


def enumerated(table: Tensor) -> TokenSignals:
    """inward's signals of all 15 completions."""
    return token_signals(table[STATES], TOKENS, MASK)


def log_pi(table: Tensor) -> Tensor:
    """Log-probability of all 15 completions by the definition, in float64."""
    return (table.log_softmax(-1)[STATES, TOKENS] * MASK).sum(1)


def trajectory_entropy(table: Tensor) -> Tensor:
    return -(log_pi(table).exp() * log_pi(table)).sum()


def expected(values: Tensor, table: Tensor) -> Tensor:
    """E over completions; the probabilities take part in a gradient, as do the values unless detached."""
    return (log_pi(table).exp() * values.double()).sum()


def reinforce(reward: Tensor, table: Tensor) -> Tensor:
    """E[r grad log pi], the reward detached: what a policy-gradient step follows."""
    return gradient(((log_pi(table).exp() * reward.double()).detach() * log_pi(table)).sum(), table)


def test_the_enumeration_is_complete(table: Tensor):
    """1 completion of one token, 2 of two and 4 * 3 of three; their probabilities sum to 1."""
    assert LENGTHS.tolist().count(1) == 1 and LENGTHS.tolist().count(2) == 2 and len(LENGTHS) == 15
    assert log_pi(table).exp().sum().item() == pytest.approx(1)


# U1 to U6: one distribution.


def test_u1_self_certainty_is_logsumexp_minus_mean_minus_log_v():
    """KL(U || p) = sum_v (1/V) log((1/V) / p_v) = logsumexp(z) - mean(z) - log V >= 0, on random logits."""
    z = random_logits(5, 7, 11)
    by_definition = ((1 / 11) * ((1 / 11) / z.softmax(-1)).log()).sum(-1)
    signals = token_signals(z, torch.zeros(5, 7, dtype=torch.long), torch.ones(5, 7, dtype=torch.bool))
    torch.testing.assert_close(z.logsumexp(-1) - z.mean(-1) - math.log(11), by_definition)
    torch.testing.assert_close(signals.self_certainty.double(), by_definition, atol=FLOAT32, rtol=0)
    assert (signals.self_certainty > 0).all()


def test_u1_self_certainty_is_zero_only_where_p_is_uniform():
    """KL(U || p) = 0 for equal logits, whatever their level, and > 0 as soon as one differs."""
    assert bandit(torch.full((4,), 3.0)).self_certainty.abs().max() < FLOAT32
    assert bandit(torch.tensor([3.0, 3.0, 3.0, 3.05])).self_certainty.min() > 1e-4


def test_u1_negative_entropy_is_the_reverse_divergence():
    """-H(p) = KL(p || U) - log V, KL(p || U) = sum_v p_v log(V p_v)."""
    reverse = float((PROBS * (4 * PROBS).log()).sum())
    assert -bandit_entropy(Z) == pytest.approx(reverse - math.log(4), abs=FLOAT32)


def test_u2_gradient_of_self_certainty():
    """grad_z KL(U || p) = p - 1/V."""
    z = Z.clone().requires_grad_()
    torch.testing.assert_close(gradient(bandit(z).self_certainty[0, 0], z), PROBS - 1 / 4, atol=FLOAT32, rtol=0)


def test_u3_gradient_of_entropy():
    """dH/dz_j = -p_j (log p_j + H)."""
    z = Z.clone().requires_grad_()
    entropy = -(PROBS * PROBS.log()).sum()
    torch.testing.assert_close(
        gradient(bandit(z).entropy[0, 0], z), -PROBS * (PROBS.log() + entropy), atol=FLOAT32, rtol=0
    )


def test_u4_entropy_changes_by_minus_the_covariance_of_log_p_and_the_step():
    """H(z + d) - H(z) = -Cov_p(log p, d) + O(d^2)."""
    direction = torch.tensor([0.8, -0.5, -0.6, 0.3], dtype=torch.float64)
    slope = -float(covariance(PROBS, PROBS.log(), direction))

    def error(step: float) -> float:
        return bandit_entropy(Z + step * direction) - bandit_entropy(Z) - step * slope

    assert abs(slope) > 0.1
    assert halving_ratio(error) == pytest.approx(4, rel=0.1)


def ascend_self_certainty(z: Tensor, eta: float) -> Tensor:
    start = z.clone().requires_grad_()
    return z + eta * gradient(bandit(start).self_certainty[0, 0], start)


def test_u5_a_step_up_self_certainty_lowers_entropy_by_a_covariance():
    """The step eta (p - 1/V) gives dH = -eta Cov_p(log p, p) + O(eta^2)."""
    slope = -float(covariance(PROBS, PROBS.log(), PROBS))

    def error(eta: float) -> float:
        return bandit_entropy(ascend_self_certainty(Z, eta)) - bandit_entropy(Z) - eta * slope

    assert slope < -0.1
    assert halving_ratio(error) == pytest.approx(4, rel=0.1)


def test_u5_a_step_up_self_certainty_never_raises_entropy():
    """p'/p grows with p, so p' majorises p and dH <= 0 for every eta > 0; = 0 only where p is uniform."""
    for eta in (0.01, 0.1, 1.0, 10.0):
        assert bandit_entropy(ascend_self_certainty(Z, eta)) < bandit_entropy(Z) - 1e-4
        assert bandit_entropy(ascend_self_certainty(UNIFORM.log(), eta)) == pytest.approx(math.log(4), abs=FLOAT32)
    assert float(covariance(UNIFORM, UNIFORM.log(), UNIFORM)) == pytest.approx(0, abs=1e-12)


def natural_step(z: Tensor, eta: float) -> Tensor:
    """z + eta A with the reward log p(a), whose advantage is log p(a) + H."""
    signals = bandit(z)
    return z + eta * (signals.logprob + signals.entropy)[0].double()


@pytest.mark.parametrize("eta", [0.1, 1.0, 3.0])
def test_u6_a_natural_gradient_step_on_log_p_lowers_the_temperature(eta: float):
    """The step eta (log p + H) gives exactly p' = p^(1 + eta) / sum p^(1 + eta): temperature 1 / (1 + eta)."""
    power = PROBS ** (1 + eta)
    sharpened = bandit(natural_step(Z, eta)).logprob[0].double().exp()
    torch.testing.assert_close(sharpened, power / power.sum(), atol=FLOAT32, rtol=0)
    cooled = (Z / (1 / (1 + eta))).softmax(-1)
    torch.testing.assert_close(sharpened, cooled, atol=FLOAT32, rtol=0)


def test_u6_a_natural_gradient_step_on_log_p_lowers_entropy_by_a_variance():
    """The step eta (log p + H) gives dH = -eta Var_p(log p) + O(eta^2)."""
    slope = -float(covariance(PROBS, PROBS.log(), PROBS.log()))

    def error(eta: float) -> float:
        return bandit_entropy(natural_step(Z, eta)) - bandit_entropy(Z) - eta * slope

    assert slope < -0.1
    assert halving_ratio(error) == pytest.approx(4, rel=0.1)


# U7 to U10: all completions of the tabular policy.


def test_u7_trajectory_entropy_is_the_expected_sum_of_token_entropies(table: Tensor):
    """-E[log pi(y)] = E[sum_t H(p_t)], as sums over tokens; as means over tokens the two differ."""
    signals = enumerated(table)
    entropy = trajectory_entropy(table).item()
    for measure in (mean_logprob, neg_entropy):
        assert -expected(rewards(measure, signals, "sum"), table).item() == pytest.approx(entropy, abs=FLOAT32)
    by_logprob, by_entropy = (expected(rewards(one, signals), table).item() for one in (mean_logprob, neg_entropy))
    assert abs(by_logprob - by_entropy) > 1e-2


def test_u8_reinforce_with_the_detached_trajectory_reward_is_the_entropy_gradient(table: Tensor):
    """grad(-H_traj) = E[log pi grad log pi]: the further term E[1 grad log pi] is 0, so detaching loses nothing."""
    reward = rewards(mean_logprob, enumerated(table), "sum")
    downhill = gradient(-trajectory_entropy(table), table)
    assert downhill.norm() > 0.1
    torch.testing.assert_close(gradient(expected(reward, table), table), downhill, atol=FLOAT32, rtol=0)
    torch.testing.assert_close(reinforce(reward, table), downhill, atol=FLOAT32, rtol=0)
    torch.testing.assert_close(reinforce(torch.ones(15), table), torch.zeros_like(table), atol=1e-12, rtol=0)


def test_u9_the_mean_over_tokens_leaves_out_a_pull_towards_short_outputs(table: Tensor):
    """grad E[log pi / T] = E[(log pi / T) grad log pi] + grad E[1/T]; a detached reward has the first term only."""
    reward = rewards(mean_logprob, enumerated(table))
    whole = gradient(expected(log_pi(table) / LENGTHS, table), table)
    shortening = gradient(expected(1 / LENGTHS, table), table)
    torch.testing.assert_close(reinforce(reward, table) + shortening, whole, atol=FLOAT32, rtol=0)
    assert shortening.norm() > 1e-2
    assert (shortening * gradient(expected(LENGTHS, table), table)).sum() < 0


def test_u9_the_mean_over_tokens_does_not_follow_the_entropy_gradient(table: Tensor):
    """E[(log pi / T) grad log pi] is not parallel to grad(-H_traj); the sum, by U8, is."""
    downhill = gradient(-trajectory_entropy(table), table)

    def cosine(length_norm: LengthNorm) -> float:
        step = reinforce(rewards(mean_logprob, enumerated(table), length_norm), table)
        return ((step * downhill).sum() / step.norm() / downhill.norm()).item()

    assert cosine("sum") == pytest.approx(1, abs=FLOAT32)
    assert cosine("mean") < 0.9


def test_u10_the_detached_token_reward_lacks_the_direct_entropy_gradient(table: Tensor):
    """grad(-H_traj) = E[r_tok grad log pi] - E[sum_t grad H(p_t)], r_tok = -sum_t H(p_t); the second is no trifle."""
    reward = rewards(neg_entropy, enumerated(table), "sum")
    direct = gradient((log_pi(table).exp().detach() * reward.double()).sum(), table)
    downhill = gradient(-trajectory_entropy(table), table)
    torch.testing.assert_close(reinforce(reward, table) + direct, downhill, atol=FLOAT32, rtol=0)
    assert direct.norm() > 0.1 * downhill.norm()


# U11 to U14: groups, padding, sampling.


def bandit_group(z: Tensor) -> TokenSignals:
    """A group of six traces of one token each."""
    actions = torch.tensor([[0], [1], [0], [2], [3], [0]])
    return token_signals(z.expand(6, 1, 4), actions, torch.ones(6, 1, dtype=torch.bool))


@pytest.mark.parametrize("measure", [self_certainty, neg_entropy])
def test_u11_in_a_bandit_rewards_of_the_distribution_move_nothing_unless_differentiated(
    measure: Callable[..., Tensor],
):
    """r_tok and r_SC are the same for every action: advantages 0, no step; their own gradient is not 0."""
    z = Z.clone().requires_grad_()
    signals = bandit_group(z)
    advantage = advantages(rewards(measure, signals).detach())
    # Equal float32 numbers may differ from their mean in the last place, which 1 / 1e-4 magnifies.
    torch.testing.assert_close(advantage, torch.zeros(6), atol=2e-3, rtol=0)
    assert gradient((advantage[:, None] * signals.logprob).mean(), z).norm() < 1e-3
    assert gradient(rewards(measure, signals).mean(), z).norm() > 0.1


def test_u11_in_a_bandit_the_trajectory_reward_moves_the_policy():
    """r_traj = log p(a) differs by action: the likeliest gains, and a step up lowers entropy."""
    z = Z.clone().requires_grad_()
    signals = bandit_group(z)
    advantage = advantages(rewards(mean_logprob, signals).detach())
    assert advantage.argmax() == 0 and advantage.argmin() == 4  # actions 0 and 3
    step = gradient((advantage[:, None] * signals.logprob).mean(), z)
    assert bandit_entropy(Z + 0.1 * step) < bandit_entropy(Z) - 1e-3


@pytest.fixture
def group() -> TokenSignals:
    """Signals of eight random traces of four tokens."""
    tokens = torch.arange(32).view(8, 4) % 11
    return token_signals(random_logits(8, 4, 11), tokens, torch.ones(8, 4, dtype=torch.bool))


@pytest.mark.parametrize("measure", RLIF)
@pytest.mark.parametrize(("scale", "offset"), [(1 / math.log(2), 0.0), (0.1, -3.0), (10.0, 5.0)])
def test_u12_advantages_do_not_change_with_the_scale_and_offset_of_the_reward(
    measure: Callable[..., Tensor], scale: float, offset: float, group: TokenSignals
):
    """A(a r + b) = A(r) (s + eps) / (s + eps / a) for a > 0: A(r) but for eps; a < 0 turns it round."""
    reward = rewards(measure, group).double()
    deviation = float(reward.std())
    changed = advantages(scale * reward + offset)
    torch.testing.assert_close(changed, advantages(reward) * (deviation + 1e-4) / (deviation + 1e-4 / scale))
    torch.testing.assert_close(changed, advantages(reward), rtol=1e-3 / deviation, atol=0)
    torch.testing.assert_close(advantages(-reward), -advantages(reward))
    assert advantages(reward).abs().max() > 1


def test_u12_the_constant_log_v_of_self_certainty_is_irrelevant_to_a_group(group: TokenSignals):
    """logsumexp(z) - mean(z), which leaves out -log V, gives the same advantages as KL(U || p)."""
    z = random_logits(8, 4, 11)
    without_constant = (z.logsumexp(-1) - z.mean(-1)).mean(1)
    reward = rewards(self_certainty, group).double()
    assert float((without_constant - reward).mean()) == pytest.approx(math.log(11), abs=FLOAT32)
    torch.testing.assert_close(advantages(reward), advantages(without_constant), atol=1e-4, rtol=0)


@pytest.mark.parametrize("measure", RLIF)
def test_u12_identical_rewards_have_advantage_zero(measure: Callable[..., Tensor]):
    """Eight copies of one trace: standard deviation 0, advantage finite and 0."""
    z, tokens = random_logits(1, 4, 11).expand(8, 4, 11), torch.tensor([[3, 1, 4, 1]]).expand(8, 4)
    reward = rewards(measure, token_signals(z, tokens, torch.ones(8, 4, dtype=torch.bool)))
    # As in U11: the last place of a float32 number of size r is up to 1.2e-7 r, magnified by 1e4.
    bound = 1.2e-3 * float(reward.abs().max())
    torch.testing.assert_close(advantages(reward), torch.zeros(8), atol=bound, rtol=0)


@pytest.mark.parametrize("length_norm", ["mean", "sum"])
@pytest.mark.parametrize("measure", RLIF)
def test_u13_nothing_after_the_end_of_sequence_changes_the_reward(
    measure: Callable[..., Tensor], length_norm: LengthNorm
):
    """A trace of 3 tokens has the same reward alone and padded to 6, whatever logits and tokens the padding holds."""
    z, tokens = random_logits(1, 3, 5), torch.tensor([[4, 2, EOS]])
    alone = rewards(measure, token_signals(z, tokens, torch.ones(1, 3, dtype=torch.bool)), length_norm)
    mask = torch.tensor([[True] * 6, [True] * 3 + [False] * 3])
    neighbour = random_logits(6, 5)
    junk = torch.tensor([[50.0, 0, 0, 0, 0], [-50.0, 9, 9, 9, 9], [math.nan, math.inf, -math.inf, 0, 0]]).double()
    for padding, filler in ((junk, [3, 0, 1]), (torch.zeros(3, 5).double(), [EOS] * 3)):
        logits = torch.stack([neighbour, torch.cat([z[0], padding])])
        ids = torch.tensor([[1, 2, 3, 4, 1, EOS], [*tokens[0].tolist(), *filler]])
        torch.testing.assert_close(rewards(measure, token_signals(logits, ids, mask), length_norm)[1:], alone)


def test_u13_the_end_of_sequence_counts():
    """p(a) = 1/2 of 2 words, then p(EOS) = 1/4 of 2 words: r_traj is (ln 1/2 + ln 1/4) / 2, not ln 1/2."""
    z = torch.tensor([[[0.5, 0.5], [0.25, 0.75]]]).log()
    signals = token_signals(z, torch.tensor([[1, EOS]]), torch.ones(1, 2, dtype=torch.bool))
    entropy = [math.log(2), -(0.25 * math.log(0.25) + 0.75 * math.log(0.75))]
    certainty = [0.0, -math.log(2) - (math.log(0.25) + math.log(0.75)) / 2]
    assert float(rewards(mean_logprob, signals)) == pytest.approx(-1.5 * math.log(2), abs=FLOAT32)
    assert float(rewards(neg_entropy, signals)) == pytest.approx(-sum(entropy) / 2, abs=FLOAT32)
    assert float(rewards(self_certainty, signals)) == pytest.approx(sum(certainty) / 2, abs=FLOAT32)


@pytest.mark.parametrize("length_norm", ["mean", "sum"])
@pytest.mark.parametrize("measure", RLIF)
def test_u13_an_empty_completion_has_no_reward(measure: Callable[..., Tensor], length_norm: LengthNorm):
    """A trace without tokens gets NaN, never a number that could be ranked, and leaves its neighbour alone."""
    z, tokens = random_logits(2, 3, 5), torch.tensor([[4, 2, EOS], [EOS, EOS, EOS]])
    mask = torch.tensor([[True] * 3, [False] * 3])
    full, empty = rewards(measure, token_signals(z, tokens, mask), length_norm)
    assert torch.isnan(empty)
    torch.testing.assert_close(full, rewards(measure, token_signals(z[:1], tokens[:1], mask[:1]), length_norm)[0])


def test_u14_on_policy_logprob_and_entropy_agree_over_all_tokens_but_not_by_trace(table: Tensor):
    """E[sum_t log p_t(y_t)] / E[T] = -E[sum_t H_t] / E[T] at temperature 1; E[mean_t ...] differ, as T depends on y."""
    signals, length = enumerated(table), expected(LENGTHS, table)

    def per_token(measure: Callable[..., Tensor]) -> float:
        return (expected(rewards(measure, signals, "sum"), table) / length).item()

    assert per_token(mean_logprob) == pytest.approx(per_token(neg_entropy), abs=FLOAT32)
    by_logprob, by_entropy = (expected(rewards(one, signals), table).item() for one in (mean_logprob, neg_entropy))
    assert abs(by_logprob - by_entropy) > 1e-2


def test_u14_the_two_agree_only_where_sampler_and_scores_share_a_temperature(table: Tensor):
    """Sampled at temperature 2: scores of the raw logits disagree, scores of the divided logits agree."""
    sampler = table / 2

    def difference(scored: Tensor) -> float:
        signals = enumerated(scored)
        gap = rewards(mean_logprob, signals, "sum") - rewards(neg_entropy, signals, "sum")
        return (expected(gap, sampler) / expected(LENGTHS, sampler)).item()

    assert difference(sampler) == pytest.approx(0, abs=FLOAT32)
    assert abs(difference(table)) > 1e-2


def test_u14_the_sampling_error_falls_with_the_root_of_the_number_of_tokens(table: Tensor):
    """D = sum_t (log p_t(y_t) + H_t) has E[D] = 0, E[D^2] = E[sum_t Var_{p_t}(log p_t)]: variances of tokens add up."""
    signals = enumerated(table)
    gap = rewards(mean_logprob, signals, "sum") - rewards(neg_entropy, signals, "sum")
    log_p = table.log_softmax(-1)
    variance = (log_p.exp() * log_p**2).sum(-1) - (log_p.exp() * log_p).sum(-1) ** 2
    summed = expected((variance[STATES] * MASK).sum(1), table).item()
    assert summed > 0.1
    assert expected(gap, table).item() == pytest.approx(0, abs=FLOAT32)
    assert expected(gap**2, table).item() == pytest.approx(summed, abs=FLOAT32)


# U15 and U16: literal numbers.


@pytest.mark.parametrize(("push", "rise"), [(10.0, 2.499), (100.0, 24.999), (10_000.0, 2499.999), (math.inf, math.inf)])
def test_u15_self_certainty_has_no_bound_and_hangs_on_the_tail(push: float, rise: float):
    """Pushing a logit of p_j = .001 down by c raises SC by c/V + log(1 - p_j (1 - e^-c)), about c/V; H hardly moves.

    p = (.5, .25, .249, .001), V = 4. SC = logsumexp(z) - mean(z) - log V: the mean falls by c/4, logsumexp by
    -log(.999 + .001 e^-c) = .001, so SC rises by 2.5 - .001 for c = 10 and by 25 - .001 for c = 100.
    H = .5 * .693147 + .25 * 1.386294 + .249 * 1.390302 + .001 * 6.907755 = 1.039333 + .006908 = 1.046241; without the
    last word it is 1.039333 / .999 + log .999 = 1.039373, lower by .006868. At a hundredth of the temperature -H has
    come to its bound of 0, and SC is 100 * (max z - mean z) - log 4 = 100 * (-.693147 + 2.594375) - 1.386294 = 188.737.
    """
    z = torch.tensor([0.5, 0.25, 0.249, 0.001]).log()
    tail = torch.tensor([0.0, 0.0, 0.0, push])
    before, after = bandit(z), bandit(z - tail)
    assert float(after.self_certainty[0, 0] - before.self_certainty[0, 0]) == pytest.approx(rise, abs=FLOAT32, rel=1e-6)
    assert float(before.entropy[0, 0]) == pytest.approx(1.046241, abs=2e-6)
    assert float(after.entropy[0, 0]) == pytest.approx(1.039373, abs=3e-6)
    assert float(rewards(neg_entropy, bandit(100 * z))) == pytest.approx(0, abs=FLOAT32)
    assert float(rewards(self_certainty, bandit(100 * z))) == pytest.approx(188.737, abs=1e-3)


def two_traces(lengths: tuple[int, int]) -> TokenSignals:
    """Traces of probability .9 and .1: the first token decides between them, the others are certain."""
    width = max(lengths)
    z = torch.tensor([100.0, -100.0]).repeat(2, width, 1)
    z[:, 0] = torch.tensor([0.9, 0.1]).log()
    tokens = torch.zeros(2, width, dtype=torch.long)
    tokens[1, 0] = 1
    return token_signals(z, tokens, torch.arange(width) < torch.tensor(lengths)[:, None])


@pytest.mark.parametrize(
    ("lengths", "length_norm", "reward", "cov"),
    [
        ((1, 100), "mean", (-0.105361, -0.023026), -0.016282),
        ((10, 10), "mean", (-0.010536, -0.230259), 0.043450),
        ((1, 100), "sum", (-0.105361, -2.302585), 0.434500),
    ],
)
def test_u16_the_mean_logprob_lowers_trajectory_entropy_only_at_like_lengths(
    lengths: tuple[int, int], length_norm: LengthNorm, reward: tuple[float, float], cov: float
):
    """pi = (.9, .1): the natural step gives dH = -eta Cov(log pi, r), Cov = p (1 - p) * dlogpi * dr, dlogpi = ln 9.

    Lengths (1, 100): r = (ln .9, ln .1 / 100) = (-.105361, -.023026), Cov = .09 * 2.197225 * -.082335 = -.016282:
    entropy RISES. Lengths (10, 10): dr = 2.197225 / 10, Cov = Var(log pi) / 10 = .09 * 2.197225^2 / 10 = .043450:
    it falls. Summed, at any lengths: dr = 2.197225, Cov = Var(log pi) = .434500: it falls.
    """
    pi = torch.tensor([0.9, 0.1], dtype=torch.float64)
    r = rewards(mean_logprob, two_traces(lengths), length_norm).double()
    assert r.tolist() == pytest.approx(reward, abs=2e-6)
    assert float(covariance(pi, pi.log(), r)) == pytest.approx(cov, abs=2e-6)
    step = 1 / float(r.diff().abs())

    def change(eta: float) -> float:
        return bandit_entropy(pi.log() + eta * (r - (pi * r).sum())) - bandit_entropy(pi.log())

    assert change(0.1 * step) * cov < 0
    assert halving_ratio(lambda eta: change(eta) + eta * cov, 0.1 * step) == pytest.approx(4, rel=0.1)
