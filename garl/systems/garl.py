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
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from garl.advantage import AdvantageConfig, RewardScale, estimate
from garl.adversary.discriminator import DiscriminatorConfig
from garl.adversary.gallery import Gallery
from garl.adversary.losses import step_weight
from garl.adversary.memory import FakeMemory, canvases_of, fakes_of
from garl.adversary.update import Adversary, AdversaryConfig
from garl.boards import load_wandb
from garl.brush.spec import Brush
from garl.data.images import Images, load
from garl.engine.paint import PaintConfig, PaintEngine, StrokeCodec, choose_paint_device, load_brushes
from garl.env.canvas import PaintEnv
from garl.errors import GarlError
from garl.evaluate.coverage import class_shares
from garl.evaluate.frechet import frechet_distance
from garl.evaluate.judge import load_judge
from garl.evaluate.oscillation import flips
from garl.export.picture import grid, save_png
from garl.learners import a2c, ppo
from garl.learners.a2c import A2CConfig
from garl.learners.ppo import PPOConfig
from garl.learners.shared import LearnerConfig
from garl.machine import keep_freed_memory, use_threads
from garl.policy.actor_critic import ActorCritic
from garl.policy.features import PolicyConfig
from garl.progress import Progress
from garl.reward import RewardConfig, reward
from garl.rollout import collect
from garl.runs import load_checkpoint, open_run, read_config, save_divergence, stop_requests
from garl.settings import Settings
from garl.systems.state import SizeLimit, State, not_finite, restore_module, size, under
from garl.track import SAMPLE, copies, describe, gaps, head_entropies, histograms, parts, pixels, read, told_apart


class Config(Settings):
    """Everything that a run depends on. The defaults are the thesis's (A.3); `DIGITS` is made for a laptop."""

    data: str = "celeba"
    """Name of a data set (see `garl data`), or path of a folder, archive or IDX file of pictures."""
    label: int | str | None = None
    """Learn from the pictures of this class alone: its number, or the name of its folder."""
    condition: Literal["none", "label"] = "none"
    """label: every painting is asked for a class of the data, drawn at random, and judged as one of that class."""
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
    anneal_entropy: bool = True
    """Whether `anneal` reaches the entropy coefficient, too, or the learning rates alone."""
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
    """Cycles between two sample pictures and measurements of the distance to the data; the first is made after one."""
    checkpoint_every: int = Field(40, ge=1)
    """Cycles between two checkpoints."""
    on_divergence: Literal["stop", "roll_back"] = "stop"
    """If a loss, a gradient or a weight is no longer finite: stop, or go back to the last checkpoint and on from there
    with half the learning rates, up to five times."""
    wandb: bool = False
    """Write the records for Weights & Biases, too, offline (pip install 'garl[wandb]')."""
    paint: PaintConfig = PaintConfig()
    policy: PolicyConfig = PolicyConfig()
    adversary: AdversaryConfig = AdversaryConfig()
    reward: RewardConfig = RewardConfig()
    advantage: AdvantageConfig = AdvantageConfig()
    learner: Literal["ppo", "a2c"] = "ppo"
    """What improves the policy; its settings are those of the same name."""
    ppo: PPOConfig = PPOConfig()
    a2c: A2CConfig = A2CConfig()

    @property
    def learning(self) -> LearnerConfig:
        """The settings of the chosen learner."""
        return self.ppo if self.learner == "ppo" else self.a2c

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.condition == "label" and self.label is not None:
            raise GarlError("condition label asks for every class, label leaves but one: leave out one of the two")
        if self.adversary.intermediate == "mixed" and self.strokes < 2:
            raise GarlError("adversary.intermediate mixed needs unfinished canvases: set strokes to 2 or more")
        if self.policy.recurrent and self.strokes % min(self.learning.bptt, self.strokes):
            wrong = f"not be {self.learning.bptt}"
            raise GarlError(f"{self.learner}.bptt must divide the {self.strokes} strokes of a painting, {wrong}")
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
PARTS = ("collect", "score", "learner", "adversary", "figures")
"""Of a cycle, in the order of the marks that time them."""
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


def make_env(
    config: Config, canvases: int, brushes: Sequence[Brush] | None = None, device: torch.device | str = "cpu"
) -> PaintEnv:
    """`canvases` blank canvases under `brushes`, or the configured ones; strokes are drawn on `device`."""
    return PaintEnv(canvases, PaintEngine(config.paint, brushes, device=device), config.strokes)


