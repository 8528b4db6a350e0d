"""What a run watches (thesis §7.2), beside the losses: pure functions to figures, each a scalar tensor on its device.

Nothing here waits for a GPU but `read` and `histograms`. docs/runs.md tells of each figure what it means.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from garl.boards import Histogram
from garl.policy.actor_critic import ActorCritic
from garl.policy.heads import AutoregressiveHead
from garl.types import ActionSpec, Observation, Rollout

QUANTILES = (5, 25, 50, 75, 95)
"""In percent."""
SAMPLE = 256
"""Transitions and pictures that the costlier figures look at."""
PART = re.compile(r"head\.decoders\.\d+|head\.\w+|layers\.\d+|\w+")
"""The start of a parameter's name that tells the part of its network: each head and each layer of D is one."""


def read(figures: dict[str, Tensor]) -> dict[str, float]:
    """The figures as numbers: the only place where a cycle waits for a GPU; before, work is only queued there."""
    return dict(zip(figures, torch.stack(list(figures.values())).tolist(), strict=True))


def describe(
    score: Tensor, rewards: Tensor, advantage: Tensor, target: Tensor, rollout: Rollout, spec: ActionSpec
) -> dict[str, Tensor]:
    """A cycle's scores (T + 1, B), rewards, advantages and the critic's targets (T, B), and its rollout."""
    return (
        scores(score)
        | {"reward/mean": rewards.sum(0).mean(), "reward/std": rewards.sum(0).std()}
        | spread("reward", rewards)
        | {"advantage/mean": advantage.mean(), "advantage/std": advantage.std()}
        | spread("advantage", advantage)
        | values(rollout.value, target)
        | entropies(rollout.entropy, spec)
        | actions(rollout.action, spec)
    )


def scores(score: Tensor) -> dict[str, Tensor]:
    """D of each frame of the episode in units of the spread over finished paintings, 0 at the end; and that spread."""
    final = score[-1]
    frames = (score.mean(1) - final.mean()) / (final.std() + 1e-8)
    return {"d/painted": final.mean(), "d/painted_std": final.std()} | numbered("d/frame", frames, start=0)


def spread(group: str, x: Tensor) -> dict[str, Tensor]:
    """Quantiles of x (T, B), the nearest rank each, and its mean at each stroke."""
    ordered = x.flatten().sort().values
    ranks = [round(percent / 100 * (len(ordered) - 1)) for percent in QUANTILES]
    quantiles = {f"{group}/quantile_{percent:02d}": ordered[k] for percent, k in zip(QUANTILES, ranks, strict=True)}
    return quantiles | numbered(f"{group}/stroke", x.mean(1))


def values(value: Tensor, target: Tensor) -> dict[str, Tensor]:
    """How well the critic's values (T, B) told the targets (T, B) that they will be trained towards."""
    error = target - value
    explained = 1 - error.var() / (target.var() + 1e-8)
    figures = {"value/mean": value.mean(), "value/error": error.abs().mean(), "value/explained_variance": explained}
    return figures | numbered("value/stroke", value.mean(1))


def entropies(entropy: Tensor, spec: ActionSpec) -> dict[str, Tensor]:
    """The policy's entropy (T, B), and what share that is of the greatest possible one."""
    greatest = sum(math.log(dimension.n) for dimension in spec)
    figures = {"entropy/mean": entropy.mean(), "entropy/share": entropy.mean() / greatest}
    return figures | numbered("entropy/stroke", entropy.mean(1))


def actions(action: Tensor, spec: ActionSpec) -> dict[str, Tensor]:
    """Of each dimension of the actions (T, B, D): the share of the most frequent bin, and how even the bins are.

    Actions that are fractions have no bins, and nothing is said of them.
    """
    figures: dict[str, Tensor] = {}
    if action.is_floating_point():
        return figures
    for i, dimension in enumerate(spec):
        share = counts(action[..., i], dimension.n) / action[..., i].numel()
        figures[f"action/{dimension.name}_most"] = share.max()
        figures[f"action/{dimension.name}_evenness"] = torch.special.entr(share).sum() / math.log(dimension.n)
    return figures


def counts(index: Tensor, n: int) -> Tensor:
    """How often each of 0 … n − 1 occurs in `index`, (n,); unlike `bincount` it waits for nothing."""
    index = index.flatten()
    return torch.zeros(n, dtype=torch.int64, device=index.device).scatter_add_(0, index, torch.ones_like(index))


