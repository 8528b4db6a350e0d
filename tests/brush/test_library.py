"""The brushes that come with garl."""

import json
import runpy
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from garl.brush.spec import LIBRARY, Brush, library, load_brush

MAKE_TEXTURES = Path(__file__).parents[2] / "benchmarks" / "make_textures.py"


@pytest.mark.parametrize("name", library())
def test_brush(name: str) -> None:
    brush = load_brush(name)
    assert brush.name == name
    assert brush.texture.dtype == np.float32
    assert brush.texture[1:-1, 1:-1].max() > 0.5
    ring = np.ones_like(brush.texture, bool)
    ring[1:-1, 1:-1] = False
    assert not brush.texture[ring].any()
    again = Brush.from_dict(json.loads(json.dumps(brush.to_dict())))
    assert again.spec == brush.spec
    np.testing.assert_array_equal(again.texture, brush.texture)


@pytest.mark.parametrize("name", library())
def test_brush_file_says_what_it_looks_like(name: str) -> None:
    first_line = (LIBRARY / f"{name}.yaml").read_text(encoding="utf-8").splitlines()[0]
    assert first_line.startswith("# ")
    assert first_line.endswith(".")


def test_textures_are_those_that_the_script_draws() -> None:
    script = runpy.run_path(str(MAKE_TEXTURES))
    assert {path.stem for path in LIBRARY.glob("*.png")} == set(script["TEXTURES"])
    for name in script["TEXTURES"]:
        stored = np.asarray(Image.open(LIBRARY / f"{name}.png")).astype(int)
        # Another numpy may round the noise's Fourier transform otherwise, which moves single samples.
        assert np.abs(script["draw"](name) - stored).mean() < 0.1


def test_shapes_cover_the_area_that_their_names_promise() -> None:
    inner = 62 / 64  # the outermost ring of the 64 pixels is empty
    areas = {name: load_brush(name).texture.mean(dtype=np.float64) / inner**2 for name in ("hard_round", "hard_square")}
    assert areas["hard_square"] == pytest.approx(1)
    assert areas["hard_round"] == pytest.approx(np.pi / 4, abs=1e-3)
    soft = load_brush("soft_round").texture.mean(dtype=np.float64) / inner**2
    assert soft == pytest.approx(np.pi / 12, abs=1e-3)  # ∫ (1 − r²)² over the disc is π/3, of a square of area 4
