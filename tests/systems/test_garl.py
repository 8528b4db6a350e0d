"""The training loop: it repeats itself, goes on where it stopped, and says why it cannot."""

from __future__ import annotations

import json
import math
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from garl.adversary.update import Adversary
from garl.errors import GarlError
from garl.learners import ppo
from garl.runs import load_checkpoint, save_checkpoint
from garl.systems import garl as system
from garl.systems.garl import Config, describe, load_agent, load_config, pixel_statistics, train


def metrics(run: Path) -> list[dict[str, float]]:
    """A run's records without what the clock decides."""
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{name: x for name, x in record.items() if not name.startswith("seconds")} for record in records]


def pictures(run: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (run / "pictures").iterdir()}


def differing(a: Path, b: Path) -> list[str]:
    """Names of the tensors in which the newest checkpoints of two runs differ."""
    (ours, _), (theirs, _) = load_checkpoint(a), load_checkpoint(b)
    assert ours.keys() == theirs.keys()
    return [name for name in ours if not torch.equal(ours[name], theirs[name])]


def changed(config: Config, **values: Any) -> Config:
    """A validated copy with other values; nested ones as `ppo={"epochs": 2}`."""
    settings = config.model_dump()
    for name, value in values.items():
        settings[name] = settings[name] | value if isinstance(value, dict) else value
    return Config(**settings)


# Determinism.


def test_the_same_seed_is_the_same_run(tiny_config: Config, tiny_run: Path, tmp_path: Path) -> None:
    train(tiny_config, tmp_path)
    assert len(metrics(tiny_run)) == 4
    assert metrics(tmp_path) == metrics(tiny_run)
    assert pictures(tmp_path) == pictures(tiny_run)
    assert differing(tmp_path, tiny_run) == []


def test_another_seed_is_another_run(tiny_config: Config, tiny_run: Path, tmp_path: Path) -> None:
    train(changed(tiny_config, seed=1), tmp_path)
    for ours, theirs in zip(metrics(tmp_path), metrics(tiny_run), strict=True):
        assert ours["ppo/value_loss"] != theirs["ppo/value_loss"]
        assert ours["pixels/mean_gap"] != theirs["pixels/mean_gap"]
    assert {"generator", "sampler", "recent", "memory.images"} <= set(differing(tmp_path, tiny_run))


# What a run writes.


def test_metrics_hold_the_documented_figures(tiny_run: Path) -> None:
    every_cycle = {
        *("cycle", "episodes", "steps"),
        *(f"ppo/{name}" for name in ("policy_loss", "value_loss", "entropy", "kl", "clipped", "gradient_norm")),
        *(f"d/{name}" for name in ("loss", "real", "fake", "penalty", "separation", "frame_0", "frame_1", "frame_2")),
        *("reward/mean", "reward/std", "advantage/std", "pixels/mean_gap", "pixels/std_gap"),
    }
    records = metrics(tiny_run)
    assert [set(record) - every_cycle for record in records] == [set(), {"frechet"}, set(), {"frechet"}]
    assert all(every_cycle <= set(record) for record in records)
    assert [(record["cycle"], record["episodes"], record["steps"]) for record in records] == [
        (1, 8, 16),
        (2, 16, 32),
        (3, 24, 48),
        (4, 32, 64),
    ]
    for record in records:
        assert record["d/separation"] == pytest.approx(record["d/real"] - record["d/fake"], abs=1e-6)
    seconds = [json.loads(line)["seconds"] for line in (tiny_run / "metrics.jsonl").read_text().splitlines()]
    assert 0 < seconds[0] < seconds[1] < seconds[2] < seconds[3]
    written = {f"{kind}-000000{cycle}.png" for kind in ("samples", "mean") for cycle in (2, 4)}
    assert set(pictures(tiny_run)) == written | {"samples.png"}


def test_describe_by_hand() -> None:
    score = torch.tensor([[1.0, 1.0, 4.0], [3.0, 5.0, 7.0]])  # means 2 and 5, spread of the last 2
    rewards, advantage = torch.tensor([[1.0, 2.0, 6.0]]), torch.tensor([[-1.0, 0.0, 1.0]])
    assert describe(score, rewards, advantage) == pytest.approx(
        {
            "reward/mean": 3.0,
            "reward/std": torch.tensor([1.0, 2.0, 6.0]).std().item(),
            "advantage/std": 1.0,
            "d/frame_0": -1.5,
            "d/frame_1": 0.0,
        },
        abs=1e-6,
    )


