"""Generative adversarial reinforcement learning: the method of the thesis, its loop in full (thesis ch. 6, fig. 6.1).

the policy paints → the adversary scores every canvas → scores become rewards, rewards advantages
→ PPO improves the policy → the adversary learns to tell the paintings from real pictures → again.
"""

from __future__ import annotations

import hashlib
import math
import sys
import time
from collections import deque
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from garl.advantage import AdvantageConfig, estimate
from garl.adversary.discriminator import DiscriminatorConfig
from garl.adversary.memory import FakeMemory
from garl.adversary.update import Adversary, AdversaryConfig
from garl.brush.spec import Brush, load_brush
from garl.data.images import Images, load
from garl.engine.paint import PaintConfig, PaintEngine, choose_paint_device
from garl.env.canvas import PaintEnv
from garl.errors import GarlError
from garl.evaluate.frechet import frechet_distance
from garl.evaluate.judge import load_judge
from garl.export.picture import grid, save_png
from garl.learners import ppo
from garl.learners.ppo import PPOConfig
from garl.machine import keep_freed_memory, use_threads
from garl.policy.actor_critic import ActorCritic
from garl.policy.features import PolicyConfig
from garl.progress import Progress
from garl.reward import RewardConfig, reward
from garl.rollout import collect
from garl.runs import load_checkpoint, open_run, read_config, save_divergence, stop_requests
from garl.settings import Settings
from garl.systems.state import SizeLimit, State, not_finite, restore_module, size, under


class Config(Settings):
    """Everything that a run depends on. The defaults are the thesis's (A.3); `DIGITS` is made for a laptop."""

    data: str = "celeba"
    """Name of a data set (see `garl data`), or path of a folder, archive or IDX file of pictures."""
    label: int | str | None = None
    """Learn from the pictures of this class alone: its number, or the name of its folder."""
    invert: bool = False
    """Learn the negative of the pictures (light ink on a dark ground); what is sampled is turned back."""
    minutes: float | None = Field(None, gt=0)
    """Stop after this time. Without a budget a run takes 10 minutes."""
    steps: int | None = Field(None, ge=1)
    """Stop after this many strokes, over all canvases."""
    episodes: int | None = Field(None, ge=1)
    """Stop after this many paintings."""
    strokes: int = Field(64, ge=1, le=65_536)
    """Strokes in a painting."""
    envs: int = Field(64, ge=2, le=1_048_576)
    """Canvases painted side by side: the paintings of a cycle."""
    noise_per_step: bool = False
    """Draw the policy's noise anew for every stroke instead of once per painting."""
    anneal: bool = False
    """Let both learning rates and the entropy coefficient fall to zero over the budget."""
    average: float = Field(0.0, ge=0.0, lt=1.0)
    """The agent that is kept has averaged weights: each cycle w ← average · w + (1 − average) · policy; 0: the last."""
    seed: int = Field(0, ge=0)
    """Same seed, same machine, same budget in steps or episodes: same run."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where the networks run and, on a GPU with garl[cuda], the strokes are drawn."""
    threads: int = Field(0, ge=0)
    """CPU threads of the networks; 0: one per core. Small networks gain little from more than two; where something
    else keeps a core busy, one is fastest."""
    picture_every: int = Field(40, ge=1)
    """Cycles between two sample pictures and measurements of the distance to the data."""
    checkpoint_every: int = Field(40, ge=1)
    """Cycles between two checkpoints."""
    on_divergence: Literal["stop", "roll_back"] = "stop"
    """If a loss, a gradient or a weight is no longer finite: stop, or go back to the last checkpoint and on from there
    with half the learning rates, up to five times."""
    paint: PaintConfig = PaintConfig()
    policy: PolicyConfig = PolicyConfig()
    adversary: AdversaryConfig = AdversaryConfig()
    reward: RewardConfig = RewardConfig()
    advantage: AdvantageConfig = AdvantageConfig()
    ppo: PPOConfig = PPOConfig()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.policy.recurrent and self.strokes % min(self.ppo.bptt, self.strokes):
            raise GarlError(f"ppo.bptt must divide the {self.strokes} strokes of a painting, not be {self.ppo.bptt}")
        return self

    def spent(self, seconds: float, episodes: int) -> float:
        """The share of the budget that is used up, 0..1 and beyond; the budget that runs out first counts."""
        shares = []
        if self.minutes is not None or (self.steps is None and self.episodes is None):
            shares.append(seconds / (60 * (self.minutes or 10.0)))
        if self.steps is not None:
            shares.append(episodes * self.strokes / self.steps)
        if self.episodes is not None:
            shares.append(episodes / self.episodes)
        return max(shares)


