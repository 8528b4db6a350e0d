"""The training loop: it repeats itself, goes on where it stopped, and says why it cannot."""

from __future__ import annotations

import json
import math
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from garl import cli
from garl.adversary.update import Adversary
from garl.errors import GarlError
from garl.export.picture import save_png
from garl.learners import ppo
from garl.runs import load_checkpoint, open_run, records, save_checkpoint
from garl.systems import garl as system
from garl.systems.garl import Config, load_agent, load_config, train
from garl.track import describe


def metrics(run: Path) -> list[dict[str, float]]:
    """A run's records without what the clock decides."""
    timed = ("seconds", "speed")
    return [{name: x for name, x in record.items() if not name.startswith(timed)} for record in records(run)]


def pictures(run: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (run / "pictures").iterdir()}


def differing(a: Path, b: Path) -> list[str]:
    """Names of the tensors in which the newest checkpoints of two runs differ."""
    (ours, _), (theirs, _) = load_checkpoint(a), load_checkpoint(b)
    assert ours.keys() == theirs.keys()
    return [name for name in ours if not torch.equal(ours[name], theirs[name])]


def differing_meta(a: Path, b: Path) -> list[str]:
    """Names of the counters, other than the clock, in which the newest checkpoints of two runs differ."""
    (_, ours), (_, theirs) = load_checkpoint(a), load_checkpoint(b)
    return [name for name in ours.keys() | theirs.keys() if name != "seconds" and ours.get(name) != theirs.get(name)]


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


def test_a_run_with_every_choice_of_a_stroke(tiny_config: Config, tmp_path: Path) -> None:
    choices = {"brushes": ["ink", "splatter"], "pressure": True, "pen": True, "contiguous": True}
    config = changed(tiny_config, steps=32, paint=choices)
    train(config, tmp_path / "whole")
    lines = metrics(tmp_path / "whole")
    assert len(lines) == 2
    assert all(math.isfinite(value) for record in lines for value in record.values())
    agent = load_agent(tmp_path / "whole", "cpu")
    assert [brush.name for brush in agent.brushes] == ["hard_round", "ink", "splatter"]
    train(changed(config, steps=16), tmp_path / "parts")
    train(config, tmp_path / "parts", resume=True)
    assert differing(tmp_path / "parts", tmp_path / "whole") == []


def test_another_seed_is_another_run(tiny_config: Config, tiny_run: Path, tmp_path: Path) -> None:
    train(changed(tiny_config, seed=1), tmp_path)
    for ours, theirs in zip(metrics(tmp_path), metrics(tiny_run), strict=True):
        assert ours["ppo/value_loss"] != theirs["ppo/value_loss"]
        assert ours["pixels/mean_gap"] != theirs["pixels/mean_gap"]
    assert {"generator", "sampler", "recent", "memory.images"} <= set(differing(tmp_path, tiny_run))


# What a run writes.


TABLE = Path(__file__).parents[2] / "docs" / "runs.md"


def documented(dimensions: list[str]) -> list[re.Pattern[str]]:
    """The names in the table of docs/runs.md, with what its capitals stand for."""
    table = [line for line in TABLE.read_text().split("## Metrics")[1].splitlines() if line.startswith("| `")]
    names = [re.escape(name) for line in table for name in re.findall(r"`([^`]+)`", line.split("|")[1])]
    part, dimension = r"(agent_\d+\.)?(policy|adversary)\.[a-z0-9_.]+", f"({'|'.join(dimensions)})"
    filled = [re.sub(r"(?<=[_/])[TPCN](?=[_/]|$)", "NUMBER", name) for name in names]
    meanings = {"NUMBER": r"\d+", "PART": part, "DIMENSION": dimension}
    return [re.compile(re.sub("[A-Z]+", lambda found: meanings[found[0]], name)) for name in filled]


def test_the_table_of_metrics_holds_what_runs_write_and_nothing_else(
    tiny_config: Config, tiny_run: Path, stateful_run: Path, tmp_path: Path
) -> None:
    pairs = {"condition": "picture", "ppo": {"hindsight": 0.1, "anchor": 0.1}, "demonstrations": {"pictures": 2}}
    pairs |= {"paint": {"color_channels": 1}}  # which demonstrations need
    kinds = {"population": {"learner": "a2c"}, "pairs": pairs}
    options = {"adversary": {"r1": 0.1, "stay_close": 0.1}, "population": {"agents": 2, "rescue_every": 2}}
    for folder, kind in kinds.items():
        train(changed(tiny_config, **options, **kind), tmp_path / folder)
    runs = (tiny_run, stateful_run, tmp_path / "population", tmp_path / "pairs")
    written = {name for run in runs for record in records(run) for name in record}
    patterns = documented([d.name for d in system.make_env(changed(tiny_config, **pairs), 1).action_spec])
    assert [name for name in sorted(written) if not any(p.fullmatch(name) for p in patterns)] == []
    assert [p.pattern for p in patterns if not any(p.fullmatch(name) for name in written)] == []


