"""Generative adversarial reinforcement learning: the method of the thesis, its loop in full (thesis ch. 6, fig. 6.1).

the policy paints → the adversary scores every canvas → scores become rewards, rewards advantages
→ PPO improves the policy → the adversary learns to tell the paintings from real pictures → again.
"""

from __future__ import annotations

import copy
import hashlib
import math
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from garl.advantage import AdvantageConfig, RewardScale, estimate
from garl.adversary.discriminator import DiscriminatorConfig
from garl.adversary.gallery import Gallery
from garl.adversary.likeness import Likeness
from garl.adversary.losses import step_weight
from garl.adversary.memory import FakeMemory, Fakes, canvases_of, fakes_of
from garl.adversary.update import Adversary, AdversaryConfig
from garl.agents import find_agent
from garl.boards import load_wandb
from garl.brush.spec import Brush
from garl.curriculum import CurriculumConfig, Targets, grown
from garl.data.images import Images, load
from garl.demonstrations import (
    DemonstrationsConfig,
    Lessons,
    Tell,
    check_demonstrable,
    check_twin,
    demonstrate_all,
    imitate,
)
from garl.engine.paint import PaintConfig, PaintEngine, StrokeCodec, blank, choose_paint_device, load_brushes
from garl.env.canvas import PaintEnv
from garl.errors import GarlError
from garl.evaluate.coverage import class_shares
from garl.evaluate.eye import choose_eye
from garl.evaluate.frechet import frechet_distance
from garl.evaluate.judge import load_judge
from garl.evaluate.oscillation import flips
from garl.export.picture import grid, save_png
from garl.learners import a2c, ppo
from garl.learners.a2c import A2CConfig
from garl.learners.ppo import PPOConfig
from garl.learners.shared import LearnerConfig, set_rate
from garl.machine import keep_freed_memory, use_threads
from garl.policy.actor_critic import ActorCritic
from garl.policy.features import PolicyConfig
from garl.progress import Progress
from garl.reward import RewardConfig, reward
from garl.rollout import collect
from garl.runs import load_checkpoint, open_run, read_config, save_divergence, stop_requests
from garl.settings import Settings
from garl.systems.population import (
    Member,
    PopulationConfig,
    Turn,
    compare,
    distances,
    in_turn,
    named,
    prefix,
    rescue,
    sample_fakes,
    shrunk,
)
from garl.systems.state import SizeLimit, State, not_finite, rebuild, restore_module, size, under
from garl.track import (
    SAMPLE,
    copies,
    describe,
    gaps,
    head_entropies,
    histograms,
    likeness,
    means,
    parts,
    pixels,
    read,
    told_apart,
)


