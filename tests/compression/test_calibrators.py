"""Calibrators of few bits do what their papers say."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from vidseg.compression.low_bits.calibrator import Calibrator
from vidseg.compression.low_bits.pq_sam import PqSam, changed, grouped, truncated_ranges
from vidseg.compression.low_bits.ptq4sam import Ptq4Sam, has_two_peaks, lowest_place, taus
from vidseg.compression.low_bits.q_tiny_sam import QTinySam
from vidseg.compression.low_bits.recording import AttentionSample, AttentionSeen, LayerSeen
from vidseg.compression.low_bits.steps import best, squared_error, symmetric_over, uniform_over
from vidseg.compression.low_bits.table import CALIBRATORS
from vidseg.memory.linear import Linear
from vidseg.trackers.low_bits.layers import ATTENTION_OPERANDS, LAYER_OPERANDS, LowBitLayer
from vidseg.trackers.low_bits.quantisers import Grouped, SplitSign, TwoRanges, Uniform
from vidseg.trackers.low_bits_settings import Bits

W4A4, W8A8 = Bits(4, 4), Bits(8, 8)


@pytest.fixture(autouse=True)
def _seed() -> Any:
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        yield


def layer_seen(x: Tensor, outputs: int = 24) -> LayerSeen:
    layer = Linear(x.shape[1], outputs).double().requires_grad_(False)
    return LayerSeen(layer, [x])


def attention_seen(sharpness: float = 1.0, keys: int = 40) -> AttentionSeen:
    samples = [
        AttentionSample(
            sharpness * torch.randn(2, 8, 6).double(),
            torch.randn(2, keys, 6).double(),
            torch.randn(2, keys, 6).double(),
            None,
        )
        for _ in range(3)
    ]
    return AttentionSeen(nn.Identity(), samples)


def attention_error(seen: AttentionSeen, operands: Any) -> float:
    rows = zip(seen.samples, seen.wanted, strict=True)
    return sum(float((each.output(operands) - want).square().sum()) for each, want in rows)


@pytest.mark.parametrize("name", CALIBRATORS)
def test_many_bits_converge_to_float(name: str) -> None:
    errors = {}
    for bits in (4, 8, 16):
        calibrator = CALIBRATORS[name](Bits(bits, bits))
        seen, attention = layer_seen(torch.randn(64, 16).double()), attention_seen()
        operands, chosen = calibrator.layer(seen), calibrator.attention(attention)
        assert set(operands) == set(LAYER_OPERANDS)
        assert set(chosen) == set(ATTENTION_OPERANDS)
        size = float(torch.stack(attention.wanted).square().sum())
        errors[bits] = (
            changed(seen, operands) / float(seen.wanted.square().sum()),
            attention_error(attention, chosen) / size,
        )
    for few, more, most in zip(*errors.values(), strict=True):
        assert most < more < few
        assert most <= 1e-6


@pytest.mark.parametrize("name", CALIBRATORS)
def test_a_rounded_layer_computes_what_was_searched_by(name: str) -> None:
    seen = layer_seen(torch.randn(64, 16).double() + 3)
    operands = CALIBRATORS[name](W4A4).layer(seen)
    error = changed(seen, operands)
    want = seen.wanted
    out = LowBitLayer(seen.layer, operands)(seen.x)
    assert float((out - want).square().sum()) == pytest.approx(error, rel=1e-9)
    assert error > 0


def test_steps_are_never_worse_than_those_of_the_whole_range() -> None:
    x = torch.cat([torch.randn(2000), torch.tensor([60.0])]).double()
    error = squared_error(x)
    makers: list[Any] = [uniform_over((x.min(), x.max()), 4), symmetric_over(x.abs().max(), 4)]
    for make in makers:
        found = best(make, error, torch.ones_like(x[0]))
        assert error(found) <= error(make(torch.ones_like(x[0])))
    one_sided = uniform_over((x.abs().min(), x.max()), 4)(torch.ones_like(x[0]))
    assert one_sided.zero == 0


def test_each_channel_of_a_weight_has_a_step_of_its_own() -> None:
    weight = torch.randn(5, 40).double() * torch.tensor([1e-3, 1, 10, 1e3, 0]).double()[:, None]
    quantiser = Calibrator(W8A8).weight(weight, 0)
    assert isinstance(quantiser, Uniform)
    assert quantiser.step.shape == (5, 1)
    apart = (quantiser(weight) - weight).abs().amax(dim=1)
    assert (apart <= weight.abs().amax(dim=1) / 100).all()


def depthwise_seen() -> LayerSeen:
    """A depthwise convolution, as behind a GELU: its last channels are a thousand times as large as its first
    ones."""
    layer = nn.Conv2d(12, 12, 3, padding=1, groups=12).double().requires_grad_(False)
    sizes = torch.logspace(-2, 1, 12, dtype=torch.float64)[:, None, None]
    seen = LayerSeen(layer)
    for _ in range(3):
        x = nn.functional.gelu(3 * torch.randn(2, 12, 9, 9).double()) * sizes
        seen.note(x, layer(x))
    return seen


@pytest.mark.parametrize("name", CALIBRATORS)
def test_channels_that_no_sum_mixes_have_steps_of_their_own(name: str) -> None:
    seen = depthwise_seen()
    operands = CALIBRATORS[name](W8A8).layer(seen)
    assert operands["input"].step.shape == (12, 1, 1)
    out = LowBitLayer(seen.layer, operands)(seen.x)
    errors = (out - seen.wanted).square().mean(dim=(0, 2, 3)) / seen.wanted.var(dim=(0, 2, 3))
    assert errors.max() < 1e-3
    one_step = {**operands, "input": Calibrator(W8A8).tensor(seen.x)}
    out = LowBitLayer(depthwise_seen().layer, one_step)(seen.x)
    errors = (out - seen.wanted).square().mean(dim=(0, 2, 3)) / seen.wanted.var(dim=(0, 2, 3))
    assert errors.max() > 0.1


def test_such_steps_leave_whole_numbers_in_the_sums() -> None:
    """Codes are multiplied and added as whole numbers; one factor for each channel gives the results."""
    seen = depthwise_seen()
    operands = Calibrator(W8A8).layer(seen)
    given, weight = operands["input"], operands["weight"]
    codes = (seen.x / given.step).round() + given.zero
    codes = codes.clamp(0, 255) - given.zero
    weight_codes = (seen.weight / weight.step).round().clamp(-128, 127)
    sums = nn.functional.conv2d(codes.long().double(), weight_codes, padding=1, groups=12)
    assert torch.equal(sums, sums.round())
    factors = given.step * weight.step.view(12, 1, 1)
    assert seen.bias is not None
    exact = sums * factors + seen.bias[:, None, None]
    out = LowBitLayer(seen.layer, operands)(seen.x)
    assert torch.allclose(out, exact, rtol=1e-12, atol=1e-12)


def test_extremes_of_a_channel_are_known_though_a_piece_lacks_them() -> None:
    layer = nn.Conv2d(2, 2, 3, padding=1, groups=2).double().requires_grad_(False)
    seen, x = LayerSeen(layer), torch.zeros(1, 2, 40, 40).double()
    x[0, 0, 2, 2], x[0, 1, 38, 38], x[0, 1, 30, 2] = 9.0, 0.5, -0.25
    seen.note(x, layer(x))
    assert seen.x[:, 1].abs().max() == 0
    low, high = (side.flatten().tolist() for side in seen.bounds)
    assert (low, high) == ([0.0, -0.25], [9.0, 0.5])


def test_two_peaks_are_told_from_one_and_from_three() -> None:
    peak = 0.2 * torch.randn(3, 1000).double()
    assert has_two_peaks(torch.cat([peak[0] - 3, peak[1] + 3]))
    assert not has_two_peaks(torch.randn(2000).double())
    assert not has_two_peaks(torch.cat([peak[0] - 3, peak[1], peak[2] + 3]))
    assert not has_two_peaks(torch.cat([peak[0], peak[1] + 0.3]))
    assert not has_two_peaks(torch.zeros(100).double())


def test_keys_with_two_peaks_are_folded_to_one_side_and_lose_less() -> None:
    seen = attention_seen(0.1)
    offsets = torch.where(torch.randn(2, 6) < 0, -5.0, 5.0).double()
    seen.samples = [
        AttentionSample(each.q_hrd, 0.5 * each.k_hmd + offsets[:, None], each.v_hmd, None)
        for each in seen.samples
    ]
    calibrator = Ptq4Sam(W4A4)
    signs = calibrator.signs(seen)
    assert signs is not None
    assert torch.equal(signs, offsets.sign())
    before = attention_error(seen, {"key": calibrator.attention(seen)["key"]})
    wanted = seen.wanted
    seen.change_signs(signs)
    for mine, theirs in zip(wanted, (each.output({}) for each in seen.samples), strict=True):
        torch.testing.assert_close(theirs, mine, rtol=1e-12, atol=1e-12)
    assert (seen.all_of("key") > 0).all()
    assert attention_error(seen, {"key": calibrator.attention(seen)["key"]}) < before / 2
    assert Ptq4Sam(W4A4).signs(attention_seen()) is None


def test_logarithmic_steps_after_a_softmax_lose_less_than_equal_ones() -> None:
    seen = attention_seen(0.5, keys=400)
    log2 = Ptq4Sam(W4A4).attention(seen)["weights"]
    equal = Calibrator(W4A4).attention(seen)["weights"]
    assert attention_error(seen, {"weights": log2}) < attention_error(seen, {"weights": equal})
    assert taus(4) == taus(8) == [1, 2, 4]
    assert taus(16)[-1] == 1024


def test_the_section_search_finds_the_lowest_place() -> None:
    assert lowest_place(lambda x: (x - 0.3) ** 2, -1, 2) == pytest.approx(0.3, abs=0.05)


def test_q_tiny_sam_takes_the_quantisers_of_its_paper() -> None:
    calibrator = QTinySam(W4A4)
    gelu = layer_seen(nn.functional.gelu(torch.randn(64, 16)).double())
    assert isinstance(calibrator.layer(gelu)["input"], SplitSign)
    assert isinstance(calibrator.layer(layer_seen(torch.randn(64, 16).double()))["input"], Uniform)
    chosen = calibrator.attention(attention_seen())
    assert isinstance(chosen["weights"], TwoRanges)
    assert 0 < chosen["weights"].cut <= 2


def test_q_tiny_sam_spends_its_steps_where_outputs_matter() -> None:
    x = torch.randn(64, 16).double()
    x[:, 8:] *= 20
    results = {}
    for matters in (False, True):
        seen = layer_seen(x)
        # Output 0 reads small inputs alone, the others large ones.
        assert isinstance(seen.layer, nn.Linear)
        seen.layer.weight[0, 8:] = 0
        seen.layer.weight[1:, :8] = 0
        importance = torch.ones(64, 24).double()
        importance[:, 0] = 1e6 if matters else 1
        seen.importances = [importance]
        operands = QTinySam(Bits(8, 4)).layer(seen)
        out = seen.output(operands["input"](x), operands["weight"](seen.weight), seen.bias)
        results[matters] = float((out - seen.wanted)[:, 0].square().mean())
    assert results[True] < results[False] / 4


def test_groups_are_of_alike_ranges() -> None:
    spans = torch.tensor([1.0, 100, 1.1, 105, 0.9, 10, 98])
    groups = grouped(torch.stack([-spans, spans]), 3)
    assert [groups[i] == groups[0] for i in (2, 4)] == [True, True]
    assert [groups[i] == groups[1] for i in (3, 6)] == [True, True]
    assert len(groups.unique()) == 3
    assert len(grouped(torch.ones(2, 4), 3).unique()) == 1


def test_ranges_of_outliers_are_truncated_and_no_others() -> None:
    x = torch.randn(400, 12)
    x[:, 3] *= 100
    low, high = truncated_ranges(x)
    others = torch.arange(12) != 3
    assert torch.equal(low[others], x[:, others].amin(dim=0))
    assert torch.equal(high[others], x[:, others].amax(dim=0))
    assert high[3] < x[:, 3].max()
    assert low[3] > x[:, 3].min()


def test_channels_a_hundred_times_as_large_spoil_no_others() -> None:
    x = torch.randn(256, 32).double()
    x[:, [3, 17]] += 100
    seen = layer_seen(x)
    grouping = PqSam(Bits(16, 4)).layer(seen)
    assert isinstance(grouping["input"], Grouped)
    assert changed(seen, grouping) <= changed(seen, Calibrator(Bits(16, 4)).layer(seen)) / 10
