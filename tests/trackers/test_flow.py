"""The weight-free tracker on made videos whose masks are known, and on one real sequence."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import vidseg
from vidseg.errors import CheckpointError, ConfigError, InputError
from vidseg.masks import iou
from vidseg.trackers.contract import Frame, FrameResult
from vidseg.trackers.flow import FlowConfig, FlowTracker

HEIGHT, WIDTH = 144, 192
Mask = npt.NDArray[np.bool_]


class Scene:
    """Textured shapes on a textured ground, and the mask of each.

    Args:
        seed: of the textures.
    """

    def __init__(self, seed: int = 0) -> None:
        self._random = np.random.default_rng(seed)
        self._ground = self._texture((60, 120, 70), 30)
        self._textures = {1: self._texture((190, 70, 50), 40), 2: self._texture((60, 80, 200), 40)}
        self._pillar = self._texture((120, 120, 120), 20)

    def frame(
        self,
        index: int,
        places: dict[int, tuple[float, float, float]],
        *,
        pillar: bool = False,
        pan: int = 0,
    ) -> tuple[Frame, dict[int, Mask]]:
        """A frame with objects at (x, y, angle in degrees); later ones lie on top, the pillar on all."""
        image = np.roll(self._ground, pan, axis=1).copy()
        masks: dict[int, Mask] = {}
        for obj_id, (x, y, angle) in places.items():
            corners = np.array([[-22, -15], [22, -15], [22, 15], [-8, 15], [-8, 26], [-22, 26]], np.float32)
            turn = np.deg2rad(angle)
            rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]], np.float32)
            shape = np.zeros((HEIGHT, WIDTH), np.uint8)
            cv2.fillPoly(shape, [np.round(corners @ rotation.T + (x, y)).astype(np.int32)], 1)
            move = np.array([[rotation[0, 0], rotation[0, 1], x], [rotation[1, 0], rotation[1, 1], y]])
            move[:, 2] -= rotation @ (WIDTH / 2, HEIGHT / 2)
            texture = cv2.warpAffine(
                self._textures[obj_id], move, (WIDTH, HEIGHT), borderMode=cv2.BORDER_REFLECT
            )
            mask = shape > 0
            image[mask] = texture[mask]
            masks = {other: known & ~mask for other, known in masks.items()} | {obj_id: mask}
        if pillar:
            image[:, 90:110] = self._pillar[:, 90:110]
            for mask in masks.values():
                mask[:, 90:110] = False
        return Frame(index, index / 25, image), masks

    def _texture(self, colour: Sequence[int], contrast: float) -> npt.NDArray[np.uint8]:
        noise = cv2.GaussianBlur(self._random.standard_normal((HEIGHT, WIDTH)), (0, 0), 2)
        return np.clip(np.array(colour) + (noise / noise.std() * contrast)[..., None], 0, 255).astype(
            np.uint8
        )


def box_of(mask: Mask) -> list[float]:
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return [float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)]


def moving(count: int, *, pan: int = 0, turn: float = 0.0) -> list[tuple[Frame, dict[int, Mask]]]:
    """Object 1 drifts to the right."""
    scene = Scene()
    return [scene.frame(i, {1: (45 + 2.5 * i, 60 + i % 7, turn * i)}, pan=pan * i) for i in range(count)]


def track(
    video: Iterable[tuple[Frame, dict[int, Mask]]], *obj_ids: int, tracker: FlowTracker | None = None
) -> tuple[list[FrameResult], npt.NDArray[np.float64]]:
    """Results from first-frame masks, and IoUs: frames x objects."""
    session = (tracker or FlowTracker()).start()
    results, ious = [], []
    for frame, masks in video:
        if not results:
            for obj_id in obj_ids:
                session.prompt(obj_id, mask=masks[obj_id])
        results.append(session.step(frame))
        ious.append([iou(results[-1].masks[row], masks[obj_id]) for row, obj_id in enumerate(obj_ids)])
    return results, np.array(ious)


def leaves_and_returns() -> list[tuple[Frame, dict[int, Mask]]]:
    """Object 1 goes out at the right, is away for frames 12 to 19, and comes in at the left."""
    scene = Scene()
    video = []
    for i in range(30):
        if i < 12:
            places = {1: (110 + 12.0 * i, 70.0, 0.0)}
        elif i < 20:
            places = {}
        else:
            places = {1: (10 + 6.0 * (i - 20), 60.0, 0.0)}
        frame, masks = scene.frame(i, places)
        video.append((frame, {1: np.zeros((HEIGHT, WIDTH), bool)} | masks))
    return video


# Following


@pytest.mark.parametrize(
    ("pan", "turn"), [(0, 0.0), (0, 4.0), (-3, 0.0)], ids=["drifts", "turns", "camera pans"]
)
def test_flow_follows_an_object_that(pan: int, turn: float) -> None:
    results, ious = track(moving(30, pan=pan, turn=turn), 1)
    assert ious.min() > 0.75
    assert ious.mean() > 0.88
    assert all(result.states == ["visible"] for result in results)


def test_flow_follows_an_object_past_a_pillar() -> None:
    scene = Scene()
    video = [scene.frame(i, {1: (50 + 3.0 * i, 65, 0)}, pillar=True) for i in range(32)]
    _, ious = track(video, 1)
    assert ious[:8].min() > 0.8
    assert ious[-5:].min() > 0.8


def test_flow_does_not_flood_a_surface_of_the_objects_colour() -> None:
    scene = Scene()
    video = []
    for i in range(20):
        frame, masks = scene.frame(i, {1: (40 + 2.0 * i, 50, 0)})
        assert frame.image is not None
        frame.image[100:] = scene._textures[1][100:]  # a floor of its texture, which stands still
        video.append((frame, masks))
    results, _ = track(video, 1)
    areas = [int(result.masks.sum()) for result in results]
    assert max(areas) < 1.5 * areas[0]


def test_flow_keeps_objects_apart_that_cross() -> None:
    scene = Scene()
    video = [scene.frame(i, {1: (40 + 3.5 * i, 75, 0), 2: (150 - 3.5 * i, 60, 0)}) for i in range(30)]
    results, ious = track(video, 1, 2)
    assert all((result.masks.sum(0) <= 1).all() for result in results)
    assert ious[-3:].min() > 0.6
    assert ious.mean() > 0.75


# Losing and finding


def test_flow_says_absent_and_finds_the_object_that_returns() -> None:
    results, ious = track(leaves_and_returns(), 1)
    assert ious[:8].min() > 0.7
    for result in results[14:20]:
        assert result.states == ["absent"]
        assert result.object_score_logits[0] < 0
        assert not result.masks.any()
        assert (result.low_res_logits < -1000).all()
    assert all(result.states != ["absent"] for result in results[24:])
    assert ious[24:].min() > 0.7


def test_flow_finds_an_object_again_after_a_cut() -> None:
    scene = Scene()
    video = [scene.frame(i, {1: (40 + i, 45, 0)}) for i in range(6)]
    video += [scene.frame(i, {1: (145, 95, 0)}, pan=70) for i in range(6, 12)]
    _, ious = track(video, 1)
    assert ious[-3:].min() > 0.7


def test_flow_does_not_find_an_object_where_there_is_none() -> None:
    scene = Scene()
    video = [scene.frame(0, {1: (60, 60, 0)})]
    video += [(scene.frame(i, {})[0], {1: np.zeros((HEIGHT, WIDTH), bool)}) for i in range(1, 10)]
    results, _ = track(video, 1)
    assert all(result.states == ["absent"] for result in results[2:])


def test_flow_does_not_find_a_lost_object_in_another_of_its_looks() -> None:
    """Twins: one leaves; its id must not settle on the one that stays."""
    scene = Scene()
    scene._textures[2] = scene._textures[1]
    video = []
    for i in range(16):
        places = {2: (140.0, 100.0, 0.0), 1: (60.0 - 8 * i, 40.0, 0.0)}
        frame, masks = scene.frame(i, places)
        video.append((frame, masks))
    results, ious = track(video, 1, 2)
    assert ious[:, 1].min() > 0.8
    assert results[-1].states == ["absent", "visible"]


# Prompts


@pytest.mark.parametrize("kind", ["box", "point", "points on and off", "box and point off"])
def test_flow_segments_from(kind: str) -> None:
    frame, masks = Scene().frame(0, {1: (90, 70, 20)})
    session = FlowTracker().start()
    if kind == "box":
        session.prompt(1, box=box_of(masks[1]))
    elif kind == "point":
        session.prompt(1, points=[[90, 70]])
    elif kind == "points on and off":
        session.prompt(1, points=[[90, 70], [78, 65], [150, 20]], labels=[1, 1, 0])
    else:
        session.prompt(1, box=box_of(masks[1]), points=[[112, 98]], labels=[0])
    assert iou(session.step(frame).masks[0], masks[1]) > 0.8


def test_flow_adds_an_object_in_mid_stream() -> None:
    scene = Scene()
    video = [scene.frame(i, {1: (50 + i, 50, 0), 2: (130 - i, 100, 0)}) for i in range(12)]
    session = FlowTracker().start()
    session.prompt(1, mask=video[0][1][1])
    for i, (frame, masks) in enumerate(video):
        if i == 5:
            session.prompt(2, box=box_of(masks[2]))
        result = session.step(frame)
        assert result.obj_ids == ([1] if i < 5 else [1, 2])
    assert [iou(mask, video[-1][1][i]) > 0.75 for i, mask in zip((1, 2), result.masks, strict=True)] == [
        True
    ] * 2


def test_clicks_correct_the_frame_just_seen() -> None:
    scene = Scene()
    frame, masks = scene.frame(0, {1: (60, 70, 0), 2: (104, 70, 0)})  # side by side
    both = masks[1] | masks[2]
    session = FlowTracker().start()
    session.prompt(1, mask=both)
    session.step(frame)
    less = session.refine(1, points=[[104, 70]], labels=[0])
    assert not less.masks[0][70, 104]
    assert iou(less.masks[0], masks[1]) > 0.8
    more = session.refine(1, points=[[104, 70]], labels=[1])
    assert more.masks[0][70, 104]
    assert iou(more.masks[0], both) > 0.8


def test_a_correction_is_what_is_followed_from_then_on() -> None:
    video = moving(10)
    session = FlowTracker().start()
    session.prompt(1, mask=np.roll(video[0][1][1], 60, axis=1))  # not the object
    session.step(video[0][0])
    session.refine(1, mask=video[0][1][1])
    results = [session.step(frame) for frame, _ in video[1:]]
    assert iou(results[-1].masks[0], video[-1][1][1]) > 0.85


def test_a_conditioned_frame_is_used_when_it_is_reached() -> None:
    scene = Scene()
    video = [scene.frame(i, {1: (150 - 4.0 * i, 60, 0)} if i >= 6 else {}) for i in range(12)]
    session = FlowTracker().start(num_frames=12)
    session.prompt(1, mask=video[8][1][1])
    ahead = session.condition(video[8][0])
    assert (ahead.frame_idx, ahead.obj_ids) == (8, [1])
    assert np.array_equal(ahead.masks[0], video[8][1][1])
    results = [session.step(frame) for frame, _ in video]
    assert all(result.states == ["absent"] for result in results[:6])
    assert np.array_equal(results[8].masks[0], video[8][1][1])
    assert iou(results[11].masks[0], video[11][1][1]) > 0.8


def test_reverse_finds_what_forward_finds() -> None:
    video = moving(12)
    session = FlowTracker().start(reverse=True)
    session.prompt(1, mask=video[-1][1][1])
    ious = [iou(session.step(frame).masks[0], masks[1]) for frame, masks in reversed(video)]
    assert min(ious) > 0.8


def test_frames_out_of_order_are_an_error() -> None:
    video = moving(3)
    session = FlowTracker().start()
    session.step(video[2][0])
    with pytest.raises(InputError, match=r"frame 1 was given after frame 2"):
        session.step(video[1][0])


def test_a_frame_of_another_size_is_an_error() -> None:
    session = FlowTracker().start()
    session.step(Frame(0, 0.0, np.zeros((40, 50, 3), np.uint8)))
    with pytest.raises(InputError, match="60x40 in a video of 50x40"):
        session.step(Frame(1, 0.1, np.zeros((40, 60, 3), np.uint8)))


def test_a_frame_without_pixels_is_an_error() -> None:
    frame = Frame(0, 0.0, model_input=np.zeros((3, 64, 64), np.float32), size_hw=(64, 64))
    with pytest.raises(InputError, match="works on pixels"):
        FlowTracker().start().step(frame)


def test_refine_before_any_frame_is_an_error() -> None:
    with pytest.raises(InputError, match="no frame to correct"):
        FlowTracker().start().refine(1, box=[0, 0, 5, 5])


# The same masks, always


def test_a_restored_session_goes_on_with_the_same_masks(tmp_path: Path) -> None:
    video = leaves_and_returns()
    path = tmp_path / "state.safetensors"
    session = FlowTracker().start()
    session.prompt(1, box=box_of(video[0][1][1]))
    for saved_at in (0, 7, 15):
        while session._state.frame_idx != saved_at:
            session.step(video[0 if session._state.frame_idx is None else session._state.frame_idx + 1][0])
        session.save(path)
        restored = FlowTracker().restore(path)
        ahead = FlowTracker().restore(path)
        ahead.save(path)
        assert path.stat().st_size < 3_000_000
        for frame, _ in video[saved_at + 1 : saved_at + 8]:
            expected, got = session.step(frame), restored.step(frame)
            assert np.array_equal(expected.low_res_logits, got.low_res_logits)
            assert expected.object_score_logits == got.object_score_logits


def test_a_session_of_another_configuration_is_an_error(tmp_path: Path) -> None:
    FlowTracker().start().save(tmp_path / "state.safetensors")
    with pytest.raises(CheckpointError, match="another configuration"):
        FlowTracker(FlowConfig(max_side=200)).restore(tmp_path / "state.safetensors")


def test_masks_do_not_depend_on_threads() -> None:
    threads = cv2.getNumThreads()
    runs = []
    try:
        for count in (1, 2, 4):
            cv2.setNumThreads(count)
            session = FlowTracker().start()
            video = moving(5, turn=4)
            session.prompt(1, box=box_of(video[0][1][1]))
            runs.append(np.stack([session.step(frame).low_res_logits for frame, _ in video]))
    finally:
        cv2.setNumThreads(threads)
    assert np.array_equal(runs[0], runs[1])
    assert np.array_equal(runs[0], runs[2])


def test_masks_do_not_depend_on_the_order_of_objects() -> None:
    scene = Scene()
    video = [scene.frame(i, {1: (60 + 3.0 * i, 75, 0), 2: (130 - 3.0 * i, 60, 0)}) for i in range(12)]
    one, _ = track(video, 1, 2)
    two, _ = track(video, 2, 1)
    for a, b in zip(one, two, strict=True):
        assert np.array_equal(a.low_res_logits, b.low_res_logits[::-1])


# Any size


def test_a_large_video_is_tracked_on_a_smaller_grid() -> None:
    video = moving(6)
    tracker = FlowTracker(FlowConfig(max_side=128))
    results, ious = track(video, 1, tracker=tracker)
    assert results[0].low_res_logits.shape == (1, 96, 128)
    assert results[0].masks.shape == (1, HEIGHT, WIDTH)
    assert ious.min() > 0.8


@settings(max_examples=25)
@given(height=st.integers(1, 70), width=st.integers(1, 70), data=st.data())
def test_frames_of_any_size_are_tracked(height: int, width: int, data: st.DataObject) -> None:
    random = np.random.default_rng(data.draw(st.integers(0, 9)))
    session = FlowTracker(FlowConfig(max_side=64)).start()
    x, y = data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))
    session.prompt(1, box=[x, y, x + data.draw(st.integers(1, 30)), y + data.draw(st.integers(1, 30))])
    session.prompt(2, points=[[x, y]])
    for i in range(3):
        frame = Frame(i, i / 25, random.integers(0, 255, (height, width, 3)).astype(np.uint8))
        result = session.step(frame)
        assert result.masks.shape == (2, height, width)
        assert np.isfinite(result.low_res_logits).all()


# Loading


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"weights": "a.pt"}, "has no weights"),
        ({"device": "cuda"}, "runs on the CPU"),
        ({"dtype": "bfloat16"}, "float32"),
        ({"image_size": 512}, "no model input"),
        ({"compile": True}, "nothing to compile"),
        ({"fill_hole_area": 8}, "has no option 'fill_hole_area'"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_load_refuses_what_flow_cannot_do(options: dict[str, object], what: str) -> None:
    with pytest.raises(ConfigError, match=what):
        vidseg.load("flow", **options)  # type: ignore[arg-type]


def test_a_yaml_states_constants_and_unknown_ones_are_errors(tmp_path: Path) -> None:
    path = tmp_path / "small.yaml"
    path.write_text("kind: flow\nmax_side: 200\n")
    facts = vidseg.load(path).describe()
    assert (facts["name"], facts["config"]["max_side"], facts["weights_sha256"]) == ("small", 200, None)
    path.write_text("kind: flow\nmaxside: 200\n")
    with pytest.raises(ConfigError, match="unknown key 'maxside'"):
        vidseg.load(path)


# A real sequence


@pytest.mark.slow
@pytest.mark.shared
def test_flow_follows_a_real_swan(shared: Path) -> None:
    """Carrying the mask along the flow alone gives a mean J of 0.73 here."""
    folder = shared / "data/davis_like"
    frames = sorted((folder / "JPEGImages/480p/blackswan").glob("*.jpg"))
    truths = sorted((folder / "Annotations/480p/blackswan").glob("*.png"))
    video = []
    for i, (frame, truth) in enumerate(zip(frames, truths, strict=True)):
        image = cv2.cvtColor(cv2.imread(str(frame)), cv2.COLOR_BGR2RGB)
        video.append((Frame(i, i / 24, image), {1: cv2.imread(str(truth))[..., ::-1].max(-1) > 0}))
    _, ious = track(video, 1)
    assert ious[1:-1].mean() > 0.85
