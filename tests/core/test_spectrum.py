"""The mean spectrum of photographs: what the file holds, and how it is taken to other sizes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import core
from core.maximize.spectrum import Spectrum, mean_spectrum
from data.recipes.mean_spectrum import measure
from tests.support.builders import picture


def test_the_shipped_spectrum_is_that_of_photographs() -> None:
    found = mean_spectrum()
    assert found.magnitude.shape == (3, 256, 129)
    assert found.magnitude.dtype == torch.float32
    assert not found.magnitude[:, 0, 0].any()
    ordered = found.magnitude[:, 0, 1:65]
    assert (ordered[:, :8].mean(1) > 4 * ordered[:, 56:].mean(1)).all()
    # Principal axes are orthogonal, and brightness is by far the longest.
    products = found.colors.T @ found.colors
    assert torch.allclose(products, products.diag().diag(), atol=1e-6)
    assert products[0, 0] > 5 * products[1, 1] > 5 * products[2, 2]
    assert (found.colors[:, 0] > 0).all()


def test_a_sample_lies_near_the_mean_spectrum() -> None:
    found = mean_spectrum()
    sample = core.fit_image(core.read_image(core.samples()[0].path), "crop", (256, 256))
    pixels = torch.tensor(np.asarray(sample), dtype=torch.float32).permute(2, 0, 1) / 255
    waves = torch.einsum(
        "cr,rhw->chw", torch.linalg.inv(found.colors), pixels - found.mean[:, None, None]
    )
    own = torch.fft.rfft2(waves, norm="ortho").abs()
    ratio = own[0, 1:32, 1:32].mean() / found.magnitude[0, 1:32, 1:32].mean()
    assert 0.3 < float(ratio) < 3


def test_its_own_size_gives_it_back() -> None:
    found = mean_spectrum()
    assert torch.allclose(found.of_size((256, 256)), found.magnitude, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("size", [(64, 64), (96, 160), (224, 224), (518, 518), (33, 47)])
def test_a_law_of_one_over_frequency_stays_one(size: tuple[int, int]) -> None:
    def law(height: int, width: int) -> torch.Tensor:
        rows = torch.fft.fftfreq(height, dtype=torch.float64).unsqueeze(1)
        columns = torch.fft.rfftfreq(width, dtype=torch.float64).unsqueeze(0)
        magnitude = 1 / torch.hypot(rows, columns)
        magnitude[0, 0] = 0
        return magnitude.float().expand(3, -1, -1).clone()

    spectrum = Spectrum(law(256, 256), torch.eye(3), torch.full((3,), 0.5))
    assert torch.allclose(spectrum.of_size(size), law(*size), rtol=1e-3, atol=1e-6)


def test_directions_stay_apart() -> None:
    """A spectrum of horizontal waves only is one at every size: rows and columns do not mix."""
    magnitude = torch.zeros(3, 64, 33)
    magnitude[:, 0, 8] = 1.0
    found = Spectrum(magnitude, torch.eye(3), torch.zeros(3)).of_size((32, 128))
    assert found.argmax().item() % (32 * 65) == 16  # 8 / 64 cycles per pixel, in the first row
    assert not found[:, 8:24].any()


def test_a_size_of_one_pixel_is_refused() -> None:
    with pytest.raises(core.ParameterError, match="1 × 8 px, expected at least 2 × 2"):
        mean_spectrum().of_size((1, 8))


def test_the_recipe_measures_what_a_slow_computation_does(tmp_path: Path) -> None:
    for seed in range(3):
        picture(40, 48, seed).save(tmp_path / f"{seed}.png")
    paths = sorted(tmp_path.glob("*.png"))
    found = measure(paths, 16)
    fitted = [core.fit_image(core.read_image(path), "crop", (16, 16)) for path in paths]
    squares = [np.asarray(square) / 255 for square in fitted]
    flat = np.concatenate([square.reshape(-1, 3) for square in squares])
    assert np.allclose(found["mean"], flat.mean(axis=0))
    assert np.allclose(found["colors"] @ found["colors"].T, np.cov(flat.T, bias=True))
    back = np.linalg.inv(found["colors"])
    slow = np.zeros((3, 16, 9))
    for square in squares:
        channels = (square - flat.mean(axis=0)) @ back.T
        for channel in range(3):
            slow[channel] += np.abs(np.fft.fft2(channels[..., channel])[:, :9]) / 16 / len(paths)
    slow[:, 0, 0] = 0
    assert np.allclose(found["magnitude"], slow)
