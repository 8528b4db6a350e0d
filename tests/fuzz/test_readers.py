"""Broken files of every kind: each is read soundly or refused with GarlError; `benchmarks/fuzz.py` tries many more."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from readers import READERS


@pytest.fixture(autouse=True, scope="module")
def _cache(tmp_path_factory: pytest.TempPathFactory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GARL_CACHE", str(tmp_path_factory.mktemp("fuzz") / "cache"))
        yield


@pytest.mark.parametrize("name", READERS)
def test_the_seeds_are_valid(name: str, tmp_path: Path) -> None:
    assert all(READERS[name].loads(files, tmp_path / "input") for files in READERS[name].seeds())


@pytest.mark.parametrize("name", READERS)
def test_broken_files_are_read_or_refused(name: str, tmp_path: Path) -> None:
    reader = READERS[name]

    # The same inputs each time: a rare one is for the benchmark to find, not for somebody else's change.
    @settings(max_examples=120, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(st.randoms(use_true_random=False, note_method_calls=False))
    def broken(random: Random) -> None:
        reader.loads(reader.make(random), tmp_path / "input")

    broken()
