"""The policy and its critic in one module; they share the feature extractor unless told otherwise (thesis §5.3)."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from garl.policy.features import Conditions, FeatureExtractor, PolicyConfig, initialise
from garl.policy.heads import AutoregressiveHead, LocationDecoder
from garl.policy.rivals import BetaHead, CategoricalHead, GaussianHead
from garl.types import ActionSpec, Decision, Observation, coordinates

Head = AutoregressiveHead | CategoricalHead | GaussianHead | BetaHead


def make_head(spec: ActionSpec, config: PolicyConfig) -> Head:
    """The chosen head, for features of length `config.features`."""
    if config.head == "categorical":
        return CategoricalHead(spec, config)
    if config.head == "gaussian":
        return GaussianHead(spec, config)
    if config.head == "beta":
        return BetaHead(spec, config)
    return AutoregressiveHead(spec, config)


class Memory(nn.Module):
    """An LSTM cell over steps (thesis §7.9). Its state holds hidden and cell, float32 whatever the precision."""

    def __init__(self, features: int, size: int) -> None:
        super().__init__()
        self.cell = nn.LSTMCell(features, size)

    def forward(self, features: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Features (L · M, F), time-major, from `state` (M, 2S) on → (L · M, S), and the state after them."""
        hidden, cell = state.chunk(2, -1)
        steps = []
        with torch.autocast(features.device.type, enabled=False):
            for step in features.float().split(len(state)):
                hidden, cell = self.cell(step, (hidden, cell))
                steps.append(hidden)
        return torch.cat(steps), torch.cat([hidden, cell], -1)


class ActorCritic(nn.Module):
    """π(a|s) and V(s), built from an action spec and a canvas shape (C, H, W).

    `steps` is the length of an episode, which the step embeddings need; `classes` is how many can be asked for; with
    `target`, a picture is.
    """

    def __init__(
        self,
        spec: ActionSpec,
        canvas: tuple[int, int, int],
        config: PolicyConfig | None = None,
        steps: int = 64,
        classes: int = 0,
        target: bool = False,
    ) -> None:
        super().__init__()
        config = config or PolicyConfig()
        self.spec, self.config = spec, config
        self.temperature = 1.0
        """Of what is sampled, not of what is learned: below 1 what is likely becomes likelier; at 0 it is certain."""
        early, late = (classes, 0) if config.embed_condition == "extractor" else (0, classes)
        self.extractor = FeatureExtractor(spec, canvas, config, steps, config.embed_steps, early, target)
        self.value_extractor = (
            FeatureExtractor(spec, canvas, config, steps, config.value_steps, classes, target)
            if config.value_separate
            else None
        )
        self.memory = Memory(config.features, config.recurrent) if config.recurrent else None
        after = config.model_copy(update={"features": config.recurrent or config.features})  # what the heads see
        self.head_conditions = Conditions(
            spec,
            after.features,
            config.noise if config.embed_noise == "head" else 0,
            config.embed_action == "head",
            0,
            late,
            config.continuous,
        )
        shared = not config.value_separate
        self.value_conditions = Conditions(
            spec, after.features, 0, False, steps if config.value_steps and shared else 0, late if shared else 0
        )
        self.head = make_head(spec, after)
        seen = config if config.value_separate else after
        self.critic = nn.Sequential(nn.Linear(seen.features, 64), nn.ReLU(), nn.Linear(64, 1))
        self.apply(initialise)
        # Start near the uniform distribution: whatever the first features, no stroke is much preferred.
        for last in self.outputs():
            nn.init.orthogonal_(last.weight, gain=0.01)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def outputs(self) -> Iterator[nn.Linear | nn.Conv2d]:
        """The last layer of each head."""
        for decoder in self.head.decoders:
            last = decoder.up[-1] if isinstance(decoder, LocationDecoder) else decoder
            assert isinstance(last, nn.Linear | nn.Conv2d)
            yield last

    @torch.no_grad()
    def temper(self, temperature: float) -> None:
        """Divide the logits by `temperature` for good: what was sampled at it is what will be sampled at 1, and learned
        from. It suits heads with bins, as others have no logits."""
        for last in self.outputs():
            last.weight.div_(temperature)
            assert last.bias is not None
            last.bias.div_(temperature)

    def last_action(self, batch: int, device: torch.device) -> Tensor:
        """What stands for the previous action before the first stroke: −1 (B, D), or, of fractions, ½ (B, K)."""
        if self.config.continuous:
            return torch.full((batch, coordinates(self.spec)), 0.5, device=device)
        return torch.full((batch, len(self.spec)), -1, device=device)

    def state(self, batch: int, device: torch.device) -> Tensor | None:
        """A recurrent policy's memory before the first stroke, zeros (B, 2 · recurrent)."""
        return torch.zeros(batch, 2 * self.config.recurrent, device=device) if self.memory is not None else None

    def forward(
        self,
        observation: Observation,
        action: Tensor | None = None,
        generator: torch.Generator | None = None,
        state: Tensor | None = None,
    ) -> Decision:
        """Choose an action for each of N observations, or evaluate `action` (N, D) or (N, K).

        A recurrent policy takes its memory `state` (M, …) from before the first of N / M steps, time-major.
        """
        where: tuple[Tensor, ...] = ()  # the first feature maps, for heads that see them
        if self.config.location_maps:
            where = (self.extractor.maps(observation),)  # (N, c, H, W)
            features = self.extractor.features(*where)  # (N, F)
        else:
            features = self.extractor(observation)
        if self.memory is not None:
            assert state is not None, "a recurrent policy needs its state: `ActorCritic.state` at first"
            features, state = self.memory(features, state)
        if self.value_extractor is not None:
            value_features = self.value_extractor(observation)
        else:
            value_features = F.relu(features + self.value_conditions(observation))
        told = F.relu(features + self.head_conditions(observation))
        action, log_prob, entropy = self.head(told, action, generator, self.temperature, *where)
        return Decision(action, log_prob, entropy, self.critic(value_features)[:, 0].float(), state)
