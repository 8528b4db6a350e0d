"""The `garl` program. Each command imports what it needs when it runs, so that `garl --help` answers at once."""

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

from garl.errors import GarlError

HELP = """\
usage: garl COMMAND ...

Agents that learn to paint, stroke by stroke, from pictures that they are shown.

  train PRESET      train an agent; presets: digits (a laptop, minutes), pictures (an hour), portraits (aligned faces),
                    thesis, thesis-fast; conditional, paintbot (agents that redraw what they are shown); other systems:
                    neural-painter, learning-to-paint, renderer, stroke-net, doodle-sdq
  sample RUN        let a trained agent paint: .png .npz .mp4 .gif .svg .json .gcode .hpgl
  paint PHOTO       paint a picture in strokes: .png .svg .mp4 .gif .json .gcode .hpgl
  finish PICTURE    go on from an unfinished picture or stroke file, towards a photo or as a trained agent would
  replay STROKES    paint a stroke file (.json) anew: at any size, with another brush, in fewer colours
  evaluate RUN      measure a trained agent against held-out pictures, as JSON; `evaluate paint`: the painters
  demo              learn one embedded digit and leave a grid, a time-lapse, an SVG and a mean picture
  bench [WHAT]      measure strokes a second on this machine: engine, train or all
  experiment NAME   put a claim of the thesis to the test, and write its page; LIST lists them
  brushes           list the brushes, or draw them all
  agents            list the agents that ship: their names stand for runs, as in `garl sample digits`
  data              list the data sets; `garl data download NAME` fetches one

`garl COMMAND --help` tells the rest. First run: garl sample digits --out digits.png; garl train digits --minutes 5
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
    if "resume" in _options(arguments) and arguments[0].startswith("-"):
        arguments = [_kind_of_run(arguments), *arguments]  # the run knows what it is
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


def _kind_of_run(arguments: list[str]) -> str:
    """The system that made the run folder after --out; any preset of GARL for a run of GARL, as it has its settings."""
    from garl.runs import read_config

    after = [*arguments[1:], ""]
    named = [word.partition("=")[2] or after[i] for i, word in enumerate(arguments) if word.split("=")[0] == "--out"]
    return str(read_config(Path(named[-1])).get("system", "digits")) if named else "digits"  # `_train` wants --out


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
        for option in sorted(_options(arguments)):
            learner, dot, _ = option.partition(".")
            if dot and learner in ("ppo", "a2c") and learner != config.learner:
                raise GarlError(f"--{option} is for another learner: leave it out, or add --learner {learner}")
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


def learning_to_paint(arguments: list[str]) -> None:
    from garl.systems.learning_to_paint import Config, load_config, train

    if folder := _train("learning-to-paint", Config(), load_config, train, arguments):
        print(
            f"trained: {folder}\nnext: garl paint PHOTO --painter learning-to-paint --agent {folder} --out painting.png"
        )


def renderer(arguments: list[str]) -> None:
    from garl.systems.renderer import Config, load_config, train

    if folder := _train("renderer", Config(), load_config, train, arguments):
        what = f"--renderer neural --renderer-run {folder}"
        print(f"trained: {folder}\nnext: garl train learning-to-paint {what} --data PATH")


def stroke_net(arguments: list[str]) -> None:
    from garl.systems.stroke_net import Config, load_config, train

    if folder := _train("stroke-net", Config(), load_config, train, arguments):
        print(f"trained: {folder}\nnext: garl paint PICTURE --painter stroke-net --agent {folder} --out drawing.png")


def doodle_sdq(arguments: list[str]) -> None:
    from garl.systems.doodle_sdq import Config, load_config, train

    if folder := _train("doodle-sdq", Config(), load_config, train, arguments):
        print(f"trained: {folder}\nnext: garl paint DRAWING --painter doodle-sdq --agent {folder} --out drawing.svg")


SYSTEMS: dict[str, Callable[[list[str]], None]] = {
    "neural-painter": neural_painter,
    "learning-to-paint": learning_to_paint,
    "renderer": renderer,
    "stroke-net": stroke_net,
    "doodle-sdq": doodle_sdq,
}
"""What `garl train` knows beside GARL's presets."""


def _new_folder(preset: str) -> Path:
    from datetime import datetime

    return Path("runs") / f"{preset}-{datetime.now():%Y%m%d-%H%M%S}"


def _options(arguments: list[str]) -> set[str]:
    """The options that are given, as `ppo.batch-size`."""
    return {word.split("=")[0].removeprefix("--").replace("_", "-") for word in arguments if word.startswith("--")}


