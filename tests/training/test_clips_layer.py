"""Layers are drawn where their placement says, bent as their bends say."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from vidseg.training.data.layer import Layer

SIZE = 64
VIEW = np.eye(3)


def picture(height: int = 40, width: int = 48) -> np.ndarray:
    """Smooth colours and a soft disc as alpha."""
    y, x = np.mgrid[0:height, 0:width]
    alpha = np.clip(12 - np.hypot(x - width / 2, y - height / 2), 0, 1) * 255
    return np.dstack([x * 4, y * 4, x + y, alpha]).astype(np.uint8)


def on_black(layer: Layer, t: int = 0) -> np.ndarray:
    canvas = np.zeros((SIZE, SIZE, 4), np.uint8)
    drawn = layer.draw(VIEW, t, SIZE)
    assert drawn is not None
    where, rgba = drawn
    canvas[where] = rgba
    return canvas


def test_identity_draws_the_picture_itself() -> None:
    image = picture(SIZE, SIZE)
    assert np.array_equal(on_black(Layer([image], VIEW[None], covers=True)), image)


@pytest.mark.parametrize(
    "placement",
    [
        [[1, 0, 7], [0, 1, 11], [0, 0, 1]],
        [[1, 0, -15], [0, 1, -9], [0, 0, 1]],
        [[0.9, -0.3, 15], [0.3, 0.8, 5], [0, 0, 1]],
        [[1, 0.1, 5], [0, 1, 5], [0.002, 0.001, 1]],
    ],
)
def test_placements_agree_with_a_plain_perspective_warp(placement: list[list[float]]) -> None:
    matrix = np.array(placement, np.float64)
    image = picture()
    expected = cv2.warpPerspective(image, matrix, (SIZE, SIZE))
    drawn = on_black(Layer([image], matrix[None]))
    inside = cv2.erode((expected[..., 3] > 250).astype(np.uint8), np.ones((3, 3))) > 0
    assert inside.sum() > 100
    assert np.abs(drawn[inside].astype(int) - expected[inside]).max() <= 3
    assert np.count_nonzero((drawn[..., 3] > 127) != (expected[..., 3] > 127)) <= 6


def test_bends_displace_what_is_drawn() -> None:
    shift = np.zeros((1, 5, 5, 2), np.float32)
    shift[..., 0] = 3  # pictures are read 3 px further right, so they appear 3 px further left
    image = picture()
    straight = on_black(Layer([image], VIEW[None]))
    bent = on_black(Layer([image], VIEW[None], bends=shift))
    assert np.array_equal(bent[:, : SIZE - 20, 3], np.roll(straight, -3, axis=1)[:, : SIZE - 20, 3])


def test_a_turned_surface_keeps_its_outline() -> None:
    image = picture()
    straight = on_black(Layer([image], VIEW[None]))
    turned = on_black(Layer([image], VIEW[None], slides=np.array([0.5], np.float32)))
    assert np.array_equal(straight[..., 3], turned[..., 3])
    assert np.abs(straight[20, 24, :3].astype(int) - turned[20, 24, :3]).max() > 20


def test_shrinking_keeps_the_place() -> None:
    image = picture(200, 240)
    matrix = np.diag([0.25, 0.25, 1.0])
    layer = Layer([image], matrix[None])
    layer.shrink(VIEW)
    assert layer.pictures[0].shape[0] < 70
    y, x = np.nonzero(on_black(layer)[..., 3] > 127)
    assert abs(x.mean() - 30) < 0.7
    assert abs(y.mean() - 25) < 0.7


def test_outside_the_view_nothing_is_drawn() -> None:
    away = np.array([[1, 0, 500], [0, 1, 0], [0, 0, 1.0]])
    assert Layer([picture()], away[None]).draw(VIEW, 0, SIZE) is None
