"""Quantisers: bounds of their errors, their codes, and what they are with many bits."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from vidseg.trackers.low_bits.quantisers import (
    GELU_DEPTH,
    Log2,
    Quantiser,
    SplitSign,
    TwoRanges,
    Uniform,
    UpOrDown,
    symmetric,
)

BITS = (4, 6, 8)


def seeded(*sizes: int) -> Tensor:
    return torch.randn(*sizes, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def number(value: float) -> Tensor:
    return torch.tensor(value, dtype=torch.float64)


@pytest.mark.parametrize("bits", BITS)
def test_uniform_errors_are_at_most_half_a_step_inside_and_clipped_outside(bits: int) -> None:
    x = seeded(1000)
    step = number(0.05)
    quantiser = symmetric(bits, step)
    rounded = quantiser(x)
    low, high = -(2 ** (bits - 1)) * step, (2 ** (bits - 1) - 1) * step
    inside = (x >= low) & (x <= high)
    assert inside.any()
    assert (rounded - x)[inside].abs().max() <= step / 2 + 1e-12
    assert rounded.min() >= low
    assert rounded.max() <= high
    assert torch.equal(quantiser(rounded), rounded)


@pytest.mark.parametrize("bits", BITS)
def test_products_of_rounded_operands_stay_within_the_bound(bits: int) -> None:
    a, b = seeded(20, 30), seeded(30, 10)
    half = 2 ** (bits - 1) - 1
    a_step, b_step = a.abs().max() / half, b.abs().max() / half
    product = symmetric(bits, a_step)(a) @ symmetric(bits, b_step)(b)
    bound = (
        a.abs().sum(dim=1, keepdim=True) * b_step / 2
        + b.abs().sum(dim=0, keepdim=True) * a_step / 2
        + 30 * a_step * b_step / 4
    )
    assert ((product - a @ b).abs() <= bound).all()


def of_bits(bits: int, kind: str) -> tuple[Quantiser, Tensor]:
    """A quantiser of a kind, and values that it is for."""
    half = 2 ** (bits - 1) - 1
    x = seeded(50, 40)
    if kind == "two-ranges":
        return TwoRanges(bits, cut=number(0.125)), (4 * x).softmax(dim=1)
    if kind == "log2":
        return Log2(bits, scale=number(1.0), tau=number(4.0 * 2 ** (bits - 8))), (4 * x).softmax(dim=1)
    if kind == "split-sign":
        x = torch.nn.functional.gelu(x)
        return SplitSign(bits, step=x.max() / half), x
    return Uniform(bits, step=2 * x.abs().max() / (2**bits - 1), zero=number(2.0 ** (bits - 1))), x


@pytest.mark.parametrize("kind", ["uniform", "two-ranges", "log2", "split-sign"])
def test_sixteen_bits_are_nearly_exact_and_never_more_codes_than_there_are(kind: str) -> None:
    errors = {}
    for bits in (8, 16):
        quantiser, x = of_bits(bits, kind)
        rounded = quantiser(x)
        assert len(rounded.unique()) <= 2**bits
        errors[bits] = float((rounded - x).abs().max() / x.abs().max())
    assert errors[16] <= 5e-4
    assert errors[16] <= errors[8] / 100


@pytest.mark.parametrize("tau", [1, 2, 4])
@pytest.mark.parametrize("bits", BITS)
def test_logarithmic_codes_have_one_ratio_and_vanish_exactly(bits: int, tau: int) -> None:
    scale = number(0.7)
    quantiser = Log2(bits, scale=scale, tau=number(float(tau)))
    assert quantiser(scale) == scale  # code 0
    values = quantiser(scale * 2 ** torch.linspace(0, -300, 20_000, dtype=torch.float64)).unique()
    lasting = values[values > 0]
    assert len(lasting) == 2**bits
    ratio = torch.full_like(lasting[1:], 2 ** (1 / tau))
    torch.testing.assert_close(lasting[1:] / lasting[:-1], ratio, rtol=1e-12, atol=0)
    assert values[0] == 0
    assert quantiser(number(0.0)) == 0


def test_two_ranges_are_fine_below_the_cut_and_coarse_above() -> None:
    x = torch.linspace(0, 1, 5001, dtype=torch.float64)
    quantiser = TwoRanges(6, cut=number(0.1))
    error = (quantiser(x) - x).abs()
    below = x <= 0.1
    assert error[below].max() <= 0.1 / 31 / 2 + 1e-12
    assert error[~below].max() <= 1 / 31 / 2 + 1e-12
    assert quantiser(number(1.0)) == 1


@pytest.mark.parametrize("bits", BITS)
def test_the_negative_side_of_a_gelu_has_steps_of_its_own(bits: int) -> None:
    x = torch.nn.functional.gelu(torch.linspace(-6, 60, 5001, dtype=torch.float64))
    half = 2 ** (bits - 1)
    step = x.max() / (half - 1)
    error = (SplitSign(bits, step=step)(x) - x).abs()
    assert (x > 0).any()
    assert error[x < 0].max() <= GELU_DEPTH / half / 2 + 1e-12
    assert error[x > 0].max() <= step / 2 + 1e-12
    assert GELU_DEPTH / half < step


def test_each_element_of_a_weight_is_rounded_up_or_down_as_was_learned() -> None:
    weight = torch.tensor([0.26, 0.26, -0.26, -0.26, 9.0])
    quantiser = UpOrDown(4, step=torch.tensor(0.1), up=torch.tensor([0, 1, 0, 1, 1], dtype=torch.uint8))
    assert torch.allclose(quantiser(weight), torch.tensor([0.2, 0.3, -0.3, -0.2, 0.7]))


@pytest.mark.parametrize("kind", ["uniform", "split-sign", "two-ranges", "log2"])
def test_gradients_pass_through_rounding_and_lead_to_the_steps(kind: str) -> None:
    quantiser, x = of_bits(4, kind)
    learned = [
        getattr(quantiser, name).clone().requires_grad_()
        for name in quantiser.NAMES
        if name == quantiser.LEARNED
    ]
    for value in learned:
        setattr(quantiser, str(quantiser.LEARNED), value)
    x = torch.cat([x.flatten(), x.new_zeros(1)]).requires_grad_()
    with torch.no_grad():
        want = quantiser(x)
    got = quantiser(x)
    assert torch.equal(got, want)
    (got - x.detach()).square().sum().backward()
    for leaf in (x, *learned):
        assert leaf.grad is not None
        assert leaf.grad.isfinite().all()
        assert leaf.grad.count_nonzero() > leaf.numel() // 2
    assert len(learned) == (kind != "log2")  # under such gradients the scale of powers of two cancels out
