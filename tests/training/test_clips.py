"""Made clips: the same from a seed everywhere, their object in sight at first, from allowed sources."""

from __future__ import annotations

import multiprocessing
import pickle
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest

from vidseg.errors import ConfigError, RunError
from vidseg.training.data import Clip, ClipDataset, ClipMaker, ClipSettings, contact_sheet, draws
from vidseg.training.data.company import Company
from vidseg.training.data.look import Look
from vidseg.training.data.motion import random_pose
from vidseg.training.data.objects import ObjectMaker
from vidseg.training.data.settings import ClipMix, StillFolder
from vidseg.training.data.sources import StillSource, VideoSource, VosSource

SIZE = 96


def make_stills(folder: Path, names: list[str]) -> Path:
    """Pictures with one bright disc (object 1) on a dark ground."""
    (folder / "images").mkdir(parents=True)
    (folder / "masks").mkdir()
    for name in names:
        labels = np.zeros((120, 160), np.uint8)
        cv2.circle(labels, (80, 60), 30, 1, -1)
        picture = np.where(labels[..., None] == 1, np.uint8([190, 190, 230]), np.uint8([30, 60, 30]))
        cv2.imwrite(str(folder / "images" / f"{name}.jpg"), picture)
        cv2.imwrite(str(folder / "masks" / f"{name}.png"), labels)
    return folder


def make_vos(folder: Path, num_frames: int = 6) -> Path:
    """One sequence in DAVIS layout: a bright disc (object 3) on a dark ground, moving right 4 px a frame."""
    images, masks = (
        folder / "JPEGImages" / "480p" / "disc",
        folder / "Annotations" / "480p" / "disc",
    )
    images.mkdir(parents=True)
    masks.mkdir(parents=True)
    for t in range(num_frames):
        labels = np.zeros((120, 200), np.uint8)
        cv2.circle(labels, (70 + 4 * t, 60), 25, 3, -1)
        picture = np.where(labels[..., None] == 3, np.uint8([190, 190, 230]), np.uint8([30, 60, 30]))
        cv2.imwrite(str(images / f"{t:05d}.jpg"), picture)
        cv2.imwrite(str(masks / f"{t:05d}.png"), labels)
    return folder


def plain(**sources: object) -> ClipSettings:
    """Settings without anything that changes colours or stands in the way."""
    return ClipSettings(
        size=SIZE,
        max_distractors=0,
        occluder=0,
        vanish=0,
        light=0,
        motion_blur=0,
        defocus=0,
        noise=0,
        compression=0,
        **sources,  # type: ignore[arg-type]
    )


def assert_masks_are_bright(clip: Clip) -> None:
    """Inside the mask it is brighter than outside, on every frame: image and mask move together."""
    brightness = clip.images.mean(axis=-1)
    for t, mask in enumerate(clip.masks):
        inner = cv2.erode(mask.astype(np.uint8), np.ones((5, 5))) > 0
        outer = cv2.dilate(mask.astype(np.uint8), np.ones((5, 5))) == 0
        if inner.any() and outer.any():
            assert (brightness[t][inner] > brightness[t][outer].mean()).mean() > 0.98


def digest(maker: ClipMaker, seed: int) -> bytes:
    clip = maker.make(seed)
    return clip.images.tobytes() + clip.masks.tobytes()


def all_sources(tmp_path: Path) -> ClipSettings:
    stills = make_stills(tmp_path / "stills", ["a", "b"])
    vos = make_vos(tmp_path / "vos")
    return ClipSettings(
        size=SIZE,
        stills=[StillFolder(folder=str(stills))],
        videos=[str(vos / "JPEGImages" / "480p" / "disc")],
        vos=[str(vos)],
    )


def test_clips_without_sources_show_the_object_at_first() -> None:
    maker = ClipMaker(ClipSettings(size=SIZE, num_frames=5))
    for seed in range(15):
        clip = maker.make(seed)
        assert clip.images.shape == (5, SIZE, SIZE, 3)
        assert clip.images.dtype == np.uint8
        assert clip.masks.shape == (5, SIZE, SIZE)
        assert clip.masks.dtype == np.bool_
        assert clip.masks[0].sum() >= 60
        assert clip.images[0].std() > 1
        assert not np.array_equal(clip.images[0], clip.images[1])