def _resumed(config: Any, given: Any, arguments: list[str]) -> Any:
    """The run's own settings, with the budget and the device of this command line."""
    words = _options(arguments)
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
        agent: int | None = None,
        data: str | None = None,
        temperature: float = 1.0,
        device: str = "auto",
    ) -> None:
        """Let a trained agent paint, or several in turn.

        Args:
            run: The run folder of `garl train`, or the name of an agent that ships (see `garl agents`).
            out: File to write: .png grid, .npz arrays, .mp4 or .gif time-lapse, .svg, .json strokes, .gcode or .hpgl.
            n: Paintings.
            seed: Same seed, same paintings.
            name: Class to paint, for an agent trained with `--condition label`; by default all in turn.
            agent: Number of the only agent to paint, for a run with `--population.agents`; by default all in turn.
            data: Pictures to paint, for an agent trained with `--condition picture`; by default the held-out ones of
                those that it learned from.
            temperature: 1: as it learned to paint; below, it chooses likelier strokes: surer and more alike; 0: the
                likeliest.
            device: auto, cpu or cuda.
        """
        from dataclasses import replace

        from garl.sample import check_ending, paint_in_turn
        from garl.systems.garl import load_agents

        check_ending(out)
        if n < 1 or seed < 0:
            raise GarlError(f"--n must be at least 1 and --seed at least 0, not {n} and {seed}")
        agents = load_agents(run, device, agent, temperature)
        if data is not None:
            if agents[0].config.condition != "picture":
                raise GarlError("this agent is shown nothing: leave out --data, or train with --condition picture")
            agents = tuple(replace(each, config=each.config.model_copy(update={"data": data})) for each in agents)
        for path in paint_in_turn(agents, n, seed, name).save(out):
            print(path)

    _parse(command, "sample", arguments)


PainterName = Literal["default", "refine", "greedy", "garl", "neural", "learning-to-paint", "stroke-net", "doodle-sdq"]
Order = Literal["as-painted", "coarse-to-fine", "colour", "region"]


def paint(arguments: list[str]) -> None:
    import tyro

    from garl.export.plotter import PlotConfig
    from garl.painters import TrainedConfig

    def command(
        photo: Path,
        /,
        out: Path,
        strokes: int = 1000,
        brush: str | None = None,
        painter: PainterName = "default",
        agent: Path | None = None,
        background: str = "white",
        palette: str | None = None,
        order: Order = "as-painted",
        min_size: float | None = None,
        max_size: float | None = None,
        seconds: float | None = None,
        seed: int = 0,
        style: Literal["strokes", "pixel"] = "strokes",
        cells: int = 32,
        colors: int = 16,
        trained: Annotated[TrainedConfig, tyro.conf.arg(name="")] = TrainedConfig(),  # noqa: B008, it is frozen
        plot: Annotated[PlotConfig, tyro.conf.arg(name="")] = PlotConfig(),  # noqa: B008
    ) -> None:
        """Paint a picture in strokes.

        Args:
            photo: The picture: PNG, JPEG, BMP, GIF, WebP, TIFF or PPM, of any size and shape.
            out: File to write: .png, .svg, .mp4 or .gif time-lapse, .json strokes, .gcode or .hpgl for a plotter.
            strokes: How many strokes at most.
            brush: A brush of the library (see `garl brushes`) or the path of a brush file (.yaml). Default: hard_round.
            painter: refine moves all strokes together by gradient; greedy searches one after the other; default is
                refine, and greedy for brushes whose texture no gradient knows. Those that are trained: garl is an agent
                that redraws what it is shown; neural moves all strokes by gradient through a network; learning-to-paint
                and stroke-net are agents, too; doodle-sdq is one for drawings of lines.
            agent: Run folder of a painter that is trained: for garl of `garl train conditional` or the like, for the
                others of `garl train` and their name (neural: neural-painter); by default the agent that ships for it,
                if one does. The brush is its own; garl's and stroke-net's background, too.
            background: The paper's colour, a name or #rrggbb; transparent parts of the photo show it.
            palette: Paint in so many colours, found in the photo, or in those of a file: a text with a #rrggbb or a
                name in each line, or a GIMP palette.
            order: Lay the strokes that were found in this order, and fit their colours to it. A plotter's strokes go
                by pen, and then by the shortest way.
            min_size: Thickness of the finest stroke, as a fraction of the shorter side; by default the brush's.
            max_size: Thickness of the coarsest stroke.
            seconds: Stop searching after about this time.
            seed: Same seed, same painting, unless --seconds cut it off.
            style: pixel turns the painting into squares of a few colours.
            cells: Squares on the shorter side.
            colors: Colours of the squares at most.
            trained: What painters that are trained can be told.
            plot: Page and pens.
        """
        from garl.paint_picture import check_ending, paint_picture, pixelated, read_picture
        from garl.painters import choose_painter
        from garl.palette import parse_color
        from garl.progress import painting_bar

        check_ending(out)
        _check_search(strokes, seed, seconds)
        if not 2 <= cells <= 256 or not 2 <= colors <= 256:
            raise GarlError(f"--cells and --colors must be from 2 to 256, not {cells} and {colors}")
        sizes = {"min_thickness": min_size, "max_thickness": max_size}
        loaded = _brush(brush, {name: size for name, size in sizes.items() if size is not None})
        artist = choose_painter(painter, agent, loaded, parse_color(background), trained)
        picture, frames = read_picture(photo, artist.paper)
        if frames > 1:
            print(f"{photo} holds {frames} pictures: the first is painted", file=sys.stderr)
        with painting_bar() as progress:
            painting = paint_picture(
                picture,
                strokes,
                artist.brush,
                artist.painter,
                artist.paper,
                seed,
                progress,
                seconds,
                order,
                palette,
                artist.own_colors,
            )
        notes = [artist.remark(painting, picture)] if artist.remark else []
        if style == "pixel":
            painting = pixelated(painting, picture, cells, colors)
        notes += painting.save(out, plot)
        print(f"{out}: {painting.strokes.strokes.shape[1]:,} strokes, mean squared error {painting.error:.5f} (0–1)")
        for note in notes:
            print(note)

    _parse(command, "paint", arguments)