def make_policy(config: Config, env: PaintEnv, classes: int = 0) -> ActorCritic:
    """A fresh policy for what `env` offers and shows, and so many classes that it can be asked for."""
    shape = env.single_observation_space.shape
    assert shape is not None
    return ActorCritic(env.action_spec, (shape[0], shape[1], shape[2]), config.policy, config.strokes, classes)


def draw_noise(config: Config, canvases: int, generator: torch.Generator) -> Tensor:
    """The policy's noise, (B, Z) float32; (T, B, Z) if it is drawn anew for every stroke."""
    steps = (config.strokes,) if config.noise_per_step else ()
    return torch.randn(*steps, canvases, config.policy.noise, generator=generator)


def draw_condition(
    classes: int, canvases: int, generator: torch.Generator, device: torch.device | str = "cpu"
) -> Tensor | None:
    """The class that each painting is asked for, (B,) int64, uniform; None if there are none to ask for."""
    if not classes:
        return None
    return torch.randint(classes, (canvases,), generator=generator).to(device, non_blocking=True)


def real_batch(
    images: Images, config: Config, generator: torch.Generator, device: torch.device
) -> tuple[Tensor, Tensor | None]:
    """Pictures for one step of every discriminator, and their classes if paintings are asked for those."""
    n, label = config.adversary.batch_size * config.adversary.networks, None
    if config.condition == "none":
        pictures = images.batch(n, generator)
    else:
        pictures, label = images.labelled_batch(n, generator)
        label = label.to(device, non_blocking=True)
    return pictures.to(device, non_blocking=True), label


