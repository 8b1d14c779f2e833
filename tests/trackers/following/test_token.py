"""Tokens: planted ones are found, and padding does not count."""

from __future__ import annotations

import pytest
import torch

from vidseg.trackers.following.token import calibrated, fit_tokens, fit_tokens_exactly, token_maps

INSIDE = torch.ones(16, 24, dtype=torch.bool)


def planted(channels: int = 12) -> tuple[torch.Tensor, torch.Tensor]:
    """Features whose channels differ by orders of magnitude, and two tokens of comparable effect."""
    generator = torch.Generator().manual_seed(3)
    scales = torch.logspace(-2, 2, channels)
    features = torch.randn(channels, *INSIDE.shape, generator=generator) * scales[:, None, None]
    tokens = torch.randn(2, channels + 1, generator=generator)
    tokens[:, :-1] /= scales
    return features, tokens


def test_planted_tokens_are_found() -> None:
    features, tokens = planted()
    found = fit_tokens(features, token_maps(features, tokens), ridge=1e-6, inside_hw=INSIDE)
    assert torch.allclose(found, tokens, rtol=1e-3, atol=1e-3)


def test_a_planted_token_without_a_constant_is_found_as_nanosam_finds_it() -> None:
    features, tokens = planted()
    tokens[:, -1] = 0
    found = fit_tokens_exactly(features, token_maps(features, tokens))
    assert torch.allclose(found, tokens, rtol=1e-3, atol=1e-3)


def test_features_that_depend_on_each_other_are_fitted_too() -> None:
    features, tokens = planted()
    tokens[:, -1] = 0
    targets = token_maps(features, tokens)
    twice = torch.cat((features, features, torch.zeros(1, *INSIDE.shape)))
    for found in (
        fit_tokens(twice, targets, ridge=1e-6, inside_hw=INSIDE),
        fit_tokens_exactly(twice, targets),
    ):
        assert torch.allclose(token_maps(twice, found), targets, atol=1e-2)


def test_calibrated_maps_are_1_on_objects_and_minus_1_elsewhere() -> None:
    features, _ = planted()
    targets = features[:2] + 0.3 * torch.randn(2, *INSIDE.shape, generator=torch.Generator().manual_seed(1))
    targets[1] = -1.0  # an object without pixels
    tokens = fit_tokens(features[:4], targets, ridge=1.0, inside_hw=INSIDE)
    found = calibrated(tokens, features[:4], targets, INSIDE)
    maps = token_maps(features[:4], found)
    assert maps[0][targets[0] > 0].mean() == pytest.approx(1, abs=1e-4)
    assert maps[0][targets[0] <= 0].mean() == pytest.approx(-1, abs=1e-4)
    assert torch.equal(found[1], tokens[1])


def test_padding_does_not_count() -> None:
    features, tokens = planted()
    targets = token_maps(features, tokens)
    inside = INSIDE.clone()
    inside[10:] = False
    features[:, ~inside] = 1e3
    found = fit_tokens(features, targets, ridge=1e-6, inside_hw=inside)
    assert torch.allclose(found, tokens, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("ridge", [1e-2, 1.0])
def test_a_ridge_makes_tokens_smaller(ridge: float) -> None:
    features, tokens = planted()
    found = fit_tokens(features, token_maps(features, tokens), ridge=ridge, inside_hw=INSIDE)
    assert (found[:, :-1].norm(dim=1) < tokens[:, :-1].norm(dim=1)).all()
