"""Populations: every agent learns from its own paintings, and one that falls behind is rescued."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from garl import cli
from garl.advantage import AdvantageConfig, RewardScale
from garl.adversary.memory import FakeMemory
from garl.adversary.update import Adversary
from garl.errors import GarlError
from garl.finish import Unfinished, finish_like
from garl.learners import ppo
from garl.runs import load_checkpoint, records, save_checkpoint
from garl.sample import measure, measure_population, paint, paint_in_turn
from garl.systems import garl as system
from garl.systems import population
from garl.systems.garl import Config, load_adversary, load_agent, load_agents, make_env, make_policy, train
from garl.systems.population import BEHIND, Member, Turn, compare, distances, in_turn, rescue, sample_fakes, shrunk
from garl.types import Rollout

AGENTS = 3


@pytest.fixture(scope="module")
def config(tiny_config: Config) -> Config:
    """Three agents with all that an agent has of its own, four cycles, and a look at who is behind after the third."""
    changes = {
        "steps": None,
        "episodes": 96,
        "average": 0.5,
        "anneal": True,
        "population": {"agents": AGENTS, "rescue_every": 3},
        "ppo.optimizer": "adam",
        "ppo.penalty": "kl",
        "advantage.normalize": "return",
        "adversary.memory_priority": "uniform",
    }
    return tiny_config.changed(changes)


@pytest.fixture(scope="module")
def run(config: Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "population"
    train(config, folder)
    return folder


def metrics(run: Path) -> list[dict[str, float]]:
    """A run's records without what the clock decides."""
    timed = ("seconds", "speed")
    return [{name: x for name, x in record.items() if not name.startswith(timed)} for record in records(run)]


def differing(a: Path, b: Path) -> list[str]:
    """Names of the tensors in which the newest checkpoints of two runs differ."""
    (ours, _), (theirs, _) = load_checkpoint(a), load_checkpoint(b)
    assert ours.keys() == theirs.keys()
    return [name for name in ours if not torch.equal(ours[name], theirs[name])]


# One agent.


def test_a_single_agent_is_the_run_that_it_was_before_there_were_populations(tiny_run: Path) -> None:
    """Recorded at commit 52eb5ce; to a few digits, as another processor rounds otherwise."""
    names = ["ppo/value_loss", "ppo/entropy", "d/loss", "reward/std", "advantage/std", "pixels/mean_gap"]
    expected = [
        [0.686319, 13.8616, 0.0092194, 1.06904, 0.830631, 0.0359441],
        [1.07795, 13.8581, 0.00149235, 1.06904, 1.02814, 0.085227],
        [0.836381, 13.8504, -0.00606894, 1.06904, 0.926554, 0.0483979],
        [1.5573, 13.6793, -0.00610714, 1.06904, 1.251, 0.0589271],
    ]
    for record, values in zip(metrics(tiny_run), expected, strict=True):
        assert [record[name] for name in names] == pytest.approx(values, rel=1e-3, abs=1e-5)
    tensors, _ = load_checkpoint(tiny_run)
    parts = {"policy", "average", "adversary", "policy_optimizer", "adversary_optimizer", "memory", "gallery"}
    assert {name.split(".")[0] for name in tensors} == parts | {"recent", "generator", "sampler", "dropout"}
    assert not any(name.startswith("agent") for record in metrics(tiny_run) for name in record)


def test_a_checkpoint_from_before_there_were_populations(tiny_config: Config, tiny_run: Path, tmp_path: Path) -> None:
    settings = json.loads((tiny_run / "config.json").read_text())
    del settings["config"]["population"]
    (tmp_path / "config.json").write_text(json.dumps(settings))
    tensors, meta = load_checkpoint(tiny_run)
    save_checkpoint(tmp_path, tensors, meta)
    old, new = load_agent(tmp_path, "cpu"), load_agent(tiny_run, "cpu")
    assert (paint(old, 3).final == paint(new, 3).final).all()
    train(tiny_config.changed({"steps": 80}), tmp_path, resume=True)
    assert load_checkpoint(tmp_path)[1]["cycle"] == 5


# What the agents share, and what they do not.


def test_the_parts_of_a_run(config: Config, run: Path) -> None:
    tensors, _ = load_checkpoint(run)
    own = {"policy", "average", "weights", "scale", "policy_optimizer", "memory"}
    for prefix in ("", "agent_1.", "agent_2."):
        names = [name.removeprefix(prefix) for name in tensors if name.startswith(prefix)]
        assert own <= {name.split(".")[0] for name in names}
    weights = [tensors[f"{prefix}policy.extractor.out.weight"] for prefix in ("", "agent_1.", "agent_2.")]
    assert not any(torch.equal(weights[i], weights[j]) for i, j in ((0, 1), (0, 2), (1, 2)))
    assert len(tensors["recent"]) == 4 * 8 * AGENTS
    assert [record["episodes"] for record in metrics(run)] == [24, 48, 72, 96]  # of all agents together


