"""What the runs of an experiment say about what a claim expects of them.

Each arm has one curve for each seed; lower distances are better. A curve counts by its final distance: the median of
its last quarter, so that where in an oscillation a run happens to end says little.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.stats import permutation_test

Verdict = Literal["confirmed", "not confirmed", "undecided"]
SIGNIFICANT = 0.05
"""The smallest p that three seeds against three can reach."""
LEARNED = 0.5
"""A run has learned if its final distance is below this share of the untrained agent's."""
ALIKE = 1.2
"""Two arms are alike if their median distances differ by no more than this factor."""


Measure = Literal["distance", "flips", "waves"]
"""What arms are compared by: the final Fréchet distance, or one of the two measures of oscillation."""
STILL = {"distance": 1e-9, "flips": 1e-3, "waves": 1e-6}
"""Less than this counts as this: it is rounding, and ratios of it say nothing."""


@dataclass(frozen=True)
class Curve:
    """The Fréchet distance of one run as it learned: (M,) each, the first measured on the untrained agent."""

    steps: np.ndarray
    minutes: np.ndarray
    frechet: np.ndarray
    flips: float = 0.0
    """How much the discriminator's ranking of old paintings turned over the whole run (`oscillation.flips`)."""
    waves: float = 0.0
    """Power of the slow waves in how much the paintings differ from each other (`oscillation.slow_power`)."""
    diverged: bool = False

    @property
    def untrained(self) -> float:
        return float(self.frechet[0])

    @property
    def final(self) -> float:
        """The median of the last quarter; a run that diverged has got nowhere."""
        return self.untrained if self.diverged else float(np.median(self.frechet[-max(1, len(self.frechet) // 4) :]))


Curves = dict[str, list[Curve]]
"""Of each arm, one curve for each seed."""


def finals(curves: list[Curve], measure: Measure = "distance") -> np.ndarray:
    """What each run ends with, (seeds,)."""
    values = [curve.final if measure == "distance" else getattr(curve, measure) for curve in curves]
    return np.maximum(values, STILL[measure])


def p_better(a: list[Curve], b: list[Curve], measure: Measure = "distance") -> float:
    """The p-value of "a's finals are no lower than b's": an exact permutation test on mean logarithms."""
    samples = np.log(finals(a, measure)), np.log(finals(b, measure))
    test = permutation_test(
        samples,
        lambda x, y: x.mean() - y.mean(),
        alternative="less",
        n_resamples=np.inf,
        permutation_type="independent",
    )
    return float(test.pvalue)


def _medians(a: list[Curve], b: list[Curve], measure: Measure) -> tuple[float, str]:
    """How many times lower the first is, by medians; and both in words."""
    first, second = np.median(finals(a, measure)), np.median(finals(b, measure))
    return float(second / first), f"{measure} {first:.3g} against {second:.3g}"


@dataclass(frozen=True)
class Better:
    """The arm's final measure is lower than the other's; `times`: by this factor, at least."""

    arm: str
    than: str
    measure: Measure = "distance"
    times: float = 1.0

    def judge(self, curves: Curves) -> tuple[Verdict, str]:
        a, b = curves[self.arm], curves[self.than]
        p = p_better(a, b, self.measure)
        times, medians = _medians(a, b, self.measure)
        found: Verdict = "undecided"
        if p <= SIGNIFICANT:
            found = "confirmed" if times >= self.times else "not confirmed"
        elif p_better(b, a, self.measure) <= SIGNIFICANT:
            found = "not confirmed"
        by = f" {self.times:g} times" if self.times > 1 else ""
        return found, f"*{self.arm}* is{by} better than *{self.than}*: {medians}, p = {p:.2f}"


@dataclass(frozen=True)
class NoBetter:
    """The arm's final measure is not lower than the other's."""

    arm: str
    than: str
    measure: Measure = "distance"

    def judge(self, curves: Curves) -> tuple[Verdict, str]:
        a, b = curves[self.arm], curves[self.than]
        p = p_better(a, b, self.measure)
        times, medians = _medians(a, b, self.measure)
        found: Verdict = "undecided"
        if p <= SIGNIFICANT:
            found = "not confirmed"
        elif times <= ALIKE:
            found = "confirmed"
        return found, f"*{self.arm}* is no better than *{self.than}*: {medians}, p of better = {p:.2f}"


@dataclass(frozen=True)
class Learns:
    """Every run of the arm comes below half the untrained agent's distance; `no`: none does."""

    arm: str
    no: bool = False

    def judge(self, curves: Curves) -> tuple[Verdict, str]:
        shares = [curve.final / curve.untrained for curve in curves[self.arm]]
        learned = [share < LEARNED for share in shares]
        found: Verdict = "undecided"
        if all(learned) or not any(learned):
            found = "confirmed" if all(learned) != self.no else "not confirmed"
        percent = ", ".join(f"{share:.0%}" for share in shares)
        return found, f"*{self.arm}* {'does not learn' if self.no else 'learns'}: {percent} of the untrained distance"


@dataclass(frozen=True)
class Alike:
    """The arms' final distances differ little."""

    arm: str
    other: str

    def judge(self, curves: Curves) -> tuple[Verdict, str]:
        a, b = curves[self.arm], curves[self.other]
        factor = float(np.median(finals(a)) / np.median(finals(b)))
        p = min(p_better(a, b), p_better(b, a))
        found: Verdict = "undecided"
        if 1 / ALIKE <= factor <= ALIKE and p > SIGNIFICANT:
            found = "confirmed"
        elif p <= SIGNIFICANT:
            found = "not confirmed"
        return found, f"*{self.arm}* and *{self.other}* are alike: {factor:.2f} × its distance, p = {p:.2f}"


Expectation = Better | NoBetter | Learns | Alike


def overall(verdicts: list[Verdict]) -> Verdict:
    """Of a claim in parts: confirmed if each part is, not confirmed if one is contradicted."""
    if "not confirmed" in verdicts:
        return "not confirmed"
    return "undecided" if "undecided" in verdicts else "confirmed"