def test_same_seed_same_bytes_in_any_process_and_order(tmp_path: Path) -> None:
    settings = all_sources(tmp_path)
    maker = ClipMaker(settings)
    maker.preload()
    here = [digest(maker, seed) for seed in range(6)]
    assert len(set(here)) == 6
    with multiprocessing.get_context("fork").Pool(1) as pool:
        # Pickled for the journey, so that nothing of this process's cache comes along.
        there = pool.starmap(digest, [(maker, seed) for seed in reversed(range(6))])
    assert there[::-1] == here


def test_pickle_carries_settings_alone(tmp_path: Path) -> None:
    maker = ClipMaker(all_sources(tmp_path))
    maker.preload()
    data = pickle.dumps(maker)
    assert len(data) < 5000
    assert digest(pickle.loads(data), 3) == digest(maker, 3)


@pytest.mark.parametrize("kind", ["in_place", "whole", "vos"])
def test_masks_follow_the_pixels_of_their_object(tmp_path: Path, kind: str) -> None:
    mix = dict.fromkeys(["composed", "in_place", "whole", "vos"], 0.0) | {kind: 1.0}
    stills = make_stills(tmp_path / "stills", ["a"])
    settings = plain(
        stills=[StillFolder(folder=str(stills))],
        vos=[str(make_vos(tmp_path / "vos"))],
        mix=ClipMix(**mix),
    )
    maker = ClipMaker(settings)
    for seed in range(8):
        clip = maker.make(seed)
        assert_masks_are_bright(clip)
        assert not np.array_equal(clip.masks[0], clip.masks[-1])


def test_objects_vanish_and_some_return() -> None:
    maker = ClipMaker(ClipSettings(size=SIZE, num_frames=8, vanish=1, max_distractors=0, occluder=0))
    seen = np.stack([maker.make(seed).masks.any(axis=(1, 2)) for seed in range(16)])
    gone = ~seen.all(axis=1)
    returns = [bool(row[np.argmin(row) :].any()) for row in seen[gone]]
    assert gone.sum() >= 6
    assert sum(returns) >= 2


def test_twins_cross_the_object() -> None:
    """With a twin that crosses, more of the object is hidden."""

    def hidden(crossing: float) -> float:
        settings = plain(num_frames=8, crossing=crossing, hinge=0, bend=0, turn=0)
        maker = ClipMaker(settings)
        clips = [maker.make(seed) for seed in range(30)]
        return float(np.mean([1 - min(m.sum() for m in clip.masks) / clip.masks[0].sum() for clip in clips]))

    assert hidden(1.0) > hidden(0.0) + 0.1


@pytest.mark.parametrize("seed", range(20))
def test_what_carries_an_object_comes_goes_along_and_leaves(seed: int) -> None:
    rng = np.random.default_rng(seed)
    settings = plain(num_frames=12)
    company = Company(settings, ObjectMaker(settings, StillSource([], 0), VideoSource([], 1)))
    pose = random_pose(rng, 12, 0.03, np.array([0.8, 0.5]))
    apart = np.abs(np.arange(12.0) - 6) - 3
    pose.rest(apart > 0)
    assert (np.diff(pose.xy, axis=0).any(axis=1) == (apart[1:] <= 0)).all()
    layer = company.carrier(rng, 1.6, 0.05, pose, np.maximum(apart, 0))
    height, width = layer.pictures[0].shape[:2]
    middle = layer.placements @ np.array([width / 2, height / 2, 1])
    offset = middle[:, :2] / middle[:, 2:] - pose.xy
    distance = np.linalg.norm(offset, axis=1)
    assert np.linalg.norm(np.diff(offset[apart <= 0], axis=0), axis=1).max() < 0.1
    assert min(distance[0], distance[-1]) > distance[apart <= 0].mean()


def test_objects_of_real_sequences_are_covered_at_times(tmp_path: Path) -> None:
    """Its disc never leaves: where it is not seen, something was laid over all of it."""
    mix = ClipMix(composed=0, in_place=0, whole=0, vos=1)
    sources = {"vos": [str(make_vos(tmp_path, num_frames=12))], "mix": mix}
    settings = ClipSettings(size=SIZE, num_frames=8, vanish=1, max_distractors=0, occluder=0, **sources)
    seen = np.stack([ClipMaker(settings).make(seed).masks.any(axis=(1, 2)) for seed in range(24)])
    gone = ~seen.all(axis=1)
    assert 4 <= gone.sum() <= 16
    assert any(row[np.argmin(row) :].any() for row in seen[gone])