def test_pixel_statistics_by_hand() -> None:
    canvases = torch.tensor([[[[0, 51]], [[102, 255]]]], dtype=torch.uint8)
    # 0, 0.2, 0.4, 1: mean 0.4, squared deviations 0.16 + 0.04 + 0 + 0.36 over 3
    assert pixel_statistics(canvases) == pytest.approx((0.4, (0.56 / 3) ** 0.5), abs=1e-6)


def test_the_kept_agent_has_the_averaged_weights(
    tiny_config: Config, tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights: list[Tensor] = []

    def update(policy: torch.nn.Module, *arguments: Any) -> dict[str, Tensor]:
        figures = learn(policy, *arguments)
        weights.append(policy.get_parameter("extractor.out.weight").detach().clone())
        return figures

    learn = ppo.update
    monkeypatch.setattr(ppo, "update", update)
    train(changed(tiny_config, average=0.75), tmp_path)
    expected = weights[0]
    for weight in weights[1:]:
        expected = 0.75 * expected + 0.25 * weight
    kept = load_agent(tmp_path, "cpu").policy.extractor.out.weight
    torch.testing.assert_close(kept, expected)
    assert (kept - weights[-1]).abs().max() > 1e-4

    tensors, _ = load_checkpoint(tiny_run)  # average=0: the last weights
    last = load_agent(tiny_run, "cpu").policy.state_dict()
    assert all(torch.equal(tensors[f"policy.{name}"], value) for name, value in last.items())


# Resuming.


def test_resume_after_a_smaller_budget(tiny_config: Config, tiny_run: Path, tmp_path: Path) -> None:
    train(changed(tiny_config, steps=48), tmp_path)  # three cycles: between two pictures
    assert len(metrics(tmp_path)) == 3
    train(tiny_config, tmp_path, resume=True)
    assert metrics(tmp_path) == metrics(tiny_run)
    assert differing(tmp_path, tiny_run) == []


def test_resume_after_an_interrupt(tiny_config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Everything that has a state: Adam, dropout's random numbers, a reservoir, a schedule, jitter, averaged weights.
    config = changed(
        tiny_config,
        steps=None,
        episodes=40,
        anneal=True,
        average=0.5,
        noise_per_step=True,
        paint={"brush": "splatter"},
        adversary={
            "optimizer": "adam",
            "memory": 10,
            "memory_priority": "uniform",
            "network": {"channels": 2, "dropout": 0.5},
        },
        ppo={"optimizer": "adam"},
    )
    train(config, tmp_path / "whole")
    assert len(metrics(tmp_path / "whole")) == 5

    def interrupting(*arguments: Tensor) -> dict[str, float]:
        figures = describe(*arguments)
        cycles.append(1)
        if len(cycles) == 3:
            signal.raise_signal(signal.SIGINT)
        return figures

    cycles: list[int] = []
    before = signal.getsignal(signal.SIGINT)
    monkeypatch.setattr(system, "describe", interrupting)
    train(config, tmp_path / "parts")
    assert signal.getsignal(signal.SIGINT) is before
    assert len(metrics(tmp_path / "parts")) == 3  # the cycle is finished and kept
    assert load_checkpoint(tmp_path / "parts")[1]["cycle"] == 3

    torch.rand(3)  # what else draws in between must not matter
    train(config, tmp_path / "parts", resume=True)
    assert metrics(tmp_path / "parts") == metrics(tmp_path / "whole")
    assert differing(tmp_path / "parts", tmp_path / "whole") == []


def test_a_checkpoint_of_other_sizes_is_refused(tiny_config: Config, tiny_run: Path, tmp_path: Path) -> None:
    for name in ("checkpoint.safetensors", "config.json"):
        (tmp_path / name).write_bytes((tiny_run / name).read_bytes())
    with pytest.raises(GarlError, match=r"does not fit its config\.json"):
        train(changed(tiny_config, policy={"features": 17}), tmp_path, resume=True)
    settings = json.loads((tiny_run / "config.json").read_text())
    settings["config"]["policy"]["features"] = 17
    (tmp_path / "config.json").write_text(json.dumps(settings))
    with pytest.raises(GarlError, match=r"does not fit its config\.json"):
        load_agent(tmp_path, "cpu")


@pytest.mark.parametrize("name", ["channels", "blocks", "features", "location_channels", "location_blocks", "noise"])
def test_a_config_cannot_ask_for_weights_that_its_checkpoint_lacks(tiny_run: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "checkpoint.safetensors").write_bytes((tiny_run / "checkpoint.safetensors").read_bytes())
    settings = json.loads((tiny_run / "config.json").read_text())
    for value in (10**9, 10**15):
        settings["config"]["policy"][name] = value
        (tmp_path / "config.json").write_text(json.dumps(settings))
        with pytest.raises(GarlError, match=r"does not fit its config\.json"):
            load_agent(tmp_path, "cpu")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("double", "not all finite float32"),
        ("nan", "not all finite float32"),
        ("missing", "does not fit its config"),
        ("no brush", "the brush in .*: a brush must be a mapping of name"),
        ("false brush", "the brush in .*: `stroke.type` must be one of bezier, line, triangle, point, not 3"),
    ],
)
def test_a_damaged_agent_is_refused(tiny_run: Path, tmp_path: Path, change: str, message: str) -> None:
    tensors, meta = load_checkpoint(tiny_run)
    name = "average.module.critic.0.bias"
    if change == "double":
        tensors[name] = tensors[name].double()
    elif change == "nan":
        tensors[name][1] = math.nan
    elif change == "missing":
        del tensors[name]
    elif change == "no brush":
        del meta["brush"]
    else:
        meta["brush"]["stroke"]["type"] = 3
    save_checkpoint(tmp_path, tensors, meta)
    (tmp_path / "config.json").write_bytes((tiny_run / "config.json").read_bytes())
    with pytest.raises(GarlError, match=message):
        load_agent(tmp_path, "cpu")


