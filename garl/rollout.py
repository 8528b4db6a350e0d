"""`collect`: let a policy paint one episode on every canvas of an environment."""

from __future__ import annotations

import torch
from torch import Tensor

from garl.env.canvas import PaintEnv
from garl.policy.actor_critic import ActorCritic
from garl.types import Decision, Observation, Rollout


@torch.no_grad()
def collect(
    env: PaintEnv,
    policy: ActorCritic,
    noise: Tensor,
    generator: torch.Generator,
    precision: torch.dtype = torch.float32,
    condition: Tensor | None = None,
    begun: tuple[Tensor | None, Tensor | None] = (None, None),
    first: int = 0,
    actions: Tensor | None = None,
    anchor: ActorCritic | None = None,
) -> Rollout:
    """One episode of T strokes on B canvases; `generator` samples the actions.

    Or `actions` (T, B, …) are given: a policy without memory is then not asked what it thinks of them, and log_prob,
    entropy and value are 0.

    noise: (B, Z), one draw per episode, or (T, B, Z), one per stroke. condition, on the noise's device: (B,) int64,
    the class that each painting is to show, or (B, C, H, W) uint8, the picture. begun: canvases to go on from and what
    of them is free, as `PaintEnv.begin` takes them. first: the number of the first stroke, in the episodes that the
    policy learned from. anchor: a policy that is asked, too, how likely it would have been to act so.

    Where the engine paints on the policy's device, nothing leaves it, and nothing waits for it.
    `precision` must be the learner's, or PPO's ratio would not be 1 before its first step.
    """
    device, frames = noise.device, policy.config.frames
    batch = env.num_envs
    canvases = [env.begin(*begun).to(device)]
    last_action, state = policy.last_action(batch, device), policy.state(batch, device)
    asked = torch.full((batch,), -1, device=device) if condition is None else condition
    anchor_state = None if anchor is None else anchor.state(batch, device)
    unknown = torch.zeros(batch, device=device)
    observations, decisions, states, anchored = [], [], [], []
    # One for all strokes: within it, weights are cast to the lower precision but once.
    with torch.autocast(device.type, precision, enabled=precision != torch.float32):
        for t in range(env.strokes):
            stack = [canvases[max(0, t - k)] for k in range(frames)]
            step = torch.full((batch,), first + t, device=device)
            drawn = noise[t] if noise.ndim == 3 else noise
            observation = Observation(torch.cat(stack, 1), drawn, last_action, step, asked)
            given = None if actions is None else actions[t]
            if given is None or state is not None:
                decision = policy(observation, given, generator, state)
            else:
                decision = Decision(given, unknown, unknown, unknown)
            if anchor is not None:
                opinion = anchor(observation, decision.action, state=anchor_state)
                anchor_state = opinion.state
                anchored.append(opinion.log_prob)
            canvases.append(env.paint(decision.action).to(device))
            observations.append(observation)
            states.append(state)
            last_action, state = decision.action, decision.state
            decisions.append(decision)
    strokes, seeds = env.strokes_and_seeds()
    return Rollout(
        observation=Observation(*(torch.stack(field) for field in zip(*observations, strict=True))),
        action=torch.stack([d.action for d in decisions]),
        log_prob=torch.stack([d.log_prob for d in decisions]),
        value=torch.stack([d.value for d in decisions]),
        entropy=torch.stack([d.entropy for d in decisions]),
        canvases=torch.stack(canvases),
        strokes=strokes.transpose(0, 1),
        seeds=seeds,
        state=None if state is None else torch.stack([before for before in states if before is not None]),
        anchor=torch.stack(anchored) if anchored else None,
    )
