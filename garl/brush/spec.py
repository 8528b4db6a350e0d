"""Brushes: the YAML file, its validation, its texture, and the form in which both travel in a stroke file.

    brush = load_brush("splatter")            # a library name, or a path that ends in .yaml or .yml
    brush.spec.control.max_thickness          # validated settings
    brush.texture                             # float32 (S, S), 0..1, 1 is paint
    Brush.from_dict(brush.to_dict())          # the same brush, without its files

The schema is appendix A.1 of the thesis. A stroke is drawn as dabs (stamps of the texture) along its curve.
"""

import base64
import difflib
import io
from collections.abc import Hashable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

import numpy as np
import yaml
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from garl.errors import GarlError
from garl.reading import read_plain

LIBRARY = Path(__file__).parent / "library"
MAX_YAML_BYTES = 64 * 1024
MAX_YAML_DEPTH = 8
MAX_PNG_BYTES = 4 * 1024 * 1024
MAX_PICTURE_SIDE = 512
"""Largest side, in pixels, of a texture file."""
MAX_TEXTURE_SIDE = 128
"""Largest side, in pixels, of a texture in memory and in a stroke file."""

# The descriptions complete the sentence "… must be …" of the error messages.
Unit = Annotated[float, Field(ge=0, le=1, description="a number from 0 to 1")]
Thickness = Annotated[float, Field(gt=0, le=1, description="a number above 0, at most 1")]
Multiple = Annotated[float, Field(gt=0, le=4, description="a number above 0, at most 4")]
Degrees = Annotated[float, Field(ge=0, le=180, description="a number of degrees from 0 to 180")]
Flag = Annotated[bool, Field(description="true or false")]
Text = Annotated[
    str,  # no control characters: the name is printed
    Field(pattern=r"^[^\x00-\x1f\x7f-\x9f]{1,200}$", description="a text of 1 to 200 characters in one line"),
]
StrokeType = Annotated[
    Literal["bezier", "line", "triangle", "point"], Field(description="one of bezier, line, triangle, point")
]
Base64Text = Annotated[str, Field(max_length=2**17, description="a PNG picture of at most 128 KiB in base64")]


