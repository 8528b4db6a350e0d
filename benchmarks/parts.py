"""A minibatch of PPO on the thesis's network, whole and in two parts side by side, in turn: what it costs when threads
share every operation, which depends on where the host has put the cores, and what when each has a part of its own.

    python benchmarks/parts.py --preset thesis-fast
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch

from garl.env.canvas import PaintEnv
from garl.learners import ppo
from garl.machine import keep_freed_memory
from garl.policy.actor_critic import ActorCritic
from garl.rollout import collect
from garl.systems.garl import PRESETS

WARM_UP = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="thesis-fast")
    parser.add_argument("--parts", type=int, nargs="*", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=20)
    arguments = parser.parse_args()
    keep_freed_memory()
    preset = PRESETS[arguments.preset]
    envs, size = 64, preset.ppo.batch_size
    env = PaintEnv(envs, preset.paint, size // envs)
    env.reset(seed=0)
    torch.manual_seed(0)
    policy = ActorCritic(
        env.action_spec, (preset.paint.channels, preset.paint.height, preset.paint.width), preset.policy, preset.strokes
    )
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(envs, preset.policy.noise, generator=generator)
    rollout = collect(env, policy, noise, generator, preset.ppo.dtype)
    advantage, target = torch.randn(2, *rollout.log_prob.shape, generator=generator)
    optimizer = ppo.make_optimizer(policy, preset.ppo)
    seconds: dict[int, list[float]] = {parts: [] for parts in arguments.parts}
    for _ in range(WARM_UP + arguments.rounds):
        for parts in arguments.parts:
            config = preset.ppo.model_copy(update={"parts": parts, "epochs": 1})
            start = time.perf_counter()
            ppo.update(policy, optimizer, rollout, advantage, target, config, generator)
            seconds[parts].append(time.perf_counter() - start)
    for parts, times in seconds.items():
        each = [1e3 * t for t in times[WARM_UP:]]
        best, middle = min(each), statistics.median(each)
        print(f"{size} transitions in {parts} part(s): {best:.0f} ms at best, {middle:.0f} in the middle")


if __name__ == "__main__":
    main()