@pytest.mark.parametrize("value", [[[[[[[[[[[1]]]]]]]]]], "9" * 4000, {"x" * 10**4: 1}])
def test_what_is_wrong_with_a_setting_is_told_in_short(tmp_path: Path, value: object) -> None:
    for config in ({"paint": {"height": value}}, {"steps": value}, {"strokes": value}, {"x" * 10**4: value}):
        (tmp_path / "config.json").write_text(json.dumps({"config": config}))
        with pytest.raises(GarlError, match=r"config\.json does not suit this version of garl") as caught:
            load_config(tmp_path)
        assert len(str(caught.value)) < 1100


# Budgets and schedules.


def test_spent_is_the_share_of_the_budget_that_runs_out_first() -> None:
    # 30 episodes of 4 strokes in 90 s
    for budget, share in [
        ({}, 0.15),  # 10 minutes
        ({"minutes": 3.0}, 0.5),
        ({"steps": 480}, 0.25),
        ({"episodes": 40}, 0.75),
        ({"minutes": 3.0, "steps": 480, "episodes": 120}, 0.5),
        ({"minutes": 30.0, "steps": 480, "episodes": 120}, 0.25),
        ({"steps": 100}, 1.2),
    ]:
        assert Config(strokes=4, **budget).spent(90.0, 30) == pytest.approx(share)