class Config(Settings):
    """Everything that a run depends on. The defaults are the thesis's (A.3); `DIGITS` is made for a laptop."""

    data: str = "celeba"
    """Name of a data set (see `garl data`), or path of a folder, archive or IDX file of pictures."""
    label: int | str | None = None
    """Learn from the pictures of this class alone: its number, or the name of its folder."""
    condition: Literal["none", "label", "picture"] = "none"
    """label: every painting is asked for a class of the data, drawn at random, and judged as one of that class.
    picture: it is asked for a picture of the data, which the agent sees, and judged beside it (SPIRAL)."""
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
    """Canvases painted side by side: an agent's paintings in a cycle."""
    noise_per_step: bool = False
    """Draw the policy's noise anew for every stroke instead of once per painting."""
    anneal: bool = False
    """Let both learning rates and the entropy coefficient fall to zero over the budget."""
    anneal_entropy: bool = True
    """Whether `anneal` reaches the entropy coefficient, too, or the learning rates alone."""
    average: float = Field(0.0, ge=0.0, lt=1.0)
    """The agent that is kept has averaged weights: w ← a w + (1 − a) policy after cycle t, where a is this, but at most
    t / (t + 9), so that a short run's are not those of its beginning; 0: the last."""
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
    demonstrations: DemonstrationsConfig = DemonstrationsConfig()
    """What the policy imitates before it paints for its adversary."""
    warm_up: int = Field(0, ge=0)
    """Cycles over which the policy's learning rate grows to its setting: after demonstrations it is the adversary and
    the critic that know nothing."""
    curriculum: CurriculumConfig = CurriculumConfig()
    advantage: AdvantageConfig = AdvantageConfig()
    learner: Literal["ppo", "a2c"] = "ppo"
    """What improves the policy; its settings are those of the same name."""
    ppo: PPOConfig = PPOConfig()
    a2c: A2CConfig = A2CConfig()
    population: PopulationConfig = PopulationConfig()

    @property
    def learning(self) -> LearnerConfig:
        """The settings of the chosen learner."""
        return self.ppo if self.learner == "ppo" else self.a2c

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.condition == "label" and self.label is not None:
            raise GarlError("condition label asks for every class, label leaves but one: leave out one of the two")
        fixed = self.reward.source != "adversary"
        if self.condition != "picture" and (fixed or self.adversary.mask):
            name = f"reward.source {self.reward.source}" if fixed else "adversary.mask"
            raise GarlError(f"{name} needs pairs of canvas and target: set condition to picture")
        if self.condition != "picture" and self.learning.hindsight:
            raise GarlError(f"{self.learner}.hindsight needs a target to take its place: set condition to picture")
        if not fixed and (self.reward.perceptual or self.curriculum != CurriculumConfig()):
            name = "reward.perceptual" if self.reward.perceptual else "curriculum"
            raise GarlError(f"{name} needs a score that stays the same: set reward.source to l2 or l_half")
        if self.curriculum.strokes and (self.curriculum.strokes > self.strokes or self.steps or self.policy.recurrent):
            raise GarlError(
                f"curriculum.strokes {self.curriculum.strokes} grows to {self.strokes}: begin with no more, give the "
                "budget in episodes or minutes, and leave out policy.recurrent"
            )
        if self.curriculum.targets == "difficulty" and self.population.agents > 1:
            raise GarlError("curriculum.targets difficulty follows one agent: set population.agents to 1")
        if self.learning.anchor and not self.demonstrations.pictures:
            raise GarlError(
                f"{self.learner}.anchor holds the policy to what it has imitated: set demonstrations.pictures above 0, "
                f"or {self.learner}.anchor to 0"
            )
        if self.demonstrations.pictures:
            check_demonstrable(self.paint, self.policy.continuous, self.demonstrations)
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
    envs=128,
    picture_every=40,
    checkpoint_every=80,
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
        batch_size=64,
        updates=6,
        memory=4096,
        memory_priority="mixed",
        network=DiscriminatorConfig(channels=8, spectral_norm=False),
    ),
    advantage=AdvantageConfig(lam=0.85),
    ppo=PPOConfig(
        epochs=2, batch_size=256, optimizer="adam", learning_rate=1.2e-3, entropy_coefficient=0.01, precision="bfloat16"
    ),
)
"""One grey digit in four round strokes, readable after a few minutes on two cores."""

THESIS = Config(data="celeba")
"""The thesis's default experiment (A.3): 64×64 colour pictures in 64 strokes of the splatter brush."""

THESIS_FAST = Config(
    data="celeba",
    adversary=AdversaryConfig(precision="bfloat16"),
    ppo=PPOConfig(batch_size=256, learning_rate=4e-4, precision="bfloat16", parts=2),
)
"""The same experiment at twice the speed: bfloat16, minibatches and their steps four times as large."""

CONDITIONAL = DIGITS.changed(
    {
        "condition": "picture",
        "strokes": 5,
        "average": 0.95,
        "paint.brush": "felt_pen",
        "policy.embed_noise": "none",
        "policy.embed_steps": True,
        "policy.value_steps": True,
        "policy.location_maps": True,
        "demonstrations.pictures": 4000,
        "demonstrations.proposals": 100,
        "demonstrations.patience": 50,
        "warm_up": 10,
        "advantage.gamma": 0.5,
    }
)
"""Digits that the agent is shown, redrawn in five strokes, judged beside what it was shown."""

PAINTBOT = CONDITIONAL.changed(
    {
        "policy.head": "gaussian",
        "policy.location_maps": False,
        "demonstrations.pictures": 0,
        "warm_up": 0,
        "ppo.learning_rate": 5e-4,
        "ppo.batch_size": 64,
        "ppo.hindsight": 1.0,
        "reward.source": "l_half",
        "reward.perceptual": 1.0,
        "reward.system": "temporal",
        "curriculum.strokes": 1,
        "curriculum.threshold": 0.1,
        "curriculum.targets": "difficulty",
    }
)
"""PaintBot (Jia et al. 2019; thesis §3.3): continuous actions, no adversary, a curriculum; at the size of a digit. It
learns from its own strokes, too, as its successor LPaintB does (Jia et al. 2019b)."""

