"""PPO: its loss against closed forms, its first step against the vanilla policy gradient."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from garl.engine.paint import PaintConfig
from garl.env.canvas import PaintEnv
from garl.errors import GarlError
from garl.learners import ppo
from garl.learners.ppo import (
    PPOConfig,
    Weights,
    divergence,
    make_optimizer,
    penalised,
    reverse_kl,
    surrogate,
    update,
)
from garl.policy.actor_critic import ActorCritic
from garl.policy.features import PolicyConfig
from garl.rollout import collect
from garl.types import Observation, Rollout

STEPS, BATCH, HEIGHT, WIDTH, NOISE = 5, 6, 10, 13, 3
N = STEPS * BATCH
POLICY = PolicyConfig(
    channels=4, blocks=1, features=16, location_channels=4, location_blocks=1, noise=NOISE, embed_steps=True
)
UNREWARDED: dict[str, Any] = {"epochs": 1, "batch_size": N, "bptt": STEPS, "optimizer": "adam"}
UNREWARDED |= {"value_coefficient": 0.0, "entropy_coefficient": 0.0}
PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def build(precision: str = "float32", **changes) -> tuple[ActorCritic, Rollout, Tensor, Tensor]:
    """A policy with noise, last action and steps embedded, its rollout, and random advantages and targets."""
    env = PaintEnv(BATCH, PaintConfig(height=HEIGHT, width=WIDTH, brush="hard_round", grid=5, bins=4), STEPS)
    env.reset(seed=0)
    torch.manual_seed(1)
    policy = ActorCritic(env.action_spec, (3, HEIGHT, WIDTH), POLICY.model_copy(update=changes), STEPS)
    for last in policy.outputs():  # far from uniform, or every ratio would be 1 whatever was observed
        nn.init.orthogonal_(last.weight)
    generator = torch.Generator().manual_seed(2)
    noise = torch.randn(BATCH, NOISE, generator=generator)
    rollout = collect(env, policy, noise, generator, PRECISIONS[precision])
    advantage, target = torch.randn(2, STEPS, BATCH, generator=generator)
    return policy, rollout, 3 + 2 * advantage, target


def learn(policy, optimizer, rollout, advantage, target, config, seed: int = 4, **more) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return update(policy, optimizer, rollout, advantage, target, config, generator, **more)


def flat(rollout: Rollout) -> Observation:
    return Observation(*(field.flatten(0, 1) for field in rollout.observation))


@pytest.mark.parametrize(
    ("ratio", "advantage", "objective"),
    [
        (1.5, 2.0, 1.2 * 2.0),  # better than expected and already likelier: clipped
        (1.5, -2.0, 1.5 * -2.0),  # worse, yet likelier: the whole way back
        (0.5, 2.0, 0.5 * 2.0),  # better, yet less likely: the whole way back
        (0.5, -2.0, 0.8 * -2.0),  # worse and already less likely: clipped
        (1.1, 3.0, 1.1 * 3.0),
        (0.9, -3.0, 0.9 * -3.0),
    ],
)
def test_the_surrogate_on_both_sides_of_the_clip(ratio: float, advantage: float, objective: float) -> None:
    log_prob = torch.tensor([math.log(ratio) - 0.7], requires_grad=True)
    loss, rho = surrogate(log_prob, torch.tensor([-0.7]), torch.tensor([advantage]), 0.2)
    assert loss.item() == pytest.approx(-objective, rel=1e-5)
    assert rho.item() == pytest.approx(ratio, rel=1e-5)
    (gradient,) = torch.autograd.grad(loss, log_prob)
    clipped = abs(objective - ratio * advantage) > 1e-6
    assert gradient.item() == pytest.approx(0.0 if clipped else -ratio * advantage, rel=1e-5)


def test_the_surrogate_is_a_mean() -> None:
    ratio, advantage = torch.tensor([1.5, 0.5, 1.0]), torch.tensor([1.0, 1.0, -4.0])
    loss, _ = surrogate(ratio.log(), torch.zeros(3), advantage, 0.2)
    assert loss.item() == pytest.approx(-(1.2 + 0.5 - 4.0) / 3, rel=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("changes", [{}, {"embed_noise": "head", "embed_action": "head"}, {"frames": 2}])
def test_the_ratio_is_one_before_the_first_step(changes: dict) -> None:
    """What the learner evaluates is what the rollout sampled from: same noise, last action, step and frames."""
    policy, rollout, _, _ = build(**changes)
    decision = policy(flat(rollout), rollout.action.flatten(0, 1))
    ratio = (decision.log_prob - rollout.log_prob.flatten()).exp()
    # A log-probability near −20 is a float32 with steps of 2e-6: a few of them, for the other batch size.
    torch.testing.assert_close(ratio, torch.ones(N), rtol=0, atol=8e-6)
    torch.testing.assert_close(decision.value, rollout.value.flatten(), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(decision.entropy, rollout.entropy.flatten(), rtol=1e-5, atol=1e-5)
    # None of these may be left out: each changes the ratio by far more than the tolerance.
    observation = flat(rollout)
    for field in ("canvas", "noise", "last_action", "step"):
        rolled = observation._replace(**{field: getattr(observation, field).roll(7, 0)})
        wrong = (policy(rolled, rollout.action.flatten(0, 1)).log_prob - rollout.log_prob.flatten()).exp()
        assert (wrong - 1).abs().max() > 1e-3, field


def test_bfloat16_ratios_are_one_where_both_sides_compute_alike() -> None:
    """At equal batch size exactly; at another, kernels may round otherwise (on the CPU tested they do not). A learner
    in float32 would be off by several percent before its first step: the precision must be the rollout's."""
    policy, rollout, _, _ = build("bfloat16")
    observation = flat(rollout)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        rows = [policy(Observation(*(f[t] for f in rollout.observation)), rollout.action[t]) for t in range(STEPS)]
        whole = policy(observation, rollout.action.flatten(0, 1))
    assert torch.equal(torch.stack([row.log_prob for row in rows]), rollout.log_prob)
    ratio = (whole.log_prob - rollout.log_prob.flatten()).exp()
    torch.testing.assert_close(ratio, torch.ones(N), rtol=0, atol=0.02)
    with torch.no_grad():
        float32 = policy(observation, rollout.action.flatten(0, 1)).log_prob
    assert ((float32 - rollout.log_prob.flatten()).exp() - 1).abs().max() > 0.01


