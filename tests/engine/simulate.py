"""Paints what `test_paint_cuda.py` asks for with the GPU's kernels under numba's simulator, which must be switched on
before numba is imported: python simulate.py JOBS RESULTS, both pickled."""

import os
import pickle
import sys
import warnings

# The kernels run as Python, and so must what they call: the simulator's arrays mean nothing to compiled functions.
os.environ |= {"NUMBA_ENABLE_CUDASIM": "1", "NUMBA_DISABLE_JIT": "1"}

import torch

from garl.engine import paint_cuda


def main() -> None:
    warnings.filterwarnings("ignore", "overflow encountered")  # the hash is made of multiplications that overflow
    with open(sys.argv[1], "rb") as file:
        jobs = pickle.load(file)
    painted = {}
    for name, (canvas, strokes, seeds, index, brushes, scale) in jobs.items():
        painted[name] = canvas.copy()
        tensors = [torch.from_numpy(array) for array in (painted[name], strokes, seeds)]
        paint_cuda.render_strokes(*tensors, index, paint_cuda.CudaBrushes(brushes, "cpu"), scale)
    with open(sys.argv[2], "wb") as file:
        pickle.dump(painted, file)


if __name__ == "__main__":
    main()
