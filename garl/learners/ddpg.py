"""Deep deterministic policy gradient with a model of the engine; TD3 and noise in the parameters are options.

Sources: Lillicrap et al. 2016; model-based: Huang et al. 2019 §3.3, eq. 4–5; Fujimoto et al. 2018 (TD3); Plappert et
al. 2018 (parameter noise).

A model s' = trans(s, a) that a gradient flows through replaces the critic of actions by one of states:

    V(s_t) ← r(s_t, a') + γ V'(s_{t+1})          a' = π'(s_t), s_{t+1} = trans(s_t, a'), r = score(s_{t+1}) − score(s_t)
    π: maximise r(s_t, π(s_t)) + γ V(s_{t+1})     through the model, the score and the critic

V' and π' are the target networks. After the last action nothing is to come: there V is 0.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from typing import Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from garl.engine.neural import Kind
from garl.errors import GarlError
from garl.policy.actor import Actor
from garl.policy.resnet import ResNet, ResNetConfig, seen
from garl.settings import Settings

Score = Callable[[Tensor, Tensor], Tensor]
"""(canvas (N, 3, S, S), target (N, 3, S, S)), 0..1 → (N,), high where they are alike."""
Model = Callable[[Tensor, Tensor], Tensor]
"""(action (N, k, 13), canvas (N, 3, S, S)) → the next canvas."""


class DDPGConfig(Settings):
    """Networks, optimisers and options. The paper: ResNet-18, batches of 96, τ = 0.001, rates falling to a third."""

    network: ResNetConfig = ResNetConfig()
    plan: bool = False
    """Whether every action of a painting begins with strokes of its own to improve on, later ones finer; if not, the
    actor is the network alone, as in the paper. Not for the adversary, which knows nothing yet when it is begun."""
    batch_size: int = Field(64, ge=2)
    """States in an update."""
    actor_rate: float = Field(3e-4, gt=0.0)
    """Adam's step size for the actor, at the start of the run."""
    critic_rate: float = Field(1e-3, gt=0.0)
    """Adam's step size for the critics, at the start of the run."""
    discount: float = Field(0.95**5, ge=0.0, le=1.0)
    """γ of an action."""
    polyak: float = Field(0.005, gt=0.0, le=1.0)
    """τ: after each update, target ← target + τ (network − target)."""
    critics: Literal[1, 2] = 1
    """2: each state's target is the lesser of two critics' (TD3)."""
    actor_delay: int = Field(1, ge=1)
    """Updates of the critics (and of the adversary) for each one of the actor and of the target networks; 2 in TD3."""
    smoothing: float = Field(0.0, ge=0.0)
    """Standard deviation of the noise on the target actor's actions, cut off at 2.5 of them (TD3: 0.2 of −1..1)."""
    noise: Literal["none", "action", "parameter"] = "none"
    """What makes the painter explore: nothing (as in the paper's code), noise on its actions, or on its weights."""
    noise_scale: float = Field(0.05, gt=0.0)
    """Standard deviation of the actions' noise; with parameter noise, the one that weights' noise is adapted to."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.noise_scale != 0.05 and self.noise == "none":
            raise GarlError("noise_scale needs a noise to scale: set noise to action or parameter")
        return self


def temporal_difference(value: Tensor, reward: Tensor, next_value: Tensor, alive: Tensor, discount: float) -> Tensor:
    """δ = r + γ V'(s_{t+1}) − V(s_t), each (N,); `alive` is 0 where no action follows."""
    return reward + discount * alive * next_value - value


@torch.no_grad()
def approach(target: nn.Module, network: nn.Module, share: float) -> None:
    """Polyak averaging of all that is learned or measured: target ← target + share · (network − target)."""
    for mean, now in zip(target.state_dict().values(), network.state_dict().values(), strict=True):
        if mean.is_floating_point():
            mean.lerp_(now, share)


class Spread(nn.Module):
    """Of the noise on the painter's weights; a module, so that it is saved."""

    now: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("now", torch.tensor(0.01))