DIGITS = Config(
    data="digits",
    strokes=4,
    envs=256,
    anneal=True,
    average=0.99,
    threads=2,
    paint=PaintConfig(
        height=28,
        width=28,
        channels=1,
        background=(0,),
        brush="hard_round",
        color_channels=0,
        opacity=False,
        grid=16,
        bins=8,
    ),
    policy=PolicyConfig(channels=16, blocks=2, location_channels=16, location_blocks=1, embed_noise="head"),
    adversary=AdversaryConfig(
        optimizer="adam",
        learning_rate=1e-3,
        batch_size=128,
        updates=6,
        memory=2048,
        network=DiscriminatorConfig(channels=8, spectral_norm=False),
    ),
    advantage=AdvantageConfig(lam=0.85),
    ppo=PPOConfig(
        epochs=1, batch_size=256, optimizer="adam", learning_rate=4e-4, entropy_coefficient=0.008, precision="bfloat16"
    ),
)
"""One grey digit in four round strokes, readable after a few minutes on two cores."""

THESIS = Config(data="celeba")
"""The thesis's default experiment (A.3): 64×64 colour pictures in 64 strokes of the splatter brush."""

THESIS_FAST = Config(
    data="celeba",
    adversary=AdversaryConfig(precision="bfloat16"),
    ppo=PPOConfig(batch_size=256, learning_rate=2e-4, precision="bfloat16"),
)
"""The same experiment at two to three times the speed: bfloat16, and minibatches four times as large."""

PRESETS = {"digits": DIGITS, "thesis": THESIS, "thesis-fast": THESIS_FAST}

RECENT = 1024
"""Paintings that the distance to the data is measured on while training."""
MEAN_OF = 512
"""Paintings in the running mean picture (thesis §7.2)."""
ROLL_BACKS = 5
"""How often a run that diverges goes back to its last checkpoint before it gives up."""


def choose_device(name: str) -> torch.device:
    """The device called `name`; "auto" is the GPU if there is one. Raises GarlError if there is none."""
    if name not in ("auto", "cpu", "cuda"):
        raise GarlError(f"'{name}' is not a device: use auto, cpu or cuda")
    if name == "cuda" and not torch.cuda.is_available():
        raise GarlError("there is no CUDA device here: use --device cpu")
    return torch.device("cuda" if name == "cuda" or (name == "auto" and torch.cuda.is_available()) else "cpu")


def load_images(config: Config, split: str = "train") -> Images:
    """The pictures to imitate, in the size of the canvas."""
    paint = config.paint
    size = (paint.height, paint.width)
    return load(config.data, size=size, channels=paint.channels, label=config.label, split=split, invert=config.invert)


def make_env(config: Config, canvases: int, brush: Brush | None = None, device: torch.device | str = "cpu") -> PaintEnv:
    """`canvases` blank canvases under `brush`, or the configured one; strokes are drawn on `device`."""
    return PaintEnv(canvases, PaintEngine(config.paint, brush, device=device), config.strokes)


def make_policy(config: Config, env: PaintEnv) -> ActorCritic:
    """A fresh policy for what `env` offers and shows."""
    shape = env.single_observation_space.shape
    assert shape is not None
    return ActorCritic(env.action_spec, (shape[0], shape[1], shape[2]), config.policy, config.strokes)