def means(records: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    """The mean over several records of the same figures."""
    if not records[0]:
        return {}
    columns = torch.stack([torch.stack(list(record.values())) for record in records])  # (records, figures)
    return dict(zip(records[0], columns.mean(0).unbind(), strict=True))


def numbered(name: str, x: Tensor, start: int = 1) -> dict[str, Tensor]:
    """A figure for each of x (T,); strokes count from 1, and frame 0 is the blank canvas."""
    return {f"{name}_{t}": figure for t, figure in enumerate(x.unbind(), start)}


def pixels(canvases: Tensor) -> dict[str, Tensor]:
    """Mean and standard deviation of (N, C, H, W) uint8 as 0..1, over all and by channel, and the paintings' diversity.

    That is the root mean square difference of a pixel in two of them: √2 times its standard deviation over pictures.
    """
    x = canvases.float() / 255
    figures = {"mean": x.mean(), "std": x.std(), "diversity": (2 * x.var(0).mean()).sqrt()}
    for channel in range(x.shape[1]):
        figures |= {f"mean_{channel}": x[:, channel].mean(), f"std_{channel}": x[:, channel].std()}
    return figures


def likeness(canvases: Tensor, target: Tensor) -> dict[str, Tensor]:
    """Mean squared error, 0..1, of finished and of blank canvases (T + 1, B, C, H, W) against targets (B, C, H, W)."""
    errors = [((canvas.float() - target) / 255).square().mean() for canvas in (canvases[-1], canvases[0])]
    return {"target/error": errors[0], "target/blank": errors[1]}


def gaps(painted: dict[str, Tensor], real: dict[str, float]) -> dict[str, Tensor]:
    """What `pixels` says of paintings, less what it says of real pictures."""
    return {f"pixels/{name}_gap": figure - real[name] for name, figure in painted.items()}


def copies(networks: dict[str, nn.Module]) -> list[Tensor]:
    """The parameters as they are now, for `parts`."""
    return [parameter.detach().clone() for _, parameter in _parameters(networks)]


def parts(networks: dict[str, nn.Module], before: list[Tensor]) -> dict[str, Tensor]:
    """Of each part of each network: the norm of its weights and of its last gradient, and how far the weights moved
    since `before`, as a share of their norm."""
    names, parameters = zip(*_parameters(networks), strict=True)
    now = [parameter.detach() for parameter in parameters]
    gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
    moves = torch._foreach_sub(now, before)
    groups = list(dict.fromkeys(names))
    members = torch.tensor([[float(name == group) for name in names] for group in groups])
    members = members.to(now[0].device, non_blocking=True)  # (parts, parameters)
    squares = [torch.stack(torch._foreach_norm(tensors)).square() for tensors in (now, gradients, moves)]
    weight, gradient, move = ((members * square).sum(1).sqrt() for square in squares)
    columns = {"weight": weight, "gradient": gradient, "step": move / (weight + 1e-8)}
    return {
        f"{column}/{group}": figure
        for column, norms in columns.items()
        for group, figure in zip(groups, norms.unbind(), strict=True)
    }


def _parameters(networks: dict[str, nn.Module]) -> Iterable[tuple[str, nn.Parameter]]:
    """Every parameter with the name of its part, as `policy.extractor` or `adversary.layers.0`."""
    for network, module in networks.items():
        for name, parameter in module.named_parameters():
            found = PART.match(name)
            assert found is not None
            yield f"{network}.{found[0]}", parameter


def told_apart(real: Tensor, fake: Tensor) -> dict[str, Tensor]:
    """How well scores (N,) and (M,) tell real pictures from paintings: against the middle between the two means, and
    the share of pairs in which the painting scores higher (0: told apart; 0.5: not at all)."""
    middle = (real.mean() + fake.mean()) / 2
    return {
        "d/accuracy_real": (real > middle).float().mean(),
        "d/accuracy_fake": (fake < middle).float().mean(),
        "d/overlap": (fake[:, None] > real).float().mean(),
    }


@torch.no_grad()
def head_entropies(policy: ActorCritic, rollout: Rollout, spec: ActionSpec) -> dict[str, Tensor]:
    """The entropy of each autoregressive head, as a share of its greatest, over some of the rollout's transitions."""
    if not isinstance(policy.head, AutoregressiveHead):
        return {}
    heads: list[Tensor] = []
    hooks = [
        decoder.register_forward_hook(lambda module, given, logits: heads.append(logits))
        for decoder in policy.head.decoders
    ]
    action = rollout.action.flatten(0, 1)
    some = torch.linspace(0, len(action) - 1, min(SAMPLE, len(action))).long().to(action.device, non_blocking=True)
    try:
        state = None if rollout.state is None else rollout.state.flatten(0, 1)[some]
        policy(Observation(*(field.flatten(0, 1)[some] for field in rollout.observation)), action[some], state=state)
    finally:
        for hook in hooks:
            hook.remove()
    figures = {}
    for dimension, logits in zip(spec, heads, strict=True):
        entropy = torch.special.entr(logits.float().softmax(-1)).sum(-1).mean()
        figures[f"entropy/{dimension.name}"] = entropy / math.log(dimension.n)
    return figures


def histograms(
    score: Tensor, rewards: Tensor, advantage: Tensor, rollout: Rollout, spec: ActionSpec
) -> dict[str, Histogram]:
    """For the boards: what was chosen in each dimension of the action, and how the rest is distributed."""
    figures = {"reward/strokes": rewards, "advantage/all": advantage, "value/all": rollout.value, "d/final": score[-1]}
    found = {name: np.histogram(x.cpu().numpy(), 64) for name, x in figures.items()}
    for i, dimension in enumerate(() if rollout.action.is_floating_point() else spec):
        chosen = counts(rollout.action[..., i], dimension.n).cpu().numpy()
        found[f"action/{dimension.name}"] = (chosen, np.arange(dimension.n + 1) - 0.5)
    return found