@pytest.mark.parametrize("seed", range(20))
def test_a_close_up_holds_the_whole_way_of_its_object(seed: int) -> None:
    """An object moves from one place to another: both are seen, at least as large as in the picture."""
    rng = np.random.default_rng(seed)
    pictures = [np.zeros((90, 160, 4), np.uint8) for _ in range(2)]
    corners = rng.integers((0, 0), (70, 140), (2, 2))
    for picture, (y, x) in zip(pictures, corners, strict=True):
        picture[y : y + 20, x : x + 20, 3] = 255
    view = draws.close_up(rng, 160 / 90, pictures, SIZE)
    (y0, x0), (y1, x1) = corners.min(axis=0), corners.max(axis=0) + 20
    places = view[:2, :2] @ (np.array([[x0, x1], [y0, y1]]) / 90) + view[:2, 2:]
    assert (places > -1e-6).all()
    assert (places < SIZE + 1e-6).all()
    assert view[1, 1] >= SIZE  # pixels of the model's input for the picture's height
    assert np.isclose(view[1, 1] * 90 / 160, view[0, 0])  # the picture's own shape, squashed to a square


@pytest.mark.parametrize("kind", ["composed", "in_place", "whole", "vos"])
def test_a_closer_look_shows_the_object_and_little_around_it(tmp_path: Path, kind: str) -> None:
    mix = ClipMix(**dict.fromkeys(["composed", "in_place", "whole", "vos"], 0.0) | {kind: 1.0})
    stills = [StillFolder(folder=str(make_stills(tmp_path / "stills", ["a"])))]
    sources = {"stills": stills, "vos": [str(make_vos(tmp_path / "vos"))], "mix": mix}
    maker = ClipMaker(plain(num_frames=1, closer_look=1, **sources))
    for seed in range(8):
        clip = maker.make(seed)
        rows, columns = (np.flatnonzero(clip.masks[0].any(axis=axis)) for axis in (1, 0))
        # Margins of 0.45 on both sides leave the object half of the window's side, a little less by blur.
        assert min(np.ptp(rows), np.ptp(columns)) > 0.45 * SIZE
        if kind == "vos":
            assert_masks_are_bright(clip)


def test_real_sequences_are_seen_in_close_ups_if_asked(tmp_path: Path) -> None:
    mix = ClipMix(composed=0, in_place=0, whole=0, vos=1)
    vos = [str(make_vos(tmp_path))]
    clips = [ClipMaker(plain(vos=vos, mix=mix, close_up=share)).make(3) for share in (0.0, 1.0)]
    assert not np.array_equal(clips[0].masks, clips[1].masks)
    for clip in clips:
        assert_masks_are_bright(clip)


@pytest.mark.parametrize("seed", range(20))
def test_light_stays_within_reason_however_long_the_clip(seed: int) -> None:
    look = Look(np.random.default_rng(seed), ClipSettings(size=64, num_frames=64, light=1, noise=0))
    grey = np.full((64, 64, 3), 100, np.uint8)
    means = [look.apply(grey, t).mean() for t in range(64)]
    assert 25 < min(means) <= max(means) < 240


def test_after_a_gap_the_first_frame_is_old() -> None:
    maker = ClipMaker(ClipSettings(size=SIZE, num_frames=4, gap=1, vanish=0))
    clips = [maker.make(seed) for seed in range(20)]
    assert {clip.images.shape[0] for clip in clips} == {4}
    changes = np.array([[(a ^ b).sum() for a, b in pairwise(clip.masks)] for clip in clips])
    first, *others = np.median(changes, axis=0)
    assert first > 1.5 * max(others)


def test_what_is_for_research_only_is_left_out(tmp_path: Path) -> None:
    folder = str(make_stills(tmp_path, ["camvid_1", "coco_1", "coco_2", "mine"]))
    assert StillSource([StillFolder(folder=folder)], 10).names == ["coco_1", "coco_2", "mine"]
    assert StillSource([StillFolder(folder=folder, prefix="coco_")], 10).names == ["coco_1", "coco_2"]
    assert len(StillSource([StillFolder(folder=folder, research_only=True)], 10)) == 4
    with pytest.raises(ConfigError, match="no still"):
        StillSource([StillFolder(folder=folder, prefix="camvid_")], 10)


def test_stills_beyond_the_cache_are_read_again(tmp_path: Path) -> None:
    folder = StillFolder(folder=str(make_stills(tmp_path, ["a", "b"])))
    cached, uncached = (ClipMaker(plain(stills=[folder], still_cache_mb=mb)) for mb in (10, 0))
    assert digest(cached, 1) == digest(uncached, 1)