PICTURES = DIGITS.changed(
    {
        "data": "celeba",
        "minutes": 60.0,
        "strokes": 32,
        "picture_every": 20,
        "checkpoint_every": 10,
        "average": 0.95,
        "warm_up": 20,
        "paint.height": 64,
        "paint.width": 64,
        "paint.channels": 3,
        "paint.background": [128],
        "paint.brush": "soft_line",
        "paint.color_channels": 3,
        "paint.bins": 16,
        "policy.blocks": 4,
        "policy.embed_noise": "extractor",
        "policy.embed_steps": True,
        "policy.location_maps": True,
        "demonstrations.pictures": 2500,
        "demonstrations.proposals": 100,
        "demonstrations.patience": 50,
        "demonstrations.plan": True,
        "demonstrations.epochs": 8,
        "demonstrations.temperature": 0.5,
        "adversary.network.channels": 24,
        "adversary.precision": "bfloat16",
        "adversary.updates": 16,
        "advantage.gamma": 0.9,
        "advantage.lam": 0.7,
        "ppo.epochs": 1,
        "ppo.batch_size": 512,
        "ppo.learning_rate": 3e-4,
        "ppo.entropy_coefficient": 0.0,
        "ppo.anchor": 0.1,
    }
)
"""Pictures of 64×64 in 32 soft strokes: what greedy search shows first, and then what an adversary is fooled by."""

PORTRAITS = PICTURES.changed(
    {
        "paint.brush": "soft_round",
        "paint.grid": 32,
        "demonstrations.method": "gradient",
        "demonstrations.plan": False,
        "demonstrations.pictures": 3000,
    }
)
"""Pictures of the same thing in the same place, as aligned faces are: what is a mouth in one is a mouth in all."""

PRESETS = {
    "digits": DIGITS,
    "pictures": PICTURES,
    "portraits": PORTRAITS,
    "thesis": THESIS,
    "thesis-fast": THESIS_FAST,
    "conditional": CONDITIONAL,
    "paintbot": PAINTBOT,
}

Tensors = tuple[Tensor, ...] | list[Tensor]
RECENT = 1024
"""Paintings that the distance to the data is measured on while training."""
MEAN_OF = 512
"""Paintings in the running mean picture (thesis §7.2)."""
MOST_TEMPERATE = 100.0
"""Temperature at most, at which all strokes are about equally likely."""
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
    canvas, target = (shape[0], shape[1], shape[2]), config.condition == "picture"
    return ActorCritic(env.action_spec, canvas, config.policy, config.strokes, classes, target)


def make_adversary(config: Config, device: torch.device, classes: int) -> Adversary | Likeness:
    """A fresh discriminator, or what scores canvases in its stead."""
    paint, settings = config.paint, config.reward
    if settings.source == "adversary":
        canvas, pairs = (paint.channels, paint.height, paint.width), config.condition == "picture"
        return Adversary(canvas, config.adversary, device, classes, pairs)
    maps = copy.deepcopy(load_judge()).to(device).maps if settings.perceptual else None
    power = 2.0 if settings.source == "l2" else 0.5
    return Likeness(torch.from_numpy(blank(paint, 1)).to(device), power, settings.perceptual, maps)


def moving_average(share: float) -> Callable[[Tensors, Tensors, Tensor | int], None]:
    """How an average takes in the weights after a cycle, as `AveragedModel` wants it: see `Config.average`. It is told
    how many cycles it holds, on the weights' device, which is not waited for."""

    def take_in(average: Tensors, weights: Tensors, held: Tensor | int) -> None:
        cycle = torch.as_tensor(held, device=average[0].device) + 1.0
        kept = (cycle / (cycle + 9.0)).clamp(max=share)
        torch._foreach_mul_(average, kept)
        torch._foreach_add_(average, torch._foreach_mul(weights, 1.0 - kept))

    return take_in


def draw_noise(config: Config, canvases: int, generator: torch.Generator) -> Tensor:
    """The policy's noise, (B, Z) float32; (T, B, Z) if it is drawn anew for every stroke."""
    steps = (config.strokes,) if config.noise_per_step else ()
    return torch.randn(*steps, canvases, config.policy.noise, generator=generator)