def _brush(name: str | None, control: dict[str, float] | None = None) -> Any:
    """The brush that is asked for, by name or by changes to the default one; None if none is."""
    from garl.brush.spec import load_brush

    return load_brush(name or "hard_round").with_settings(control=control or {}) if name or control else None


def replay(arguments: list[str]) -> None:
    import tyro

    from garl.export.plotter import PlotConfig

    def command(
        strokes: Path,
        /,
        out: Path,
        size: int | None = None,
        brush: str | None = None,
        order: Order = "as-painted",
        palette: str | None = None,
        first: Annotated[int | None, tyro.conf.arg(name="strokes")] = None,
        index: int = 0,
        min_size: float = 0.0,
        max_size: float = 1.0,
        plot: Annotated[PlotConfig, tyro.conf.arg(name="")] = PlotConfig(),  # noqa: B008, it is frozen
    ) -> None:
        """Paint the strokes of a file anew.

        Args:
            strokes: A stroke file (.json) of `garl paint` or `garl sample`.
            out: File to write: .png, .svg, .mp4 or .gif time-lapse, .json strokes, .gcode or .hpgl for a plotter.
            size: The longer side in pixels; by default as painted. Of a time-lapse at most 1920, by default 512.
            brush: Another brush: one of the library (see `garl brushes`) or the path of a brush file (.yaml).
            order: Meant for time-lapses: where strokes overlap, another order is another picture. A plotter's strokes
                go by pen, and then by the shortest way.
            palette: Bring each stroke to the nearest of so many colours, found among the strokes', or of those of a
                file: a text with a #rrggbb or a name in each line, or a GIMP palette.
            first: Only so many strokes, the first.
            index: Which painting of the file.
            min_size: Thickness that finer strokes get, as a fraction of the shorter side.
            max_size: Thickness that coarser strokes get.
            plot: Page and pens.
        """
        from garl.brush.spec import load_brush
        from garl.export.strokefile import StrokeFile
        from garl.paint_picture import FILM_SIDE, LARGEST_FILM, check_ending
        from garl.replay import replay

        check_ending(out)
        if any(number is not None and number < 1 for number in (size, first)):
            raise GarlError(f"--size and --strokes must be at least 1, not {size} and {first}")
        loaded = None if brush is None else load_brush(brush)
        file = StrokeFile.load(strokes)
        painting = replay(file, index, size, loaded, order, palette, first, min_size, max_size)
        notes = painting.save(out, plot, min(size or FILM_SIDE, LARGEST_FILM))
        print(out, *notes, sep="\n")

    _parse(command, "replay", arguments)


def _check_search(strokes: int, seed: int, seconds: float | None) -> None:
    if not 1 <= strokes <= 100_000 or not 0 <= seed < 2**32:
        raise GarlError(f"--strokes must be from 1 to 100,000 and --seed below 2**32, not {strokes} and {seed}")
    if seconds is not None and not 0 < seconds < float("inf"):
        raise GarlError(f"--seconds must be above 0, not {seconds}")


