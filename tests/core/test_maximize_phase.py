"""Maximization of the phase alone: spectrum, gradients, crops, transparency, variety."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

import core
from core.errors import ParameterError
from core.maximize.optimize import similarity
from core.maximize.parameterize import PhaseImage
from core.maximize.spectrum import mean_spectrum
from core.maximize.transforms import Crops
from core.models import Model
from tests.support.builders import VITS, builds, built, sentence

CPU = torch.device("cpu")
SIZES = [(16, 16), (24, 34), (15, 21), (56, 33)]


@pytest.fixture(scope="module")
def model() -> Model:
    return built("timm").model


def of_seed(size: tuple[int, int], seed: int = 0, **options: object) -> PhaseImage:
    return PhaseImage(size, torch.Generator().manual_seed(seed), CPU, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("size", SIZES)
def test_magnitudes_before_the_sigmoid_are_those_of_photographs(size: tuple[int, int]) -> None:
    spectrum = mean_spectrum()
    unit = of_seed(size, 3).unit().detach().double()
    raw = (unit.logit() - spectrum.mean.double().logit().view(3, 1, 1)) / 4
    waves = torch.einsum("cr,brhw->bchw", torch.linalg.inv(spectrum.colors.double()), raw)
    found = torch.fft.fft2(waves, norm="ortho")[0].abs()
    expected = spectrum.of_size(size)
    np.testing.assert_allclose(
        found[..., : size[1] // 2 + 1], expected, rtol=1e-3, atol=1e-3 * float(expected.mean())
    )


@pytest.mark.parametrize("size", [(4, 6), (5, 7)])
def test_picture_against_a_slow_inverse_transform(size: tuple[int, int]) -> None:
    """Every wave added up by itself; in the columns that hold conjugates the upper rows decide."""
    height, width = size
    image, spectrum = of_seed(size, 2), mean_spectrum()
    phase = image.phase.detach().double().numpy()[0]
    magnitude = spectrum.of_size(size).double().numpy()
    waves = np.zeros((3, height, width))
    rows, columns = np.mgrid[:height, :width]
    for axis, k, m in np.ndindex(3, height, width // 2 + 1):
        turn = 2 * np.pi * (k * rows / height + m * columns / width)
        own = m == 0 or 2 * m == width
        if own and 2 * k > height:
            continue
        real = own and (k == 0 or 2 * k == height)
        angle = (0 if np.cos(phase[axis, k, m]) > 0 else np.pi) if real else phase[axis, k, m]
        waves[axis] += (1 if real else 2) * magnitude[axis, k, m] * np.cos(turn + angle)
    mixed = np.einsum("rc,chw->rhw", spectrum.colors.numpy(), waves / np.sqrt(height * width))
    mean = spectrum.mean.numpy()[:, None, None]
    expected = 1 / (1 + np.exp(-(np.log(mean / (1 - mean)) + 4 * mixed)))
    np.testing.assert_allclose(image.unit().detach()[0], expected, atol=1e-5)


def test_gradient_of_the_phase_against_finite_differences() -> None:
    image = of_seed((6, 8), 1)
    weights = torch.rand((1, 3, 6, 8), generator=torch.Generator().manual_seed(2))
    (gradient,) = torch.autograd.grad((image.unit() * weights).sum(), image.leaf)
    assert gradient.any()
    with torch.no_grad():
        for place in np.ndindex(*image.phase.shape):
            sums = []
            for step in (1e-2, -1e-2):
                image.phase[place] += step
                sums.append((image.unit().double() * weights).sum().item())
                image.phase[place] -= step
            slope = (sums[0] - sums[1]) / 2e-2
            assert gradient[place].item() == pytest.approx(slope, abs=2e-4), place


def test_start_depends_on_seed_and_size_alone_and_spans_all_phases() -> None:
    first, second, other = of_seed((32, 48), 5), of_seed((32, 48), 5), of_seed((32, 48), 6)
    assert torch.equal(first.unit(), second.unit())
    assert not torch.equal(first.unit(), other.unit())
    assert first.phase.min() < -3
    assert first.phase.max() > 3


def test_a_photograph_gives_its_phase() -> None:
    sample = core.read_image(core.samples()[0].path)
    image = of_seed((64, 64), start=sample)
    fitted = np.asarray(core.fit_image(sample.convert("RGB"), "crop", (64, 64))).mean(-1)
    found = image.unit().detach()[0].mean(0).numpy()
    noise = of_seed((64, 64)).unit().detach()[0].mean(0).numpy()

    def alike(one: np.ndarray) -> float:
        return float(np.corrcoef(one.ravel(), fitted.ravel())[0, 1])

    assert alike(found) > 0.6 > alike(noise) + 0.2


def test_same_seed_gives_the_same_picture_and_another_seed_another(model: Model) -> None:
    def made(seed: int) -> core.Maximization:
        return core.maximize(
            model, core.class_logit(1), 3, (24, 16), seed, parameterization="phase"
        )

    first, second, other = made(0), made(0), made(1)
    assert first.image.size == (16, 24)
    assert np.array_equal(np.asarray(first.image), np.asarray(second.image))
    assert np.array_equal(first.transparency, second.transparency)
    assert not np.array_equal(np.asarray(first.image), np.asarray(other.image))
    assert first.parameterization == "phase"


def test_the_objective_rises_on_real_networks_of_both_kinds() -> None:
    for name in core.default_models():
        model = core.open_model(name, "cpu")
        options = {"parameterization": "phase", "transforms": Crops(count=2)}
        found = core.maximize(model, core.class_logit(483), 16, 112, **options)
        assert found.history[-3:].mean() > found.history[:3].mean() + 1, name


@pytest.mark.parametrize("name", builds(VITS))
def test_transformers_of_every_family_can_be_maximized(name: str) -> None:
    model = built(name).model
    objective = core.class_logit(1) if model.classes else core.block_channel(0, 1)
    size = model.preprocessing.size
    found = core.maximize(model, objective, 2, size, parameterization="phase")
    assert np.isfinite(found.history).all()


def test_transparency_is_the_accumulated_gradient_over_its_percentile(model: Model) -> None:
    """One step without moves or noise, against the gradient of one pass."""
    still = Crops(count=1, smallest=1.0, largest=1.0, noise=0.0)
    found = core.maximize(
        model, core.class_logit(1), 1, 16, parameterization="phase", transforms=still
    )
    unit = of_seed((16, 16)).unit().detach().requires_grad_()
    (gradient,) = torch.autograd.grad(model.module(model.standardize(unit))[0, 1], unit)
    total = gradient[0].abs().mean(0).numpy()
    expected = np.minimum(total / np.percentile(total, 80), 1)
    np.testing.assert_allclose(found.transparency, expected, atol=1e-3)


def test_transparency_lies_between_0_and_1_and_shows_white(model: Model) -> None:
    found = core.maximize(model, core.class_logit(1), 3, 112, parameterization="phase")
    alpha = found.transparency
    assert alpha.shape == (112, 112)
    assert alpha.dtype == np.float32
    assert 0 <= alpha.min() < alpha.max() <= 1
    bare = np.asarray(found.image).astype(float)
    expected = alpha[..., None] * bare + 255 * (1 - alpha[..., None])
    assert np.abs(np.asarray(found.on_white()) - expected).max() < 0.51


def test_crops_lie_inside_and_have_the_shares_asked_for() -> None:
    crops = Crops(smallest=0.3, largest=0.8, spread=0.4)
    generator = torch.Generator().manual_seed(0)
    height, width = 30, 70
    shares = []
    for _ in range(200):
        matrix = crops.matrix((height, width), generator).numpy()
        half, center = np.diag(matrix), matrix[:, 2]
        assert (np.abs(center) + half <= 1 + 1e-6).all()
        along, down = half * [width, height]
        assert along == pytest.approx(down), "square"
        shares.append(down / height)
    assert 0.3 <= min(shares) < 0.35
    assert 0.75 < max(shares) <= 0.8


def test_crops_show_the_place_that_their_matrix_says() -> None:
    ramp = torch.linspace(0, 1, 41).expand(1, 3, 41, 41).clone()
    crops = Crops(count=3, noise=0.0)
    seen = crops(ramp, torch.Generator().manual_seed(1), 20)
    assert seen.shape == (3, 3, 20, 20)
    generator = torch.Generator().manual_seed(1)
    for crop in seen:
        half, center = crops.matrix((41, 41), generator)[0, [0, 2]].tolist()
        places = center + half * (2 * (np.arange(20) + 0.5) / 20 - 1)
        expected = np.clip((places * 41 / 2 + 20) / 40, 0, 1)
        np.testing.assert_allclose(crop[0, 7], expected, atol=0.01)
    noisy = Crops(count=3)(ramp, torch.Generator().manual_seed(1), 20)
    assert (noisy - seen).std() == pytest.approx(0.08 * np.sqrt(1 + 1 / 3), rel=0.05)


@pytest.mark.parametrize(
    "wrong",
    [
        {"count": 0},
        {"count": 1.5},
        {"side": 0},
        {"smallest": 0.0},
        {"largest": 1.2},
        {"smallest": 0.9, "largest": 0.5},
        {"noise": -1.0},
        {"spread": np.nan},
    ],
    ids=str,
)
def test_crops_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ParameterError) as error:
        Crops(**wrong)  # type: ignore[arg-type]
    sentence(error)


@pytest.mark.parametrize(
    "wrong",
    [
        {"parameterization": "pixels"},
        {"start": Image.new("RGB", (8, 8))},
        {"start": "cat.jpg", "parameterization": "phase"},
        {"transforms": 3},
    ],
    ids=["parameterization", "start without phase", "start", "transforms"],
)
def test_wrong_requests_are_refused(model: Model, wrong: dict[str, object]) -> None:
    with pytest.raises(ParameterError) as error:
        core.maximize(model, core.class_logit(1), 1, 16, **wrong)  # type: ignore[arg-type]
    sentence(error)


def test_stopping_keeps_what_has_been_made(model: Model) -> None:
    seen: list[np.ndarray] = []

    def on_step(step: int, loss: float, image: Image.Image) -> bool:
        seen.append(np.asarray(image))
        return step < 2

    found = core.maximize(
        model, core.class_logit(1), 9, 16, on_step=on_step, parameterization="phase"
    )
    assert found.steps == len(seen) == 2
    assert np.array_equal(np.asarray(found.image), seen[-1])


@pytest.mark.slow
def test_the_seam_penalty_acts_on_the_phase_too() -> None:
    """A grid of patches is what this objective likes most."""
    model = core.open_model("dinov2-small", "cpu")
    energies = [
        core.maximize(
            model,
            core.mlp_channel(8, 967),
            24,
            112,
            parameterization="phase",
            regularization=core.Regularization(0.0, 0.0, weight),
            transforms=Crops(count=1, smallest=1.0, largest=1.0, noise=0.0, side=112),
        ).seam_energy
        for weight in (0.0, 1.0)
    ]
    assert abs(energies[1]) < abs(energies[0])


# -- several pictures -----------------------------------------------------------------------------


def test_similarity_against_its_definition() -> None:
    features = torch.randn(3, 4, 10, generator=torch.Generator().manual_seed(0)).double()
    covariances = [np.cov(one.numpy(), bias=True).ravel() for one in features]
    pairs = [(0, 1), (0, 2), (1, 2)]
    expected = np.mean(
        [
            covariances[i]
            @ covariances[j]
            / np.linalg.norm(covariances[i])
            / np.linalg.norm(covariances[j])
            for i, j in pairs
        ]
    )
    assert similarity(features).item() == pytest.approx(expected)


@pytest.mark.slow
def test_pictures_made_together_differ_more_with_the_penalty() -> None:
    model = core.open_model("efficientnet-lite0", "cpu")
    layer = "stage.3"

    def alike(diversity: float) -> float:
        made = core.maximize_several(
            model,
            core.class_logit(483),
            2,
            20,
            112,
            diversity=diversity,
            layer=layer,
            transforms=Crops(count=2, side=112),
        )
        assert len(made) == 2
        views = [core.record(model, one.image, None, core.Needs([layer])) for one in made]
        return similarity(torch.cat([view.tensor(layer) for view in views]).flatten(2)).item()

    assert alike(1.0) < alike(0.0) - 0.05


def test_several_are_seen_together_and_refused_out_of_range(model: Model) -> None:
    seen: list[int] = []

    def on_step(step: int, loss: float, images: tuple[Image.Image, ...]) -> bool:
        seen.append(len(images))
        return step < 2

    made = core.maximize_several(model, core.class_logit(1), 3, 9, 16, on_step=on_step)
    assert seen == [3, 3]
    assert [one.steps for one in made] == [2, 2, 2]
    for wrong in ({"count": 1}, {"diversity": -1.0}, {"layer": "stage.77"}):
        with pytest.raises(ParameterError) as error:
            core.maximize_several(model, core.class_logit(1), steps=1, size=16, **wrong)  # type: ignore[arg-type]
        sentence(error)
