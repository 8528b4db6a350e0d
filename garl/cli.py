"""The `garl` program. Each command imports what it needs when it runs, so that `garl --help` answers at once."""

import json
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

from garl.errors import GarlError

HELP = """\
usage: garl COMMAND ...

Agents that learn to paint, stroke by stroke, from pictures that they are shown.

  train PRESET      train an agent; presets: digits (a laptop, minutes), thesis, thesis-fast;
                    other systems: neural-painter
  sample RUN        let a trained agent paint: .png .npz .mp4 .gif .svg .json
  paint PHOTO       paint a picture in strokes: .png .svg .mp4 .gif .json
  evaluate RUN      measure a trained agent against held-out pictures, as JSON; `evaluate paint`: the painters
  demo              learn one embedded digit and leave a grid, a time-lapse, an SVG and a mean picture
  bench [WHAT]      measure strokes a second on this machine: engine, train or all
  experiment NAME   put a claim of the thesis to the test, and write its page; LIST lists them
  brushes           list the brushes, or draw them all
  data              list the data sets; `garl data download NAME` fetches one

`garl COMMAND --help` tells the rest. First run: garl train digits --minutes 5
"""


def main() -> None:
    """Run the command line; a mistake of the user's ends in one sentence and exit code 2."""
    arguments = sys.argv[1:]
    if not arguments or arguments[0] in ("-h", "--help"):
        print(HELP, end="")
        raise SystemExit(0 if arguments else 2)
    if arguments[0] == "--version":
        from importlib.metadata import version

        print(f"garl {version('garl')}")
        return
    try:
        command = COMMANDS.get(arguments[0])
        if command is None:
            raise GarlError(f"'{arguments[0]}' is not a command: use one of {', '.join(COMMANDS)}")
        command(arguments[1:])
    except GarlError as error:
        print(f"garl: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    except BrokenPipeError:
        raise SystemExit(1) from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None


def _parse(function: Callable[..., Any], name: str, arguments: list[str]) -> Any:
    import tyro

    return tyro.cli(function, prog=f"garl {name}", args=arguments)


def train(arguments: list[str]) -> None:
    if arguments and arguments[0] in SYSTEMS:
        SYSTEMS[arguments[0]](arguments[1:])
        return
    from garl.systems.garl import PRESETS, load_config
    from garl.systems.garl import train as run_training

    if not arguments or arguments[0] not in PRESETS:
        wanted = (
            f"'{arguments[0]}' is not a preset" if arguments and not arguments[0].startswith("-") else "which preset"
        )
        if arguments and arguments[0] in ("-h", "--help"):
            wanted = "usage: garl train PRESET [OPTIONS]; `garl train digits --help` lists the options"
            print(f"{wanted}; presets: {', '.join(PRESETS)}; other systems: {', '.join(SYSTEMS)}")
            return
        raise GarlError(f"{wanted}: name one of {', '.join(PRESETS)} first, as in `garl train digits --minutes 5`")
    preset = arguments[0]
    words = [re.sub(r"^--brush(?==|$)", "--paint.brush", word) for word in arguments[1:]]
    folder = _train(preset, PRESETS[preset], load_config, run_training, words)
    if folder:
        print(f"trained: {folder}\npictures: {folder / 'pictures'}\nnext: garl sample {folder} --out paintings.png")


def _train(
    name: str,
    default: Any,
    load_config: Callable[[Path], Any],
    run_training: Callable[[Any, Path, bool], None],
    arguments: list[str],
) -> Path | None:
    """Train a preset or system whose settings are `default` but for the arguments; returns the folder, if it ran."""
    import tyro

    def command(
        config: Annotated[type(default), tyro.conf.arg(name="")] = default,  # type: ignore[valid-type]
        out: Path | None = None,
        resume: bool = False,
        dry_run: bool = False,
    ) -> Path | None:
        """Train an agent. Press Ctrl-C to save and stop.

        Args:
            config: Settings of the method.
            out: The run folder; by default runs/PRESET-DATE-TIME.
            resume: Go on from the run folder's last checkpoint, with its settings but this budget.
            dry_run: Print the resolved settings and stop.
        """
        if resume:
            if out is None:
                raise GarlError("--resume needs the run folder: add --out RUN")
            config = _resumed(load_config(out), config, arguments)
        if dry_run:
            print(config.model_dump_json(indent=2))
            return None
        run_training(config, folder := out or _new_folder(name), resume)
        return folder

    return _parse(command, f"train {name}", arguments)


def neural_painter(arguments: list[str]) -> None:
    from garl.systems.neural_painter import NeuralPainterConfig, load_config, train

    if folder := _train("neural-painter", NeuralPainterConfig(), load_config, train, arguments):
        print(f"trained: {folder}\nnext: garl paint PHOTO --painter neural --agent {folder} --out painting.png")


SYSTEMS: dict[str, Callable[[list[str]], None]] = {"neural-painter": neural_painter}
"""What `garl train` knows beside GARL's presets."""


def _new_folder(preset: str) -> Path:
    from datetime import datetime

    return Path("runs") / f"{preset}-{datetime.now():%Y%m%d-%H%M%S}"


def _resumed(config: Any, given: Any, arguments: list[str]) -> Any:
    """The run's own settings, with the budget and the device of this command line."""
    words = {word.split("=")[0].removeprefix("--").replace("_", "-") for word in arguments if word.startswith("--")}
    budgets = {"minutes", "steps", "episodes", "updates"} & type(config).model_fields.keys()
    free = budgets | {"device", "picture-every", "checkpoint-every", "on-divergence", "wandb"}
    if other := words - free - {"resume", "out", "dry-run"}:
        raise GarlError(f"a resumed run keeps its settings, so --{min(other)} cannot change: start a new run for that")
    changed = {name.replace("-", "_") for name in words & free}
    if changed & budgets:
        config = config.model_copy(update=dict.fromkeys(budgets))
    return config.model_copy(update={name: getattr(given, name) for name in changed})


def sample(arguments: list[str]) -> None:
    import tyro

    def command(
        run: Path,
        /,
        out: Path,
        n: int = 64,
        seed: int = 0,
        name: Annotated[str | None, tyro.conf.arg(name="class")] = None,
        device: str = "auto",
    ) -> None:
        """Let a trained agent paint.

        Args:
            run: The run folder of `garl train`.
            out: File to write: .png grid, .npz arrays, .mp4 or .gif time-lapse, .svg, .json strokes.
            n: Paintings.
            seed: Same seed, same paintings.
            name: Class to paint, for an agent trained with `--condition label`; by default all in turn.
            device: auto, cpu or cuda.
        """
        from garl.sample import check_ending, paint
        from garl.systems.garl import load_agent

        check_ending(out)
        if n < 1 or seed < 0:
            raise GarlError(f"--n must be at least 1 and --seed at least 0, not {n} and {seed}")
        for path in paint(load_agent(run, device), n, seed, name).save(out):
            print(path)

    _parse(command, "sample", arguments)


def paint(arguments: list[str]) -> None:
    def command(
        photo: Path,
        /,
        out: Path,
        strokes: int = 1000,
        brush: str | None = None,
        painter: Literal["default", "refine", "greedy", "neural"] = "default",
        agent: Path | None = None,
        loss: Literal["pixel", "content", "both"] = "pixel",
        features: Path | None = None,
        background: str = "white",
        seconds: float | None = None,
        seed: int = 0,
    ) -> None:
        """Paint a picture in strokes.

        Args:
            photo: The picture: PNG, JPEG, BMP, GIF, WebP, TIFF or PPM, of any size and shape.
            out: File to write: .png, .svg, .mp4 or .gif time-lapse, .json strokes.
            strokes: How many strokes at most.
            brush: A brush of the library (see `garl brushes`) or the path of a brush file (.yaml); by default
                hard_round, or the one that the agent has learned.
            painter: refine moves all strokes together by gradient; greedy searches one after the other; default is
                refine, and greedy for brushes whose texture no gradient knows; neural moves all strokes together by
                gradient through the network of an agent.
            agent: The run folder of `garl train neural-painter`.
            loss: What the neural painter makes small: the pixels' error, the distance of a network's view of them, or
                both.
            features: VGG16 weights for that view (see docs/painters.md); by default a small network.
            background: The paper's colour, a name or #rrggbb; transparent parts of the photo show it.
            seconds: Stop searching after about this time.
            seed: Same seed, same painting, unless --seconds cut it off.
        """
        from garl.brush.spec import load_brush
        from garl.paint_picture import check_ending, paint_picture, parse_color, read_picture
        from garl.progress import painting_bar

        check_ending(out)
        if not 1 <= strokes <= 100_000 or not 0 <= seed < 2**32:
            raise GarlError(f"--strokes must be from 1 to 100,000 and --seed below 2**32, not {strokes} and {seed}")
        if seconds is not None and not 0 < seconds < float("inf"):
            raise GarlError(f"--seconds must be above 0, not {seconds}")
        chosen, renderer = _painter(painter, agent, loss, features)
        paper = parse_color(background)
        loaded = renderer.brush if renderer and brush is None else load_brush(brush or "hard_round")
        picture, frames = read_picture(photo, paper)
        if frames > 1:
            print(f"{photo} holds {frames} pictures: the first is painted", file=sys.stderr)
        with painting_bar() as progress:
            solve = loss == "pixel"  # colours that please the features are not to be solved anew for the pixels
            painting = paint_picture(picture, strokes, loaded, chosen, paper, seed, progress, seconds, solve)
        painting.save(out)
        if renderer:
            from garl.systems.neural_painter import replay_errors

            shown, real = replay_errors(painting, picture, renderer, seed)
            print(
                f"its strokes as the network shows them: {shown:.5f}; as the engine paints them, as small: {real:.5f}"
            )
        print(f"{out}: {painting.strokes.strokes.shape[1]:,} strokes, mean squared error {painting.error:.5f} (0–1)")

    _parse(command, "paint", arguments)


def _painter(name: str, agent: Path | None, loss: Any = "pixel", features: Path | None = None) -> tuple[Any, Any]:
    """The painter of that name, and the network that it paints through if it has one."""
    from garl.paint_picture import PAINTERS

    if name not in (*PAINTERS, "neural"):
        raise GarlError(f"'{name}' is not a painter: use one of {', '.join(PAINTERS)}, neural=RUN")
    if (name == "neural") != (agent is not None):
        raise GarlError("the painter neural and the run of its agent go together: give both or neither")
    if agent is None:
        if loss != "pixel" or features is not None:
            raise GarlError("--loss and --features are the neural painter's: add --painter neural --agent RUN")
        return PAINTERS[name], None
    from functools import partial

    from garl.evaluate.features import load_features
    from garl.systems.neural_painter import load_strokes
    from garl.systems.neural_painter import paint as paint_neurally

    renderer = load_strokes(agent)
    network = None if loss == "pixel" else load_features(features)
    return partial(paint_neurally, renderer=renderer, loss=loss, features=network), renderer


def evaluate(arguments: list[str]) -> None:
    if arguments and arguments[0] == "paint":
        evaluate_painters(arguments[1:])
        return

    def command(
        run: Path,
        /,
        data: str | None = None,
        label: int | str | None = None,
        split: str = "test",
        n: int = 2048,
        seed: int = 0,
        judge: Path | None = None,
        device: str = "auto",
    ) -> None:
        """Measure a trained agent's paintings against real pictures; print JSON.

        `..._floor` beside a figure is what real training pictures score in place of the paintings.

        Args:
            run: The run folder of `garl train`.
            data: Pictures to compare with; by default those that the agent learned from.
            label: Class to compare with; by default the one that the agent learned.
            split: Part of the data: test or train.
            n: Paintings.
            seed: Seed of the paintings.
            judge: Another feature network than the one that ships (see garl.evaluate.train_judge).
            device: auto, cpu or cuda.
        """
        from dataclasses import replace

        from garl.sample import measure
        from garl.systems.garl import load_agent

        if n < 4 or seed < 0:
            raise GarlError(f"--n must be at least 4 and --seed at least 0, not {n} and {seed}")
        agent = load_agent(run, device)
        given = {name: value for name, value in (("data", data), ("label", label)) if value is not None}
        agent = replace(agent, config=agent.config.model_copy(update=given))
        print(json.dumps(measure(agent, n, seed, split, judge), indent=2))

    _parse(command, "evaluate", arguments)


def evaluate_painters(arguments: list[str]) -> None:
    def command(
        pictures: tuple[str, ...] = (),
        /,
        painters: tuple[str, ...] = ("refine", "greedy"),
        strokes: tuple[int, ...] = (100, 300, 1000),
        seconds: tuple[float, ...] = (),
        brush: str = "hard_round",
        side: int = 256,
        each: int = 2,
        features: Path | None = None,
        seed: int = 0,
        out: Path | None = None,
        as_json: bool = False,
    ) -> None:
        """Measure painters: error, structural similarity and perceptual distance against strokes and seconds.

        Args:
            pictures: Picture files, and sets of pictures, of which held-out ones are taken; by default the photos that
                ship with scikit-image.
            painters: Painters of `garl paint`; neural=RUN for a neural painter.
            strokes: Numbers of strokes, each with all the time that the painter wants.
            seconds: Times, each with as many strokes as the largest of those.
            brush: A brush of the library or the path of a brush file.
            side: Pictures are cropped to squares and resized to so many pixels a side.
            each: Pictures taken of each set.
            features: VGG16 weights for the perceptual distance (see docs/painters.md); by default a small network.
            seed: Same seed, same paintings.
            out: Folder for the curves (painters.svg) and the paintings side by side (painters.png).
            as_json: Print every painting's figures as JSON instead of a table of means.
        """
        from garl.atomic import writing
        from garl.brush.spec import load_brush
        from garl.evaluate import painters as measure
        from garl.evaluate.features import load_features
        from garl.export.curves import load_figure
        from garl.machine import use_threads

        if min(strokes, default=0) < 1 or not all(0 < limit < float("inf") for limit in seconds) or not painters:
            raise GarlError(f"--strokes are at least 1, --seconds above 0, not {strokes} and {seconds}; name a painter")
        if not 16 <= side <= 4096 or each < 1 or not 0 <= seed < 2**32:
            raise GarlError(
                f"--side is from 16 to 4096, --each ≥ 1, --seed from 0 to 2**32, not {side}, {each}, {seed}"
            )
        chosen = {}
        for word in painters:
            name, _, agent = word.partition("=")
            chosen[word], _ = _painter(name, Path(agent) if agent else None)
        loaded, network = load_brush(brush), load_features(features)
        targets = measure.read_pictures(pictures or measure.photos(), side, each)
        if out is not None:
            load_figure()  # what is missing must be found before the work is done
            with writing(out):
                out.mkdir(parents=True, exist_ok=True)
        use_threads(1)
        trials, shown = [], {}
        for trial, painting in measure.compare(targets, chosen, strokes, seconds, loaded, network, seed):
            print(f"{trial.picture}, {trial.painter}, {trial.strokes:,}: error {trial.error:.5f}", file=sys.stderr)
            trials.append(trial)
            if trial.limit is None and trial.allowed == max(strokes):
                shown[trial.picture, trial.painter] = painting
        if out is not None:
            measure.draw_curves(trials, out / "painters.svg")
            measure.draw_sheet(targets, shown, out / "painters.png")
        print(json.dumps([trial._asdict() for trial in trials], indent=2) if as_json else measure.table(trials))

    _parse(command, "evaluate paint", ["--as-json" if word == "--json" else word for word in arguments])


def demo(arguments: list[str]) -> None:
    def command(minutes: float = 5.0, seed: int = 0, out: Path | None = None) -> None:
        """Train on the embedded digits, then paint: the whole product in one command.

        Args:
            minutes: How long to train.
            seed: Same seed, same start.
            out: The run folder; by default runs/demo-DATE-TIME.
        """
        from garl.demo import run_demo

        run_demo(minutes, seed, out or _new_folder("demo"))

    _parse(command, "demo", arguments)


def bench(arguments: list[str]) -> None:
    def command(
        what: Literal["engine", "train", "all"] = "all", /, device: str = "auto", as_json: bool = False
    ) -> None:
        """Measure strokes a second on this machine, beside our figures.

        Args:
            what: The brush engine, the training cycle, or both.
            device: auto, cpu or cuda, for the training cycle.
            as_json: Print JSON instead of a table.
        """
        from garl.bench import run_bench

        report = run_bench(what, device)
        if as_json:
            print(json.dumps(report, indent=2, ensure_ascii=False))
            return
        print(f"{'strokes a second':<36} {'here':>12} {'reference':>12}")
        for name, rate in report["strokes_per_second"].items():
            there = "—" if rate["reference"] is None else f"{rate['reference']:,}"
            print(f"{name:<36} {rate['here']:>12,} {there:>12}")
        print(f"here: {report['machine']}\nreference: {report['reference']}")

    _parse(command, "bench", ["--as-json" if word == "--json" else word for word in arguments])


def experiment(arguments: list[str]) -> None:
    def command(
        name: str,
        /,
        seeds: int = 3,
        budget: int | None = None,
        data: str | None = None,
        jobs: int | None = None,
        runs: Path = Path("runs/experiments"),
        out: Path = Path("docs/experiments"),
        page_only: bool = False,
    ) -> None:
        """Put a claim of the thesis to the test: train every arm with every seed, and write a page with the verdict.

        A run that is complete is not run again, one that was cut off goes on.

        Args:
            name: The claim; LIST lists them.
            seeds: Runs of each arm.
            budget: Paintings of each run; by default the claim's own.
            data: Pictures to learn from instead of the claim's.
            jobs: Runs side by side, each on a core; by default one for each core.
            runs: Folder for the runs.
            out: Folder for the page.
            page_only: Only write the page anew, from the logs.
        """
        from garl.experiments.claims import CLAIMS

        if name.upper() == "LIST":
            for claim in CLAIMS:
                source = f"§{claim.section}" if claim.section else "ours"
                print(f"{claim.name:<20} {source:<8} {len(claim.arms)} arms  {claim.says}")
            return
        from garl.experiments.page import write_page
        from garl.experiments.run import run_claim

        found = {claim.name: claim for claim in CLAIMS}.get(name)
        if found is None:
            raise GarlError(f"'{name}' is not a claim: `garl experiment LIST` lists them")
        if seeds < 1 or (budget or 1) < 1 or (jobs or 1) < 1:
            raise GarlError(f"--seeds, --budget and --jobs must be at least 1, not {seeds}, {budget} and {jobs}")
        if not page_only:
            run_claim(found, runs, seeds, budget or found.episodes, data, jobs or os.cpu_count() or 1)
        print(f"{write_page(found, runs, seeds, out)}: {out / found.name}.md")

    _parse(command, "experiment", arguments)


def brushes(arguments: list[str]) -> None:
    def command(out: Path | None = None, brush: str | None = None, size: int = 256) -> None:
        """List the brushes that come with garl, or draw them with a few strokes each.

        Args:
            out: PNG to draw the sheet of brushes in.
            brush: Draw this brush alone: a name, or the path of a brush file.
            size: Side of one brush's picture, in pixels.
        """
        from garl.export.brush_sheet import draw_sheet, list_brushes

        if not 16 <= size <= 2048:
            raise GarlError(f"--size must be from 16 to 2048, not {size}")
        if out is None:
            print(list_brushes(brush))
        else:
            draw_sheet(out, brush, size)
            print(out)

    _parse(command, "brushes", arguments)


def data(arguments: list[str]) -> None:
    if arguments and arguments[0] == "download":

        def fetch(name: str, /, base_url: str | None = None) -> None:
            """Download a data set from its official place; goes on where an earlier try broke off.

            Args:
                name: mnist, fashion-mnist, omniglot or celeba.
                base_url: Another place that holds the same files.
            """
            from garl.data.download import download

            print(download(name, base_url=base_url))

        _parse(fetch, "data download", arguments[1:])
        return

    def command() -> None:
        """List what can be learned from without a path: embedded and downloadable data sets, and where they lie."""
        from rich.console import Console
        from rich.table import Table

        from garl.data.download import describe

        rows = describe()
        table = Table(*rows[0])
        for row in rows:
            table.add_row(*(str(value) for value in row.values()))
        Console().print(table)
        print("`garl data download NAME` fetches one. Any folder, zip or tar of pictures is data too: --data PATH")

    _parse(command, "data", arguments)


COMMANDS: dict[str, Callable[[list[str]], None]] = {
    "train": train,
    "sample": sample,
    "paint": paint,
    "evaluate": evaluate,
    "demo": demo,
    "bench": bench,
    "experiment": experiment,
    "brushes": brushes,
    "data": data,
}
