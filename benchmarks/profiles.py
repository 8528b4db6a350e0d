"""Where the time goes: a step of PPO on the thesis's network, operator by operator, and a stroke, part by part.

python benchmarks/profiles.py step --precision float32 --batch 64 --plain > docs/profiles/step-before.txt
python benchmarks/profiles.py step --precision bfloat16 --batch 256 > docs/profiles/step-after.txt
python benchmarks/profiles.py stroke > docs/profiles/stroke.txt
"""

from __future__ import annotations

import argparse
import time

import torch
from plain import use_plain
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile, schedule

from garl.bench import painting, shortest
from garl.brush.spec import load_brush
from garl.engine.paint import PaintConfig, PaintEngine
from garl.learners import ppo
from garl.machine import keep_freed_memory
from garl.policy.actor_critic import ActorCritic
from garl.types import Observation

WARM_UP, STEPS = 3, 3


def profile_step(precision: str, batch: int, plain: bool) -> None:
    """Forward, backward and RMSprop on a minibatch of the thesis's default network."""
    if plain:
        use_plain()
    else:
        keep_freed_memory()
    torch.manual_seed(0)
    spec = PaintEngine(PaintConfig()).action_spec
    policy = ActorCritic(spec, (3, 64, 64))
    optimizer = ppo.make_optimizer(policy, ppo.PPOConfig())
    canvas = torch.randint(0, 256, (batch, 3, 64, 64), dtype=torch.uint8)
    action = torch.stack([torch.randint(0, dimension.n, (batch,)) for dimension in spec], 1)
    step = torch.zeros(batch, dtype=torch.int64)
    observation = Observation(canvas, torch.randn(batch, 10), action, step, step - 1)

    def step() -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
            decision = policy(observation, action)
        loss = decision.value.square().mean() - decision.log_prob.mean() - 0.01 * decision.entropy.mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(policy.parameters(), 0.5)
        optimizer.step()
        return loss

    for _ in range(WARM_UP):
        step()
    start = time.perf_counter()
    for _ in range(STEPS):
        step()
    seconds = (time.perf_counter() - start) / STEPS
    # The first steps that are watched touch memory anew, and the operators that happen to pay for it would look slow.
    plan = schedule(wait=0, warmup=WARM_UP, active=STEPS, repeat=1)
    with profile(activities=[ProfilerActivity.CPU], schedule=plan, record_shapes=True) as found:
        for _ in range(WARM_UP + STEPS):
            step()
            found.step()
    print(
        f"{precision}, minibatches of {batch}, {torch.get_num_threads()} threads: {batch / seconds:.0f} transitions/s"
    )
    table = found.key_averages(group_by_input_shape=True).table("self_cpu_time_total", row_limit=24)
    # Column by column, only what says something: name, self time, calls, shapes.
    for line in table.splitlines():
        cells = [cell for cell in line.split("  ") if cell.strip()]
        if len(cells) >= 8:
            print(f"{cells[0].strip()[:44]:<44} {cells[2].strip():>12} {cells[6].strip():>8}  {cells[7].strip()[:76]}")


def profile_stroke() -> None:
    """Microseconds of a stroke by the distance of its dabs: what does not fall with them is the stroke's own."""
    print(f"{'brush':<12} {'canvas':>6} {'dabs apart':>10} {'µs/stroke':>10}")
    for name, dab in (("oil", {"jitter": {}}), ("splatter", {})):
        for size in (64, 256):
            for step in (0.2, 0.4, 0.8, 1.6, 3.2):
                brush = load_brush(name).with_settings(stroke={"type": "bezier", "step": step}, dab=dab)
                seconds = shortest(painting(brush, size), time.process_time) / 512
                print(f"{name:<12} {size:>6} {step:>10} {1e6 * seconds:>10.1f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("step", "stroke"))
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--plain", action="store_true", help="PyTorch as it comes")
    arguments = parser.parse_args()
    if arguments.what == "step":
        profile_step(arguments.precision, arguments.batch, arguments.plain)
    else:
        profile_stroke()


if __name__ == "__main__":
    main()