class _Schema(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Texture(_Schema):
    """The picture that is stamped.

    path: PNG in the folder of the brush file or below; its alpha channel, or else its brightness (white paints).
    opacity: 0..1, the flow: how far each dab raises the stroke's layer towards the texture. With 1 a dab covers at
    once; with less, paint builds up where dabs overlap.
    """

    path: Text
    opacity: Unit = 1.0


class Stroke(_Schema):
    """Where dabs go.

    type: `bezier` (start, control, end), `line` (start, end), `triangle` (filled, 3 corners) or `point` (one dab).
    step: 0..4, arc length between dabs as a fraction of the dab's radius (half of the thickness).
    """

    type: StrokeType
    step: Multiple = 0.2


class Control(_Schema):
    """The ranges that an action's thickness and opacity choose from.

    *_thickness: 0..1, diameter of the largest dab as a fraction of the canvas's shorter side.
    *_opacity: 0..1. A minimum equal to its maximum fixes the value.
    """

    max_thickness: Thickness
    min_thickness: Thickness
    max_opacity: Unit
    min_opacity: Unit

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        for quantity in ("thickness", "opacity"):
            low, high = getattr(self, f"min_{quantity}"), getattr(self, f"max_{quantity}")
            if low > high:
                raise ValueError(
                    f"`control.min_{quantity}` must be at most `control.max_{quantity}` ({high:g}), not {low:g}"
                )
        return self


class Jitter(_Schema):
    """Random variation, drawn uniformly and anew for each dab.

    scale: s in 0..1, the dab's size times 1 + U(−s, s), clipped above 0.
    rotation: r in 0..180, the dab's angle plus U(−r, r) degrees.
    position: p in 0..1, the dab is displaced by U(−p, p) × thickness in x and in y.
    color: c in 0..1, each colour channel plus U(−c, c), clipped to 0..1.
    opacity: o in 0..1, the dab's opacity times 1 − U(0, o).
    """

    scale: Unit = 0.0
    rotation: Degrees = 0.0
    position: Unit = 0.0
    color: Unit = 0.0
    opacity: Unit = 0.0


class Dab(_Schema):
    """One stamp of the texture.

    start_scale, end_scale: 0..4, multiply the thickness, on a linear ramp from the stroke's start to its end.
    follow_stroke_angle: turn the texture's x axis along the curve.
    """

    start_scale: Multiple = 1.0
    end_scale: Multiple = 1.0
    jitter: Jitter = Jitter()
    follow_stroke_angle: Flag = False


class PostProcessing(_Schema):
    """What happens to a finished stroke's layer before it is laid over the canvas, in this order.

    blur: 0..1, standard deviation of a Gaussian blur as a fraction of the stroke's thickness.
    noise: 0..1, alpha times 1 − noise·U(0, 1) at each pixel (in grains of fixed size relative to the canvas).
    edge_blend: e in 0..1, alpha ← alpha·((1 − e) + e·alpha), so that thin edges fade into the canvas.
    """

    blur: Unit = 0.0
    noise: Unit = 0.0
    edge_blend: Unit = 0.0


class BrushSpec(_Schema):
    """A brush file's settings. Reading files goes through `parse_brush`, whose errors are sentences."""

    name: Text
    texture: Texture
    stroke: Stroke
    control: Control
    dab: Dab = Dab()
    post_processing: PostProcessing = PostProcessing()


class _StoredTexture(Texture):
    png_base64: Base64Text


class _StoredBrush(BrushSpec):
    """The form of a brush in a stroke file."""

    texture: _StoredTexture


Model = TypeVar("Model", bound=_Schema)


@dataclass(frozen=True, eq=False)
class Brush:
    """Settings and texture: all that an engine needs.

    texture: float32 (S, S), S ≤ 128, 0..1 in steps of 1/255, 1 is paint, and 0 on the outermost ring of pixels, so
    that interpolation beyond the edge meets no step. `load_brush` and `from_dict` see to all of this.
    """

    spec: BrushSpec
    texture: np.ndarray

    @property
    def name(self) -> str:
        return self.spec.name

    def with_settings(self, **sections: dict[str, Any]) -> Self:
        """The same brush with some settings of some sections replaced: `dab={"start_scale": 0.5}`. Raises GarlError."""
        data = self.spec.model_dump()
        for section, settings in sections.items():
            data[section] = data.get(section, {}) | settings
        return replace(self, spec=_validate(BrushSpec, data, f"brush {self.name!r}"))

    def to_dict(self) -> dict[str, Any]:
        """A JSON-able dictionary: the brush file's schema plus `texture.png_base64`."""
        png = io.BytesIO()
        Image.fromarray(_to_bytes(self.texture)).save(png, "PNG", optimize=True)
        data = self.spec.model_dump()
        data["texture"]["png_base64"] = base64.b64encode(png.getvalue()).decode("ascii")
        return data

    @classmethod
    def from_dict(cls, data: object, source: str = "stroke file") -> Self:
        """The brush that `to_dict` described; `source` names the file in errors. Raises GarlError, reads no file."""
        stored = _validate(_StoredBrush, data, source)
        spec = BrushSpec.model_validate(stored.model_dump(exclude={"texture": {"png_base64"}}))
        where = f"{source}: `texture.png_base64`"
        try:
            png = base64.b64decode(stored.texture.png_base64, validate=True)
        except ValueError:
            raise GarlError(f"{where} must be a PNG picture in base64.") from None
        return cls(spec, _decode_texture(png, MAX_TEXTURE_SIDE, where))


def library() -> list[str]:
    """Names of the brushes that come with garl, sorted."""
    return sorted(path.stem for path in LIBRARY.glob("*.yaml"))


def load_brush(name_or_path: str) -> Brush:
    """A library brush by name, or a brush file by a path that ends in .yaml or .yml. Raises GarlError."""
    path = Path(name_or_path)
    if path.suffix not in (".yaml", ".yml"):
        if name_or_path not in library():
            close = difflib.get_close_matches(name_or_path, library(), n=1)
            hint = f" (did you mean {close[0]}?)" if close else ""
            raise GarlError(
                f"There is no brush {name_or_path!r}{hint}; give a path that ends in .yaml, or one of the library: "
                f"{', '.join(library())}."
            )
        path = LIBRARY / f"{name_or_path}.yaml"
    try:
        text = read_plain(path, MAX_YAML_BYTES).decode("utf-8")
    except (OSError, ValueError) as error:
        raise GarlError(f"{path} cannot be read as a brush file: {_reason(error)}.") from None
    spec = parse_brush(text, str(path))
    texture = load_texture(spec, path.parent, str(path))
    if Path(spec.texture.path).is_absolute():  # it would carry its owner's folders into every stroke file
        file_name = Path(spec.texture.path).name
        spec = spec.model_copy(update={"texture": spec.texture.model_copy(update={"path": file_name})})
    return Brush(spec, texture)


def parse_brush(text: str, source: str) -> BrushSpec:
    """Validate a brush file's text: safe YAML of at most 64 KiB and 8 levels, without anchors and aliases.

    Spaces in keys count as underscores. `source` names the file in errors. Raises GarlError alone.
    """
    if len(text.encode("utf-8", "replace")) > MAX_YAML_BYTES:
        raise GarlError(f"{source} is too large for a brush file: at most {MAX_YAML_BYTES // 1024} KiB are allowed.")
    try:
        data = yaml.load(text, _BrushLoader)
    except yaml.YAMLError as error:
        raise GarlError(f"{source} is not a brush file in YAML: {_reason(error)}.") from None
    except Exception:  # "!!timestamp x" raises AttributeError, "!!bool x" KeyError, …
        raise GarlError(f"{source} is not a brush file in YAML: a value does not fit its type.") from None
    return _validate(BrushSpec, data, source)


def load_texture(spec: BrushSpec, folder: str | Path, source: str | None = None) -> np.ndarray:
    """The texture of a brush whose file lies in `folder`, as float32 (S, S) (see `Brush`). Raises GarlError.

    A PNG of at most 512 × 512 pixels and 4 MiB, in `folder` or below: a brush from the net must not reach for other
    files, whose pixels would go into every stroke file. It is padded to a square, and averaged down to 128 × 128 where
    it is larger. `source` names the brush file in errors.
    """
    where = f"{source or f'brush {spec.name!r}'}: `texture.path` {spec.texture.path!r}"
    try:
        folder = Path(folder).resolve()
        path = (folder / spec.texture.path).resolve()
        if not path.is_relative_to(folder):  # links are followed by now
            raise GarlError(f"{where} must stay in the brush's folder: copy the picture there.")
        png = read_plain(path, MAX_PNG_BYTES)
    except FileNotFoundError:
        raise GarlError(f"{where} must name a PNG file that exists.") from None
    except (OSError, ValueError, RuntimeError) as error:  # RuntimeError: a loop of symbolic links
        raise GarlError(f"{where} cannot be read: {_reason(error)}.") from None
    return _decode_texture(png, MAX_PICTURE_SIDE, where)


class _BrushLoader(yaml.SafeLoader):
    """PyYAML's safe loader less what can hurt: anchors and aliases, deep nesting, keys given twice."""

    _depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event = self.peek_event()
        if getattr(event, "anchor", None) is not None:
            raise yaml.MarkedYAMLError(problem="anchors and aliases are not allowed", problem_mark=event.start_mark)
        if self._depth == MAX_YAML_DEPTH:
            problem = f"at most {MAX_YAML_DEPTH} levels of nesting are allowed"
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=event.start_mark)
        self._depth += 1
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        keys = set()
        for key, _ in node.value:
            name = _underscored(str(key.value))
            if name in keys:
                raise yaml.MarkedYAMLError(problem=f"`{name}` is given twice", problem_mark=key.start_mark)
            keys.add(name)
        return super().construct_mapping(node, deep)