def train(config: Config, out: Path, resume: bool = False) -> None:
    """Train an agent in the run folder `out`; with `resume`, go on from its last checkpoint.

    Raises GarlError if the data, the folder or the device will not do, or if training diverges.
    """
    device = choose_device(config.device)
    use_threads(config.threads)
    keep_freed_memory()
    images = load_images(config)
    report(images)
    classes = images.classes if config.condition == "label" else []
    if config.condition == "label" and not classes:
        raise GarlError(f"{images.name} has no labels to ask for: put its pictures in one subfolder per label")
    judge = load_judge()
    some = min(2048, 2 * len(images)), torch.Generator().manual_seed(0)
    examples, example_class = images.labelled_batch(*some) if classes else (images.batch(*some), None)
    real_features, real_pixels = judge.features(examples), read(pixels(examples))
    identity = hashlib.sha256(examples.numpy().data).hexdigest()
    precision = torch.bfloat16 if config.learning.precision == "bfloat16" else torch.float32
    painted = canvases_of(config.envs, config.strokes, config.adversary.intermediate)
    weighted = config.adversary.intermediate == "weighted"
    updates = config.adversary.updates or math.ceil(painted / config.adversary.batch_size)
    if not resume:
        StrokeCodec(config.paint, load_brushes(config.paint))  # a mistake must be found before the folder is made
    if config.wandb:
        load_wandb()  # and so must its absence
    folder = open_run(out, config.model_dump(mode="json"), resume)
    with folder as run, Progress(out) as progress, stop_requests() as stopping:
        # The agent, its world and its adversary.
        torch.manual_seed(config.seed)
        generator = torch.Generator().manual_seed(config.seed)
        sampler = torch.Generator(device).manual_seed(config.seed)
        brushes = saved_brushes(run.checkpoint[1], config, out) if run.checkpoint else load_brushes(config.paint)
        paint_device = choose_paint_device(device)
        compile_engine(make_env(config, 1, brushes, paint_device))
        env = make_env(config, config.envs, brushes, paint_device)
        env.reset(seed=config.seed)
        policy = make_policy(config, env, len(classes)).to(device)
        learner = ppo if config.learner == "ppo" else a2c
        optimizer = learner.make_optimizer(policy, config.learning)
        weights = learner.Weights(config.learning, env.action_spec).to(device)
        scale = RewardScale(config.advantage).to(device)
        average = AveragedModel(policy, multi_avg_fn=get_ema_multi_avg_fn(config.average))
        adversary = Adversary(images.array.shape[1:], config.adversary, device, len(classes))
        memory = FakeMemory(config.adversary.memory or painted, config.adversary.memory_priority)
        recent: deque[Tensor] = deque(maxlen=math.ceil(RECENT / config.envs))
        gallery = Gallery()

        # What of it changes is saved, and found again.
        running = {"weights": weights, "scale": scale}
        constants = {"brushes": [brush.to_dict() for brush in brushes], "data": identity, "classes": classes}
        state = State(
            env, policy, optimizer, average, adversary, memory, generator, sampler, recent, gallery, running, constants
        )
        if run.checkpoint:
            state.restore(run.checkpoint, out)
            if run.checkpoint[1]["data"] != identity:
                tell(f"{images.name} has changed since {out} began: the run goes on, but not as it would have")
            run.checkpoint = None  # it has been copied, and may be large
        run.start_after(state.cycle)
        if run.saved is None:  # so that there is one to go back to from the first cycle on
            run.save(state.tensors(), state.meta())

        networks = {"policy": policy, "adversary": adversary.network}
        started = time.monotonic() - state.seconds
        while (spent := config.spent(state.seconds, state.cycle * config.envs)) < 1.0 and not stopping():
            remaining = max(1.0 - spent, 0.01) if config.anneal else 1.0
            rate = remaining * 0.5**state.roll_backs
            for each, settings in ((optimizer, config.learning), (adversary.optimizer, config.adversary)):
                for group in each.param_groups:
                    group["lr"] = settings.learning_rate * rate
            weights.share = remaining if config.anneal_entropy else 1.0
            before = copies(networks)

            # One cycle of the method (fig. 6.1).
            marks = [time.perf_counter()]
            noise = draw_noise(config, config.envs, generator).to(device, non_blocking=True)
            asked = draw_condition(len(classes), config.envs, generator, device)  # (B,), or None
            rollout = collect(env, policy, noise, sampler, precision, asked)  # (T, B, …)
            marks.append(time.perf_counter())
            shown = None if asked is None else asked.repeat(config.strokes + 1)
            score = adversary.score(rollout.canvases.flatten(0, 1), shown).view(config.strokes + 1, config.envs)
            rewards = scale(reward(score, config.reward))  # (T, B)
            advantage, target = estimate(rewards, rollout.value, config.advantage)
            marks.append(time.perf_counter())
            metrics = learner.update(policy, optimizer, rollout, advantage, target, config.learning, generator, weights)
            marks.append(time.perf_counter())
            average.update_parameters(policy)
            if config.adversary.memory == 0:
                memory.seen = 0  # on-policy: forget the cycles before
            fakes = fakes_of(rollout, config.adversary.intermediate, generator)
            memory.add(fakes.images, generator, fakes.step, fakes.condition)
            for _ in range(updates):
                real, label = real_batch(images, config, generator, device)
                fake = memory.sample(len(real), generator)
                condition = None if label is None else fake.condition
                weight = step_weight(fake.step, config.strokes) if weighted else None
                metrics |= adversary.update(real, fake.images, generator, label, condition, weight)
            marks.append(time.perf_counter())

            # What it came to.
            state.cycle += 1
            recent.append(rollout.final.clone())
            episodes = state.cycle * config.envs
            record: dict[str, float] = {"cycle": state.cycle, "episodes": episodes, "steps": episodes * config.strokes}
            record["learning_rate"] = rate
            checked = {"score": score, "reward": rewards, "advantage": advantage, "target": target} | metrics
            checked |= state.learned()
            figures = metrics | describe(score, rewards, advantage, target, rollout, env.action_spec)
            figures |= gaps(pixels(rollout.final), real_pixels) | parts(networks, before) | {"size": size(checked)}
            marks.append(time.perf_counter())
            record |= read(figures)
            state.seconds = time.monotonic() - started
            if not math.isfinite(record.pop("size")) and (broken := not_finite(checked)):
                save_divergence(out, state.cycle, broken, record, state.tensors() | state.gradients())
                roll_back(state, broken[0], out, config)
                run.start_after(state.cycle)
                state.seconds = time.monotonic() - started  # the clock does not go back
                continue
            if state.cycle % config.picture_every == 0 or state.cycle == 1:  # the first is the untrained agent's
                paintings = torch.cat(list(recent)).cpu()
                features, seen_as = judge.both(paintings)
                record["frechet"] = frechet_distance(features, real_features)
                record |= {f"classes/{k}": share for k, share in enumerate(class_shares(seen_as).tolist())}
                gallery.visit(rollout.final, asked, adversary.score)
                record["d/flips"] = flips(gallery.scores.cpu().numpy())
                label = None if example_class is None else example_class[:SAMPLE].to(device)
                figures = told_apart(adversary.score(examples[:SAMPLE].to(device), label), score[-1])
                record |= read(figures | head_entropies(policy, rollout, env.action_spec))
                sheets = picture(out, state.cycle, paintings, config.invert)
                run.show(int(record["steps"]), sheets, histograms(score, rewards, advantage, rollout, env.action_spec))
            timing = {"seconds": state.seconds, "seconds/cycle": time.perf_counter() - marks[0]}
            for part, (start, end) in zip(PARTS, pairwise(marks), strict=True):
                timing[f"seconds/{part}"] = end - start
            timing["speed/strokes"] = config.envs * config.strokes / timing["seconds/cycle"]
            timing["speed/paintings"] = config.envs / timing["seconds/cycle"]
            run.record(record | timing)
            progress.show(record, spent, state.seconds)
            if state.cycle % config.checkpoint_every == 0:
                run.save(state.tensors(), state.meta())
        if run.saved != state.cycle:
            run.save(state.tensors(), state.meta())
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


