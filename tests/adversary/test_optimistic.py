"""Optimistic Adam against its formula, and where it beats Adam."""

from __future__ import annotations

import torch

from garl.adversary.optimistic import OptimisticAdam


def test_steps_are_twice_the_new_less_the_old() -> None:
    """Daskalakis et al. 2018, algorithm 1, in plain numbers; two parameters, unlike gradients."""
    gradients = torch.tensor([[1.0, -0.2], [0.5, 3.0], [-2.0, 0.1], [0.3, 0.3]], dtype=torch.float64)
    parameter = torch.nn.Parameter(torch.tensor([0.5, -1.0], dtype=torch.float64))
    optimizer = OptimisticAdam([parameter], lr=0.01, betas=(0.5, 0.9))
    expected, first, second, last = [0.5, -1.0], [0.0, 0.0], [0.0, 0.0], [0.0, 0.0]
    for t, gradient in enumerate(gradients, 1):
        parameter.grad = gradient.clone()
        optimizer.step()
        for i, g in enumerate(gradient.tolist()):
            first[i] = 0.5 * first[i] + 0.5 * g
            second[i] = 0.9 * second[i] + 0.1 * g * g
            step = 0.01 * (first[i] / (1 - 0.5**t)) / ((second[i] / (1 - 0.9**t)) ** 0.5 + 1e-8)
            expected[i] += last[i] - 2 * step
            last[i] = step
        torch.testing.assert_close(parameter.detach(), torch.tensor(expected, dtype=torch.float64))


def test_it_cycles_less_than_adam_about_a_saddle() -> None:
    """min over x, max over y of x · y, from (1, 1): the players circle the solution (0, 0) or approach it."""

    def end(kind: type[torch.optim.Optimizer]) -> float:
        x, y = (torch.nn.Parameter(torch.ones(())) for _ in range(2))
        optimizer = kind([x, y], lr=0.03, betas=(0.0, 0.9))
        for _ in range(1500):
            x.grad, y.grad = y.detach().clone(), -x.detach().clone()
            optimizer.step()
        return float(x.detach() ** 2 + y.detach() ** 2)

    assert end(OptimisticAdam) < 0.1 * end(torch.optim.Adam)