def _underscored(key: str) -> str:
    return key.strip().replace(" ", "_")


def _clean_keys(data: object) -> object:
    """Spaces in keys become underscores; no deeper than the schema reaches, so that input cannot exhaust the stack."""

    def clean(value: object, depth: int) -> object:
        if not isinstance(value, dict) or depth == MAX_YAML_DEPTH:
            return value
        return {_underscored(k if isinstance(k, str) else _shown(k)): clean(v, depth + 1) for k, v in value.items()}

    return clean(data, 0)


def _validate(model: type[Model], data: object, source: str) -> Model:
    try:
        return model.model_validate(_clean_keys(data))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
    raise GarlError(f"{source}: {_sentence(model, first)}.")


def _sentence(model: type[_Schema], error: Any) -> str:
    """A pydantic error as "`field` must be <allowed values>, not <what was given>"."""
    location = [str(part) for part in error["loc"]]
    field = f"`{'.'.join(location)}`"
    if error["type"] == "value_error":  # from `Control`, which words it in full
        return str(error["ctx"]["error"])
    if error["type"] == "extra_forbidden":
        allowed = _fields_at(model, location[:-1])
        close = difflib.get_close_matches(location[-1], allowed, n=1)
        hint = f" (did you mean {close[0]}?)" if close else ""
        return f"{field:.120} is unknown{hint}; allowed here: {', '.join(allowed)}"
    allowed_values = _allowed_values(model, location)
    if error["type"] == "missing":
        return f"{field} is missing; it must be {allowed_values}"
    if not location:
        return f"a brush must be {allowed_values}"
    return f"{field} must be {allowed_values}, not {_shown(error['input'])}"


