import av
import numpy as np
import pytest
import torch
from PIL import Image, ImageSequence

from garl.errors import GarlError
from garl.export.picture import grid
from garl.export.video import save_video, time_lapse


def ramp(n: int, height: int, width: int) -> list[np.ndarray]:
    """Frames that brighten from the one to the next, darker in their left half."""
    frames = [np.full((height, width, 3), 40 * i, np.uint8) for i in range(n)]
    for frame in frames:
        frame[:, width // 2 :] += 50
    return frames


@pytest.mark.parametrize("codecs", [av.codecs_available, set()])
def test_mp4_returns_the_frames_padded_to_even_sides(tmp_path, monkeypatch, codecs):
    monkeypatch.setattr(av, "codecs_available", codecs)
    frames = ramp(5, 35, 51)
    save_video(tmp_path / "film.mp4", iter(frames), fps=7.5)
    with av.open(str(tmp_path / "film.mp4")) as film:
        stream = film.streams.video[0]
        assert float(stream.average_rate) == 7.5
        assert stream.pix_fmt == "yuv420p"
        seen = [frame.to_ndarray(format="rgb24") for frame in film.decode(stream)]
    assert len(seen) == 5
    for frame, original in zip(seen, frames, strict=True):
        assert frame.shape == (36, 52, 3)
        # away from the edge between the halves
        assert np.abs(frame[:, :20].astype(int) - original[0, 0]).max() <= 6
        assert np.abs(frame[:, -20:].astype(int) - original[0, -1]).max() <= 6


def test_gif_returns_the_frames_and_their_time(tmp_path):
    frames = ramp(4, 10, 16)
    save_video(tmp_path / "film.gif", frames, fps=5)
    with Image.open(tmp_path / "film.gif") as film:
        seen = [(np.asarray(frame.convert("RGB")), frame.info["duration"]) for frame in ImageSequence.Iterator(film)]
        assert film.info["loop"] == 0
    assert [duration for _, duration in seen] == [200] * 4
    for (frame, _), original in zip(seen, frames, strict=True):
        assert frame.tolist() == original.tolist()


def test_time_lapse_shows_every_stroke_and_holds_the_last():
    canvases = torch.randint(0, 256, (4, 2, 1, 6, 9), dtype=torch.uint8)  # T + 1 = 4, B = 2
    frames = list(time_lapse(canvases, fps=4))
    assert len(frames) == 4 + 5  # the last one for 6 frames: 1.5 s
    assert min(frames[0].shape[:2]) >= 256
    scale = len(frames[0]) // len(grid(canvases[0]))
    for frame, moment in zip(frames, canvases, strict=False):
        assert np.array_equal(frame, grid(moment, scale=scale))
    assert all((frame == frames[3]).all() for frame in frames[3:])


def test_mistakes(tmp_path):
    frames = ramp(2, 4, 6)
    for name, wrong, fps, message in [
        ("film.avi", frames, 5, r"end its name in \.mp4 or \.gif"),
        ("film.mp4", frames, 0, "1 to 60 frames per second, not 0"),
        ("film.gif", frames, float("nan"), "1 to 60"),
        ("film.mp4", [], 5, "at least one frame"),
        ("film.gif", [frames[0], frames[1][:3]], 5, r"one size, not \(3, 6, 3\)"),
        ("missing/film.mp4", frames, 5, "cannot write"),
        ("missing/film.gif", frames, 5, "cannot write"),
    ]:
        with pytest.raises(GarlError, match=message):
            save_video(tmp_path / name, wrong, fps)
    assert list(tmp_path.iterdir()) == []