def test_the_records_of_a_run(tiny_run: Path) -> None:
    lines = metrics(tiny_run)
    looked_closer = {"frechet", "d/accuracy_real", "d/accuracy_fake", "d/overlap"}
    for record, closer in zip(lines, (True, True, False, True), strict=True):
        assert looked_closer & set(record) == (looked_closer if closer else set())
    assert [(record["cycle"], record["episodes"], record["steps"]) for record in lines] == [
        (1, 8, 16),
        (2, 16, 32),
        (3, 24, 48),
        (4, 32, 64),
    ]
    for record in lines:
        assert all(math.isfinite(value) for value in record.values())
        assert record["d/separation"] == pytest.approx(record["d/real"] - record["d/fake"], abs=1e-6)
        assert record["entropy/mean"] == pytest.approx((record["entropy/stroke_1"] + record["entropy/stroke_2"]) / 2)
        assert record["entropy/share"] == pytest.approx(record["entropy/mean"] / (3 * math.log(64) + math.log(4)))
        assert record["step/policy.head.decoders.0"] > 0
    timed = records(tiny_run)
    assert 0 < timed[0]["seconds"] < timed[1]["seconds"] < timed[2]["seconds"] < timed[3]["seconds"]
    parts = ("collect", "score", "learner", "adversary", "figures")
    assert all(sum(line[f"seconds/{part}"] for part in parts) <= line["seconds/cycle"] for line in timed)
    written = {f"{kind}-000000{cycle}.png" for kind in ("samples", "mean") for cycle in (1, 2, 4)}
    assert set(pictures(tiny_run)) == written | {"samples.png"}


def test_the_default_run_of_the_thesis_watches_more_than_100_figures(tiny_config: Config, tmp_path: Path) -> None:
    config = changed(tiny_config, strokes=64, envs=2, steps=None, episodes=2)
    train(config, tmp_path)
    assert len(metrics(tmp_path)[0]) > 100


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
    train(changed(tiny_config, average=0.25), tmp_path)
    expected = weights[0]
    for kept, weight in zip((2 / 11, 0.25, 0.25), weights[1:], strict=True):  # 2 / (2 + 9), 3 / (3 + 9), then 4 / 13
        expected = kept * expected + (1 - kept) * weight
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


@pytest.fixture(scope="module")
def stateful_config(tiny_config: Config) -> Config:
    """Everything that has a state: Adam, dropout's random numbers, a reservoir, a schedule, jitter, averaged weights,
    power iterations, running statistics, a penalty and a bonus that adapt, and weights that do not lie in memory in the
    order of their dimensions."""
    return changed(
        tiny_config,
        steps=None,
        episodes=56,
        anneal=True,
        average=0.5,
        noise_per_step=True,
        paint={"brush": "splatter"},
        adversary={
            "optimizer": "adam",
            "memory": 10,
            "memory_priority": "uniform",
            "network": {"channels": 2, "dropout": 0.5, "norm": "batch"},
        },
        advantage={"estimator": "n_step", "normalize": "return"},
        ppo={"optimizer": "adam", "penalty": "kl", "entropy_target": 0.5},
    )