def test_a_budget_in_minutes_ends_with_the_first_cycle_beyond_it(tiny_config: Config, tmp_path: Path) -> None:
    train(changed(tiny_config, steps=None, minutes=0.01, picture_every=10**6, checkpoint_every=10**6), tmp_path)
    seconds = [json.loads(line)["seconds"] for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert all(s < 0.6 for s in seconds[:-1])
    assert seconds[-1] >= 0.6
    assert load_checkpoint(tmp_path)[1]["cycle"] == len(seconds)


@pytest.mark.parametrize(("anneal", "shares"), [(True, [1.0, 0.75, 0.5, 0.25]), (False, [1.0] * 4)])
def test_annealing_reaches_both_learning_rates_and_the_entropy(
    tiny_config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, anneal: bool, shares: list[float]
) -> None:
    policy_rates, entropies, adversary_rates = [], [], []

    def update(policy: Any, optimizer: torch.optim.Optimizer, *arguments: Any) -> dict[str, Tensor]:
        policy_rates.append(optimizer.param_groups[0]["lr"])
        entropies.append(arguments[-1])
        return learn(policy, optimizer, *arguments)

    def judge(self: Adversary, *arguments: Any) -> dict[str, Tensor]:
        adversary_rates.append(self.optimizer.param_groups[0]["lr"])
        return tell_apart(self, *arguments)

    learn, tell_apart = ppo.update, Adversary.update
    monkeypatch.setattr(ppo, "update", update)
    monkeypatch.setattr(Adversary, "update", judge)
    config = changed(tiny_config, anneal=anneal, adversary={"learning_rate": 3e-4})
    train(config, tmp_path)
    assert policy_rates == pytest.approx([1e-3 * share for share in shares])
    assert entropies == pytest.approx([0.01 * share for share in shares])
    assert adversary_rates == pytest.approx([3e-4 * share for share in shares for _ in range(2)])  # updates=2


@pytest.mark.parametrize(("memory", "priority"), [(0, "recent"), (0, "uniform"), (20, "recent")])
def test_without_memory_the_adversary_sees_this_cycles_paintings_alone(
    tiny_config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, memory: int, priority: str
) -> None:
    finals: list[set[bytes]] = []
    fakes: list[set[bytes]] = []

    def as_set(images: Tensor) -> set[bytes]:
        return {image.numpy().tobytes() for image in images}

    def collect(*arguments: Any) -> Any:
        rollout = paint(*arguments)
        finals.append(as_set(rollout.final))
        fakes.append(set())
        return rollout

    def judge(self: Adversary, real: Tensor, fake: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        fakes[-1] |= as_set(fake)
        return tell_apart(self, real, fake, generator)

    paint, tell_apart = system.collect, Adversary.update
    monkeypatch.setattr(system, "collect", collect)
    monkeypatch.setattr(Adversary, "update", judge)
    train(changed(tiny_config, adversary={"memory": memory, "memory_priority": priority}), tmp_path)
    assert not finals[2] & finals[3]  # so that the cycles can be told apart
    only_this_cycle = [shown <= painted for shown, painted in zip(fakes, finals, strict=True)]
    assert only_this_cycle == ([True] * 4 if memory == 0 else [True, False, False, False])


# Mistakes.


@pytest.mark.parametrize("damage", ["score", "policy weight", "adversary weight"])
def test_divergence_stops_with_the_name_of_what_broke(
    tiny_config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    rate, learn, tell_apart = Adversary.score, ppo.update, Adversary.update
    cycles: list[int] = []

    def score(self: Adversary, images: Tensor) -> Tensor:
        cycles.append(1)
        scores = rate(self, images)
        return scores * torch.nan if damage == "score" and len(cycles) == 3 else scores

    def update(policy: torch.nn.Module, *arguments: Any) -> dict[str, Tensor]:
        figures = learn(policy, *arguments)
        if damage == "policy weight" and len(cycles) == 3:
            policy.get_parameter("extractor.out.bias").data[5] = torch.inf
        return figures

    def judge(self: Adversary, *arguments: Any) -> dict[str, Tensor]:
        figures = tell_apart(self, *arguments)
        if damage == "adversary weight" and len(cycles) == 3:
            self.network.get_parameter("layers.0.bias").data[1] = torch.nan
            figures = {name: torch.zeros(()) for name in figures}
        return figures

    monkeypatch.setattr(Adversary, "score", score)
    monkeypatch.setattr(ppo, "update", update)
    monkeypatch.setattr(Adversary, "update", judge)
    named = {
        "score": "ppo/policy_loss",
        "policy weight": r"policy\.extractor\.out\.bias",
        "adversary weight": r"adversary\.layers\.0\.bias",
    }[damage]
    with pytest.raises(GarlError, match=f"diverged: {named} is not finite in cycle 3"):
        train(changed(tiny_config, checkpoint_every=1), tmp_path)
    assert [record["cycle"] for record in metrics(tmp_path)] == [1, 2]
    tensors, meta = load_checkpoint(tmp_path)
    assert meta["cycle"] == 2
    assert all(tensor.isfinite().all() for tensor in tensors.values())
    load_agent(tmp_path, "cpu")


def test_a_finished_run_is_not_written_over(tiny_config: Config, tiny_run: Path) -> None:
    before = (tiny_run / "metrics.jsonl").read_bytes()
    with pytest.raises(GarlError, match="already holds a run: add --resume"):
        train(tiny_config, tiny_run)
    assert (tiny_run / "metrics.jsonl").read_bytes() == before


def test_load_config_returns_what_the_run_began_with(tiny_config: Config, tiny_run: Path, tmp_path: Path) -> None:
    assert load_config(tiny_run) == tiny_config
    settings = json.loads((tiny_run / "config.json").read_text())
    settings["config"]["stroke"] = 3
    (tmp_path / "config.json").write_text(json.dumps(settings))
    with pytest.raises(GarlError, match="does not suit this version of garl: stroke is not a setting"):
        load_config(tmp_path)
