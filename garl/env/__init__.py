"""Importing this package registers `garl/Paint-v0` with Gymnasium."""

import gymnasium as gym

gym.register(
    "garl/Paint-v0", entry_point="garl.env.single:PaintSingleEnv", vector_entry_point="garl.env.canvas:PaintEnv"
)
