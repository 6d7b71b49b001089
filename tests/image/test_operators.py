"""Operators against SciPy, NumPy's FFT and the DCT that a JPEG holds."""

import io
import math

import numpy as np
import pytest
import torch
from scipy import ndimage
from scipy.fft import dctn
from torch import Tensor

from domains.image.operators import (
    JPEG,
    OPERATORS,
    Box,
    Degradation,
    GaussianBlur,
    Inpainting,
    MotionBlur,
    PhaseRetrieval,
    SuperResolution,
    corrupt,
    operator_named,
    options_of,
    scattered,
)
from domains.image.operators.jpeg import Coded
from domains.image.operators.motion_blur import path_kernel
from guided import DDIM, VE, Likelihood, Rng
from guided.exact import gaussian
from guided.guidance import DPS

GREY, COLOUR = (1, 8, 8), (3, 12, 20)
LINEAR = [name for name in OPERATORS if name not in ("phase-retrieval", "jpeg")]


def pictures(shape: tuple[int, ...], count: int = 3, seed: int = 0) -> Tensor:
    """Return pictures (count, *shape) in (-1, 1) that are not symmetric in any way."""
    return Rng(seed).normal((count, *shape), torch.float64).mul(0.4).tanh()


def by_channel(function, x0: Tensor) -> Tensor:
    """Apply a function of (H, W) to every channel of pictures."""
    done = [[function(channel) for channel in picture] for picture in x0.numpy()]
    return torch.from_numpy(np.array(done))


@pytest.mark.parametrize("shape", [GREY, COLOUR], ids=["grey", "colour"])
@pytest.mark.parametrize("name", OPERATORS)
def test_every_operator_keeps_the_contract(name: str, shape: tuple[int, ...]) -> None:
    degradation = operator_named(name, shape)
    x0 = pictures(shape)
    before = x0.clone()
    out = degradation(x0)
    assert out.shape == (3, *degradation.out) and out.dtype == x0.dtype
    assert torch.equal(x0, before)
    torch.testing.assert_close(degradation(x0[1:2]), out[1:2])  # no row sees another
    assert degradation(x0.float()).dtype == torch.float32
    shown = degradation.picture(out)
    assert shown.ndim == 4 and shown.shape[:2] == (3, shape[0])
    operator = degradation.operator(out, 0.1)
    assert operator.differentiable is degradation.differentiable is (name != "jpeg")
    torch.testing.assert_close(
        Likelihood(operator)(x0) - Likelihood(operator).least, 0 * out.flatten(1)[:, 0]
    )


@pytest.mark.parametrize("shape", [GREY, COLOUR], ids=["grey", "colour"])
@pytest.mark.parametrize("name", LINEAR)
def test_linear_operators_are_their_matrix_and_its_transpose_is_their_adjoint(
    name: str, shape: tuple[int, ...]
) -> None:
    degradation = operator_named(name, shape)
    assert degradation.linear
    x0, A = pictures(shape), degradation.matrix()
    torch.testing.assert_close(degradation(x0).flatten(1), x0.flatten(1) @ A.mT)
    z = Rng(7).normal((3, *degradation.out), torch.float64)
    _, pulled = torch.autograd.functional.vjp(degradation, x0, z)
    torch.testing.assert_close(pulled.flatten(1), z.flatten(1) @ A)
    torch.testing.assert_close((degradation(x0) * z).sum(), (x0 * pulled).sum())


def test_inpainting_keeps_the_pixels_of_its_mask() -> None:
    mask = torch.tensor([[True, False, False], [False, True, True]])
    degradation, x0 = Inpainting((2, 2, 3), mask), pictures((2, 2, 3))
    assert torch.equal(
        degradation(x0), torch.stack([x0[:, :, 0, 0], x0[:, :, 1, 1], x0[:, :, 1, 2]], 2)
    )
    assert torch.equal(degradation(x0), x0[:, :, mask])
    shown = degradation.picture(degradation(x0))
    assert torch.equal(shown.isnan(), ~mask.expand_as(shown))
    assert torch.equal(shown[:, :, mask], x0[:, :, mask])


