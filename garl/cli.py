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
                    other systems: learning-to-paint, renderer
  sample RUN        let a trained agent paint: .png .npz .mp4 .gif .svg .json
  paint PHOTO       paint a picture in strokes: .png .svg .mp4 .gif .json
  evaluate RUN      measure a trained agent against held-out pictures, as JSON
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


def learning_to_paint(arguments: list[str]) -> None:
    from garl.systems.learning_to_paint import Config, load_config, train

    if folder := _train("learning-to-paint", Config(), load_config, train, arguments):
        print(f"trained: {folder}\nnext: garl paint PHOTO --agent {folder} --out painting.png")


def renderer(arguments: list[str]) -> None:
    from garl.systems.renderer import Config, load_config, train

    if folder := _train("renderer", Config(), load_config, train, arguments):
        what = f"--renderer neural --renderer-run {folder}"
        print(f"trained: {folder}\nnext: garl train learning-to-paint {what} --data PATH")


SYSTEMS: dict[str, Callable[[list[str]], None]] = {"learning-to-paint": learning_to_paint, "renderer": renderer}
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
        brush: str = "hard_round",
        painter: Literal["default", "refine", "greedy"] = "default",
        background: str = "white",
        seconds: float | None = None,
        seed: int = 0,
        agent: Path | None = None,
        tiles: int = 4,
        style: Literal["strokes", "pixel"] = "strokes",
        cells: int = 32,
        colors: int = 16,
    ) -> None:
        """Paint a picture in strokes.

        Args:
            photo: The picture: PNG, JPEG, BMP, GIF, WebP, TIFF or PPM, of any size and shape.
            out: File to write: .png, .svg, .mp4 or .gif time-lapse, .json strokes.
            strokes: How many strokes at most.
            brush: A brush of the library (see `garl brushes`) or the path of a brush file (.yaml).
            painter: refine moves all strokes together by gradient; greedy searches one after the other; default is
                refine, and greedy for brushes whose texture no gradient knows.
            background: The paper's colour, a name or #rrggbb; transparent parts of the photo show it.
            seconds: Stop searching after about this time.
            seed: Same seed, same painting, unless --seconds cut it off.
            agent: Let the agent of this run of `garl train learning-to-paint` paint, with its own brush.
            tiles: The agent paints the whole picture first, then this many tiles a side; 1: the whole alone.
            style: pixel turns the painting into squares of a few colours.
            cells: Squares on the shorter side.
            colors: Colours of the squares at most.
        """
        from garl.brush.spec import load_brush
        from garl.paint_picture import PAINTERS, check_ending, paint_picture, parse_color, pixelated, read_picture
        from garl.progress import painting_bar

        check_ending(out)
        if not 1 <= strokes <= 100_000 or not 0 <= seed < 2**32:
            raise GarlError(f"--strokes must be from 1 to 100,000 and --seed below 2**32, not {strokes} and {seed}")
        if seconds is not None and not 0 < seconds < float("inf"):
            raise GarlError(f"--seconds must be above 0, not {seconds}")
        if not 1 <= tiles <= 16 or not 2 <= cells <= 256 or not 2 <= colors <= 256:
            raise GarlError(
                f"--tiles must be from 1 to 16, --cells and --colors from 2 to 256, not {tiles}, {cells} and {colors}"
            )
        paper, loaded, chosen = parse_color(background), load_brush(brush), PAINTERS[painter]
        if agent is not None:
            from garl.systems.learning_to_paint import load_agent
            from garl.systems.tiles import painter_of

            if (brush, painter) != ("hard_round", "default"):
                raise GarlError("an agent paints with the brush that it learned with: leave out --brush and --painter")
            artist = load_agent(agent)
            loaded, chosen = artist.pen.brush, painter_of(artist, tiles)
        picture, frames = read_picture(photo, paper)
        if frames > 1:
            print(f"{photo} holds {frames} pictures: the first is painted", file=sys.stderr)
        with painting_bar() as progress:
            painting = paint_picture(picture, strokes, loaded, chosen, paper, seed, progress, seconds)
        if style == "pixel":
            painting = pixelated(painting, picture, cells, colors)
        painting.save(out)
        print(f"{out}: {painting.strokes.strokes.shape[1]:,} strokes, mean squared error {painting.error:.5f} (0–1)")

    _parse(command, "paint", arguments)


def evaluate(arguments: list[str]) -> None:
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