class DDPG:
    """Actor, critics, their targets and optimisers; `actions` are painted in an episode, of `strokes` strokes each."""

    def __init__(self, side: int, strokes: int, actions: int, config: DDPGConfig, kind: Kind = "bezier") -> None:
        self.config, self.actions = config, actions
        self.actor: nn.Module = Actor(strokes, actions, side, config.network, config.plan, kind)
        self.critics = nn.ModuleList(ResNet(1, side, config.network, batch_norm=False) for _ in range(config.critics))
        self.actor_target = _frozen(self.actor)
        self.critics_target = nn.ModuleList(_frozen(critic) for critic in self.critics)
        self.behaviour = _frozen(self.actor)  # what paints: the actor, or the actor with noise in its weights
        self.actor_optimizer = torch.optim.Adam(self.actor.parameters(), config.actor_rate)
        self.critic_optimizer = torch.optim.Adam(self.critics.parameters(), config.critic_rate)
        self.spread = Spread()

    def parts(self) -> dict[str, nn.Module | torch.optim.Optimizer]:
        """Everything that changes, by name."""
        return {
            "actor": self.actor,
            "critics": self.critics,
            "actor_target": self.actor_target,
            "critics_target": self.critics_target,
            "actor_optimizer": self.actor_optimizer,
            "critic_optimizer": self.critic_optimizer,
            "spread": self.spread,
        }

    def act(self, actor: nn.Module, canvas: Tensor, target: Tensor, step: Tensor) -> Tensor:
        """Actions (N, k, 13) in 0..1."""
        return actor(canvas, target, step / self.actions)

    def value(self, critics: Iterable[nn.Module], canvas: Tensor, target: Tensor, step: Tensor) -> Tensor:
        """What each critic expects of the actions to come: (critics, N)."""
        state = seen(canvas, target, step / self.actions)
        return torch.stack([critic(state)[:, 0] for critic in critics])

    @torch.no_grad()
    def begin_episode(self, canvas: Tensor, target: Tensor, generator: torch.Generator) -> None:
        """Make the painter of the next episode. Parameter noise is drawn here, and its spread adapted so that it moves
        actions on `canvas` by `noise_scale` (Plappert et al. 2018 §3)."""
        approach(self.behaviour, self.actor, 1.0)
        if self.config.noise != "parameter":
            return
        for weight in self.behaviour.parameters():
            if weight.ndim > 1:  # norms and biases stay
                weight.add_(self.spread.now * torch.randn(weight.shape, generator=generator))
        step = torch.zeros(len(canvas))
        moved = self.act(self.behaviour, canvas, target, step) - self.act(self.actor.eval(), canvas, target, step)
        too_wide = moved.square().mean().sqrt() > self.config.noise_scale
        self.spread.now.mul_(torch.where(too_wide, 1 / 1.01, 1.01))

    @torch.no_grad()
    def explore(self, canvas: Tensor, target: Tensor, step: Tensor, generator: torch.Generator) -> Tensor:
        """What the painter does: actions (N, k, 13) with the noise that the settings ask for."""
        action = self.act(self.behaviour, canvas, target, step)
        if self.config.noise == "action":
            action = action + self.config.noise_scale * torch.randn(action.shape, generator=generator)
        return action.clamp(0.0, 1.0)

    def update_critics(
        self,
        canvas: Tensor,
        target: Tensor,
        step: Tensor,
        weight: Tensor,
        model: Model,
        score: Score,
        generator: torch.Generator,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """One step towards r + γ V'; `weight` (N,) is what each state counts. Returns δ (N,) and metrics."""
        with torch.no_grad():
            action = self.act(self.actor_target, canvas, target, step)
            if self.config.smoothing:
                noise = torch.randn(action.shape, generator=generator).clamp(-2.5, 2.5)
                action = (action + self.config.smoothing * noise).clamp(0.0, 1.0)
            following = model(action, canvas)
            reward = score(following, target) - score(canvas, target)
            next_value = self.value(self.critics_target, following, target, step + 1).amin(0)
        value = self.value(self.critics, canvas, target, step)
        alive = (step + 1 < self.actions).float()
        error = temporal_difference(value, reward, next_value, alive, self.config.discount)  # (critics, N)
        loss = (weight * error.square()).mean(1).sum()
        self.critic_optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.critic_optimizer.step()
        metrics = {"critic/loss": loss.detach(), "critic/value": value.detach().mean(), "reward/mean": reward.mean()}
        return error[0].detach(), metrics

    @torch.no_grad()
    def painted(self, canvas: Tensor, target: Tensor, step: Tensor, model: Model) -> Tensor:
        """The canvases that the actor paints as it is."""
        return model(self.act(self.actor.eval(), canvas, target, step), canvas)

    def update_actor(
        self, canvas: Tensor, target: Tensor, step: Tensor, model: Model, score: Score
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """One step up r + γ V, then all targets follow. Returns the canvases that the actor painted, and metrics."""
        following = model(self.act(self.actor.train(), canvas, target, step), canvas)
        with torch.no_grad():
            before = score(canvas, target)
        alive = (step + 1 < self.actions).float()
        to_come = self.value([self.critics[0]], following, target, step + 1)[0]
        gain = (score(following, target) - before + self.config.discount * alive * to_come).mean()
        self.actor_optimizer.zero_grad(set_to_none=True)
        (-gain).backward(inputs=list(self.actor.parameters()))
        self.actor_optimizer.step()
        approach(self.actor_target, self.actor, self.config.polyak)
        approach(self.critics_target, self.critics, self.config.polyak)
        return following.detach(), {"actor/gain": gain.detach()}


def _frozen(network: nn.Module) -> nn.Module:
    """A copy that does not learn by itself, and whose norms do not measure."""
    return copy.deepcopy(network).requires_grad_(False).eval()