@pytest.mark.parametrize("penalty", ["clip", "kl"])
@pytest.mark.parametrize("share", [None, 0.0, 6.0])
def test_the_first_minibatch_takes_the_vanilla_policy_gradient(share: float | None, penalty: str) -> None:
    """∇ρ = ∇log π at ρ = 1: the step is −lr · ∇(−E[log π Â] + ½ E[(V − R)²] − β H), Â normalised."""
    policy, rollout, advantage, target = build()
    config = PPOConfig(epochs=1, batch_size=N, max_grad_norm=1e9, entropy_coefficient=0.05, penalty=penalty)
    decision = policy(flat(rollout), rollout.action.flatten(0, 1))
    a = advantage.flatten()
    a = (a - a.mean()) / a.std()
    value_loss = (decision.value - target.flatten()).square().mean()
    beta = 0.05 * (1.0 if share is None else share)
    loss = -(decision.log_prob * a).mean() + 0.5 * value_loss - beta * decision.entropy.mean()
    parameters = [p for p in policy.parameters() if p.requires_grad]
    gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
    before = [p.detach().clone() for p in parameters]
    optimizer = torch.optim.SGD(parameters, lr=1.0)
    weights = Weights(config, policy.spec)
    weights.share = 1.0 if share is None else share
    more = {} if share is None else {"weights": weights}
    metrics = learn(policy, optimizer, rollout, advantage, target, config, **more)
    for p, b, g in zip(parameters, before, gradients, strict=True):
        step = torch.zeros_like(b) if g is None else -g
        torch.testing.assert_close(p.detach() - b, step, rtol=1e-3, atol=1e-5)
    norm = math.sqrt(sum(g.square().sum().item() for g in gradients if g is not None))
    assert norm > 0.1
    assert metrics["ppo/gradient_norm"].item() == pytest.approx(norm, rel=1e-4)
    assert metrics["ppo/policy_loss"].item() == pytest.approx(0.0, abs=1e-5)  # −E[Â] = 0
    assert metrics["ppo/value_loss"].item() == pytest.approx(value_loss.item(), rel=1e-5)
    assert metrics["ppo/entropy"].item() == pytest.approx(decision.entropy.mean().item(), rel=1e-5)
    assert metrics["ppo/kl"].item() == pytest.approx(0.0, abs=1e-6)
    assert metrics.get("ppo/clipped", torch.tensor(0.0)) == 0.0


