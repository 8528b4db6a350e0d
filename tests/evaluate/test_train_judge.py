import torch

from garl.evaluate.train_judge import jitter


def test_jitter_without_bounds_changes_nothing():
    ink = torch.rand(5, 1, 28, 28)
    torch.testing.assert_close(jitter(ink, degrees=0, scale=0, shift=0), ink, atol=1e-4, rtol=0)


def test_jitter_shifts_each_picture_by_up_to_the_bound():
    torch.manual_seed(0)
    ink = torch.zeros(200, 1, 28, 28)
    ink[:, :, 9, 17] = 1
    shifted = jitter(ink, degrees=0, scale=0, shift=2)
    places = torch.arange(28.0)
    rows, columns = (shifted.sum(dim).squeeze(1) @ places for dim in (3, 2))  # centres of mass
    for moved, home in ((rows, 9), (columns, 17)):
        assert 1.8 < (moved - home).abs().max() <= 2.001
        assert (moved - home).abs().mean().sub(1).abs() < 0.15