def draw_condition(config: Config, classes: int, targets: Targets, generator: torch.Generator) -> Tensor | None:
    """What each painting is asked for: a class, (B,) int64, or a picture, (B, C, H, W) uint8; None if nothing."""
    if config.condition == "none":
        return None
    if config.condition == "picture":
        return targets.draw(config.envs, generator)
    return torch.randint(classes, (config.envs,), generator=generator)


def teach(images: Images, config: Config, env: PaintEnv, tell: Tell) -> Lessons:
    """Have greedy search redraw examples, with the strokes of `env`."""
    generator = torch.Generator().manual_seed(config.seed)
    some = config.demonstrations.pictures, generator
    pictures, classes = images.labelled_batch(*some) if config.condition == "label" else (images.batch(*some), None)
    assert isinstance(env.engine, PaintEngine)
    actions = demonstrate_all(pictures.numpy(), env.engine, config.strokes, config.demonstrations, config.seed, tell)
    return Lessons(actions, pictures if config.condition == "picture" else classes, generator)


def real_and_fake(
    images: Images, agents: Sequence[Member], config: Config, generator: torch.Generator
) -> tuple[Tensor, Fakes]:
    """Pictures for one step of every discriminator, and as many fakes.

    Where a painting is asked for a class, the real pictures are of the classes of the fakes, one by one: were a class
    rarer among them, a Wasserstein loss would push its score down without end, whatever the paintings look like. Where
    it is asked for a picture, that is what the real pictures are: the target beside itself.
    """
    n = config.adversary.batch_size * config.adversary.networks
    if config.condition == "none":
        return images.batch(n, generator), sample_fakes(agents, n, generator)
    fake = sample_fakes(agents, n, generator)
    if config.condition == "picture":
        return fake.condition, fake
    return images.batch_of(fake.condition, generator), fake


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
    some = min(2048, 2 * len(images)), torch.Generator().manual_seed(0)
    examples, example_class = images.labelled_batch(*some) if classes else (images.batch(*some), None)
    eye = choose_eye(examples.shape)
    real_features, real_shrunk, real_pixels = eye.look(examples)[0], shrunk(examples), read(pixels(examples))
    identity = hashlib.sha256(examples.numpy().data).hexdigest()
    painted = canvases_of(config.envs, config.strokes, config.adversary.intermediate)
    weighted = config.adversary.intermediate == "weighted"
    count, rescue_every = config.population.agents, config.population.rescue_every
    updates = config.adversary.updates or math.ceil(count * painted / config.adversary.batch_size)
    if config.reward.source != "adversary":
        updates = 0  # a fixed score has nothing to learn
    if not resume:
        brushes = load_brushes(config.paint)
        StrokeCodec(config.paint, brushes)  # a mistake must be found before the folder is made
        if config.demonstrations.pictures and config.demonstrations.method == "gradient":
            check_twin(brushes[0])
    if config.wandb:
        load_wandb()  # and so must its absence
    folder = open_run(out, config.model_dump(mode="json"), resume)
    with folder as run, Progress(out) as progress, stop_requests() as stopping:
        # The agents, their world and their adversary.
        torch.manual_seed(config.seed)
        generator = torch.Generator().manual_seed(config.seed)
        sampler = torch.Generator(device).manual_seed(config.seed)
        brushes = saved_brushes(run.checkpoint[1], config, out) if run.checkpoint else load_brushes(config.paint)
        paint_device = choose_paint_device(device)
        compile_engine(make_env(config, 1, brushes, paint_device))
        env = make_env(config, config.envs, brushes, paint_device)
        env.reset(seed=config.seed)
        learner = ppo if config.learner == "ppo" else a2c
        begun, lessons, agents = time.monotonic(), None, []

        def show_teaching(figures: dict[str, str], share: float, seconds: float) -> None:
            progress.tell(figures, share, seconds)
            if stopping():
                raise GarlError(f"stopped before the first painting: `garl train --resume --out {out}` begins again")

        if config.demonstrations.pictures and not run.checkpoint:
            lessons = teach(images, config, env, show_teaching)
        for i in range(count):
            policy = make_policy(config, env, len(classes)).to(device)
            if lessons:
                draw = partial(draw_noise, config, config.envs, lessons.generator)
                imitate(policy, env, lessons, draw, config.learning, config.demonstrations, show_teaching)
            member = Member(
                policy,
                optimizer=learner.make_optimizer(policy, config.learning),
                weights=learner.Weights(config.learning, env.action_spec).to(device),
                scale=RewardScale(config.advantage).to(device),
                average=AveragedModel(policy, multi_avg_fn=moving_average(config.average)),
                memory=FakeMemory(config.adversary.memory or painted, config.adversary.memory_priority),
                anchor=copy.deepcopy(policy).eval() if config.learning.anchor else None,
                prefix=prefix(i),
            )
            agents.append(member)
        adversary = make_adversary(config, device, len(classes))
        recent: deque[Tensor] = deque(maxlen=math.ceil(RECENT / (count * config.envs)))
        gallery = Gallery()
        targets = Targets(images, config.curriculum)
        env.strokes = config.curriculum.strokes or config.strokes

        # What of it changes is saved, and found again.
        constants = {"brushes": [brush.to_dict() for brush in brushes], "data": identity, "classes": classes}
        state = State(env, agents, adversary, targets, generator, sampler, recent, gallery, constants)
        state.seconds = time.monotonic() - begun if lessons else 0.0
        if run.checkpoint:
            state.restore(run.checkpoint, out)
            if run.checkpoint[1]["data"] != identity:
                tell(f"{images.name} has changed since {out} began: the run goes on, but not as it would have")
            run.checkpoint = None  # it has been copied, and may be large
        run.start_after(state.cycle)
        if run.saved is None:  # so that there is one to go back to from the first cycle on
            run.save(state.tensors(), state.meta())

        networks = state.networks()
        started = time.monotonic() - state.seconds
        while (spent := config.spent(state.seconds, state.cycle * count * config.envs)) < 1.0 and not stopping():
            remaining = max(1.0 - spent, 0.01) if config.anneal else 1.0
            rate = remaining * 0.5**state.roll_backs
            warmth = min(1.0, (state.cycle + 1) / config.warm_up) if config.warm_up else 1.0
            for agent in agents:
                set_rate(agent.optimizer, config.learning.learning_rate * rate * warmth)
                agent.weights.share = remaining if config.anneal_entropy else 1.0
            set_rate(adversary.optimizer, config.adversary.learning_rate * rate)
            before = copies(networks)

            # One cycle of the method (fig. 6.1): each agent paints, is scored and learns; then the adversary does.
            marks = [("", time.perf_counter())]
            turns: list[Turn] = []
            learned: list[dict[str, Tensor]] = []
            for agent in agents:
                noise = draw_noise(config, config.envs, generator).to(device, non_blocking=True)
                asked = draw_condition(config, len(classes), targets, generator)  # (B, …), or None
                told = None if asked is None else asked.to(device, non_blocking=True)
                rollout = collect(  # (T, B, …)
                    env, agent.policy, noise, sampler, config.learning.dtype, told, anchor=agent.anchor
                )
                marks.append(("collect", time.perf_counter()))
                score = adversary.score(rollout.canvases.flatten(0, 1), told, generator).view(-1, config.envs)
                rewards = agent.scale(reward(score, config.reward))  # (T, B)
                advantage, target = estimate(rewards, rollout.value, config.advantage)
                marks.append(("score", time.perf_counter()))
                losses = learner.update(
                    agent.policy, agent.optimizer, rollout, advantage, target, config.learning, generator, agent.weights
                )
                marks.append(("learner", time.perf_counter()))
                agent.average.update_parameters(agent.policy)
                if config.adversary.memory == 0:
                    agent.memory.seen = 0  # on-policy: forget the cycles before
                if updates:
                    kept = told if config.condition == "picture" else asked  # classes stay here: they choose pictures
                    fakes = fakes_of(rollout, config.adversary.intermediate, generator, kept)
                    agent.memory.add(fakes.images, generator, fakes.step, fakes.condition)
                turns.append(Turn(score, rewards, advantage, target, rollout))
                learned.append(losses)
                marks.append(("adversary", time.perf_counter()))
            metrics = means(learned)
            for _ in range(updates):
                assert isinstance(adversary, Adversary)
                real, fake = real_and_fake(images, agents, config, generator)
                real = real.to(device, non_blocking=True)
                told = None if config.condition == "none" else fake.condition.to(device, non_blocking=True)
                weight = step_weight(fake.step, config.strokes) if weighted else None
                metrics |= adversary.update(real, fake.images, generator, told, weight)
            marks.append(("adversary", time.perf_counter()))

            # What it came to.
            state.cycle += 1
            final = in_turn([turn.rollout.final for turn in turns])
            recent.append(final)
            strokes = len(rollout.action)
            state.steps += strokes * len(final)
            record: dict[str, float] = {"cycle": state.cycle, "episodes": state.cycle * len(final)}
            record |= {"steps": state.steps, "learning_rate": rate}
            checked = named([dict(zip(Turn._fields, turn[:-1], strict=False)) for turn in turns])
            checked |= metrics | state.learned()
            figures = metrics | means([describe(*turn, env.action_spec) for turn in turns]) | compare(turns)
            figures |= gaps(pixels(final), real_pixels) | parts(networks, before) | {"size": size(checked)}
            if config.condition == "picture":
                shown = [(turn.rollout.canvases, turn.rollout.observation.condition[0]) for turn in turns]
                figures |= means([likeness(*each) for each in shown])
            marks.append(("figures", time.perf_counter()))
            record |= read(figures)
            state.seconds = time.monotonic() - started
            if not math.isfinite(record.pop("size")) and (broken := not_finite(checked)):
                save_divergence(out, state.cycle, broken, record, state.tensors() | state.gradients())
                roll_back(state, broken[0], out, config)
                run.start_after(state.cycle)
                state.seconds = time.monotonic() - started  # the clock does not go back
                continue
            if count > 1 and rescue_every and state.cycle % rescue_every == 0:
                distance = distances(torch.cat(list(recent)).cpu(), real_shrunk, count)
                rescue(agents, distance)
                record |= {f"agent/{i}/distance": figure for i, figure in enumerate(distance)}
            targets.learn(turns[-1].score[-1])
            env.strokes = grown(strokes, config.strokes, record["d/painted"], config.curriculum.threshold)
            if state.cycle % config.picture_every == 0 or state.cycle == 1:  # the first is the untrained agent's
                paintings = torch.cat(list(recent)).cpu()
                features, seen_as = eye.look(paintings)
                record["frechet"] = frechet_distance(features, real_features)
                if count > 1:
                    each = (frechet_distance(features[i::count], real_features) for i in range(count))
                    record |= {f"agent/{i}/frechet": distance for i, distance in enumerate(each)}
                if seen_as is not None:
                    record |= {f"classes/{k}": share for k, share in enumerate(class_shares(seen_as).tolist())}
                asked = None if asked is None else in_turn([turn.rollout.observation.condition[0] for turn in turns])
                gallery.visit(final, asked, adversary.score)
                record["d/flips"] = flips(gallery.scores.cpu().numpy())
                told = examples if config.condition == "picture" else example_class
                told = None if told is None else told[:SAMPLE].to(device)
                score = in_turn([turn.score[-1] for turn in turns])
                figures = told_apart(adversary.score(examples[:SAMPLE].to(device), told), score)
                pairs = zip(agents, turns, strict=True)
                heads = means([head_entropies(agent.policy, turn.rollout, env.action_spec) for agent, turn in pairs])
                record |= read(figures | heads)
                sheets = picture(out, state.cycle, paintings, config.invert, count)
                found = [histograms(*turn[:3], turn.rollout, env.action_spec) for turn in turns]
                run.show(int(record["steps"]), sheets, named(found))
            timing = {"seconds": state.seconds, "seconds/cycle": time.perf_counter() - marks[0][1]}
            for (_, start), (part, end) in pairwise(marks):
                timing[f"seconds/{part}"] = timing.get(f"seconds/{part}", 0.0) + end - start
            timing["speed/strokes"] = len(final) * strokes / timing["seconds/cycle"]
            timing["speed/paintings"] = len(final) / timing["seconds/cycle"]
            record |= timing
            run.record(record)
            progress.show(record, spent, state.seconds)
            if state.cycle % config.checkpoint_every == 0:
                run.save(state.tensors(), state.meta())
        if run.saved != state.cycle:
            run.save(state.tensors(), state.meta())
        if recent:
            picture(out, state.cycle, torch.cat(list(recent)).cpu(), config.invert, count)


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
            f"`garl train --resume --out {out} --on-divergence roll_back`, or start a new run with lower ones"
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