def draw_noise(config: Config, canvases: int, generator: torch.Generator) -> Tensor:
    """The policy's noise, (B, Z) float32; (T, B, Z) if it is drawn anew for every stroke."""
    steps = (config.strokes,) if config.noise_per_step else ()
    return torch.randn(*steps, canvases, config.policy.noise, generator=generator)


def train(config: Config, out: Path, resume: bool = False) -> None:
    """Train an agent in the run folder `out`; with `resume`, go on from its last checkpoint.

    Raises GarlError if the data, the folder or the device will not do, or if training diverges.
    """
    device = choose_device(config.device)
    use_threads(config.threads)
    keep_freed_memory()
    images = load_images(config)
    report(images)
    judge = load_judge()
    real = images.batch(min(2048, 2 * len(images)), torch.Generator().manual_seed(0))
    real_features, real_pixels = judge.features(real), [value.item() for value in pixel_statistics(real)]
    identity = hashlib.sha256(real.numpy().data).hexdigest()
    precision = torch.bfloat16 if config.ppo.precision == "bfloat16" else torch.float32
    updates = config.adversary.updates or math.ceil(config.envs / config.adversary.batch_size)
    if not resume:
        load_brush(config.paint.brush)  # a mistake there must be found before the folder is made
    folder = open_run(out, config.model_dump(mode="json"), resume)
    with folder as run, Progress(out) as progress, stop_requests() as stopping:
        # The agent, its world and its adversary.
        torch.manual_seed(config.seed)
        generator = torch.Generator().manual_seed(config.seed)
        sampler = torch.Generator(device).manual_seed(config.seed)
        brush = Brush.from_dict(run.checkpoint[1]["brush"]) if run.checkpoint else load_brush(config.paint.brush)
        paint_device = choose_paint_device(device)
        compile_engine(make_env(config, 1, brush, paint_device))
        env = make_env(config, config.envs, brush, paint_device)
        env.reset(seed=config.seed)
        policy = make_policy(config, env).to(device)
        optimizer = ppo.make_optimizer(policy, config.ppo)
        average = AveragedModel(policy, multi_avg_fn=get_ema_multi_avg_fn(config.average))
        adversary = Adversary(images.array.shape[1:], config.adversary, device)
        memory = FakeMemory(config.adversary.memory or config.envs, config.adversary.memory_priority)
        recent: deque[Tensor] = deque(maxlen=math.ceil(RECENT / config.envs))

        # What of it changes is saved, and found again.
        state = State(env, policy, optimizer, average, adversary, memory, generator, sampler, recent)
        constants = {"brush": brush.to_dict(), "data": identity}
        if run.checkpoint:
            state.restore(run.checkpoint, out)
            if run.checkpoint[1]["data"] != identity:
                tell(f"{images.name} has changed since {out} began: the run goes on, but not as it would have")
            run.checkpoint = None  # it has been copied, and may be large
        run.start_after(state.cycle)
        if run.saved is None:  # so that there is one to go back to from the first cycle on
            run.save(state.tensors(), state.meta() | constants)

        started = time.monotonic() - state.seconds
        while (spent := config.spent(state.seconds, state.cycle * config.envs)) < 1.0 and not stopping():
            remaining = max(1.0 - spent, 0.01) if config.anneal else 1.0
            rate = remaining * 0.5**state.roll_backs
            for learner, settings in ((optimizer, config.ppo), (adversary.optimizer, config.adversary)):
                for group in learner.param_groups:
                    group["lr"] = settings.learning_rate * rate

            # One cycle of the method (fig. 6.1).
            marks = [time.perf_counter()]
            noise = draw_noise(config, config.envs, generator).to(device, non_blocking=True)
            rollout = collect(env, policy, noise, sampler, precision)  # (T, B, …)
            marks.append(time.perf_counter())
            score = adversary.score(rollout.canvases.flatten(0, 1)).view(config.strokes + 1, config.envs)
            rewards = reward(score, config.reward)  # (T, B)
            advantage, target = estimate(rewards, rollout.value, config.advantage)
            marks.append(time.perf_counter())
            entropy_coefficient = config.ppo.entropy_coefficient * remaining
            metrics = ppo.update(
                policy, optimizer, rollout, advantage, target, config.ppo, generator, entropy_coefficient
            )
            marks.append(time.perf_counter())
            average.update_parameters(policy)
            if config.adversary.memory == 0:
                memory.seen = 0  # on-policy: forget the cycles before
            memory.add(rollout.final, generator)
            for _ in range(updates):
                pictures = images.batch(config.adversary.batch_size, generator).to(device, non_blocking=True)
                fake = memory.batch(config.adversary.batch_size, generator)
                metrics |= adversary.update(pictures, fake, generator)
            marks.append(time.perf_counter())

            # What it came to.
            state.cycle += 1
            recent.append(rollout.final.clone())
            episodes = state.cycle * config.envs
            record: dict[str, float] = {"cycle": state.cycle, "episodes": episodes, "steps": episodes * config.strokes}
            record["learning_rate"] = rate
            mean, std = pixel_statistics(rollout.final)
            figures = metrics | describe(score, rewards, advantage)
            figures |= {"pixels/mean_gap": mean - real_pixels[0], "pixels/std_gap": std - real_pixels[1]}
            checked = {"score": score, "reward": rewards, "advantage": advantage, "target": target} | figures
            checked |= state.tensors()
            figures["size"] = size(checked)
            # The only time in a cycle that the CPU waits for a GPU; before, work is only queued there.
            record |= dict(zip(figures, torch.stack(list(figures.values())).tolist(), strict=True))
            state.seconds = time.monotonic() - started
            if not math.isfinite(record.pop("size")) and (broken := not_finite(checked)):
                save_divergence(out, state.cycle, broken, record, state.tensors() | state.gradients())
                roll_back(state, broken[0], out, config)
                run.start_after(state.cycle)
                state.seconds = time.monotonic() - started  # the clock does not go back
                continue
            if state.cycle % config.picture_every == 0:
                paintings = torch.cat(list(recent)).cpu()
                record["frechet"] = frechet_distance(judge.features(paintings), real_features)
                picture(out, state.cycle, paintings, config.invert)
            timing = {"seconds": state.seconds}
            for part, (start, end) in zip(("collect", "score", "ppo", "adversary"), pairwise(marks), strict=True):
                timing[f"seconds/{part}"] = end - start
            run.record(record | timing)
            progress.show(record, spent, state.seconds)
            if state.cycle % config.checkpoint_every == 0:
                run.save(state.tensors(), state.meta() | constants)
        if run.saved != state.cycle:
            run.save(state.tensors(), state.meta() | constants)
        if recent:
            picture(out, state.cycle, torch.cat(list(recent)).cpu(), config.invert)


