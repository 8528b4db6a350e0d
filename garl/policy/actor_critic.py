"""The policy and its critic in one module; they share the feature extractor unless told otherwise (thesis §5.3)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from garl.policy.features import Conditions, FeatureExtractor, PolicyConfig, initialise
from garl.policy.heads import AutoregressiveHead, LocationDecoder
from garl.types import ActionSpec, Decision, Observation


class ActorCritic(nn.Module):
    """π(a|s) and V(s), built from an action spec and a canvas shape (C, H, W).

    `steps` is the length of an episode, which the step embeddings need; `classes` is how many can be asked for.
    """

    def __init__(
        self,
        spec: ActionSpec,
        canvas: tuple[int, int, int],
        config: PolicyConfig | None = None,
        steps: int = 64,
        classes: int = 0,
    ) -> None:
        super().__init__()
        config = config or PolicyConfig()
        self.spec, self.config = spec, config
        early, late = (classes, 0) if config.embed_condition == "extractor" else (0, classes)
        self.extractor = FeatureExtractor(spec, canvas, config, steps, config.embed_steps, early)
        self.value_extractor = (
            FeatureExtractor(spec, canvas, config, steps, config.value_steps, classes)
            if config.value_separate
            else None
        )
        self.head_conditions = Conditions(
            spec,
            config.features,
            config.noise if config.embed_noise == "head" else 0,
            config.embed_action == "head",
            0,
            late,
        )
        shared = not config.value_separate
        self.value_conditions = Conditions(
            spec, config.features, 0, False, steps if config.value_steps and shared else 0, late if shared else 0
        )
        self.head = AutoregressiveHead(spec, config)
        self.critic = nn.Sequential(nn.Linear(config.features, 64), nn.ReLU(), nn.Linear(64, 1))
        self.apply(initialise)
        # Start near the uniform distribution: whatever the first features, no stroke is much preferred.
        for last in [d.up[-1] if isinstance(d, LocationDecoder) else d for d in self.head.decoders]:
            assert isinstance(last, nn.Linear | nn.Conv2d)
            nn.init.orthogonal_(last.weight, gain=0.01)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(
        self, observation: Observation, action: Tensor | None = None, generator: torch.Generator | None = None
    ) -> Decision:
        """Choose an action for each of N observations, or evaluate `action` (N, D)."""
        features = self.extractor(observation)  # (N, F)
        if self.value_extractor is not None:
            value_features = self.value_extractor(observation)
        else:
            value_features = F.relu(features + self.value_conditions(observation))
        action, log_prob, entropy = self.head(F.relu(features + self.head_conditions(observation)), action, generator)
        return Decision(action, log_prob, entropy, self.critic(value_features)[:, 0].float())