def test_unusable_sources_say_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="variable that is not set"):
        ClipMaker(ClipSettings(videos=["${VIDSEG_NO_SUCH_VARIABLE}/clips"]))
    with pytest.raises(ConfigError, match="is not there"):
        ClipMaker(ClipSettings(vos=[str(tmp_path / "missing")]))
    with pytest.raises(ConfigError, match="no sequence"):
        ClipMaker(ClipSettings(vos=[str(tmp_path)]))
    with pytest.raises(ConfigError, match="no video"):
        ClipMaker(ClipSettings(videos=[str(tmp_path)]))


def test_sequences_without_objects_say_so(tmp_path: Path) -> None:
    make_vos(tmp_path)
    for mask in tmp_path.glob("Annotations/480p/disc/*.png"):
        cv2.imwrite(str(mask), np.zeros((120, 200), np.uint8))
    mix = ClipMix(composed=0, in_place=0, whole=0, vos=1)
    with pytest.raises(RunError, match="no clip with a visible object"):
        ClipMaker(ClipSettings(size=SIZE, vos=[str(tmp_path)], mix=mix)).make(0)


def masks_of(kind: str, folder: Path) -> tuple[ClipSettings, list[Path]]:
    """Settings that use one kind of own data alone, and the files of its masks."""
    if kind == "vos":
        make_vos(folder)
        mix = ClipMix(composed=0, in_place=0, whole=0, vos=1)
        return plain(vos=[str(folder)], mix=mix), sorted(folder.glob("Annotations/480p/disc/*.png"))
    make_stills(folder, ["a"])
    mix = ClipMix(composed=0, in_place=0, whole=1)
    return plain(stills=[StillFolder(folder=str(folder))], mix=mix), [folder / "masks" / "a.png"]


@pytest.mark.parametrize("kind", ["stills", "vos"])
def test_white_on_black_is_an_object(tmp_path: Path, kind: str) -> None:
    settings, masks = masks_of(kind, tmp_path)
    for mask in masks:
        cv2.imwrite(str(mask), np.where(cv2.imread(str(mask), cv2.IMREAD_UNCHANGED) > 0, np.uint8(255), 0))
    for seed in range(3):
        assert_masks_are_bright(ClipMaker(settings).make(seed))


def test_void_alone_is_no_object_where_other_frames_have_objects(tmp_path: Path) -> None:
    make_vos(tmp_path)
    first = tmp_path / "Annotations" / "480p" / "disc" / "00000.png"
    cv2.imwrite(str(first), np.full((120, 200), 255, np.uint8))
    source = VosSource([str(tmp_path)])
    assert [int(source.get(0, t)[1].max()) for t in (0, 1)] == [0, 3]


@pytest.mark.parametrize("kind", ["stills", "vos"])
def test_a_soft_mask_is_refused(tmp_path: Path, kind: str) -> None:
    settings, masks = masks_of(kind, tmp_path)
    for mask in masks:
        hard = np.where(cv2.imread(str(mask), cv2.IMREAD_UNCHANGED) > 0, np.uint8(255), 0)
        cv2.imwrite(str(mask), cv2.GaussianBlur(hard, (0, 0), 2))
    with pytest.raises(ConfigError, match="soft mask"):
        ClipMaker(settings).make(0)


@pytest.mark.parametrize("kind", ["stills", "vos"])
def test_a_mask_that_does_not_fit_its_picture_is_told_before_training(tmp_path: Path, kind: str) -> None:
    settings, masks = masks_of(kind, tmp_path)
    for mask in masks:  # as where a camera turned the picture, and nobody turned the mask
        cv2.imwrite(str(mask), cv2.imread(str(mask), cv2.IMREAD_UNCHANGED).T.copy())
    with pytest.raises(ConfigError, match="pixels large"):
        ClipMaker(settings)


@pytest.mark.parametrize("kind", ["stills", "vos"])
def test_a_mask_of_colours_or_deep_values_is_told_before_training(tmp_path: Path, kind: str) -> None:
    settings, masks = masks_of(kind, tmp_path)
    labels = cv2.imread(str(masks[0]), cv2.IMREAD_UNCHANGED)
    for other in (np.dstack([labels] * 3), labels.astype(np.uint16)):
        cv2.imwrite(str(masks[0]), other)
        with pytest.raises(ConfigError, match="not a label map"):
            StillSource(settings.stills, 0) if settings.stills else VosSource(settings.vos)


def test_a_picture_without_content_is_told_before_training(tmp_path: Path) -> None:
    make_stills(tmp_path, ["a", "b"])
    (tmp_path / "images" / "b.jpg").write_bytes(b"")
    with pytest.raises(ConfigError, match="cannot be read") as told:
        StillSource([StillFolder(folder=str(tmp_path))], 0)
    assert "b.jpg" in str(told.value)