def test_metric_keys_are_exact_and_scalar() -> None:
    policy, rollout, advantage, target = build()
    config = PPOConfig(epochs=2, batch_size=8)
    metrics = learn(policy, make_optimizer(policy, config), rollout, advantage, target, config)
    assert set(metrics) == {
        f"ppo/{k}" for k in ("policy_loss", "value_loss", "entropy", "kl", "last_kl", "clipped", "gradient_norm")
    }
    assert all(m.shape == () and not m.requires_grad and math.isfinite(m) for m in metrics.values())
    assert metrics["ppo/kl"] > 0


def test_gradients_are_cut_to_their_norm() -> None:
    policy, rollout, advantage, target = build()
    config = PPOConfig(epochs=1, batch_size=N, max_grad_norm=0.01)
    parameters = list(policy.parameters())
    before = [p.detach().clone() for p in parameters]
    metrics = learn(policy, torch.optim.SGD(parameters, lr=1.0), rollout, advantage, target, config)
    assert metrics["ppo/gradient_norm"] > 0.1, "the norm that is reported is the one before the cut"
    moved = math.sqrt(sum((p.detach() - b).square().sum().item() for p, b in zip(parameters, before, strict=True)))
    assert moved == pytest.approx(0.01, rel=1e-3)


def test_advantages_are_normalised_in_each_minibatch_of_a_shuffled_epoch(monkeypatch) -> None:
    """Every transition once per epoch, with its own log-probability, in minibatches of 8, 8, 8 and 6."""
    policy, rollout, advantage, target = build()
    seen: list[tuple[Tensor, Tensor]] = []
    original = ppo.surrogate

    def spy(log_prob: Tensor, old_log_prob: Tensor, a: Tensor, clip: float) -> tuple[Tensor, Tensor]:
        seen.append((old_log_prob, a))
        return original(log_prob, old_log_prob, a, clip)

    monkeypatch.setattr(ppo, "surrogate", spy)
    config = PPOConfig(epochs=2, batch_size=8)
    learn(policy, make_optimizer(policy, config), rollout, advantage, target, config)
    assert [len(a) for _, a in seen] == [8, 8, 8, 6] * 2
    old, raw = rollout.log_prob.flatten(), advantage.flatten()
    assert old.unique().numel() == N
    orders = []
    for minibatches in (seen[:4], seen[4:]):
        order = []
        for log_prob, a in minibatches:
            index = (log_prob[:, None] == old).int().argmax(1)
            order += index.tolist()
            mine = raw[index]
            torch.testing.assert_close(a, (mine - mine.mean()) / mine.std())
        assert sorted(order) == list(range(N))
        orders.append(order)
    assert orders[0] != orders[1]
    assert orders[0] != sorted(orders[0])


def test_one_leftover_transition_is_left_out() -> None:
    """It has no spread: dividing by it would make every parameter NaN."""
    policy, rollout, advantage, target = build()
    config = PPOConfig(epochs=1, batch_size=N - 1)
    metrics = learn(policy, make_optimizer(policy, config), rollout, advantage, target, config)
    assert all(p.isfinite().all() for p in policy.parameters())
    assert all(math.isfinite(m) for m in metrics.values())


def test_updates_repeat_with_the_seed() -> None:
    results = []
    for seed in (4, 4, 5):
        policy, rollout, advantage, target = build()
        config = PPOConfig(epochs=2, batch_size=8, learning_rate=1e-3)
        learn(policy, make_optimizer(policy, config), rollout, advantage, target, config, seed)
        results.append(torch.cat([p.detach().flatten() for p in policy.parameters()]))
    assert torch.equal(results[0], results[1])
    assert not torch.equal(results[0], results[2])