def picture(out: Path, cycle: int, paintings: Tensor, invert: bool) -> dict[str, np.ndarray]:
    """Save the newest paintings (N, C, H, W) uint8, and the running mean of the last 512; returns both sheets."""
    newest = paintings[-64:]
    mean = paintings[-MEAN_OF:].float().mean(0, keepdim=True).round().to(torch.uint8)
    if invert:
        newest, mean = 255 - newest, 255 - mean
    scale = max(1, 96 // newest.shape[-1])
    sheet = grid(newest, columns=16, scale=scale)
    save_png(out / "pictures" / "samples.png", sheet)
    sheets = {"pictures/samples": sheet, "pictures/mean": grid(mean, scale=scale)}
    for name, shown in sheets.items():
        save_png(out / f"{name}-{cycle:07d}.png", shown)
    return sheets


def load_config(folder: Path) -> Config:
    """The configuration that the run in `folder` started with; says what an older version did not yet write.

    Raises GarlError if it holds a setting that this version does not know, or a value that will not do.
    """
    settings = read_config(folder)
    if "system" in settings:
        raise GarlError(f"{folder} is a run of `garl train {settings['system']}`, not of GARL: see docs/method.md")
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
    brushes: tuple[Brush, ...]
    policy: ActorCritic
    classes: tuple[str, ...] = ()  # what it can be asked for


def saved_brushes(meta: dict[str, Any], config: Config, folder: Path) -> tuple[Brush, ...]:
    """The brushes of a checkpoint in `folder`, from its meta data; "brush" is what held the only one of old runs.

    Raises GarlError if they are damaged, or not as many as `config` names.
    """
    stored = meta.get("brushes", [meta.get("brush")])
    if not isinstance(stored, list) or len(stored) != 1 + len(config.paint.brushes):
        raise GarlError(f"the checkpoint in {folder} does not hold the brushes that its config.json names: train again")
    return tuple(Brush.from_dict(each, f"the brush in {folder}") for each in stored)


def load_agent(folder: Path, device: str = "auto") -> Agent:
    """The agent that the run in `folder` has trained. Raises GarlError if there is none, or it is damaged.

    The run may come from a stranger: no code in it runs, and its config.json cannot ask for weights it does not bring.
    """
    tensors, meta = load_checkpoint(folder)
    config = load_config(folder)
    brushes = saved_brushes(meta, config, folder)
    weights = under("average.module.", tensors).values()
    if not all(weight.dtype == torch.float32 and weight.isfinite().all() for weight in weights):
        raise GarlError(f"the weights in {folder} are not all finite float32: train again")
    classes = meta.get("classes", [])
    if not (isinstance(classes, list) and all(isinstance(name, str) for name in classes)):
        raise GarlError(f"the classes in {folder} are not a list of names: train again")
    with SizeLimit(sum(weight.numel() for weight in weights), folder):
        policy = make_policy(config, make_env(config, 1, brushes), len(classes))
    restore_module(policy, "average.module.", tensors, folder)
    return Agent(config, brushes, policy.to(choose_device(device)).eval(), tuple(classes))
