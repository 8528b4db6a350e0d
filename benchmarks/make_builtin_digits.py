"""Cut the embedded digits out of MNIST: python benchmarks/make_builtin_digits.py FOLDER_WITH_THE_OFFICIAL_FILES

Writes the first 10,000 pictures and labels of the training files to garl/data/builtin, the same bytes every time.
"""

import gzip
import hashlib
import struct
import sys
from pathlib import Path

COUNT = 10_000
TARGET = Path(__file__).parents[1] / "garl" / "data" / "builtin"

for kind, header, row in (("images-idx3", (0x803, COUNT, 28, 28), 28 * 28), ("labels-idx1", (0x801, COUNT), 1)):
    raw = gzip.decompress((Path(sys.argv[1]) / f"train-{kind}-ubyte.gz").read_bytes())
    start = 4 * len(header)
    head = struct.pack(f">{len(header)}I", *header)
    packed = gzip.compress(head + raw[start : start + COUNT * row], compresslevel=9, mtime=0)
    (TARGET / f"digits-{kind}-ubyte.gz").write_bytes(packed)
    print(f"digits-{kind}-ubyte.gz  {len(packed)} bytes  sha256 {hashlib.sha256(packed).hexdigest()}")