@pytest.mark.parametrize(("recurrent", "parts", "batch"), [(0, 2, 8), (0, 3, 8), (7, 2, 8), (7, 2, 15)])
def test_parts_side_by_side_learn_what_the_whole_minibatch_teaches(recurrent: int, parts: int, batch: int) -> None:
    """Minibatches of 8, 8, 8 and 6 transitions; of five strokes of one painting, which cannot be parted; of three."""
    threads = torch.get_num_threads()
    learned, metrics = [], []
    for count in (1, parts, parts):
        policy, rollout, advantage, target = build(recurrent=recurrent)
        config = PPOConfig(epochs=2, batch_size=batch, bptt=5, parts=count)
        descent = torch.optim.SGD(policy.parameters(), lr=0.1)  # RMSprop would make much of rounding
        metrics.append(learn(policy, descent, rollout, advantage, target, config))
        learned.append(torch.cat([p.detach().flatten() for p in policy.parameters()]))
    torch.testing.assert_close(learned[0], learned[1], rtol=1e-3, atol=1e-4)
    assert torch.equal(learned[1], learned[2]), "the same seed, the same run"
    assert metrics[0].keys() == metrics[1].keys()
    for name, value in metrics[0].items():
        assert metrics[1][name] == pytest.approx(value.item(), rel=1e-3, abs=1e-5), name
    assert torch.get_num_threads() == threads


def test_a_fault_in_a_part_reaches_the_caller(monkeypatch) -> None:
    policy, rollout, advantage, target = build()
    config = PPOConfig(epochs=1, batch_size=8, parts=2)

    def fault(*_) -> None:
        raise FloatingPointError("nothing to learn")

    monkeypatch.setattr(ppo, "surrogate", fault)
    with pytest.raises(FloatingPointError, match="nothing to learn"):
        learn(policy, make_optimizer(policy, config), rollout, advantage, target, config)


def test_the_optimisers_are_those_of_the_config() -> None:
    policy, _, _, _ = build()
    rmsprop = make_optimizer(policy, PPOConfig(learning_rate=2e-4))
    adam = make_optimizer(policy, PPOConfig(optimizer="adam", learning_rate=3e-4))
    assert isinstance(rmsprop, torch.optim.RMSprop)
    assert rmsprop.param_groups[0]["lr"] == 2e-4
    assert isinstance(adam, torch.optim.Adam)
    assert {k: adam.param_groups[0][k] for k in ("lr", "betas", "eps")} == {
        "lr": 3e-4,
        "betas": (0.5, 0.99),
        "eps": 1e-5,
    }
    for optimizer in (rmsprop, adam):
        assert sum(len(g["params"]) for g in optimizer.param_groups) == len(list(policy.parameters()))


def test_the_divergence_and_its_gradient() -> None:
    """Three actions of probabilities p, each met as often as the old policy q says: KL[q, p], and its slope −q/p."""
    q, p = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64), torch.tensor([0.2, 0.3, 0.5], dtype=torch.float64)
    met = torch.tensor([0] * 5 + [1] * 3 + [2] * 2)
    p.requires_grad_(True)
    estimate = divergence(p.log()[met], q.log()[met])
    assert estimate.item() == pytest.approx((q * (q / p).log()).sum().item())  # as Σ p = Σ q
    (gradient,) = torch.autograd.grad(estimate, p)
    torch.testing.assert_close(gradient, 1 - q / p.detach())
    assert divergence(torch.tensor([-200.0]), torch.tensor([-1.0])).isfinite()


def test_the_penalised_loss_by_hand() -> None:
    log_prob, old = torch.tensor([math.log(1.5) - 2.0, math.log(0.5) - 1.0]), torch.tensor([-2.0, -1.0])
    loss = penalised(log_prob, old, torch.tensor([2.0, -4.0]), torch.tensor(3.0))
    kl = ((0.5 - math.log(1.5)) + (-0.5 - math.log(0.5))) / 2
    assert loss.item() == pytest.approx(3.0 * kl - (1.5 * 2.0 - 0.5 * 4.0) / 2, rel=1e-5)


