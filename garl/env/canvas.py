"""`PaintEnv`: an engine as a batch-native `gymnasium.vector.VectorEnv`. Its reward is 0 until one is attached."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space
from torch import Tensor

from garl.brush.geometry import STROKE_SIZE
from garl.engine.base import Engine
from garl.engine.paint import PaintConfig, PaintEngine
from garl.errors import GarlError

RewardFunction = Callable[[np.ndarray, bool], np.ndarray]
"""(canvases (B, C, H, W) uint8 after the stroke, whether it was the last one) → rewards (B,)."""


class PaintEnv(gym.vector.VectorEnv):
    """`num_envs` canvases that are painted side by side, `strokes` strokes each.

    Observations are uint8 (B, C, H, W), actions int64 (B, D): one bin index for each dimension of `action_spec`.
    Every episode has the same length, so that all canvases end together. As Gymnasium's vector environments do
    by default, the step after the last one starts anew: it ignores its action and returns blank canvases with
    reward 0. Calling `reset` at the end, as `garl.rollout.collect` does, skips that step.

    `reward` may be set at any time; `on_finished` is called with each batch of finished canvases (B, C, H, W).
    The infos of the last step of an episode hold its strokes: "strokes" (B, T, 14) float32 and "seeds" (B,).

    `reset(options={"canvas": …, "free": …})` begins with a canvas (C, H, W) or (B, C, H, W) uint8 instead of blank
    ones, and paint stays only where that is free, (H, W) or (B, H, W) bool. One may be given without the other; neither
    outlasts the episode.

    `begin` and `paint` are what `reset` and `step` do, in tensors that stay on the engine's device.
    """

    metadata: dict[str, Any] = {  # noqa: RUF012 (the Gymnasium contract)
        "render_modes": ["rgb_array"],
        "render_fps": 10,
        "autoreset_mode": AutoresetMode.NEXT_STEP,
    }

    def __init__(
        self,
        num_envs: int = 1,
        engine: Engine | PaintConfig | None = None,
        strokes: int = 64,
        reward: RewardFunction | None = None,
        on_finished: Callable[[np.ndarray], None] | None = None,
        render_mode: str | None = None,
    ) -> None:
        if num_envs < 1 or strokes < 1:
            raise GarlError(f"an environment needs at least 1 canvas and 1 stroke, not {num_envs} and {strokes}")
        self.engine = (
            PaintEngine(engine or PaintConfig()) if engine is None or isinstance(engine, PaintConfig) else engine
        )
        self.num_envs, self.strokes, self.render_mode = num_envs, strokes, render_mode
        self.reward, self.on_finished = reward, on_finished
        self.action_spec = self.engine.action_spec
        shape = self.engine.reset(1, np.random.default_rng(0)).shape[1:]
        self.single_observation_space = gym.spaces.Box(0, 255, shape, np.uint8)
        self.single_action_space = gym.spaces.MultiDiscrete([dimension.n for dimension in self.action_spec])
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.painted = -1  # strokes since the last reset; −1: never reset
        self.canvas = torch.zeros((num_envs, *shape), dtype=torch.uint8)  # (B, C, H, W), on the engine's device
        self.free: Tensor | None = None  # (B or 1, 1, H, W) bool: where paint stays; None: everywhere

    def begin(self, canvas: Tensor | None = None, free: Tensor | None = None) -> Tensor:
        """Start an episode: canvases (B, C, H, W) uint8, blank ones or those that are given, (B or 1, C, H, W), on
        which paint stays where it is `free`, (B or 1, 1, H, W) bool."""
        blank = self.engine.reset(self.num_envs, self.np_random)
        self.canvas = blank if canvas is None else canvas.to(blank.device).expand_as(blank).clone()
        self.free = None if free is None else free.to(blank.device)
        self.painted = 0
        return self.canvas

    def paint(self, actions: Tensor) -> Tensor:
        """The canvases (B, C, H, W) uint8 after the strokes of `actions`, (B, D) int64 or (B, K) float32."""
        before, self.canvas = self.canvas, self.engine.apply(self.canvas, actions.to(self.engine.device))
        if self.free is not None:
            self.canvas = torch.where(self.free, self.canvas, before)
        self.painted += 1
        return self.canvas

    def strokes_and_seeds(self) -> tuple[Tensor, Tensor]:
        """The episode's strokes (B, T, 14) float32 and seeds (B,) int64; an engine without brush has none: zeros."""
        if isinstance(self.engine, PaintEngine):
            return self.engine.painted, self.engine.seeds
        return torch.zeros(self.num_envs, self.painted, STROKE_SIZE), torch.zeros(self.num_envs, dtype=torch.int64)

    def reset(
        self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """The canvases (B, C, H, W), blank unless `options` say otherwise. With a seed the episodes that follow are
        determined, jitter included."""
        super().reset(seed=seed[0] if isinstance(seed, list) else seed)
        return self.begin(*self._begun(options or {})).numpy(force=True), {}

    def _begun(self, options: dict[str, Any]) -> tuple[Tensor | None, Tensor | None]:
        """What `begin` takes, from the options of `reset`. Raises GarlError if they do not suit the canvas."""
        shape = self.observation_space.shape
        assert shape is not None
        begun = []
        for name, kind, wanted in (("canvas", np.uint8, shape), ("free", np.bool_, (shape[0], *shape[2:]))):
            array = options.get(name)
            if array is not None:
                array = np.asarray(array)
                if array.dtype != kind or array.shape not in (wanted, wanted[1:]):
                    found = f"{array.shape} {array.dtype}"
                    raise GarlError(f"options['{name}'] is {found}: give {wanted[1:]} or {wanted} {np.dtype(kind)}")
                array = array.reshape(-1, *wanted[1:])
            begun.append(None if array is None else torch.from_numpy(array))
        canvas, free = begun
        return canvas, None if free is None else free[:, None]

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        if self.painted < 0:
            raise gym.error.ResetNeeded("call reset before step")
        if self.painted == self.strokes:
            canvas, info = self.reset()
            no = np.zeros(self.num_envs, bool)
            return canvas, np.zeros(self.num_envs), no, no.copy(), info
        actions = np.asarray(actions)
        assert actions.shape == self.action_space.shape, f"actions must be {self.action_space.shape}"
        canvas = self.paint(torch.from_numpy(actions)).numpy(force=True)
        last = self.painted == self.strokes
        reward = np.zeros(self.num_envs)
        if self.reward is not None:
            reward = np.asarray(self.reward(canvas, last), np.float64)
        info = {}
        if last:
            if self.on_finished is not None:
                self.on_finished(canvas)
            strokes, seeds = self.strokes_and_seeds()
            info = {"strokes": strokes.numpy(force=True), "seeds": seeds.numpy(force=True)}
        return canvas, reward, np.full(self.num_envs, last), np.zeros(self.num_envs, bool), info

    def render(self) -> tuple[np.ndarray, ...]:
        """Each canvas as (H, W, 3) uint8."""
        canvases = self.canvas.permute(0, 2, 3, 1).expand(-1, -1, -1, 3)
        return tuple(canvas.numpy(force=True).copy() for canvas in canvases)
