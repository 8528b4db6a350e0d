"""The layout of a physical stroke, shared by engine, environment and stroke files.

A stroke is float32 (11,), in units that no resolution enters, so that it replays at any size:

    0–5   x0 y0 x1 y1 x2 y2   0..1 of the canvas width (x, rightwards) and height (y, downwards)
    6–8   red green blue      0..1; a grey canvas reads red alone
    9     thickness           diameter of the largest dab as a fraction of the canvas's shorter side
    10    opacity             0..1
"""

STROKE_SIZE = 11
POINTS = slice(0, 6)
COLOR = slice(6, 9)
THICKNESS = 9
OPACITY = 10

POINTS_PER_TYPE = {"bezier": 3, "line": 2, "triangle": 3, "point": 1}
"""How many of the three points a stroke type reads; the rest repeat the last one read."""