def test_scattered_pixels_are_a_share_drawn_by_seed() -> None:
    first, same, other = (scattered((1, 16, 16), 0.3, seed).mask for seed in (1, 1, 2))
    assert torch.equal(first, same) and not torch.equal(first, other)
    assert int(first.sum()) == round(0.3 * 256)
    assert bool(scattered(GREY, 1.0).mask.all()) and int(scattered(GREY, 1e-9).mask.sum()) == 1


def test_box_hides_what_slicing_names() -> None:
    expected = np.ones((12, 20), dtype=bool)
    expected[2:7, 11:14] = False
    assert np.array_equal(Box(COLOUR, 5, 3, top=2, left=11).mask.numpy(), expected)
    middle = np.ones((8, 8), dtype=bool)
    middle[2:6, 2:6] = False
    assert np.array_equal(Box(GREY).mask.numpy(), middle)


@pytest.mark.parametrize("factor", [1, 2, 4])
def test_super_resolution_is_the_mean_of_blocks(factor: int) -> None:
    x0 = pictures(COLOUR)
    middle = factor // 2  # where SciPy's window of an even size begins at a block's first pixel
    expected = by_channel(
        lambda c: ndimage.uniform_filter(c, factor)[middle::factor, middle::factor], x0
    )
    torch.testing.assert_close(SuperResolution(COLOUR, factor)(x0), expected)


@pytest.mark.parametrize("shape", [GREY, COLOUR], ids=["grey", "colour"])
@pytest.mark.parametrize("sigma", [0.3, 1.0, 2.7, 9.0])  # the last kernel is longer than pictures
def test_gaussian_blur_is_that_of_scipy(sigma: float, shape: tuple[int, ...]) -> None:
    x0 = pictures(shape)
    expected = by_channel(lambda c: ndimage.gaussian_filter(c, sigma, mode="reflect"), x0)
    torch.testing.assert_close(GaussianBlur(shape, sigma)(x0), expected)


@pytest.mark.parametrize("length", [1, 3, 5, 9])
@pytest.mark.parametrize(("angle", "axis"), [(0.0, 1), (90.0, 0), (180.0, 1), (-90.0, 0)])
def test_motion_along_an_axis_is_a_moving_mean(length: int, angle: float, axis: int) -> None:
    x0 = pictures(COLOUR)
    expected = by_channel(
        lambda c: ndimage.uniform_filter1d(c, length, axis=axis, mode="nearest"), x0
    )
    torch.testing.assert_close(MotionBlur(COLOUR, length, angle)(x0), expected)


@pytest.mark.parametrize("angle", [20.0, 45.0, 110.0])
def test_motion_at_an_angle_is_a_correlation_with_the_path(angle: float) -> None:
    degradation, x0 = MotionBlur(COLOUR, 6.5, angle), pictures(COLOUR)
    kernel = degradation.kernel.numpy()
    expected = by_channel(lambda c: ndimage.correlate(c, kernel, mode="nearest"), x0)
    torch.testing.assert_close(degradation(x0), expected)
    # Of the path itself: its share in a pixel is exact where it is the length of a chord.
    assert math.isclose(kernel.sum(), 1.0)
    rows, columns = np.indices(kernel.shape) - np.array(kernel.shape)[:, None, None] // 2
    variance = 6.5**2 / 12
    # A pixel's own width adds its rounding, at most a quarter of a squared pixel an axis.
    assert abs((kernel * columns**2).sum() - variance * math.cos(math.radians(angle)) ** 2) < 0.25
    assert abs((kernel * rows**2).sum() - variance * math.sin(math.radians(angle)) ** 2) < 0.25
    slant = -(kernel * rows * columns).sum()  # rows count downwards
    assert abs(slant - variance * math.sin(math.radians(2 * angle)) / 2) < 0.25