def test_the_records_of_each_agent(run: Path) -> None:
    for record in metrics(run):
        assert all(math.isfinite(value) for value in record.values())
        each = {kind: [record[f"agent/{i}/{kind}"] for i in range(AGENTS)] for kind in ("score", "reward", "entropy")}
        whole = {"score": "d/painted", "reward": "reward/mean", "entropy": "entropy/mean"}
        for kind, values in each.items():
            assert len(set(values)) == AGENTS or kind == "reward"  # whose mean is 0, as it is adjusted
            assert np.mean(values) == pytest.approx(record[whole[kind]], rel=1e-4, abs=1e-5)
        assert np.mean([record[f"agent/{i}/share"] for i in range(AGENTS)]) == pytest.approx(0.5)
        assert record["step/agent_2.policy.extractor"] > 0
    assert ["agent/1/distance" in record for record in metrics(run)] == [False, False, True, False]
    closer = [sorted(i for i in range(AGENTS) if f"agent/{i}/frechet" in record) for record in metrics(run)]
    assert closer == [[0, 1, 2], [0, 1, 2], [], [0, 1, 2]]


def test_each_agent_paints_and_learns_from_its_own_paintings_and_the_adversary_from_all(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    painted: list[Tensor] = []
    learned: list[tuple[int, Tensor]] = []
    fakes: list[Tensor] = []

    def collect(*arguments: Any, **named: Any) -> Rollout:
        rollout = paint_episode(*arguments, **named)
        painted.append(rollout.final)
        return rollout

    def update(policy: torch.nn.Module, optimizer: Any, rollout: Rollout, *arguments: Any) -> dict[str, Tensor]:
        learned.append((id(policy), rollout.final))
        return learn(policy, optimizer, rollout, *arguments)

    def judge(self: Adversary, real: Tensor, fake: Tensor, *arguments: Any) -> dict[str, Tensor]:
        fakes.append(fake)
        return tell_apart(self, real, fake, *arguments)

    paint_episode, learn, tell_apart = system.collect, ppo.update, Adversary.update
    monkeypatch.setattr(system, "collect", collect)
    monkeypatch.setattr(ppo, "update", update)
    monkeypatch.setattr(Adversary, "update", judge)
    train(config.changed({"episodes": 24, "adversary.batch_size": 7, "adversary.updates": 0}), tmp_path)
    assert len({policy for policy, _ in learned}) == AGENTS
    assert all(torch.equal(final, own) for (_, final), own in zip(learned, painted, strict=True))
    assert len(fakes) == 4  # 24 paintings in batches of 7
    whose = [{image.numpy().tobytes() for image in final} for final in painted]
    assert not whose[0] & whose[1] | whose[0] & whose[2] | whose[1] & whose[2]
    for batch in fakes:
        found = [sum(image.numpy().tobytes() in own for image in batch) for own in whose]
        assert found == [3, 2, 2]


def test_fakes_come_in_equal_parts(config: Config) -> None:
    agents = members(config)
    generator = torch.Generator().manual_seed(0)
    for i, agent in enumerate(agents):
        agent.memory.add(torch.full((5 + i, 1, 2, 3), 10 * i, dtype=torch.uint8), generator)
    for n, parts in ((9, [3, 3, 3]), (11, [4, 4, 3]), (2, [1, 1, 0])):
        found = sample_fakes(agents, n, generator).images[:, 0, 0, 0]
        assert [int((found == 10 * i).sum()) for i in range(AGENTS)] == parts
    alone, again = (torch.Generator().manual_seed(1) for _ in range(2))
    assert torch.equal(sample_fakes(agents[2:], 4, alone).images, agents[2].memory.sample(4, again).images)


# Figures.


def turn(final: list[float], reward: float, entropy: float) -> Turn:
    """One of two strokes, with these scores of the finished paintings; what figures do not look at is empty."""
    score = torch.stack([torch.full((len(final),), 99.0), torch.full((len(final),), -99.0), torch.tensor(final)])
    each = torch.full((2, len(final)), reward)
    rollout = Rollout.__new__(Rollout)
    object.__setattr__(rollout, "entropy", torch.full_like(each, entropy))
    return Turn(score, each, each, each, rollout)


def test_shares_by_hand() -> None:
    turns = [turn([1.0, 4.0], 0.5, 3.0), turn([2.0, 4.0], 1.0, 2.0), turn([0.0, 9.0], 1.5, 1.0)]
    figures = compare(turns)
    # Of the first: 1 beats 0; 4 beats 2 and 0, and draws with 4. Of 8 pairs: 1 + 2 + ½.
    expected = {"share": [3.5 / 8, 4.5 / 8, 4 / 8], "score": [2.5, 3.0, 4.5], "reward": [1.0, 2.0, 3.0]}
    expected |= {"entropy": [3.0, 2.0, 1.0]}
    for kind, values in expected.items():
        assert [figures[f"agent/{i}/{kind}"].item() for i in range(3)] == pytest.approx(values)
    assert len(figures) == 12
    assert compare(turns[:1]) == {}


def test_shares_of_random_scores() -> None:
    generator = torch.Generator().manual_seed(0)
    scores = [torch.randint(0, 9, (7,), generator=generator).float() + i for i in range(4)]  # with draws
    figures = compare([turn(score.tolist(), 0.0, 0.0) for score in scores])
    for i, own in enumerate(scores):
        others = torch.cat([score for j, score in enumerate(scores) if j != i])
        wins = (own[:, None] > others).float() + 0.5 * (own[:, None] == others).float()
        assert figures[f"agent/{i}/share"].item() == pytest.approx(wins.mean().item())


def test_in_turn() -> None:
    each = [torch.arange(6).view(3, 2) + 10 * i for i in range(2)]
    together = in_turn(each)
    assert together.tolist() == [[0, 1], [10, 11], [2, 3], [12, 13], [4, 5], [14, 15]]
    assert all(torch.equal(together[i::2], own) for i, own in enumerate(each))


# The cure.


def members(config: Config) -> list[Member]:
    """Fresh agents, each after one step of its optimiser."""
    torch.manual_seed(0)
    env = make_env(config, 2)
    agents = []
    for i in range(AGENTS):
        policy = make_policy(config, env)
        optimizer = ppo.make_optimizer(policy, config.ppo)
        sum((i + 1) * parameter.sum() for parameter in policy.parameters()).backward()
        optimizer.step()
        weights = ppo.Weights(config.ppo, env.action_spec)
        weights.kl += i
        scale = RewardScale(AdvantageConfig(normalize="reward"))
        scale(torch.randn(2, 5))
        average = torch.optim.swa_utils.AveragedModel(policy)
        average.module.critic[0].bias.data += i
        agents.append(Member(policy, optimizer, weights, scale, average, FakeMemory(20)))
    return agents


def learned(agent: Member) -> list[Tensor]:
    """Copies of all that an agent's learning changes."""
    modules = [value for module in agent.modules().values() for value in module.state_dict().values()]
    steps = [value for state in agent.optimizer.state.values() for value in state.values()]
    return [value.clone() for value in modules + steps]


def same(a: list[Tensor], b: list[Tensor]) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def test_the_last_becomes_a_copy_of_the_first_and_then_goes_its_own_way(config: Config) -> None:
    agents = members(config)
    before = [learned(agent) for agent in agents]
    assert not any(same(before[i], before[j]) for i, j in ((0, 1), (0, 2), (1, 2)))
    rescue(agents, [5.0, 4.01 * BEHIND + 1.0, 4.0])
    now = [learned(agent) for agent in agents]
    assert same(now[0], before[0])
    assert same(now[2], before[2])
    assert same(now[1], before[2])
    agents[1].optimizer.step()  # shares no tensor with the one that it came from
    agents[1].weights.kl += 1
    assert same(learned(agents[2]), before[2])
    assert not same(learned(agents[1])[:4], before[2][:4])


def test_agents_that_keep_up_are_left_alone(config: Config) -> None:
    agents = members(config)
    before = [learned(agent) for agent in agents]
    rescue(agents, [1.0, 0.99 * BEHIND, 1.01])
    assert all(same(learned(agent), own) for agent, own in zip(agents, before, strict=True))


def test_distances_of_each_agent_by_hand() -> None:
    """Two canvases of one colour each: a distance of 64 pixels' means, and of the spread over canvases."""
    grey = torch.tensor([0, 51, 51, 153], dtype=torch.uint8)[:, None, None, None].expand(-1, 1, 16, 24)  # 0 and 0.2
    real = shrunk(torch.tensor([0, 51], dtype=torch.uint8)[:, None, None, None].expand(-1, 1, 16, 24))
    assert real.shape == (2, 64)
    # The first agent's are 0 and 0.2, as the real ones; the second's 0.2 and 0.6: mean 0.4, and twice the spread.
    spread = (0.2 / 2) ** 2 * 2
    expected = [0.0, 64 * ((0.4 - 0.1) ** 2 + spread)]
    assert distances(grey, real, 2) == pytest.approx(expected, abs=1e-5)


def test_pixels_are_shrunk_by_their_mean() -> None:
    images = torch.randint(0, 256, (3, 2, 16, 24), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    features = shrunk(images)
    assert features.shape == (3, 2 * 64)
    assert features[2, 64 + 8 * 5 + 1] == pytest.approx(images[2, 1, 10:12, 3:6].float().mean().item() / 255)


@pytest.mark.parametrize(("every", "pairs"), [(4, 1), (0, 0)])
def test_rescues_come_every_so_many_cycles(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, every: int, pairs: int
) -> None:
    monkeypatch.setattr(population, "BEHIND", 0.0)  # someone is always behind
    train(config.changed({"population.rescue_every": every}), tmp_path)
    tensors, _ = load_checkpoint(tmp_path)  # of the fourth cycle, the last
    weights = [tensors[f"{prefix}average.module.extractor.out.weight"] for prefix in ("", "agent_1.", "agent_2.")]
    alike = [torch.equal(weights[i], weights[j]) for i, j in ((0, 1), (0, 2), (1, 2))]
    assert sum(alike) == pairs


# Resuming, and what goes wrong.


def test_a_resumed_population_is_the_one_that_never_stopped(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(population, "BEHIND", 0.0)
    config = config.changed({"anneal": False, "checkpoint_every": 1, "episodes": 120, "population.rescue_every": 4})
    train(config, tmp_path / "whole")
    for episodes in (72, 96, 120):  # before a rescue, and just after one
        train(config.changed({"episodes": episodes}), tmp_path / "parts", resume=episodes > 72)
    assert differing(tmp_path / "parts", tmp_path / "whole") == []
    assert metrics(tmp_path / "parts") == metrics(tmp_path / "whole")
    for name in ("samples-0000004.png", "mean-0000004.png"):
        parts, whole = (tmp_path / folder / "pictures" / name for folder in ("parts", "whole"))
        assert parts.read_bytes() == whole.read_bytes()


def test_one_agent_that_diverges_rolls_all_of_them_back(
    config: Config, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    updates: list[int] = []

    def update(policy: torch.nn.Module, *arguments: Any) -> dict[str, Tensor]:
        figures = learn(policy, *arguments)
        updates.append(1)
        if len(updates) == 3 * AGENTS - 1:  # the second agent's in the third cycle
            policy.get_parameter("extractor.out.bias").data[5] = torch.nan
        return figures

    learn = ppo.update
    monkeypatch.setattr(ppo, "update", update)
    train(config.changed({"on_divergence": "roll_back"}), tmp_path)
    assert "agent_1.policy.extractor.out.bias is not finite in cycle 3" in capsys.readouterr().err
    about = json.loads((tmp_path / "divergence.json").read_text())
    assert about["tensors"]["agent_1.policy.extractor.out.bias"]["not_finite"] == 1
    assert about["tensors"]["gradient of agent_2.policy.extractor.out.bias"]["norm"] >= 0
    assert [record["cycle"] for record in metrics(tmp_path)] == [1, 2, 3, 4]
    for i in range(AGENTS):  # the third cycle begins from the second's checkpoint: all paint and are scored the same
        assert metrics(tmp_path)[2][f"agent/{i}/score"] == metrics(run)[2][f"agent/{i}/score"]
    assert all(tensor.isfinite().all() for tensor in load_checkpoint(tmp_path)[0].values())


def test_a_config_cannot_ask_for_agents_that_its_checkpoint_lacks(run: Path, tmp_path: Path) -> None:
    (tmp_path / "checkpoint.safetensors").write_bytes((run / "checkpoint.safetensors").read_bytes())
    settings = json.loads((run / "config.json").read_text())
    settings["config"]["population"]["agents"] = AGENTS + 1
    (tmp_path / "config.json").write_text(json.dumps(settings))
    with pytest.raises(GarlError, match=r"does not fit its config\.json"):
        load_agents(tmp_path, "cpu")
    with pytest.raises(GarlError, match=r"does not fit its config\.json"):
        train(Config(**settings["config"]), tmp_path, resume=True)


# Painting and measuring.


def test_agents_paint_in_turn_what_each_paints_alone(run: Path) -> None:
    agents = load_agents(run, "cpu")
    together = paint_in_turn(agents, 7, seed=3)
    assert len(together.final) == len(together.strokes.strokes) == len(together.strokes.seeds) == 7
    assert (together.filmed[-1] == together.final).all()
    for i in range(AGENTS):
        alone = paint(load_agent(run, "cpu", i), 3, seed=3)
        mine = together.final[i::AGENTS]
        assert (mine == alone.final[: len(mine)]).all()
        assert (together.filmed[:, i::AGENTS] == alone.filmed[:, : len(mine)]).all()
        assert (together.strokes.strokes[i::AGENTS] == alone.strokes.strokes[: len(mine)]).all()
        assert (together.strokes.seeds[i::AGENTS] == alone.strokes.seeds[: len(mine)]).all()
    assert (together.final[0] != together.final[1]).any()
    assert (together.final[1] != together.final[2]).any()
    assert len(paint_in_turn(agents, 2).final) == 2


def test_measuring_a_population(run: Path) -> None:
    agents = load_agents(run, "cpu")
    whole = measure_population(agents, 20, seed=1)
    alone = [measure(agent, 20, seed=1) for agent in agents]
    distances = [record["frechet"] for record in alone]
    assert whole["frechet_by_agent"] == pytest.approx(distances, rel=1e-6)
    assert len(set(distances)) == AGENTS
    assert whole["worst_to_best"] == pytest.approx(max(distances) / min(distances))
    assert whole["paintings"] == 20
    assert whole.keys() - alone[0].keys() == {"frechet_by_agent", "worst_to_best"}
    assert whole["frechet_floor"] == alone[0]["frechet_floor"]


def test_what_each_agent_of_a_population_was_asked_for(config: Config, tmp_path: Path) -> None:
    train(config.changed({"label": None, "condition": "label", "episodes": 24}), tmp_path)
    agents = load_agents(tmp_path, "cpu")
    record = measure_population(agents, 60)
    assert len(record["met_by_class"]) == 10
    assert record["met"] == pytest.approx(np.mean(record["met_by_class"]))  # each class was asked for 6 times


def test_the_command_line_of_a_population(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def garl(line: str) -> str:
        capsys.readouterr()
        monkeypatch.setattr("sys.argv", ["garl", *line.split()])
        cli.main()
        return capsys.readouterr().out

    garl(f"sample {run} --out {tmp_path / 'all.npz'} --n 6 --seed 2")
    garl(f"sample {run} --out {tmp_path / 'last.npz'} --n 2 --seed 2 --agent 2")
    with np.load(tmp_path / "all.npz") as together, np.load(tmp_path / "last.npz") as last:
        assert (together["images"][2::3] == last["images"]).all()
    together, last = (json.loads(garl(f"evaluate {run} --n 12{words}")) for words in ("", " --agent 2"))
    assert together["frechet_by_agent"][2] == pytest.approx(last["frechet"], rel=1e-6)
    assert "frechet_by_agent" not in last
    for number in (-1, 3):
        with pytest.raises(SystemExit):
            garl(f"sample {run} --out {tmp_path / 'no.png'} --agent {number}")
        assert f"there is no agent {number} in {run}: give a number from 0 to 2" in capsys.readouterr().err


def test_the_sheet_has_rows_of_each_agent(tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    paintings = torch.arange(3 * 20, dtype=torch.uint8)[:, None, None, None].expand(-1, 1, 4, 6)  # agent i: i, 3 + i, …
    sheets = system.picture(tmp_path, 5, paintings, False, agents=3)
    scale = 16  # 96 // 6
    corners = sheets["pictures/samples"][2 * scale :: 8 * scale, 2 * scale :: 8 * scale, 0]  # a row is 2 + 4 + 2 high
    assert corners.shape == (3, 16)
    assert corners[:, :3].tolist() == [[12, 15, 18], [13, 16, 19], [14, 17, 20]]  # the newest 16 of 20
    means = sheets["pictures/mean"][2 * scale, 2 * scale :: 8 * scale, 0]
    assert means[:3].tolist() == [28, 30, 30]  # 28.5, 29.5 and 30.5 to even


def test_the_first_agent_goes_on_from_a_canvas(run: Path) -> None:
    agent, begun = load_agent(run, "cpu"), np.full((3, 30, 44), 90, np.uint8)
    painting = finish_like(Unfinished(begun, np.ones((30, 44), np.bool_)), agent, load_adversary(run, agent), 1, 2)
    assert agent.number == 0
    assert painting.strokes.strokes.shape == (1, 1, 14)
    assert not np.array_equal(painting.picture, begun)