def tell(sentence: str) -> None:
    """A line to the user that is no figure of the run."""
    print(sentence, file=sys.stderr, flush=True)


def roll_back(state: State, broken: str, out: Path, config: Config) -> None:
    """Return to the last checkpoint, to go on from there at half the learning rates.

    Raises GarlError if the run is to stop instead, or has been rolled back too often.
    """
    what = f"training diverged: {broken} is not finite in cycle {state.cycle} (see {out / 'divergence.json'})"
    if config.on_divergence == "stop":
        raise GarlError(
            f"{what}; go on from the last checkpoint at half the learning rates by "
            f"`--resume --out {out} --on-divergence roll_back`, or start a new run with lower ones"
        )
    if state.roll_backs == ROLL_BACKS:
        raise GarlError(f"{what}, after {ROLL_BACKS} roll-backs: start a new run with lower learning rates")
    roll_backs = state.roll_backs + 1
    state.restore(load_checkpoint(out), out)
    state.roll_backs = roll_backs
    tell(f"{what}: back to cycle {state.cycle}, learning rates × {0.5**roll_backs:g}")


def report(images: Images) -> None:
    """Tell the user what is learned from, and which files could not be read."""
    tell(f"learning from {len(images):,} pictures: {images.name}")
    if images.skipped:
        some = "; ".join(images.skipped[:3]) + ("; …" if len(images.skipped) > 3 else "")
        tell(f"left out, as they cannot be read: {len(images.skipped)} ({some})")