def test_a_diagonal_path_lies_on_the_diagonal() -> None:
    kernel = path_kernel(3 * math.sqrt(2), 45.0)
    torch.testing.assert_close(kernel, torch.eye(3).double().flip(1) / 3, atol=1e-3, rtol=0)


@pytest.mark.parametrize("oversample", [1.0, 1.5, 2.0])
def test_phase_retrieval_is_numpys_transform(oversample: float) -> None:
    degradation, x0 = PhaseRetrieval(COLOUR, oversample), pictures(COLOUR)
    size = (round(12 * oversample), round(20 * oversample))
    expected = np.abs(np.fft.fft2((x0.numpy() + 1) / 2, s=size, norm="ortho"))
    torch.testing.assert_close(degradation(x0), torch.from_numpy(expected))
    turned = degradation(x0.flip(-2, -1))
    torch.testing.assert_close(turned, degradation(x0))  # it cannot tell
    one = pictures((1, 4, 4), count=1).requires_grad_()
    assert torch.autograd.gradcheck(PhaseRetrieval((1, 4, 4), oversample), one)


def test_phases_of_a_black_picture_have_a_finite_gradient() -> None:
    x0 = -torch.ones(1, *GREY).double().requires_grad_()
    (slope,) = torch.autograd.grad(PhaseRetrieval(GREY)(x0).sum(), x0)
    assert bool(slope.isfinite().all())


def test_jpeg_is_the_quantised_cosine_transform() -> None:
    """Of every 8 x 8 block: whole steps of the file's own table, the nearest to the picture's."""
    from PIL import Image

    x0 = pictures((1, 16, 8), count=4) / 2  # no pixel is cut
    for picture, found in zip(x0.numpy(), JPEG((1, 16, 8), quality=30)(x0).numpy(), strict=True):
        file = Image.open(io.BytesIO(Coded(30).file(picture)))
        table = np.array(file.quantization[0]).reshape(8, 8)
        for rows in (slice(0, 8), slice(8, 16)):
            given, held = (
                dctn(np.rint((x[0, rows] + 1) * 127.5) - 128, norm="ortho") / table
                for x in (picture, found)
            )
            # The file's pixels are rounded, which moves a coefficient of a step of 10 or more.
            assert np.abs(held - np.rint(held)).max() < 0.1
            assert np.abs(held - given).max() < 0.6
            assert np.abs(given - np.rint(given)).max() > 0.4  # there is something to lose


def test_a_jpeg_of_high_quality_is_nearly_the_picture_and_a_low_one_is_not() -> None:
    smooth = torch.linspace(-0.8, 0.8, 16)[:, None].expand(2, 3, 16, 16).double()
    assert float((JPEG((3, 16, 16), 95)(smooth) - smooth).abs().max()) < 0.06
    errors = [float((JPEG(GREY, q)(pictures(GREY)) - pictures(GREY)).norm()) for q in (5, 30, 90)]
    assert errors[0] > errors[1] > errors[2]


def test_a_jpeg_clips_and_a_broken_picture_is_nan() -> None:
    x0 = pictures(GREY)
    torch.testing.assert_close(JPEG(GREY)(3 * x0.sign()), JPEG(GREY)(x0.sign()))
    x0[1, 0, 0, 0] = math.nan
    assert JPEG(GREY)(x0).isnan().flatten(1).all(1).tolist() == [False, True, False]


def test_gradient_methods_refuse_a_jpeg() -> None:
    measured = corrupt(JPEG(GREY), pictures(GREY))
    sampler = DDIM(gaussian(torch.zeros(GREY), 1.0).denoiser(VE()), eta=1.0)
    with pytest.raises(TypeError, match=r"DPS needs a differentiable energy.*gradient-free"):
        DPS(sampler, measured.operator)