def test_masks_of_sequences_may_be_smaller_but_frames_are_of_one_size(tmp_path: Path) -> None:
    make_vos(tmp_path)
    mask = tmp_path / "Annotations" / "480p" / "disc" / "00000.png"
    whole = cv2.imread(str(mask), cv2.IMREAD_UNCHANGED)
    cv2.imwrite(str(mask), whole[::2, ::2])
    labels = VosSource([str(tmp_path)]).get(0, 0)[1]
    assert labels.shape == whole.shape
    assert (labels == whole).mean() > 0.99
    odd = tmp_path / "JPEGImages" / "480p" / "disc" / "00001.jpg"
    cv2.imwrite(str(odd), np.zeros((240, 400, 3), np.uint8))
    with pytest.raises(ConfigError, match="the first one"):
        VosSource([str(tmp_path)]).get(0, 1)


def test_frames_come_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    make_vos(tmp_path, num_frames=12)
    for file in tmp_path.glob("*/480p/disc/*"):
        file.rename(file.with_name(f"{int(file.stem)}{file.suffix}"))
    source = VosSource([str(tmp_path)])
    left = [int(np.flatnonzero(source.get(0, t)[1].any(0))[0]) for t in range(12)]
    assert left == [45 + 4 * t for t in range(12)]


def test_what_is_used_and_left_out_is_said(tmp_path: Path) -> None:
    make_stills(tmp_path, ["a", "b", "camvid_1"])
    (tmp_path / "masks" / "b.png").unlink()
    (tmp_path / "images" / "._a.jpg").write_bytes(b"what macOS leaves")
    make_vos(tmp_path)
    (tmp_path / "JPEGImages" / "480p" / "bare").mkdir()
    maker = ClipMaker(ClipSettings(stills=[StillFolder(folder=str(tmp_path))], vos=[str(tmp_path)]))
    assert maker.said == [
        f"{tmp_path}: 1 still; left out: 1 for research only; left out: 1 without a mask",
        f"{tmp_path}: 1 sequence of 6 frames; left out: 1 without frames that have masks",
    ]


def test_pictures_of_twelve_bits_are_as_bright_as_others(tmp_path: Path) -> None:
    make_stills(tmp_path, ["a"])
    picture = cv2.imread(str(tmp_path / "images" / "a.jpg"))
    (tmp_path / "images" / "a.jpg").unlink()
    deep = StillFolder(folder=str(tmp_path))
    cv2.imwrite(str(tmp_path / "images" / "a.png"), picture.astype(np.uint16) * 16 + 15)
    read = StillSource([deep], 0).get(0).image
    assert np.abs(read[..., ::-1].astype(int) - picture).max() <= 1


def test_dataset_items_are_numbered_clips() -> None:
    maker = ClipMaker(ClipSettings(size=SIZE, num_frames=2))
    data = ClipDataset(maker, 3, base_seed=7)
    images, masks = data[2]
    assert images.shape == (2, 3, SIZE, SIZE)
    assert masks.shape == (2, SIZE, SIZE)
    again, _ = ClipDataset(maker, 10, base_seed=7)[2]
    assert np.array_equal(images, again)
    assert not np.array_equal(images, data[1][0])
    assert not np.array_equal(images, ClipDataset(maker, 3, base_seed=8)[2][0])
    assert len(list(iter(data))) == 3


def test_contact_sheet_outlines_the_object() -> None:
    images = np.zeros((2, 40, 40, 3), np.uint8)
    masks = np.zeros((2, 40, 40), bool)
    masks[0, 10:30, 10:30] = True
    sheet = contact_sheet([Clip(images, masks)] * 3, columns=2)
    assert sheet.shape == (2 * 44, 2 * 84, 3)
    assert tuple(sheet[10, 10]) == tuple(sheet[0, 40])  # outline on frame 0, border of the empty frame 1
    assert sheet[20, 20].sum() == 0


@pytest.mark.shared
def test_development_data_makes_clips(shared: Path) -> None:
    data = shared / "data"
    settings = ClipSettings(
        stills=[StillFolder(folder=str(data / "stills"), prefix="coco_")],
        videos=[str(data / "train_clips" / "08_driving.mp4")],
    )
    maker = ClipMaker(settings)
    fills = [maker.make(seed).masks[0].mean() for seed in range(10)]
    assert min(fills) * 256**2 >= 60
    assert max(fills) <= 0.75
