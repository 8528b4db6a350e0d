"""The method by hand: an engine, an environment, a policy, an adversary, and the loop that ties them together.

python examples/by_hand.py [CYCLES]          50 cycles take about a minute on two cores; 500 draw digits
"""

import sys

import torch

from garl.advantage import gae
from garl.adversary.discriminator import DiscriminatorConfig
from garl.adversary.memory import FakeMemory
from garl.adversary.update import Adversary, AdversaryConfig
from garl.data.images import load
from garl.engine.paint import PaintConfig, PaintEngine
from garl.env.canvas import PaintEnv
from garl.export.picture import grid, save_png
from garl.learners import ppo
from garl.policy.actor_critic import ActorCritic
from garl.policy.features import PolicyConfig
from garl.reward import adjust, temporal
from garl.rollout import collect

cycles = int(sys.argv[1]) if len(sys.argv) > 1 else 50
canvas, strokes, paintings = (1, 28, 28), 4, 128
generator = torch.Generator().manual_seed(0)
torch.manual_seed(0)

images = load("digits", label=5)
engine = PaintEngine(
    PaintConfig(height=28, width=28, channels=1, background=(0,), brush="hard_round", color_channels=0, opacity=False,
                grid=16, bins=8)
)  # fmt: skip
env = PaintEnv(paintings, engine, strokes)
env.reset(seed=0)
policy = ActorCritic(
    env.action_spec, canvas, PolicyConfig(channels=24, blocks=2, location_channels=24, location_blocks=1), strokes
)
learner = ppo.PPOConfig(epochs=2, batch_size=128, optimizer="adam", learning_rate=3e-4)
optimizer = ppo.make_optimizer(policy, learner)
network = DiscriminatorConfig(channels=8, spectral_norm=False)
adversary = Adversary(canvas, AdversaryConfig(optimizer="adam", learning_rate=5e-4, network=network))
memory = FakeMemory(1500)

for cycle in range(cycles):
    rollout = collect(env, policy, torch.randn(paintings, policy.config.noise, generator=generator), generator)
    score = adversary.score(rollout.canvases.flatten(0, 1)).view(strokes + 1, paintings)  # D(C_t)
    reward = temporal(adjust(score, final=score[-1]))  # eq. 6.11
    advantage, target = gae(reward, rollout.value, gamma=0.99, lam=0.85)
    metrics = ppo.update(policy, optimizer, rollout, advantage, target, learner, generator)
    memory.add(rollout.final, generator)
    for _ in range(8):
        metrics |= adversary.update(images.batch(64, generator), memory.batch(64, generator), generator)
    print(f"{cycle:4}  entropy {metrics['ppo/entropy']:.2f}  D real − fake {metrics['d/separation']:.2f}")

save_png("by_hand.png", grid(rollout.final[:64], scale=3))
