"""Every reader of files that strangers may have made: valid files for it, and what it must keep to.

A reader takes a folder of files and either returns something sound or raises GarlError, within a second.
"""

from __future__ import annotations

import base64
import bz2
import gzip
import io
import json
import lzma
import shutil
import struct
import tarfile
import time
import warnings
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch
import yaml
from damage import damage, in_json, in_png, in_safetensors, in_tar, in_zip, packed, replaced, tar
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from garl.brush.geometry import BRUSH, STROKE_SIZE, fully_pressed
from garl.brush.spec import LIBRARY, Brush, load_brush
from garl.data import cache_dir, load
from garl.data.pen_strokes import holds_drawings, load_drawings
from garl.errors import GarlError
from garl.evaluate.judge import Judge, load_judge
from garl.export.strokefile import StrokeFile
from garl.paint_picture import LARGEST_SIDE, read_picture
from garl.palette import load_palette
from garl.policy.features import PolicyConfig
from garl.runs import load_checkpoint, save_checkpoint
from garl.systems.garl import DIGITS, Agent, Config, load_agent, load_config, make_env, make_policy

Files = dict[str, bytes]
Change = Callable[[bytes, Random], bytes]
SECONDS = 1.0
SIZE = (8, 9)


@dataclass(frozen=True)
class Reader:
    """seeds: valid inputs; inner: for each ending, changes that keep a file's outer form; read: must not surprise."""

    seeds: Callable[[], list[Files]]
    read: Callable[[Path], None]
    inner: dict[str, Change]

    def make(self, random: Random) -> Files:
        """A seed in which one or two files are broken, or one of them twice."""
        files = dict(random.choice(self.seeds()))
        whole = set(files)
        for _ in range(random.choice((1, 1, 1, 2))):
            name = random.choice(sorted(files))
            inner = [change for ending, change in self.inner.items() if name.endswith(ending) and name in whole]
            files[name] = random.choice((damage, *inner * 2))(files[name], random)
            whole.discard(name)  # a broken file has no form left to keep
        return files

    def loads(self, files: Files, folder: Path) -> bool:
        """Whether the files are accepted; anything but a sound result or GarlError, or more than a second, raises."""
        shutil.rmtree(folder, ignore_errors=True)
        for name, content in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
        started = time.process_time()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                warnings.filterwarnings("ignore", module="PIL")  # of damaged metadata, for instance
                self.read(folder)
            sentence = ""
        except GarlError as error:
            sentence = str(error)
        assert sentence == "" or sentence.isprintable(), "a sentence is one printable line"
        assert len(sentence) < 1100, "a sentence is short"
        took = time.process_time() - started
        assert took < SECONDS, f"{took:.1f} s of work"
        return not sentence


# Brushes.


@cache
def brush_seeds() -> list[Files]:
    paths = {name: load_brush(name).spec.texture.path for name in ("splatter", "point", "pencil")}
    return [
        {"brush.yaml": (LIBRARY / f"{name}.yaml").read_bytes(), path: (LIBRARY / path).read_bytes()}
        for name, path in paths.items()
    ]


def read_brush(folder: Path) -> None:
    check_brush(load_brush(str(folder / "brush.yaml")))


def check_brush(brush: Brush) -> None:
    texture, control = brush.texture, brush.spec.control
    assert texture.dtype == np.float32
    assert texture.ndim == 2
    assert texture.shape[0] == texture.shape[1] <= 128
    assert 0 < texture.max() <= 1
    assert texture.min() >= 0
    assert max(texture[0].max(), texture[-1].max(), texture[:, 0].max(), texture[:, -1].max()) == 0
    assert 0 < control.min_thickness <= control.max_thickness <= 1
    assert brush.name.isprintable() or not brush.name.isascii()
    json.dumps(brush.to_dict(), allow_nan=False)


def in_yaml(content: bytes, random: Random) -> bytes:
    return json.dumps(replaced(parsed(content), random)).encode()  # JSON is YAML


