"""Deep Q-learning from remembered transitions, after imitation of demonstrations.

Sources: Mnih et al. 2015 (replay, target network); van Hasselt et al. 2016 (double Q-learning); Hester et al. 2018
(imitating and learning in one); Zhou et al. 2018 §3 (Q values as the logits of a softmax while imitating).

    Q(s_t, a_t) ← r_t + γ Q'(s_{t+1}, argmax_a Q(s_{t+1}, a))     Q': the target network
"""

from __future__ import annotations

import copy

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from garl.learners.ddpg import approach
from garl.settings import Settings

Seen = tuple[Tensor, ...]
"""What the network is called with, each (N, …)."""


class DQNConfig(Settings):
    """Optimiser, targets and imitation."""

    batch_size: int = Field(64, ge=1)
    """Transitions in an update."""
    imitation_rate: float = Field(1e-3, gt=0.0)
    """Adam's step size while imitating."""
    rate: float = Field(5e-4, gt=0.0)
    """Adam's step size while learning."""
    discount: float = Field(0.95, ge=0.0, le=1.0)
    """γ of a move."""
    double: bool = True
    """Let the network choose the next action, and the target network only judge it."""
    polyak: float = Field(0.01, gt=0.0, le=1.0)
    """τ: after each update, target ← target + τ (network − target)."""
    temperature: float = Field(0.1, gt=0.0)
    """τ of the softmax of Q / τ that imitates, so that Q values of the size of rewards tell actions apart."""


def q_target(reward: Tensor, alive: Tensor, choosing: Tensor, judging: Tensor, discount: float) -> Tensor:
    """r + γ · alive · Q'(s', argmax_a Q(s', a)) (N,), with Q (N, A) `choosing` and Q' (N, A) `judging`.

    van Hasselt et al. 2016, eq. 4; with Q' for both, Mnih et al. 2015, eq. 1."""
    best = choosing.argmax(1, keepdim=True)
    return reward + discount * alive * judging.gather(1, best)[:, 0]


class DQN:
    """A network of Q values, its target and optimiser."""

    def __init__(self, network: nn.Module, config: DQNConfig) -> None:
        self.config, self.network = config, network
        self.target = copy.deepcopy(network).requires_grad_(False)
        self.optimizer = torch.optim.Adam(network.parameters(), config.rate)

    def parts(self) -> dict[str, nn.Module | torch.optim.Optimizer]:
        """Everything that changes, by name."""
        return {"network": self.network, "target": self.target, "optimizer": self.optimizer}

    @torch.no_grad()
    def act(self, seen: Seen, exploration: float, generator: torch.Generator) -> Tensor:
        """The best actions (N,), but for a share `exploration` that are drawn from all alike (ε-greedy)."""
        values = self.network(*seen)
        anything = torch.randint(values.shape[1], (len(values),), generator=generator)
        explores = torch.rand(len(values), generator=generator) < exploration
        return torch.where(explores, anything, values.argmax(1))

    def update(
        self,
        seen: Seen,
        action: Tensor,
        reward: Tensor,
        following: Seen,
        alive: Tensor,
        weight: Tensor,
        imitated: Tensor,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """One step. Of each transition (N,) the squared error, Huber's beyond 1, counts `weight`, and the cross-entropy
        to its action `imitated`. Returns the errors δ (N,) and metrics."""
        values = self.network(*seen)
        value = values.gather(1, action[:, None])[:, 0]
        with torch.no_grad():
            judging = self.target(*following)
            choosing = self.network(*following) if self.config.double else judging
            wanted = q_target(reward, alive, choosing, judging, self.config.discount)
        learning = (weight * F.smooth_l1_loss(value, wanted, reduction="none")).mean()
        entropies = F.cross_entropy(values / self.config.temperature, action, reduction="none")
        imitation = (imitated * entropies).mean()
        self.optimizer.zero_grad(set_to_none=True)
        (learning + imitation).backward()
        self.optimizer.step()
        approach(self.target, self.network, self.config.polyak)
        metrics = {"q/loss": learning, "q/value": value.mean(), "imitation/loss": imitation}
        return (wanted - value).detach(), {name: metric.detach() for name, metric in metrics.items()}