def test_the_penalty_follows_its_target() -> None:
    config = PPOConfig(penalty="kl", kl_target=0.03)
    weights = Weights(config, ())
    seen = []
    for kl in (0.046, 0.1, 0.044, 0.021, 0.019, 0.0):
        weights.follow_kl(torch.tensor(kl))
        seen.append(weights.kl.item())
    assert seen == [2.0, 4.0, 4.0, 4.0, 2.0, 1.0]
    for _ in range(30):
        weights.follow_kl(torch.tensor(0.0))
    assert weights.kl.item() == pytest.approx(1 / 1000), "it must be able to come back"
    assert weights.state_dict().keys() == {"kl"}
    assert not Weights(PPOConfig(), ()).state_dict()


def test_a_heavy_penalty_holds_the_policy_back() -> None:
    moved = {}
    for weight in (0.0, 100.0):
        policy, rollout, advantage, target = build()
        config = PPOConfig(epochs=4, batch_size=10, penalty="kl", optimizer="adam", learning_rate=3e-3)
        weights = Weights(config, policy.spec)
        weights.kl.fill_(weight)
        metrics = learn(policy, make_optimizer(policy, config), rollout, advantage, target, config, weights=weights)
        moved[weight] = metrics["ppo/last_kl"].item()
        assert metrics["ppo/kl_weight"].item() == pytest.approx(weight), "it adapts after the update, not within"
    assert moved[100.0] < 0.2 * moved[0.0]


def test_epochs_end_where_the_divergence_exceeds_its_limit() -> None:
    counted = {}
    for limit in (0.0, 1e-9, 1e9):
        policy, rollout, advantage, target = build()
        config = PPOConfig(epochs=5, batch_size=10, learning_rate=1e-3, kl_limit=limit)
        optimizer = make_optimizer(policy, config)
        learn(policy, optimizer, rollout, advantage, target, config)
        counted[limit] = int(next(iter(optimizer.state.values()))["step"])
    assert counted == {0.0: 15, 1e-9: 3, 1e9: 15}
    with pytest.raises(GarlError, match="set epochs to 2 or more"):
        PPOConfig(epochs=1, kl_limit=0.1)


def test_the_entropy_bonus_follows_its_target() -> None:
    policy, _, _, _ = build()
    config = PPOConfig(entropy_target=0.5, entropy_coefficient=0.02)
    weights = Weights(config, policy.spec)
    greatest = sum(math.log(dimension.n) for dimension in policy.spec)
    weights.follow(torch.tensor(0.4 * greatest))
    assert weights.entropy.item() == pytest.approx(0.02 * math.exp(0.1), rel=1e-5)
    weights.follow(torch.tensor(0.8 * greatest))
    assert weights.entropy.item() == pytest.approx(0.02 * math.exp(-0.2), rel=1e-5)
    weights.share = 0.5
    assert weights.entropy.item() == pytest.approx(0.01 * math.exp(-0.2), rel=1e-5)
    assert weights.state_dict().keys() == {"adapted"}
    with pytest.raises(GarlError, match="set entropy_coefficient above 0"):
        PPOConfig(entropy_target=0.5, entropy_coefficient=0.0)


def test_an_update_lets_the_weights_follow() -> None:
    policy, rollout, advantage, target = build()
    config = PPOConfig(epochs=1, batch_size=8, entropy_target=0.1, penalty="kl", kl_target=1e-12)
    weights = Weights(config, policy.spec)
    metrics = learn(policy, make_optimizer(policy, config), rollout, advantage, target, config, weights=weights)
    share = metrics["ppo/entropy"].item() / weights.greatest
    assert weights.entropy.item() == pytest.approx(0.01 * math.exp(0.1 - share), rel=1e-5)
    assert weights.kl.item() == 2.0


