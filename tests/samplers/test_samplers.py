"""Samplers by themselves: laws, settings, wrong calls, and the choice among masks."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from support.planted import decoder
from vidseg.errors import ConfigError, PromptError
from vidseg.masks import box_xywh, boxes_xyxy
from vidseg.samplers import SAMPLERS, CutMask, Found, PointSettings, Sampler, propose, register_sampler
from vidseg.samplers.nms import kept_by_nms
from vidseg.samplers.points import crop_layer, grid_points
from vidseg.samplers.selection import by_box, by_points, by_text
from vidseg.trackers import choices

SIZE_HW = (90, 120)


def planted() -> npt.NDArray[np.int64]:
    """Three objects on a ground; the third has a hole and an island of four pixels each."""
    labels = np.zeros(SIZE_HW, int)
    labels[5:35, 8:40] = 1
    labels[40:85, 10:50] = 2
    labels[20:60, 70:110] = 3
    labels[30:32, 80:82] = 0
    labels[70:72, 100:102] = 3
    return labels


def run(name: str, labels: npt.NDArray[np.int64] | None = None, **settings: Any) -> tuple[list[Found], int]:
    labels = planted() if labels is None else labels
    return propose(name, decoder(labels, 1024), labels.shape, **settings)


@pytest.mark.parametrize("name", ["grid", "two-round"])
def test_every_object_is_found(name: str) -> None:
    found, _ = run(name, points_per_side=16)
    whole = [planted() == label for label in (1, 2, 3)]
    assert all(any(np.array_equal(one.mask, mask) for one in found) for mask in whole)


@pytest.mark.parametrize("name", ["grid", "two-round"])
def test_small_chunks_change_nothing(name: str) -> None:
    one, count = run(name, points_per_side=16)
    # 1 MiB holds less than one answer, so points and masks go one at a time.
    other, other_count = run(name, points_per_side=16, points_per_batch=1, memory_mb=1)
    assert count == other_count
    assert [found_facts(found) for found in one] == [found_facts(found) for found in other]


def found_facts(found: Found) -> tuple[Any, ...]:
    return found.box_xywh.tolist(), found.point_xy, found.predicted_iou, found.stability, found.mask.sum()


def test_a_chunk_keeps_to_its_memory() -> None:
    sizes: list[int] = []
    decode = decoder(planted(), 1024)

    def counting(points: npt.NDArray[Any]) -> Any:
        logits, ious = decode(points)
        sizes.append(logits.nbytes)
        return logits, ious

    propose("grid", counting, SIZE_HW, points_per_side=16, memory_mb=2)
    assert len(sizes) > 1
    assert max(sizes) <= 2 * 2**20


def test_two_round_asks_less_than_the_grid() -> None:
    _, dense = run("grid", points_per_side=16)
    _, sparse = run("two-round", points_per_side=16)
    assert dense == 256
    assert 16 < sparse < dense


def test_tiles_without_a_good_mask_are_left_out() -> None:
    # The rule's masks of background predict an IoU of 0.89 at most, those of objects 0.94.
    settings = {"points_per_side": 16, "pred_iou_thresh": 0.92}
    asked: list[npt.NDArray[Any]] = []
    decode = decoder(planted(), 1024)
    coarse, stride = grid_points(4, SIZE_HW), np.array([120 // 16, 90 // 16])

    def tiles(**others: Any) -> set[tuple[float, float]]:
        """The coarse points around which the second round asks."""

        def listening(points: npt.NDArray[Any]) -> Any:
            asked.append(points)
            return decode(points)

        asked.clear()
        found, _ = propose("two-round", listening, SIZE_HW, **settings, **others)
        points = np.array([one.point_xy for one in found]).astype(int)
        assert set(planted()[points[:, 1], points[:, 0]].tolist()) == {1, 2, 3}
        offsets = np.concatenate(asked[1:])[:, None] - coarse
        inside = ((offsets >= -stride) & (offsets <= 2 * stride)).all(2)
        return {(x, y) for x, y in coarse[inside.argmax(1)].tolist()}

    on_objects = {(x, y) for x, y in coarse.tolist() if planted()[int(y), int(x)]}
    assert len(tiles()) > len(on_objects)
    assert tiles(tile_iou_thresh=0.92) <= on_objects
    x, y = min({(x, y) for x, y in coarse.tolist()} - on_objects)
    skip = np.zeros(SIZE_HW, bool)
    skip[int(y), int(x)] = True
    assert (x, y) in tiles(tile_iou_thresh=0.92, skip=skip), "nothing is known of what was skipped"


def test_skipped_pixels_are_not_asked() -> None:
    skip = planted() == 1
    found, count = run("grid", points_per_side=16, skip=skip)
    as_bytes = run("grid", points_per_side=16, skip=skip.astype(np.uint8))
    assert [each.point_xy for each in as_bytes[0]] == [each.point_xy for each in found]
    x, y = np.array([one.point_xy for one in found]).astype(int).T
    assert not skip[y, x].any()
    assert count < 256


def test_small_regions_are_removed() -> None:
    found, _ = run("grid", points_per_side=16, min_mask_region_area=10)
    clean = planted() == 3
    clean[30:32, 80:82] = True
    clean[70:72, 100:102] = False
    assert any(np.array_equal(one.mask, clean) for one in found)


def test_masks_of_crops_lie_where_they_belong() -> None:
    labels = np.kron(planted(), np.ones((2, 2), int))

    def of_crop(crop: Any) -> Any:
        return decoder(labels[crop.y0 : crop.y1, crop.x0 : crop.x1], 1024)

    found, count = run("grid", labels, points_per_side=16, crop_n_layers=1, decode_crop=of_crop)
    assert count == 5 * 256
    from_crops = [one for one in found if one.low_res_logits is None]
    # Only the first object lies far enough from every crop's edge, and there the smaller crop wins.
    assert any(np.array_equal(one.mask, labels == 1) for one in from_crops)


def test_boxes_are_answered_largest_first() -> None:
    labels = planted()

    def decode(boxes: npt.NDArray[Any]) -> Any:
        centres = boxes.reshape(-1, 2, 2).mean(1).astype(int)
        masks = np.stack([labels == labels[y, x] for x, y in centres])
        return np.where(masks, 9.0, -9.0)[:, None], np.full((len(boxes), 1), 0.1)

    boxes = [(8, 5, 40, 35), (70, 20, 110, 60), (71, 20, 110, 60), (10, 40, 50, 85), (10, 40, 50, 85)]
    found, count = propose("boxes", decode, SIZE_HW, boxes=boxes, scores=[0.9, 0.8, 0.7, 0.3, 0.5])
    assert count == 3, "one box overlaps a better one, one is not sure enough"
    areas = [one.mask.sum() for one in found]
    assert areas == sorted(((labels == label).sum() for label in (1, 2, 3)), reverse=True)
    assert found[0].point_xy is None


def test_nothing_to_ask_finds_nothing() -> None:
    assert run("boxes", boxes=[]) == ([], 0)
    assert run("grid", skip=np.ones(SIZE_HW, bool)) == ([], 0)


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("gird", {}, "did you mean 'grid'"),
        ("grid", {"points_per_sied": 4}, "unknown key 'points_per_sied'"),
        ("grid", {"points_per_side": 0}, "greater than or equal to 1"),
        ("grid", {"pred_iou_thresh": 1.5}, "less than or equal to 1"),
        ("two-round", {"points_per_side": 3}, "greater than or equal to 4"),
        ("boxes", {}, "was given no boxes"),
        ("boxes", {"boxes": [[0, 0, 1]]}, "no N x 4 numbers"),
        ("boxes", {"boxes": [[0, 0, 9, 9]], "scores": [1, 1]}, "1 boxes with scores"),
        ("boxes", {"boxes": [[np.nan, 0, 9, 9]]}, "a box or a score is not finite"),
        ("boxes", {"boxes": [[0, 0, 9, 9], [9, 0, 3, 9]]}, "box 1 ends before it starts"),
        ("grid", {"skip": np.ones((2, 2), bool)}, "skip of shape"),
        ("grid", {"skip": "x"}, "skip of shape"),
    ],
)
def test_wrong_calls_are_told(name: str, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message.replace("(", r"\(")):
        run(name, **settings)


def test_answers_of_the_wrong_shape_are_told() -> None:
    with pytest.raises(ConfigError, match="decode returned logits"):
        propose("grid", lambda points: (np.zeros((1, 1, 4, 4)), np.zeros((1, 1))), SIZE_HW, points_per_side=4)


def test_a_registered_sampler_has_a_name() -> None:
    def centre(asking: Any, settings: PointSettings) -> Any:
        return asking.points(np.array([(25.0, 60.0)]), settings)

    register_sampler("centre", Sampler(PointSettings, centre))
    try:
        found, count = run("centre", pred_iou_thresh=0.9)
        assert count == 1
        assert np.array_equal(found[0].mask, planted() == 2)
        with pytest.raises(ConfigError, match="is there already"):
            register_sampler("centre", Sampler(PointSettings, centre))
    finally:
        SAMPLERS.unregister("centre")


def test_nms_against_a_plain_loop() -> None:
    random = np.random.default_rng(3)
    corners = random.integers(0, 60, (80, 2, 2)).astype(np.float32)
    boxes = np.concatenate((corners.min(1), corners.max(1)), axis=1)
    scores = random.integers(0, 10, 80).astype(np.float32)  # with ties
    kept: list[int] = []
    for row in sorted(range(80), key=lambda row: (-scores[row], row)):
        if all(iou(boxes[row], boxes[other]) <= 0.3 for other in kept):
            kept.append(row)
    assert kept_by_nms(boxes, scores, 0.3).tolist() == kept


def iou(a: npt.NDArray[np.float32], b: npt.NDArray[np.float32]) -> float:
    shared = np.prod(np.maximum(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0))
    union = np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - shared
    return float(shared / union) if union else 0.0


def test_a_cut_mask_comes_back_whole() -> None:
    for mask in (planted() == 3, np.zeros(SIZE_HW, bool), np.ones(SIZE_HW, bool)):
        cut = CutMask(mask)
        assert np.array_equal(cut.whole(SIZE_HW), mask)
        assert boxes_xyxy(torch.from_numpy(mask[None]))[0].tolist() == list(cut.box_xyxy)


def things() -> list[Found]:
    """A large object, a part of it, and another one."""
    masks = np.zeros((3, 20, 20), bool)
    masks[0, 2:12, 2:12] = True
    masks[1, 4:7, 4:7] = True
    masks[2, 14:19, 14:19] = True
    return [found_of(mask) for mask in masks]


def found_of(mask: npt.NDArray[np.bool_]) -> Found:
    return Found(mask, box_xywh(mask), 0.9, 1.0, None, None)


def test_a_box_chooses_by_iou() -> None:
    large, part, other = things()
    assert by_box(things(), (2, 2, 12, 12)).mask.sum() == large.mask.sum()
    assert by_box(things(), (4, 4, 8, 7)).mask.sum() == part.mask.sum()
    assert by_box(things(), (13, 13, 40, 40)).mask.sum() == other.mask.sum()
    with pytest.raises(PromptError, match="holds no pixel"):
        by_box(things(), (30, 30, 40, 40))


def test_points_add_and_take_away() -> None:
    large, part, other = (thing.mask for thing in things())
    assert np.array_equal(by_points(things(), [(5, 5)]), large)
    assert np.array_equal(by_points(things(), [(5, 5), (3, 3), (15, 15)], [0, 1, 1]), large & ~part | other)
    assert not by_points(things(), [(0, 0)]).any()
    with pytest.raises(PromptError, match="outside of the picture"):
        by_points(things(), [(20, 3)])
    with pytest.raises(PromptError, match="no mask to choose"):
        by_points([], [(1, 1)])


def test_a_text_chooses_by_the_scorer() -> None:
    image = np.zeros((20, 20, 3), np.uint8)
    image[2:12, 2:12] = (250, 0, 0)
    image[14:19, 14:19] = (0, 250, 0)
    image = np.kron(image, np.ones((5, 5, 1), np.uint8))
    large = [found_of(np.kron(thing.mask, np.ones((5, 5), bool))) for thing in things()]
    seen: list[str] = []

    def greenness(pictures: Any, text: str) -> list[float]:
        seen.append(text)
        return [float(picture[..., 1].mean() - picture[..., 0].mean()) for picture in pictures]

    chosen, _ = by_text(large, image, "a green thing", greenness)
    assert np.array_equal(chosen.mask, large[2].mask)
    assert seen == ["a green thing"]


def test_help_names_every_sampler() -> None:
    assert set(choices.SAMPLERS) == set(SAMPLERS.known)


@pytest.mark.parametrize("size_hw", [(1, 1), (1, 20), (2, 3), (5, 4)])
@pytest.mark.parametrize("layer", [1, 2, 3])
def test_no_crop_of_a_small_picture_is_empty(size_hw: tuple[int, int], layer: int) -> None:
    crops = crop_layer(size_hw, layer, 512 / 1500)
    assert min(min(crop.size_hw) for crop in crops) > 0
    covered = np.zeros(size_hw, bool)
    for crop in crops:
        covered[crop.y0 : crop.y1, crop.x0 : crop.x1] = True
    assert covered.all()
