"""An experiment from its command to its page, on a run of seconds."""

from pathlib import Path
from typing import get_args

import pytest

import garl.experiments.claims
from garl.cli import main
from garl.experiments.claims import CLAIMS, FIVES, Claim
from garl.experiments.run import configurations, read_curve, run_folder
from garl.experiments.verdict import Better, Measure

SMALL = {"envs": 8, "strokes": 2, "picture_every": 2, "policy.channels": 4, "policy.blocks": 1, "data": "digits"}
TINY = Claim(
    name="tiny",
    section="0",
    says="A larger step is better.",
    base=FIVES.changed(SMALL),
    arms={"small step": {"ppo.learning_rate": 1e-5}, "large step": {"ppo.learning_rate": 1e-3}},
    expects=(Better("large step", "small step"),),
    episodes=48,
)


def run(monkeypatch: pytest.MonkeyPatch, folder: Path, *flags: str) -> None:
    monkeypatch.setattr(garl.experiments.claims, "CLAIMS", (TINY,))
    program = ["garl", "experiment", "tiny", "--runs", str(folder / "runs"), "--out", str(folder / "pages"), *flags]
    monkeypatch.setattr("sys.argv", program)
    main()


def test_every_arm_of_every_claim_is_a_configuration() -> None:
    for claim in CLAIMS:
        configs = configurations(claim, 2, claim.episodes, None)
        folders = {run_folder(Path(), config) for arm in configs.values() for config in arm}
        assert len(folders) == 2 * len(claim.arms)
        for expectation in claim.expects:
            named = {value for value in vars(expectation).values() if isinstance(value, str)}
            assert named - {*get_args(Measure)} <= claim.arms.keys()


def test_from_the_command_to_the_page(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(monkeypatch, tmp_path, "--seeds", "2", "--jobs", "2")
    assert "4/4" in capsys.readouterr().out
    page = (tmp_path / "pages" / "tiny.md").read_text()
    assert page.startswith("# tiny: ")
    configs = configurations(TINY, 2, TINY.episodes, None)["large step"]
    finals = [read_curve(run_folder(tmp_path / "runs", config)).final for config in configs]
    assert f"{min(finals):.0f}–{max(finals):.0f}" in page
    for picture in ("tiny-curves.svg", "tiny-paintings.png"):
        assert picture in page
        assert (tmp_path / "pages" / picture).stat().st_size > 1000
    verdict = page.partition("\n")[0].removeprefix("# tiny: ")
    assert f"| [tiny](tiny.md) | §0 | {TINY.says} | {verdict} |" in (tmp_path / "pages" / "README.md").read_text()

    # What is complete is not run again; the page can be had from the logs alone.
    (tmp_path / "pages" / "tiny.md").unlink()
    run(monkeypatch, tmp_path, "--seeds", "2", "--page-only")
    assert (tmp_path / "pages" / "tiny.md").read_text() == page
    run(monkeypatch, tmp_path, "--seeds", "2")
    assert "4/4" not in capsys.readouterr().out


def test_mistakes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for flags, sentence in ((["--seeds", "0"], "at least 1"), (["--page-only"], "has no measurement")):
        with pytest.raises(SystemExit) as exit_:
            run(monkeypatch, tmp_path, *flags)
        assert exit_.value.code == 2
        assert sentence in capsys.readouterr().err
    monkeypatch.setattr("sys.argv", ["garl", "experiment", "nothing"])
    with pytest.raises(SystemExit):
        main()
    assert "garl experiment LIST" in capsys.readouterr().err
