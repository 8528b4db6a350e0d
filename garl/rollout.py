"""`collect`: let a policy paint one episode on every canvas of an environment."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from garl.brush.geometry import STROKE_SIZE
from garl.env.canvas import PaintEnv
from garl.policy.actor_critic import ActorCritic
from garl.types import Observation, Rollout


@torch.no_grad()
def collect(
    env: PaintEnv,
    policy: ActorCritic,
    noise: Tensor,
    generator: torch.Generator,
    precision: torch.dtype = torch.float32,
) -> Rollout:
    """One episode of T strokes on B canvases; `generator` samples the actions.

    noise: (B, Z), one draw per episode, or (T, B, Z), one per stroke.

    `precision` must be the learner's, or PPO's ratio would not be 1 before its first step.
    """
    device = noise.device
    frames = policy.config.frames
    start, _ = env.reset()
    canvases = [torch.from_numpy(start).to(device)]
    last_action = torch.full((env.num_envs, len(env.action_spec)), -1, device=device)
    observations, decisions = [], []
    for t in range(env.strokes):
        stack = [canvases[max(0, t - k)] for k in range(frames)]
        step = torch.full((env.num_envs,), t, device=device)
        observation = Observation(torch.cat(stack, 1), noise[t] if noise.ndim == 3 else noise, last_action, step)
        with torch.autocast(device.type, precision, enabled=precision != torch.float32):
            decision = policy(observation, generator=generator)
        canvas, _, _, _, info = env.step(decision.action.cpu().numpy())
        canvases.append(torch.from_numpy(canvas).to(device))
        last_action = decision.action
        observations.append(observation)
        decisions.append(decision)
    # An engine without brush strokes leaves these empty.
    strokes = info.get("strokes", np.zeros((env.num_envs, env.strokes, STROKE_SIZE), np.float32))
    seeds = info.get("seeds", np.zeros(env.num_envs, np.int64))
    return Rollout(
        observation=Observation(*(torch.stack(field) for field in zip(*observations, strict=True))),
        action=torch.stack([d.action for d in decisions]),
        log_prob=torch.stack([d.log_prob for d in decisions]),
        value=torch.stack([d.value for d in decisions]),
        entropy=torch.stack([d.entropy for d in decisions]),
        canvases=torch.stack(canvases),
        strokes=torch.from_numpy(strokes).transpose(0, 1),
        seeds=torch.from_numpy(seeds),
    )
