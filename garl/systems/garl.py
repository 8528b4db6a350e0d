"""Generative adversarial reinforcement learning: the method of the thesis, its loop in full (thesis ch. 6, fig. 6.1).

paintings are collected by the policy → scored by the adversary → scores become rewards, rewards advantages
→ PPO improves the policy → the adversary learns to tell the paintings from real pictures → again.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Self

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator

from garl.adversary.discriminator import DiscriminatorConfig
from garl.adversary.memory import FakeMemory
from garl.adversary.update import Adversary, AdversaryConfig
from garl.advantage import AdvantageConfig, estimate
from garl.data.images import load
from garl.engine.paint import PaintConfig
from garl.env.canvas import PaintEnv
from garl.learners import ppo
from garl.policy.actor_critic import ActorCritic
from garl.policy.features import PolicyConfig
from garl.reward import RewardConfig, reward
from garl.rollout import collect
