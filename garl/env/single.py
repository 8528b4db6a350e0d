"""`PaintSingleEnv`: one canvas of a `PaintEnv`, as a plain `gymnasium.Env`."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np

from garl.engine.base import Engine
from garl.engine.paint import PaintConfig
from garl.env.canvas import PaintEnv, RewardFunction


class PaintSingleEnv(gym.Env[np.ndarray, np.ndarray]):
    """Observations uint8 (C, H, W), actions int64 (D,); `garl/Paint-v0` in Gymnasium's registry."""

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012 (the Gymnasium contract)

    def __init__(
        self,
        engine: Engine | PaintConfig | None = None,
        strokes: int = 64,
        reward: RewardFunction | None = None,
        render_mode: str | None = None,
    ) -> None:
        self.batch = PaintEnv(1, engine, strokes, reward)
        self.render_mode = render_mode
        self.observation_space = self.batch.single_observation_space
        self.action_space = self.batch.single_action_space

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        # The canvas's generator is this environment's own, so that both are seeded at once.
        self.batch.np_random = self.np_random
        canvas, info = self.batch.reset(options=options)
        return canvas[0].copy(), info

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        canvas, reward, terminated, truncated, info = self.batch.step(np.asarray(action)[None])
        return canvas[0].copy(), float(reward[0]), bool(terminated[0]), bool(truncated[0]), info

    def render(self) -> np.ndarray:
        """The canvas as (H, W, 3) uint8."""
        return self.batch.render()[0]