def _fields_at(model: type[_Schema], location: list[str]) -> list[str]:
    """Names of the fields of the mapping at a location of the schema; empty where there is a plain value."""
    kind: Any = model
    for name in location:
        kind = kind.model_fields[name].annotation
    return list(getattr(kind, "model_fields", ()))


def _allowed_values(model: type[_Schema], location: list[str]) -> str:
    if fields := _fields_at(model, location):
        return f"a mapping of {', '.join(fields)}"
    kind: Any = model
    for name in location[:-1]:
        kind = kind.model_fields[name].annotation
    return str(kind.model_fields[location[-1]].description)


def _shown(value: object) -> str:
    """A value for an error message: short, and safe for values whose repr is huge or fails (an int of 5000 digits)."""
    if value is None or isinstance(value, str | float | bool):
        return f"{value!r:.60}"
    if isinstance(value, int):
        return str(value) if abs(value) < 10**15 else "a huge integer"
    return f"a {type(value).__name__}"


def _reason(error: Exception) -> str:
    """An exception's message as part of a sentence: one line, without the file name that the sentence has already."""
    if isinstance(error, yaml.MarkedYAMLError):
        line = f" (line {error.problem_mark.line + 1})" if error.problem_mark else ""
        return f"{error.problem}{line}"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__


def _decode_texture(png: bytes, max_side: int, where: str) -> np.ndarray:
    """PNG bytes as float32 (S, S) with the properties that `Brush` promises; `where` begins each error."""
    try:
        image = Image.open(io.BytesIO(png), formats=["PNG"])
        too_large = max(image.size) > max_side
        picture = None if too_large else _coverage(image)
    except Exception:  # a corrupt PNG makes Pillow raise OSError, ValueError, SyntaxError, struct.error, zlib.error, …
        raise GarlError(f"{where} must be a PNG picture, and this one is corrupt or of another format.") from None
    if picture is None:
        raise GarlError(f"{where} must be at most {max_side} × {max_side} pixels, not {image.width} × {image.height}.")
    if not picture.any():
        raise GarlError(f"{where} must hold paint (opaque or white pixels), and every pixel of this one is empty.")

    rows, columns = picture.shape
    side = max(rows, columns)
    square = np.zeros((side, side), np.float32)
    top, left = (side - rows) // 2, (side - columns) // 2
    square[top : top + rows, left : left + columns] = picture
    if side > MAX_TEXTURE_SIDE or _border(square).any():
        inner = min(side, MAX_TEXTURE_SIDE - 2)
        if inner < side:
            square = np.asarray(Image.fromarray(square).resize((inner, inner), Image.Resampling.BOX))
        square = np.pad(square, 1)
    return _to_bytes(square).astype(np.float32) / np.float32(255)


def _coverage(image: Image.Image) -> np.ndarray:
    """How much paint each pixel holds, float32 (H, W), 0..1: alpha where the picture has it, brightness otherwise."""
    if image.mode.startswith("I"):  # 16-bit grey
        return np.asarray(image).astype(np.float32) / np.float32(65535)
    channel = image.convert("RGBA").getchannel("A") if image.has_transparency_data else image.convert("L")
    return np.asarray(channel).astype(np.float32) / np.float32(255)


def _border(texture: np.ndarray) -> np.ndarray:
    """The outermost ring of pixels."""
    return np.concatenate([texture[0], texture[-1], texture[:, 0], texture[:, -1]])


def _to_bytes(texture: np.ndarray) -> np.ndarray:
    return np.round(np.clip(texture, 0, 1) * 255).astype(np.uint8)
