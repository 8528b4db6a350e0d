"""garl on PyTorch as it comes: layer by layer, all canvases scored at once, the C library's own handling of memory.

python benchmarks/plain.py train digits --minutes 1
"""

from functools import partialmethod

from torch import nn

import garl.systems.garl
from garl.adversary.update import Adversary
from garl.cli import main
from garl.policy.chain import Convolutions
from garl.policy.features import FeatureExtractor, ResidualBlocks


def use_plain() -> None:
    garl.systems.garl.keep_freed_memory = lambda: None
    Adversary.score = partialmethod(Adversary.score, chunk=1 << 20)  # type: ignore
    FeatureExtractor.forward = lambda self, observation: self.features(self.maps(observation))  # type: ignore
    Convolutions.forward = ResidualBlocks.forward = nn.Sequential.forward  # type: ignore


if __name__ == "__main__":
    use_plain()
    main()
