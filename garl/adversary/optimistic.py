"""Optimistic Adam: each step looks ahead to the opponent's answer, a damping of cycles (Daskalakis et al. 2018)."""

from __future__ import annotations

from typing import Any

import torch


class OptimisticAdam(torch.optim.Adam):
    """θ_t = θ_{t−1} + 2 Δ_t − Δ_{t−1}, where Δ_t is Adam's step and Δ_0 = 0 (their algorithm 1)."""

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        parameters = [p for group in self.param_groups for p in group["params"] if p.grad is not None]
        before = [parameter.clone() for parameter in parameters]
        loss = super().step(closure)
        for parameter, start in zip(parameters, before, strict=True):
            state, change = self.state[parameter], parameter - start
            parameter += change
            if "change" in state:
                parameter -= state["change"]
            state["change"] = change
        return loss