def compile_engine(env: PaintEnv) -> None:
    """Paint one stroke: the first call on a machine compiles the engine, which should not be on a run's clock."""
    env.reset(seed=0)
    env.step(np.zeros(env.action_space.shape or (), np.int64))


def describe(score: Tensor, rewards: Tensor, advantage: Tensor) -> dict[str, Tensor]:
    """What thesis §7.2 watches besides the losses. score: (T + 1, B); rewards, advantage: (T, B)."""
    # D of each frame of the episode in units of the spread over finished paintings, 0 at the end.
    frames = (score.mean(1) - score[-1].mean()) / (score[-1].std() + 1e-8)
    return {
        "reward/mean": rewards.sum(0).mean(),
        "reward/std": rewards.sum(0).std(),
        "advantage/std": advantage.std(),
        **{f"d/frame_{t}": value for t, value in enumerate(frames)},
    }


def pixel_statistics(canvases: Tensor) -> tuple[Tensor, Tensor]:
    """The mean and the standard deviation of all values of (N, C, H, W) uint8, as 0..1."""
    values = canvases.float() / 255
    return values.mean(), values.std()


def picture(out: Path, cycle: int, paintings: Tensor, invert: bool) -> None:
    """Save the newest paintings (N, C, H, W) uint8, and the running mean of the last 512."""
    newest = paintings[-64:]
    mean = paintings[-MEAN_OF:].float().mean(0, keepdim=True).round().to(torch.uint8)
    if invert:
        newest, mean = 255 - newest, 255 - mean
    scale = max(1, 96 // newest.shape[-1])
    sheet = grid(newest, columns=16, scale=scale)
    save_png(out / "pictures" / "samples.png", sheet)
    save_png(out / "pictures" / f"samples-{cycle:07d}.png", sheet)
    save_png(out / "pictures" / f"mean-{cycle:07d}.png", grid(mean, scale=scale))


def load_config(folder: Path) -> Config:
    """The configuration that the run in `folder` started with; says what an older version did not yet write.

    Raises GarlError if it holds a setting that this version does not know, or a value that will not do.
    """
    settings = read_config(folder)
    try:
        config = Config(**settings)
    except GarlError as error:
        raise GarlError(f"{folder / 'config.json'} does not suit this version of garl: {error}") from error
    if absent := sorted(_names(config.model_dump()) - _names(settings)):
        tell(f"{folder / 'config.json'} does not say {', '.join(absent)}: taken as the defaults")
    return config


def _names(settings: dict[str, Any], prefix: str = "") -> set[str]:
    """The names of all settings, nested ones as `ppo.epochs`."""
    parts = [
        _names(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}"}
        for name, value in settings.items()
    ]
    return set().union(*parts)


@dataclass(frozen=True)
class Agent:
    """A trained policy with all that it needs to paint."""

    config: Config
    brush: Brush
    policy: ActorCritic


def load_agent(folder: Path, device: str = "auto") -> Agent:
    """The agent that the run in `folder` has trained. Raises GarlError if there is none, or it is damaged.

    The run may come from a stranger: no code in it runs, and its config.json cannot ask for weights it does not bring.
    """
    tensors, meta = load_checkpoint(folder)
    config, brush = load_config(folder), Brush.from_dict(meta.get("brush"), f"the brush in {folder}")
    weights = under("average.module.", tensors).values()
    if not all(weight.dtype == torch.float32 and weight.isfinite().all() for weight in weights):
        raise GarlError(f"the weights in {folder} are not all finite float32: train again")
    with SizeLimit(sum(weight.numel() for weight in weights), folder):
        policy = make_policy(config, make_env(config, 1, brush))
    restore_module(policy, "average.module.", tensors, folder)
    return Agent(config, brush, policy.to(choose_device(device)).eval())