@pytest.fixture(scope="module")
def stateful_run(stateful_config: Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run of `stateful_config`, 7 cycles, checkpoints after every second."""
    folder = tmp_path_factory.mktemp("runs") / "stateful"
    train(stateful_config, folder)
    tensors, _ = load_checkpoint(folder)
    assert {"weights.kl", "weights.adapted", "scale.moments"} <= tensors.keys()
    assert tensors["weights.kl"] != 1
    return folder


def test_resume_after_an_interrupt(
    stateful_config: Config, stateful_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupting(*arguments: Tensor) -> dict[str, float]:
        figures = describe(*arguments)
        cycles.append(1)
        if len(cycles) == 3:
            signal.raise_signal(signal.SIGINT)
        return figures

    cycles: list[int] = []
    before = signal.getsignal(signal.SIGINT)
    monkeypatch.setattr(system, "describe", interrupting)
    train(stateful_config, tmp_path)
    assert signal.getsignal(signal.SIGINT) is before
    assert len(metrics(tmp_path)) == 3  # the cycle is finished and kept
    assert load_checkpoint(tmp_path)[1]["cycle"] == 3

    torch.rand(3)  # what else draws in between must not matter
    train(stateful_config, tmp_path, resume=True)
    assert metrics(tmp_path) == metrics(stateful_run)
    assert differing(tmp_path, stateful_run) == []


DIES = """
import json, os, pathlib, signal, sys
import torch
from garl import runs
from garl.systems.garl import Config, train

torch.set_num_threads(1)
point, folder, resume, settings = sys.argv[1:]

def die(): os.kill(os.getpid(), signal.SIGKILL)

replace, record = os.replace, runs.Run.record
class Run(runs.Run):
    def record(self, metrics):
        if point == "record" and metrics["cycle"] == 6:
            self.log.write('{"cycle": 6, "epis')
            self.log.flush()
            die()
        record(self, metrics)
def moving(a, b):
    replace(a, b)
    if pathlib.Path(b).name == point: die()
os.replace, runs.Run = moving, Run
train(Config(**json.loads(settings)), pathlib.Path(folder), bool(resume))
"""


def test_resume_after_being_killed(stateful_config: Config, stateful_run: Path, tmp_path: Path) -> None:
    def die(point: str, resume: bool) -> None:
        words = (point, str(tmp_path), "1" if resume else "", stateful_config.model_dump_json())
        done = subprocess.run([sys.executable, "-c", DIES, *words], capture_output=True, text=True)
        assert done.returncode == -signal.SIGKILL, done.stderr

    die("config.json", resume=False)  # before its first checkpoint: it begins again
    assert not list(tmp_path.glob("*.safetensors"))
    die("previous.safetensors", resume=True)  # between two renamings
    assert {path.name for path in tmp_path.glob("*.safetensors")} == {"next.safetensors", "previous.safetensors"}
    die("record", resume=True)  # within a line
    assert load_checkpoint(tmp_path)[1]["cycle"] == 4
    assert (tmp_path / "metrics.jsonl").read_text().endswith('\n{"cycle": 6, "epis')
    assert json.loads((tmp_path / "lock").read_text()).keys() == {"pid", "host", "since"}
    train(stateful_config, tmp_path, resume=True)
    assert metrics(tmp_path) == metrics(stateful_run)
    assert pictures(tmp_path) == pictures(stateful_run)
    assert differing(tmp_path, stateful_run) == []
    assert differing_meta(tmp_path, stateful_run) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(path.name for path in stateful_run.iterdir())


SLOW = """
import sys, time
from garl.systems import garl

def describe(*arguments, describe=garl.describe):
    print("in a cycle", flush=True)
    time.sleep(float(seconds))
    return describe(*arguments)

seconds, garl.describe = sys.argv.pop(1), describe
from garl.cli import main
main()
"""


@pytest.mark.parametrize("second", [None, signal.SIGINT])
def test_signals_to_the_program(tmp_path: Path, second: int | None) -> None:
    flags = (
        f"{60 if second else 0.5} train digits --minutes 5 --envs 8 --strokes 2 --device cpu --out {tmp_path / 'run'}"
    )
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", SLOW, *flags.split()], **pipes) as process:
        assert process.stdout.readline() == "in a cycle\n"
        process.send_signal(signal.SIGTERM)
        while (line := process.stderr.readline()) != "stopping after this cycle; a second signal stops at once\n":
            assert line, "the program ended"
        if second:
            process.send_signal(second)
        said, complaint = process.communicate(timeout=120)
    assert "Traceback" not in complaint
    assert process.returncode == (130 if second else 0)
    assert ("trained: " in said) == (second is None)
    assert len(metrics(tmp_path / "run")) == load_checkpoint(tmp_path / "run")[1]["cycle"] == (0 if second else 1)
    with open_run(tmp_path / "run", {}, resume=True) as run:  # nobody holds its lock
        assert run.saved == (0 if second else 1)


def test_resume_from_the_checkpoint_before_a_damaged_one(
    stateful_config: Config, stateful_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(changed(stateful_config, episodes=48), tmp_path)
    newest = tmp_path / "checkpoint.safetensors"
    whole = newest.read_bytes()
    newest.write_bytes(whole[:-1000] + bytes([whole[-1000] ^ 8]) + whole[-999:])
    (tmp_path / "pictures" / ".samples.0123abcd.png").write_text("half")
    # The schedule of a smaller budget was another: only the cycle counter can be compared.
    train(changed(stateful_config, episodes=40), tmp_path, resume=True)
    assert (
        "checkpoint.safetensors is damaged: the one before it, previous.safetensors, is used" in capsys.readouterr().err
    )
    assert [record["cycle"] for record in metrics(tmp_path)] == [1, 2, 3, 4, 5]
    assert load_checkpoint(tmp_path)[1]["cycle"] == 5
    assert set(pictures(tmp_path)) <= set(pictures(stateful_run)) | {"samples-0000005.png", "mean-0000005.png"}


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


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("brushes", "the brush in .*: a brush must be a mapping of name"),
        ("data", "does not fit its config"),
        ("cycle", "does not fit its config"),
        ("seconds", "does not fit its config"),
        ("no number", "does not fit its config"),
    ],
)
def test_a_strangers_run_is_not_gone_on_with(
    tiny_config: Config, tiny_run: Path, tmp_path: Path, change: str, message: str
) -> None:
    tensors, meta = load_checkpoint(tiny_run)
    if change == "no number":
        meta["cycle"] = ["2"]
    else:
        del meta[change]
    save_checkpoint(tmp_path, tensors, meta)
    (tmp_path / "config.json").write_bytes((tiny_run / "config.json").read_bytes())
    with pytest.raises(GarlError, match=message):
        train(changed(tiny_config, steps=80), tmp_path, resume=True)


@pytest.mark.parametrize(
    "name", ["channels", "blocks", "features", "location_channels", "location_blocks", "noise", "recurrent"]
)
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
        ("too few brushes", "does not hold the brushes that its config.json names"),
        ("brushes without a list", "does not hold the brushes that its config.json names"),
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
        del meta["brushes"]
    elif change == "too few brushes":
        meta["brushes"] = []
    elif change == "brushes without a list":
        meta["brushes"] = 1
    else:
        meta["brushes"][0]["stroke"]["type"] = 3
    save_checkpoint(tmp_path, tensors, meta)
    (tmp_path / "config.json").write_bytes((tiny_run / "config.json").read_bytes())
    with pytest.raises(GarlError, match=message):
        load_agent(tmp_path, "cpu")


def test_a_checkpoint_from_before_there_could_be_several_brushes(tiny_run: Path, tmp_path: Path) -> None:
    settings = json.loads((tiny_run / "config.json").read_text())
    for name in ("brushes", "pressure", "pen"):
        del settings["config"]["paint"][name]
    (tmp_path / "config.json").write_text(json.dumps(settings))
    tensors, meta = load_checkpoint(tiny_run)
    meta["brush"] = meta.pop("brushes")[0]
    save_checkpoint(tmp_path, tensors, meta)
    old, new = load_agent(tmp_path, "cpu"), load_agent(tiny_run, "cpu")
    assert [brush.to_dict() for brush in old.brushes] == [brush.to_dict() for brush in new.brushes]
    assert old.config == new.config
    train(new.config, tmp_path, resume=True)
    assert load_checkpoint(tmp_path)[1]["cycle"] == 4


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
    seconds = [record["seconds"] for record in records(tmp_path)]
    assert all(s < 0.6 for s in seconds[:-1])
    assert seconds[-1] >= 0.6
    assert load_checkpoint(tmp_path)[1]["cycle"] == len(seconds)


@pytest.mark.parametrize("anneal_entropy", [True, False])
@pytest.mark.parametrize(("anneal", "shares"), [(True, [1.0, 0.75, 0.5, 0.25]), (False, [1.0] * 4)])
def test_annealing_reaches_both_learning_rates_and_the_entropy(
    tiny_config: Config,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    anneal: bool,
    shares: list[float],
    anneal_entropy: bool,
) -> None:
    policy_rates, entropies, adversary_rates = [], [], []

    def update(policy: Any, optimizer: torch.optim.Optimizer, *arguments: Any) -> dict[str, Tensor]:
        policy_rates.append(optimizer.param_groups[0]["lr"])
        entropies.append(arguments[-1].entropy)
        return learn(policy, optimizer, *arguments)

    def judge(self: Adversary, *arguments: Any) -> dict[str, Tensor]:
        adversary_rates.append(self.optimizer.param_groups[0]["lr"])
        return tell_apart(self, *arguments)

    learn, tell_apart = ppo.update, Adversary.update
    monkeypatch.setattr(ppo, "update", update)
    monkeypatch.setattr(Adversary, "update", judge)
    config = changed(tiny_config, anneal=anneal, anneal_entropy=anneal_entropy, adversary={"learning_rate": 3e-4})
    train(config, tmp_path)
    assert policy_rates == pytest.approx([1e-3 * share for share in shares])
    assert entropies == pytest.approx([0.01 * (share if anneal_entropy else 1.0) for share in shares])
    assert adversary_rates == pytest.approx([3e-4 * share for share in shares for _ in range(2)])  # updates=2


@pytest.mark.parametrize(("memory", "priority"), [(0, "recent"), (0, "uniform"), (20, "recent")])
def test_without_memory_the_adversary_sees_this_cycles_paintings_alone(
    tiny_config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, memory: int, priority: str
) -> None:
    finals: list[set[bytes]] = []
    fakes: list[set[bytes]] = []

    def as_set(images: Tensor) -> set[bytes]:
        return {image.numpy().tobytes() for image in images}

    def collect(*arguments: Any, **named: Any) -> Any:
        rollout = paint(*arguments, **named)
        finals.append(as_set(rollout.final))
        fakes.append(set())
        return rollout

    def judge(self: Adversary, real: Tensor, fake: Tensor, *arguments: Any) -> dict[str, Tensor]:
        fakes[-1] |= as_set(fake)
        return tell_apart(self, real, fake, *arguments)

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

    def score(self: Adversary, *arguments: Any) -> Tensor:
        cycles.extend([1] * (len(arguments[0]) == 3 * 8))  # and not when a picture is made
        scores = rate(self, *arguments)
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
        "score": "score",
        "policy weight": r"policy\.extractor\.out\.bias",
        "adversary weight": r"adversary\.layers\.0\.bias",
    }[damage]
    with pytest.raises(GarlError, match=f"diverged: {named} is not finite in cycle 3"):
        train(changed(tiny_config, checkpoint_every=1, picture_every=100), tmp_path)
    assert [record["cycle"] for record in metrics(tmp_path)] == [1, 2]
    tensors, meta = load_checkpoint(tmp_path)
    assert meta["cycle"] == 2
    assert all(tensor.isfinite().all() for tensor in tensors.values())
    load_agent(tmp_path, "cpu")


def explode(monkeypatch: pytest.MonkeyPatch, at: tuple[int, ...], rates: list[float]) -> None:
    """Break the policy in its updates number `at`; `rates` gets the learning rate of each update."""
    learn = ppo.update

    def update(policy: torch.nn.Module, optimizer: torch.optim.Optimizer, *arguments: Any) -> dict[str, Tensor]:
        rates.append(optimizer.param_groups[0]["lr"])
        figures = learn(policy, optimizer, *arguments)
        if len(rates) in at:
            policy.get_parameter("extractor.out.bias").data[5] = torch.nan
        return figures

    monkeypatch.setattr(ppo, "update", update)


def test_a_roll_back_goes_on_from_the_checkpoint_at_half_the_rates(
    tiny_config: Config,
    tiny_run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    config, rates = changed(tiny_config, on_divergence="roll_back"), []
    explode(monkeypatch, (4, 6), rates)  # in cycle 4, after the checkpoint of cycle 2; and again
    train(config, tmp_path)
    assert rates == pytest.approx([1e-3] * 4 + [5e-4] * 2 + [2.5e-4] * 2)
    assert [(record["cycle"], record["learning_rate"]) for record in metrics(tmp_path)] == [
        (1, 1.0),
        (2, 1.0),
        (3, 0.25),
        (4, 0.25),
    ]
    said = capsys.readouterr().err
    assert "policy.extractor.out.bias is not finite in cycle 4" in said
    assert "back to cycle 2, learning rates × 0.5" in said
    # What was restored is the checkpoint: the third cycle paints and scores the same, and only then learns less.
    for name in ("pixels/mean_gap", "advantage/std", "d/frame_0"):
        assert metrics(tmp_path)[2][name] == metrics(tiny_run)[2][name]
    assert metrics(tmp_path)[3]["advantage/std"] != metrics(tiny_run)[3]["advantage/std"]
    assert load_checkpoint(tmp_path)[1]["roll_backs"] == 2
    dump = tmp_path / "divergence.json"
    assert dump.stat().st_size < 2**20
    about = json.loads(dump.read_text(), parse_constant=pytest.fail)
    assert (about["cycle"], about["not_finite"][0]) == (4, "policy.extractor.out.bias")
    assert about["tensors"]["policy.extractor.out.bias"]["not_finite"] == 1
    assert about["tensors"]["gradient of adversary.layers.8.bias"]["norm"] >= 0
    # The lower rates last.
    train(changed(config, steps=80), tmp_path, resume=True)
    assert metrics(tmp_path)[4]["learning_rate"] == 0.25
    assert len(rates) == 9


def test_a_run_that_diverges_again_and_again_gives_up(
    tiny_config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rates: list[float] = []
    explode(monkeypatch, tuple(range(1, 100)), rates)
    with pytest.raises(GarlError, match=r"not finite in cycle 1 .*, after 5 roll-backs: start a new run"):
        train(changed(tiny_config, on_divergence="roll_back"), tmp_path)
    assert rates == pytest.approx([1e-3 * 0.5**i for i in range(6)])
    assert metrics(tmp_path) == []
    assert load_checkpoint(tmp_path)[1]["cycle"] == 0


def test_a_run_that_stopped_may_be_resumed_with_roll_backs(
    tiny_run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    line = f"garl train digits --resume --out {tiny_run} --on-divergence roll_back --dry-run"
    monkeypatch.setattr(sys, "argv", line.split())
    cli.main()
    assert Config(**json.loads(capsys.readouterr().out)) == changed(load_config(tiny_run), on_divergence="roll_back")


# The disk.


def test_a_full_disk_leaves_a_run_to_go_on_with(
    tiny_config: Config, tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def filling(*arguments: Tensor) -> dict[str, float]:
        cycles.append(1)
        if len(cycles) == 3:  # of the files written from here on, only the checkpoint is larger
            resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, before[1]))
        return describe(*arguments)

    cycles: list[int] = []
    monkeypatch.setattr(system, "describe", filling)
    try:
        with pytest.raises(GarlError, match=r"cannot write .*next\.safetensors .* that its disk has room"):
            train(tiny_config, tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert len(cycles) == 4
    assert load_checkpoint(tmp_path)[1]["cycle"] == 2
    train(tiny_config, tmp_path, resume=True)
    assert metrics(tmp_path) == metrics(tiny_run)
    assert differing(tmp_path, tiny_run) == []


def test_a_run_folder_that_vanishes(tiny_config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def vanishing(*arguments: Tensor) -> dict[str, float]:
        shutil.rmtree(tmp_path / "run", ignore_errors=True)
        return describe(*arguments)

    monkeypatch.setattr(system, "describe", vanishing)
    with pytest.raises(
        GarlError, match=r"cannot write .*samples\.png \(No such file or directory\): see that its folder"
    ):
        train(tiny_config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_data_that_changes_or_vanishes(tiny_config: Config, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, run = tmp_path / "data", tmp_path / "run"
    data.mkdir()
    for i in range(4):
        save_png(data / f"{i}.png", np.full((28, 28, 3), 60 * i, np.uint8))
    config = changed(tiny_config, data=str(data), label=None, steps=32)
    train(config, run)
    capsys.readouterr()
    train(changed(config, steps=48), run, resume=True)
    assert "changed" not in capsys.readouterr().err
    save_png(data / "4.png", np.full((28, 28, 3), 250, np.uint8))
    train(changed(config, steps=64), run, resume=True)
    assert f"data has changed since {run} began: the run goes on, but not as it would have" in capsys.readouterr().err
    shutil.rmtree(data)
    before = (run / "metrics.jsonl").read_bytes()
    with pytest.raises(GarlError, match="there is no data"):
        train(changed(config, steps=80), run, resume=True)
    assert (run / "metrics.jsonl").read_bytes() == before


# Mistakes.


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


def test_settings_that_config_json_does_not_have_are_named(
    tiny_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    load_config(tiny_run)
    assert capsys.readouterr().err == ""
    settings = json.loads((tiny_run / "config.json").read_text())
    del settings["config"]["on_divergence"], settings["config"]["ppo"]["clip"]
    (tmp_path / "config.json").write_text(json.dumps(settings))
    config = load_config(tmp_path)
    assert (config.on_divergence, config.ppo.clip) == ("stop", 0.2)
    assert capsys.readouterr().err.endswith("config.json does not say on_divergence, ppo.clip: taken as the defaults\n")