def test_corrupting_adds_noise_of_the_seed() -> None:
    degradation, x0 = SuperResolution(GREY), pictures(GREY, count=400)
    first, same = (corrupt(degradation, x0, 0.2, seed=3) for _ in range(2))
    noise = first.y - degradation(x0)
    assert torch.equal(first.y, same.y)
    assert not torch.equal(first.y, corrupt(degradation, x0, 0.2, seed=4).y)
    assert abs(float(noise.std()) - 0.2) < 0.005 and abs(float(noise.mean())) < 0.01
    part = corrupt(degradation, x0[5:9], 0.2, seed=3, index=range(5, 9))
    assert torch.equal(part.y, first.y[5:9])  # in parts as together
    misfit = (first.operator(x0) - first.operator.y) / 0.2
    assert abs(float(misfit.square().mean()) - 1) < 0.05


def test_specifications_build_operators() -> None:
    blur = operator_named("motion-blur:length=5,angle=30", COLOUR)
    assert torch.equal(blur.kernel, path_kernel(5, 30))
    assert torch.equal(operator_named("box:top=0,left=0", GREY).mask, Box(GREY, top=0, left=0).mask)
    assert list(options_of("inpainting")) == ["share", "seed"]
    assert isinstance(operator_named("jpeg:quality=50", GREY), Degradation)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: operator_named("magic", GREY), "unknown operator 'magic'; expected inpainting"),
        (lambda: operator_named("jpeg:speed=2", GREY), "jpeg has no option 'speed'; expected qual"),
        (lambda: operator_named("jpeg:quality=2.5", GREY), "is a whole number, got '2.5'"),
        (lambda: operator_named("gaussian-blur:sigma=x", GREY), "is a number, got 'x'"),
        (lambda: operator_named("jpeg:quality", GREY), "reads option=number, got 'quality'"),
        (lambda: SuperResolution((8, 8)), r"shape \(C, H, W\)"),
        (lambda: SuperResolution((1, 0, 8)), r"shape \(C, H, W\)"),
        (lambda: SuperResolution(GREY)(torch.zeros(2, 1, 8, 9)), r"1, 8, 8\), got \(2, 1, 8, 9\)"),
        (lambda: SuperResolution(GREY, 3), "cannot shrink by a factor of 3"),
        (lambda: SuperResolution(GREY).operator(torch.zeros(2, 1, 8, 8), 0.1), "one row a picture"),
        (lambda: PhaseRetrieval(GREY).matrix(), "is not linear and has no matrix"),
        (lambda: PhaseRetrieval(GREY, 0.5), "oversampled 1 to 64 times, got 0.5"),
        (lambda: Inpainting(GREY, torch.ones(8, 8)), "a mask is boolean"),
        (lambda: Inpainting(GREY, torch.ones(8, 7) > 0), "a mask is boolean"),
        (lambda: Inpainting(GREY, torch.zeros(8, 8) > 0), "with 0 pixels seen"),
        (lambda: scattered(GREY, 0.0), r"is in \(0, 1\], got 0"),
        (lambda: Box(GREY, 9), "inside it, got 9 x 4"),
        (lambda: Box(GREY, 8, 8), "smaller than the picture"),
        (lambda: Box(GREY, 4, 4, top=-1), "from row -1"),
        (lambda: GaussianBlur(GREY, 0), "above 0 pixels, got 0"),
        (lambda: MotionBlur(GREY, 0), "a length above 0 pixels"),
        (lambda: MotionBlur(GREY, 3, math.nan), "an angle in degrees"),
        (lambda: JPEG((2, 8, 8)), "1 channel or 3, got 2"),
        (lambda: JPEG(GREY, 0), "is 1 to 95, got 0"),
        (lambda: corrupt(Box(GREY), pictures(GREY), 0.0), "above 0, got 0"),
    ],
)  # fmt: skip
def test_mistakes_are_one_sentence(build, message: str) -> None:
    with pytest.raises(ValueError, match=message) as raised:
        build()
    assert "\n" not in str(raised.value)