@pytest.mark.parametrize("recurrent", [0, 4])
def test_hindsight_is_the_log_probability_of_the_strokes_had_their_painting_been_asked_for(recurrent: int) -> None:
    """Where no stroke is better than another, it is all that the policy learns by."""
    env = PaintEnv(BATCH, PaintConfig(height=HEIGHT, width=WIDTH, brush="hard_round", grid=5, bins=4), STEPS)
    env.reset(seed=0)
    torch.manual_seed(1)
    settings = POLICY.model_copy(update={"recurrent": recurrent})
    policy = ActorCritic(env.action_spec, (3, HEIGHT, WIDTH), settings, STEPS, target=True)
    for last in policy.outputs():
        nn.init.orthogonal_(last.weight)
    generator = torch.Generator().manual_seed(2)
    asked = torch.randint(0, 256, (BATCH, 3, HEIGHT, WIDTH), dtype=torch.uint8, generator=generator)
    rollout = collect(env, policy, torch.randn(BATCH, NOISE, generator=generator), generator, condition=asked)

    def log_probs() -> Tensor:
        """Of every stroke (T, B), one at a time, each shown what its painting became."""
        state, rows = policy.state(BATCH, asked.device), []
        for t in range(STEPS):
            seen = Observation(*(field[t] for field in rollout.observation))._replace(condition=rollout.final)
            decision = policy(seen, rollout.action[t], state=state)
            state = decision.state
            rows.append(decision.log_prob.detach())
        return torch.stack(rows)

    columns = torch.randperm(BATCH if recurrent else N, generator=torch.Generator().manual_seed(4))[::2]
    chosen = log_probs()[:, columns] if recurrent else log_probs().flatten()[columns]
    config = PPOConfig(**UNREWARDED, hindsight=0.5, learning_rate=1e-3)
    nothing = torch.zeros(STEPS, BATCH)
    before = log_probs().mean()
    metrics = learn(policy, make_optimizer(policy, config), rollout, nothing, nothing, config)
    assert metrics["ppo/hindsight"].item() == pytest.approx(chosen.mean().item(), abs=1e-4)
    assert log_probs().mean() > before + 0.05


def test_the_anchors_loss_has_the_gradient_of_the_divergence_from_it() -> None:
    logits = torch.tensor([0.3, -1.2, 2.0, 0.1], dtype=torch.float64, requires_grad=True)
    log_pi, log_anchor = logits.log_softmax(0), torch.tensor([0.9, 0.4, -1.0, 0.2], dtype=torch.float64).log_softmax(0)
    (expected,) = torch.autograd.grad((log_pi.exp() * (log_pi - log_anchor)).sum(), logits, retain_graph=True)
    each = [
        torch.autograd.grad(reverse_kl((log_pi - log_anchor)[i : i + 1]), logits, retain_graph=True)[0]
        for i in range(len(logits))
    ]
    found = (log_pi.detach().exp()[:, None] * torch.stack(each)).sum(0)  # over all actions, as often as each is taken
    torch.testing.assert_close(found, expected)
    assert expected.abs().max() > 0.1


@pytest.mark.parametrize("recurrent", [0, 4])
def test_a_policy_returns_to_its_anchor(recurrent: int) -> None:
    """Where no stroke is better than another, it is all that the policy learns by."""
    policy, rollout, _, _ = build(recurrent=recurrent)
    anchor = build(recurrent=recurrent)[0]
    with torch.no_grad():
        for weight in anchor.parameters():
            weight += 0.05 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(7))
    env = PaintEnv(BATCH, PaintConfig(height=HEIGHT, width=WIDTH, brush="hard_round", grid=5, bins=4), STEPS)
    env.reset(seed=0)
    noise = rollout.observation.noise[0]

    def paint() -> Rollout:
        return collect(env, policy, noise, torch.Generator().manual_seed(3), anchor=anchor)

    config = PPOConfig(**UNREWARDED, anchor=1.0, learning_rate=3e-3)
    optimizer, nothing, strayed = make_optimizer(policy, config), torch.zeros(STEPS, BATCH), []
    for _ in range(30):
        painted = paint()
        assert painted.anchor is not None
        metrics = learn(policy, optimizer, painted, nothing, nothing, config)
        far = painted.log_prob - painted.anchor
        assert metrics["ppo/strayed"].item() == pytest.approx(far.mean().item(), abs=1e-4)
        strayed.append(far.square().mean().item())
    assert sum(strayed[-5:]) < 0.5 * sum(strayed[:5])