def finish(arguments: list[str]) -> None:
    import tyro

    from garl.export.plotter import PlotConfig
    from garl.painters import TrainedConfig

    def command(
        unfinished: Path,
        /,
        out: Path,
        target: Path | None = None,
        like: Path | None = None,
        mask: Path | None = None,
        strokes: int | None = None,
        background: str = "white",
        seed: int = 0,
        brush: str | None = None,
        painter: PainterName | None = None,
        agent: Path | None = None,
        seconds: float | None = None,
        n: int | None = None,
        levels: int | None = None,
        name: Annotated[str | None, tyro.conf.arg(name="class")] = None,
        device: str | None = None,
        trained: Annotated[TrainedConfig, tyro.conf.arg(name="")] = TrainedConfig(),  # noqa: B008, it is frozen
        plot: Annotated[PlotConfig, tyro.conf.arg(name="")] = PlotConfig(),  # noqa: B008
    ) -> None:
        """Go on from an unfinished picture: towards a photo (--target), or as a trained agent would (--like).

        Args:
            unfinished: A picture of any kind, or a stroke file (.json), whose strokes are kept; of several the first.
            out: File to write: .png, .svg, .mp4 or .gif time-lapse, .json strokes, .gcode or .hpgl for a plotter.
            target: The photo, of the shape of the canvas.
            like: The run folder of `garl train`, or the name of an agent that ships; its agent, of several the first,
                sees the canvas resized to its own.
            mask: A picture that is white where paint may be and black where the canvas is locked; in a file with
                transparency, opaque is free and clear is locked. No locked pixel changes, whatever crosses it.
            strokes: How many strokes at most: 1000 towards a photo; of an agent's last ones, by default all.
            background: What transparent parts of the pictures show, a name or #rrggbb.
            seed: Same seed, same painting, unless --seconds cut it off.
            brush: With --target: a brush of the library, or of a file; by default hard_round.
            painter: With --target: as in `garl paint`.
            agent: With --target: as in `garl paint`.
            seconds: With --target: stop searching after about this time.
            n: With --like: attempts, of which the run's discriminator keeps the best; by default 16.
            levels: With --like: 1 for the whole canvas at once, 2 for 2×2 overlapping tiles after it, 3 for 4×4, …
            name: With --like: class to paint, for an agent trained with `--condition label`.
            device: With --like: auto, cpu or cuda.
            trained: With --target: as in `garl paint`.
            plot: Page and pens.
        """
        from garl.finish import ATTEMPTS, finish_picture, finisher_like, matched, read_unfinished
        from garl.paint_picture import check_ending, read_picture
        from garl.painters import choose_painter
        from garl.palette import parse_color
        from garl.progress import painting_bar

        check_ending(out)
        if (target is None) == (like is None):
            raise GarlError(
                "give either --target PHOTO, to go on towards it, or --like RUN, to go on as its agent would"
            )
        for_photo = {"brush": brush, "painter": painter, "agent": agent, "seconds": seconds} | dict(trained)
        for_agent = {"n": n, "levels": levels, "class": name, "device": device}
        wrong = for_agent if like is None else for_photo
        if given := [option for option, value in wrong.items() if value is not None]:
            raise GarlError(f"--{given[0]} goes with {'--like' if like is None else '--target'}: leave it out")
        paper = parse_color(background)
        begun = read_unfinished(unfinished, mask, paper)
        if unfinished.suffix.lower() == ".json" and begun.file is None:
            print(f"{unfinished}: its picture is gone on from, as its strokes cannot be kept", file=sys.stderr)
        if target is not None:
            count = 1000 if strokes is None else strokes
            _check_search(count, seed, seconds)
            photo = matched(read_picture(target, paper)[0], begun.free.shape, target)
            artist = choose_painter(painter or "default", agent, _brush(brush), paper, trained)
            with painting_bar() as progress:
                painting = finish_picture(
                    begun, photo, count, artist.brush, artist.painter, seed, progress, seconds, artist.own_colors
                )
            what = f"mean squared error {painting.error:.5f} (0–1)"
        elif like is not None:
            n = ATTEMPTS if n is None else n
            finisher = finisher_like(like, begun, strokes, n, 1 if levels is None else levels, seed, name, device)
            with painting_bar() as progress:
                painting = finisher(progress)
            what = f"the best of {n} attempts"
        notes = painting.save(out, plot)
        print(f"{out}: {painting.strokes.strokes.shape[1]:,} strokes, {what}", *notes, sep="\n")

    _parse(command, "finish", arguments)


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
        agent: int | None = None,
        temperature: float = 1.0,
        device: str = "auto",
    ) -> None:
        """Measure a trained agent's paintings against real pictures; print JSON.

        `..._floor` beside a figure is what real training pictures score in place of the paintings. Several agents paint
        in turn; then `frechet_by_agent` is the distance of each, `worst_to_best` the largest over the smallest.

        Args:
            run: The run folder of `garl train`, or the name of an agent that ships (see `garl agents`).
            data: Pictures to compare with; by default those that the agent learned from.
            label: Class to compare with; by default the one that the agent learned.
            split: Part of the data: test or train.
            n: Paintings.
            seed: Seed of the paintings.
            judge: A judge of digits to look with (see garl.evaluate.train_judge); by default small grey pictures are
                seen by the one that ships, others by the perceptual features.
            agent: Number of the only agent to measure, for a run with `--population.agents`; by default all.
            temperature: As in `garl sample`.
            device: auto, cpu or cuda.
        """
        from dataclasses import replace

        from garl.sample import measure_population
        from garl.systems.garl import load_agents

        if n < 4 or seed < 0:
            raise GarlError(f"--n must be at least 4 and --seed at least 0, not {n} and {seed}")
        given = {name: value for name, value in (("data", data), ("label", label)) if value is not None}
        loaded = load_agents(run, device, agent, temperature)
        agents = [replace(each, config=each.config.model_copy(update=given)) for each in loaded]
        print(json.dumps(measure_population(agents, n, seed, split, judge), indent=2))

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
            painters: Painters of `garl paint`; with the run folder of those that are trained, as neural=RUN, unless an
                agent ships for them.
            strokes: Numbers of strokes, each with all the time that the painter wants.
            seconds: Times, each with as many strokes as the largest of those.
            brush: A brush of the library or the path of a brush file, for painters that are not trained.
            side: Pictures are cropped to squares and resized to so many pixels a side.
            each: Pictures taken of each set.
            features: VGG16 weights for the perceptual distance (see docs/painters.md); by default a small network.
            seed: Same seed, same paintings.
            out: Folder for the curves (painters.svg) and the paintings side by side (painters.png).
            as_json: Print every painting's figures as JSON instead of a table of means.
        """
        from garl.evaluate.features import load_features
        from garl.evaluate.painters import choose_artists, compare, follow, photos, read_pictures, table

        if min(strokes, default=0) < 1 or not all(0 < limit < float("inf") for limit in seconds) or not painters:
            raise GarlError(f"--strokes are at least 1, --seconds above 0, not {strokes} and {seconds}; name a painter")
        if not 16 <= side <= 4096 or each < 1 or not 0 <= seed < 2**32:
            raise GarlError(
                f"--side is from 16 to 4096, --each ≥ 1, --seed from 0 to 2**32, not {side}, {each}, {seed}"
            )
        network, artists = load_features(features), choose_artists(painters, _brush(brush))
        targets = read_pictures(pictures or photos(), side, each)
        found = compare(targets, artists, strokes, seconds, network, seed)
        trials = follow(found, targets, max(strokes), out)
        print(json.dumps([trial._asdict() for trial in trials], indent=2) if as_json else table(trials))

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
        from garl.engine.paint import CORES
        from garl.experiments.page import write_index, write_page
        from garl.experiments.run import configurations, train_runs

        found = {claim.name: claim for claim in CLAIMS}.get(name)
        if found is None:
            raise GarlError(f"'{name}' is not a claim: `garl experiment LIST` lists them")
        if seeds < 1 or (budget or 1) < 1 or (jobs or 1) < 1:
            raise GarlError(f"--seeds, --budget and --jobs must be at least 1, not {seeds}, {budget} and {jobs}")
        arms = configurations(found, seeds, budget or found.episodes, data)
        if not page_only:
            train_runs(arms, runs, jobs or CORES)
        print(f"{write_page(found, arms, runs, out)}: {out / found.name}.md")
        write_index(out)

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


def agents(arguments: list[str]) -> None:
    def command() -> None:
        """List the agents that ship with garl. Where a command takes a run folder, it takes their names, too."""
        from garl.agents import cards, sizes

        size = sizes()
        for card in cards():
            print(f"{card.name}: {card.paints} ({size[card.name] / 1e6:.1f} MB)")
            print(f"    learned from {card.data}, {card.licence}; try: {card.example}")

    _parse(command, "agents", arguments)


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
    "finish": finish,
    "replay": replay,
    "evaluate": evaluate,
    "demo": demo,
    "bench": bench,
    "experiment": experiment,
    "brushes": brushes,
    "agents": agents,
    "data": data,
}