def picture(out: Path, cycle: int, paintings: Tensor, invert: bool, agents: int = 1) -> dict[str, np.ndarray]:
    """Save the newest paintings (N, C, H, W) uint8, rows of each agent that painted in turn, and the running mean of
    each one's last 512; returns both sheets."""
    each = [paintings[i::agents] for i in range(agents)]
    newest = [own[-16 * max(1, 4 // agents) :] for own in each]
    mean = torch.stack([own[-MEAN_OF:].float().mean(0).round().to(torch.uint8) for own in each])
    if invert:
        newest, mean = [255 - own for own in newest], 255 - mean
    scale = max(1, 96 // paintings.shape[-1])
    sheet = np.concatenate([grid(own, columns=16, scale=scale) for own in newest])
    save_png(out / "pictures" / "samples.png", sheet)
    sheets = {"pictures/samples": sheet, "pictures/mean": grid(mean, columns=agents, scale=scale)}
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
    absent = sorted(_names(config.model_dump()) - _names(settings))
    if absent and find_agent(folder) == folder:  # what ships is tested with every version
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
    number: int = 0  # in its population


def saved_brushes(meta: dict[str, Any], config: Config, folder: Path) -> tuple[Brush, ...]:
    """The brushes of a checkpoint in `folder`, from its meta data; "brush" is what held the only one of old runs.

    Raises GarlError if they are damaged, or not as many as `config` names.
    """
    stored = meta.get("brushes", [meta.get("brush")])
    if not isinstance(stored, list) or len(stored) != 1 + len(config.paint.brushes):
        raise GarlError(f"the checkpoint in {folder} does not hold the brushes that its config.json names: train again")
    return tuple(Brush.from_dict(each, f"the brush in {folder}") for each in stored)


def load_agent(folder: Path, device: str = "auto", number: int = 0) -> Agent:
    """One agent of those that the run in `folder` has trained; see `load_agents`."""
    return load_agents(folder, device, number)[0]


def load_agents(
    folder: Path, device: str = "auto", number: int | None = None, temperature: float = 1.0
) -> tuple[Agent, ...]:
    """The agents that the run in `folder` has trained, or the one with this number, to paint at some temperature (see
    `ActorCritic`). Raises GarlError if there is none, or it is damaged.

    The run may come from a stranger: no code in it runs, and its config.json cannot ask for weights it does not bring.
    """
    if not 0.0 <= temperature <= MOST_TEMPERATE:
        raise GarlError(f"--temperature must lie between 0 and {MOST_TEMPERATE:g}, not {temperature:g}")
    tensors, meta = load_checkpoint(folder)
    config = load_config(folder)
    brushes = saved_brushes(meta, config, folder)
    classes = meta.get("classes", [])
    if not (isinstance(classes, list) and all(isinstance(name, str) for name in classes)):
        raise GarlError(f"the classes in {folder} are not a list of names: train again")
    count = config.population.agents
    if number is not None and not 0 <= number < count:
        raise GarlError(f"there is no agent {number} in {folder}: give a number from 0 to {count - 1}")
    agents = []
    for i in range(count) if number is None else (number,):
        policy = rebuild(
            lambda: make_policy(config, make_env(config, 1, brushes), len(classes)),
            f"{prefix(i)}average.module.",
            tensors,
            folder,
        )
        policy.temperature = temperature
        agents.append(Agent(config, brushes, policy.to(choose_device(device)).eval(), tuple(classes), i))
    return tuple(agents)


def load_adversary(folder: Path, agent: Agent) -> Adversary:
    """What the run in `folder` judged the paintings of its agent by; for scores, not to learn on. Raises GarlError."""
    if agent.config.condition == "picture":
        raise GarlError(
            f"the agent in {folder} paints what it is shown: show it a picture, by --target and --painter garl"
        )
    tensors, _ = load_checkpoint(folder)
    paint, device = agent.config.paint, next(agent.policy.parameters()).device
    names = ("adversary", "adversary_average", "adversary_previous", "adversary_running")
    parts = [under(f"{name}.", tensors) for name in names]
    if not all(weight.isfinite().all() for part in parts for weight in part.values()):
        raise GarlError(f"the weights of the discriminator in {folder} are not all finite: train again")
    with SizeLimit(sum(weight.numel() for part in parts for weight in part.values()), folder):
        shape = paint.channels, paint.height, paint.width
        adversary = Adversary(shape, agent.config.adversary, device, len(agent.classes))
    for name, module in adversary.modules().items():
        restore_module(module, f"{name}.", tensors, folder)
    return adversary