@cache
def parsed(content: bytes) -> Any:
    return yaml.safe_load(content)


@cache
def stored_brush_seeds() -> list[Files]:
    return [{"brush.json": json.dumps(load_brush(name).to_dict()).encode()} for name in ("point", "splatter")]


def read_stored_brush(folder: Path) -> None:
    try:
        value = json.loads((folder / "brush.json").read_bytes())
    except (ValueError, RecursionError):
        raise GarlError("not JSON, which is for its reader to say") from None
    check_brush(Brush.from_dict(value, "a stroke file"))


# Pictures.


def encoded(image: Image.Image, form: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


@cache
def pictures() -> Files:
    """One small picture of each kind that Pillow may read; no two sides alike."""
    draws = np.random.default_rng(0)
    grey = Image.fromarray(draws.integers(0, 256, (13, 17), np.uint8))
    rgb = Image.fromarray(draws.integers(0, 256, (13, 17, 3), np.uint8))
    deep = Image.fromarray(draws.integers(0, 65536, (13, 17), np.uint16))
    exif, text = Image.Exif(), PngInfo()
    exif[0x0112] = 6
    text.add_text("comment", "x" * 100, zip=True)
    return {
        "grey.png": encoded(grey, "PNG", exif=exif, pnginfo=text, icc_profile=b"x" * 200),
        "rgba.png": encoded(rgb.convert("RGBA"), "PNG"),
        "palette.png": encoded(rgb.quantize(8), "PNG", transparency=1),
        "deep.png": encoded(deep, "PNG"),
        "frames.png": encoded(rgb, "PNG", save_all=True, append_images=[rgb.rotate(90)]),
        "rgb.jpg": encoded(rgb, "JPEG", exif=exif),
        "progressive.jpg": encoded(rgb, "JPEG", progressive=True),
        "cmyk.jpg": encoded(rgb.convert("CMYK"), "JPEG"),
        "frames.gif": encoded(rgb, "GIF", save_all=True, append_images=[rgb.rotate(90)], transparency=3),
        "rgb.bmp": encoded(rgb, "BMP"),
        "one.bmp": encoded(grey.convert("1"), "BMP"),
        "lossy.webp": encoded(rgb, "WEBP", exif=exif),
        "lossless.webp": encoded(rgb.convert("RGBA"), "WEBP", lossless=True),
        "frames.webp": encoded(rgb, "WEBP", save_all=True, append_images=[rgb.rotate(90)]),
        "raw.tif": encoded(rgb, "TIFF", exif=exif),
        "lzw.tif": encoded(grey, "TIFF", compression="tiff_lzw"),
        "deflate.tif": encoded(rgb, "TIFF", compression="tiff_adobe_deflate"),
        "jpeg.tif": encoded(rgb, "TIFF", compression="jpeg"),
        "fax.tif": encoded(grey.convert("1"), "TIFF", compression="group4"),
        "rgb.ppm": encoded(rgb, "PPM"),
        "plain.pgm": b"P2\n3 2\n255\n0 10 20\n30 40 255\n",
    }


def picture_seeds() -> list[Files]:
    return [{f"set/{name}": content} for name, content in pictures().items()]


def photo_seeds() -> list[Files]:
    """The same, as the only picture of its folder; and one of a single pixel, and one that is long."""
    thin = {f"{width}.png": encoded(Image.new("RGBA", (width, 1), (9, 99, 200, 100)), "PNG") for width in (1, 20_000)}
    return [{name: content} for name, content in (pictures() | thin).items()]


def read_photo(folder: Path) -> None:
    """The picture that `garl paint` paints, which is opaque and as large as it says."""
    (path,) = folder.iterdir()
    pixels, frames = read_picture(path, (255, 0, 10))
    assert pixels.dtype == np.uint8
    assert pixels.ndim == 3
    assert pixels.shape[0] == 3
    assert 1 <= min(pixels.shape[1:]) <= max(pixels.shape[1:]) <= LARGEST_SIDE
    assert frames >= 1


def read_images(path: Path) -> None:
    """Anything that `load` takes; what it returns is of the size asked for, and its labels fit."""
    shutil.rmtree(cache_dir(), ignore_errors=True)
    images = load(str(path), size=SIZE)
    assert images.array.dtype == np.uint8
    assert images.array.ndim == 4
    assert images.array.shape[1] in (1, 3)
    assert images.array.shape[2:] == SIZE
    assert len(images) > 0
    assert images.labels is None or images.labels.shape == (len(images),)
    assert all(entry.isprintable() for entry in images.skipped)


def read_set(name: str) -> Callable[[Path], None]:
    return lambda folder: read_images(folder / name)


def members() -> Files:
    some = pictures()
    names = {"cat/a.png": "grey.png", "dog/b.jpg": "rgb.jpg", "cat/c.bmp": "rgb.bmp"}
    return {name: some[kind] for name, kind in names.items()}


@cache
def zip_seeds() -> list[Files]:
    seeds = []
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w", method) as archive:
            for name, content in members().items():
                with archive.open(name, "w", force_zip64=method == zipfile.ZIP_STORED) as member:
                    member.write(content)
        seeds.append({"set.zip": file.getvalue()})
    return seeds


@cache
def tar_seeds() -> list[Files]:
    long = {f"{'a/' * 80}x.png": pictures()["grey.png"]} | members()
    ustar, pax, gnu = tar(members(), tarfile.USTAR_FORMAT), tar(long, tarfile.PAX_FORMAT), tar(long, tarfile.GNU_FORMAT)
    contents = (ustar, pax, gnu, gzip.compress(ustar), bz2.compress(gnu), lzma.compress(pax))
    return [{"set.tar": content} for content in contents]


def idx_file(array: np.ndarray) -> bytes:
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.astype(np.uint8).tobytes()


@cache
def idx_seeds() -> list[Files]:
    images, labels = idx_file(np.arange(4 * 3 * 5).reshape(4, 3, 5)), idx_file(np.array([3, 1, 3, 7]))
    names = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte")
    return [
        {f"set/{names[0]}": images, f"set/{names[1]}": labels},
        {f"set/{names[0]}.gz": gzip.compress(images), f"set/{names[1]}.gz": gzip.compress(labels)},
    ]


@cache
def celeba_seeds() -> list[Files]:
    partition = b"".join(b"%06d.jpg %d\n" % (i, i % 3) for i in range(1, 7))
    shots = {f"set/img_align_celeba/{i:06d}.jpg": pictures()["rgb.jpg"] for i in (1, 3, 6)}
    return [{"set/list_eval_partition.txt": partition} | shots]


@cache
def drawing_seeds() -> list[Files]:
    texts = {
        f"set/Greek/character01/0001_{i:02d}.txt": b"START\n%d,-20.5,0\n9,-8,7\nBREAK\n3,-4,9\nBREAK\n" % i
        for i in (1, 2)
    }
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in texts.items():
            archive.writestr(name, content)
    return [texts, {"set.zip": file.getvalue()}]


def read_drawings(folder: Path) -> None:
    path = next(folder.iterdir())
    if not holds_drawings(path):
        raise GarlError("no drawings, which is for the reader of pictures to say")
    drawings = [drawing for split in ("train", "test") for drawing in load_drawings(path, split)]
    assert drawings
    for way in (way for drawing in drawings for way in drawing):
        assert way.dtype == np.float32
        assert way.shape[1:] == (2,)
        assert len(way) > 0
        assert ((way >= 0) & (way <= 1)).all()


# The cache, whose files nobody else should write: whatever they hold, `load` must return what it returned before.


@cache
def cache_seeds() -> list[Files]:
    source = scratch() / "source"
    (source / "cat").mkdir(parents=True)
    (source / "cat" / "a.png").write_bytes(pictures()["rgba.png"])
    read_images(source)
    return [{path.name: path.read_bytes() for path in (cache_dir() / "pictures").iterdir()}]


def read_cache(folder: Path) -> None:
    shutil.rmtree(cache_dir() / "pictures", ignore_errors=True)
    shutil.copytree(folder, cache_dir() / "pictures")
    images = load(str(scratch() / "source"), size=SIZE)
    sound = next(content for name, content in cache_seeds()[0].items() if name.endswith(".npy"))
    assert images.array.shape == (1, 3, *SIZE)
    assert images.array.tobytes() == sound[-images.array.nbytes :]
    assert (images.labels.tolist(), images.label_names, images.skipped) == ([0], ("cat",), ())


# Stroke files, checkpoints, configurations, agents, judges.


@cache
def stroke_seeds() -> list[Files]:
    folder = scratch() / "strokes"
    folder.mkdir()
    for paintings, strokes in ((1, 1), (3, 2)):
        StrokeFile(
            height=20,
            width=30,
            channels=3,
            background=(0, 128, 255),
            brushes=(load_brush("point").to_dict(),),
            render_scale=2,
            strokes=fully_pressed(np.random.default_rng(0).random((paintings, strokes, 11), np.float32)),
            seeds=np.arange(paintings),
            canvas=np.full((3, 20, 30), 90, np.uint8) if paintings == 3 else None,
            free=np.indices((20, 30))[1] < 11 if paintings == 3 else None,
            free_from=1 if paintings == 3 else 0,
        ).save(folder / f"{paintings}.json")
    return [{"strokes.json": path.read_bytes()} for path in sorted(folder.iterdir())]


def in_strokes(content: bytes, random: Random) -> bytes:
    """Change the JSON, or a picture that it holds."""
    document = json.loads(content)
    pictures = [name for name in ("canvas", "free") if name in document]
    if not pictures or random.randrange(2):
        return in_json(content, random)
    name = random.choice(pictures)
    document[name] = base64.b64encode(in_png(base64.b64decode(document[name]), random)).decode()
    return json.dumps(document).encode()


def read_strokes(folder: Path) -> None:
    file = StrokeFile.load(folder / "strokes.json")
    assert file.strokes.dtype == np.float32
    assert file.strokes.shape[2] == STROKE_SIZE
    numbers, brushes = file.strokes[..., :BRUSH], file.strokes[..., BRUSH]
    assert ((numbers >= 0) & (numbers <= 1)).all()
    assert set(brushes.flat) <= set(range(len(file.brushes)))
    assert file.seeds.shape == file.strokes.shape[:1]
    size = file.height, file.width
    assert file.canvas is None or (file.canvas.dtype, file.canvas.shape) == (np.uint8, (file.channels, *size))
    assert file.free is None or (file.free.dtype, file.free.shape) == (np.bool_, size)
    assert 0 <= file.free_from <= file.strokes.shape[1]
    json.dumps(file.brushes, allow_nan=False)


def tiny() -> Config:
    sizes = PolicyConfig(channels=2, blocks=1, features=8, location_channels=2, location_blocks=0, noise=3)
    return DIGITS.model_copy(update={"policy": sizes, "paint": DIGITS.paint.model_copy(update={"grid": 8})})


@cache
def agent_seeds() -> list[Files]:
    folder, config, brush = scratch() / "agent", tiny(), load_brush("hard_round")
    folder.mkdir()
    torch.manual_seed(0)
    weights = make_policy(config, make_env(config, 1, (brush,))).state_dict()
    tensors = {f"average.module.{name}": weight for name, weight in weights.items()}
    save_checkpoint(folder, tensors | {"seen": torch.tensor(3)}, {"cycle": 3, "brushes": [brush.to_dict()]})
    (folder / "config.json").write_text(json.dumps({"config": config.model_dump(mode="json"), "git_commit": None}))
    return [{path.name: path.read_bytes() for path in sorted(folder.iterdir())}]


@cache
def checkpoint_seeds() -> list[Files]:
    folder = scratch() / "checkpoint"
    folder.mkdir()
    tensors = {"x": torch.arange(6.0).view(2, 3), "y": torch.zeros(4, dtype=torch.uint8)}
    for cycle in (1, 2):
        save_checkpoint(folder, tensors | {"z": torch.ones(2, dtype=torch.bfloat16)}, {"cycle": cycle, "env": 2**127})
    return [{path.name: path.read_bytes() for path in sorted(folder.iterdir())}]


def read_checkpoint(folder: Path) -> None:
    tensors, meta = load_checkpoint(folder)
    assert isinstance(meta, dict)
    assert all(tensor.numel() * tensor.element_size() <= 2**20 for tensor in tensors.values())


def config_seeds() -> list[Files]:
    return [{"config.json": agent_seeds()[0]["config.json"]}]


def read_config(folder: Path) -> None:
    config = load_config(folder)
    assert type(config) is Config
    assert 1 <= config.paint.height <= 8192
    assert 1 <= config.strokes <= 65_536
    assert Config.model_validate_json(config.model_dump_json()) == config


def read_agent(folder: Path) -> None:
    agent = load_agent(folder, "cpu")
    assert type(agent) is Agent
    assert all(weight.isfinite().all() for weight in agent.policy.parameters())
    for brush in agent.brushes:
        check_brush(brush)


@cache
def judge_seeds() -> list[Files]:
    path = scratch() / "judge.safetensors"
    torch.manual_seed(0)
    Judge(widths=(2, 3), kernel=3).save(path, test_accuracy="0.1")
    return [{"judge.safetensors": path.read_bytes()}]


def read_judge(folder: Path) -> None:
    judge = load_judge.__wrapped__(folder / "judge.safetensors")  # without its memory
    features = judge.features(np.full((1, 1, 28, 28), 128, np.uint8))
    assert features.shape == (1, 64)


@cache
def scratch() -> Path:
    folder = cache_dir().parent / "scratch"
    folder.mkdir()
    return folder


# Palettes.


def palette_seeds() -> list[Files]:
    return [{"mine": b"#ff8000\nnavy\n\n#000\n"}, {"mine": b"GIMP Palette\nName: mine\n#\n255 128 0\tOrange\n0 0 9\n"}]


def read_palette(folder: Path) -> None:
    palette = load_palette(folder / "mine")
    assert 1 <= len(palette) <= 256
    assert palette.shape[1:] == (3,)
    assert ((palette >= 0) & (palette <= 1)).all()


READERS = {
    "brush": Reader(brush_seeds, read_brush, {".yaml": in_yaml, ".png": in_png}),
    "stored brush": Reader(stored_brush_seeds, read_stored_brush, {".json": in_json}),
    "picture": Reader(picture_seeds, read_set("set"), {".png": in_png}),
    "photo": Reader(photo_seeds, read_photo, {".png": in_png}),
    "zip": Reader(zip_seeds, read_set("set.zip"), {".zip": in_zip}),
    "tar": Reader(tar_seeds, read_set("set.tar"), {".tar": packed(in_tar)}),
    "IDX": Reader(idx_seeds, read_set("set"), {".gz": packed(damage)}),
    "CelebA": Reader(celeba_seeds, read_set("set"), {}),
    "drawings": Reader(drawing_seeds, read_drawings, {".zip": in_zip}),
    "cache": Reader(cache_seeds, read_cache, {".json": in_json}),
    "stroke file": Reader(stroke_seeds, read_strokes, {".json": in_strokes}),
    "checkpoint": Reader(checkpoint_seeds, read_checkpoint, {".safetensors": in_safetensors}),
    "config": Reader(config_seeds, read_config, {".json": in_json}),
    "agent": Reader(agent_seeds, read_agent, {".json": in_json, ".safetensors": in_safetensors}),
    "palette": Reader(palette_seeds, read_palette, {}),
    "judge": Reader(judge_seeds, read_judge, {".safetensors": in_safetensors}),
}
