"""The space-time memory model on the engine: the contract, shared reads, the fused form, prompts as maps."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from support.parity import as_frames, moving_picture
from support.seeded import seeded_weights
from support.training import SPACE_TIME, call_nothing_absent, space_time_tracker
from vidseg.errors import ConfigError
from vidseg.eval.metrics import region_j
from vidseg.memory.bank import MemoryFrame
from vidseg.trackers.build import build_model
from vidseg.trackers.check import check_tracker
from vidseg.trackers.settings import EngineSettings
from vidseg.trackers.space_time.answer import Answer
from vidseg.trackers.space_time.asked import ask
from vidseg.trackers.space_time.continuity import STAYS, evidence
from vidseg.trackers.space_time.correction import corrected
from vidseg.trackers.space_time.first_guess import first_guess
from vidseg.trackers.space_time.pieces import unclicked_pieces
from vidseg.trackers.space_time.prompt_maps import beyond_box, draw
from vidseg.trackers.space_time.video_model import adds_latest
from vidseg.validation import parse

SIZE = 96
CONFIG: dict[str, Any] = {key: value for key, value in SPACE_TIME.items() if key != "kind"} | {
    "image_size": SIZE
}


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def tracker(folder: Path, **changes: Any) -> Any:
    return space_time_tracker(folder, image_size=SIZE, **changes)


def test_it_keeps_the_tracker_contract(tmp_path: Path) -> None:
    check_tracker(tracker(tmp_path))


@pytest.mark.parametrize("policy", ["motion-aware", "distractor-aware", "memory-tree", "similarity-pruning"])
def test_every_bank_policy_goes_with_it(tmp_path: Path, policy: str) -> None:
    session = tracker(tmp_path, bank={"name": policy}).start()
    session.prompt(1, box=[20, 10, 60, 50])
    for frame in as_frames(moving_picture(5, SIZE)):
        result = session.step(frame)
    assert result.masks.shape[0] == 1


def test_an_object_is_tracked_the_same_alone_and_among_others(tmp_path: Path) -> None:
    built = tracker(tmp_path)
    frames = as_frames(moving_picture(6, SIZE))
    boxes = {1: [20, 10, 60, 50], 2: [5, 5, 40, 40], 3: [50, 30, 90, 60]}

    def run(ids: list[int], late: int | None = None) -> Any:
        session = built.start()
        for obj_id in ids:
            session.prompt(obj_id, box=boxes[obj_id])
        for frame in frames:
            if frame.index == 3 and late is not None:  # from here on, objects read different frames
                session.prompt(late, box=boxes[late])
            result = session.step(frame)
        return result.low_res_logits[0]

    alone = torch.from_numpy(run([1]))
    torch.testing.assert_close(torch.from_numpy(run([1, 2])), alone, atol=2e-3, rtol=1e-4)
    torch.testing.assert_close(torch.from_numpy(run([1, 2], late=3)), alone, atol=2e-3, rtol=1e-4)


def test_the_fused_form_equals_the_one_that_is_trained() -> None:
    model, _ = build_model(EngineSettings.model_validate(CONFIG), "test")
    model.load_state_dict(seeded_weights(model))
    image = torch.randn(3, SIZE, SIZE)
    with torch.inference_mode():
        before = model.encode(image)
        model.fuse()
        after = model.encode(image)
    torch.testing.assert_close(after.top_1chw, before.top_1chw, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(after.high_res, before.high_res, atol=1e-4, rtol=1e-4)


def test_a_mask_is_carried_from_the_frame_before_even_by_an_untrained_model(tmp_path: Path) -> None:
    """The frame of the prompt is read near by, too: else the first step would have nothing local to go by."""
    session = tracker(tmp_path).start()
    model = session.engine.model  # freshly made; its own weights carry what is read
    fresh, _ = build_model(parse(EngineSettings, CONFIG, where="test", error=ConfigError), "test")
    model.decoder.carry.load_state_dict(fresh.decoder.carry.state_dict())
    with torch.no_grad():
        for layer in (model.decoder.mask, model.decoder.coarse_mask):
            layer.weight.zero_()
            layer.bias.zero_()
    call_nothing_absent(session)
    picture = as_frames(moving_picture(1, SIZE))[0]
    mask = np.zeros(picture.size_hw, bool)
    mask[15:45, 30:70] = True
    session.prompt(1, mask=mask)
    session.step(picture)
    result = session.step(replace(picture, index=1))
    assert region_j(result.masks[0], mask) > 0.85


def test_a_network_for_prompts_answers_them_alone(tmp_path: Path) -> None:
    """With the same other weights tracking from a mask is the same to the bit; a box's answer is another."""
    model = {**CONFIG["model"], "prompt_decoder": True}
    with_it = tracker(tmp_path, model=model)
    (tmp_path / "plain").mkdir()
    without = tracker(tmp_path / "plain")
    state = with_it.engine.model.state_dict()
    without.engine.model.load_state_dict({k: v for k, v in state.items() if "prompt_decoder" not in k})
    frames = as_frames(moving_picture(3, SIZE))
    mask = np.zeros(frames[0].size_hw, bool)
    mask[15:45, 30:70] = True

    def run(built: Any, **prompt: Any) -> list[Any]:
        session = built.start()
        session.prompt(1, **prompt)
        return [session.step(frame).low_res_logits for frame in frames]

    for got, want in zip(run(with_it, mask=mask), run(without, mask=mask), strict=True):
        np.testing.assert_array_equal(got, want)
    assert not np.allclose(run(with_it, box=[30, 15, 70, 45])[0], run(without, box=[30, 15, 70, 45])[0])


def test_the_network_for_prompts_answers_rows_apart_and_hears_clicks() -> None:
    """Each row is answered as alone; a click on and one off the object change the mask in opposite ways."""
    config = {**CONFIG, "model": {**CONFIG["model"], "prompt_decoder": True}}
    model, _ = build_model(EngineSettings.model_validate(config), "test")
    model.load_state_dict(seeded_weights(model))
    model.eval()
    features = model.encode(torch.randn(3, SIZE, SIZE, generator=generator(1)))
    points = torch.tensor([[[30.0, 30.0], [60.0, 60.0]], [[50.0, 40.0], [0.0, 0.0]]])
    labels = torch.tensor([[2, 3], [1, -1]], dtype=torch.int32)
    nothing = model.without_memory(features)
    with torch.inference_mode():
        both = model.all_passes(features, nothing, points, labels)[-1].low_res_logits_bhw
        alone = [
            model.all_passes(features, nothing, points[row, None], labels[row, None])[-1].low_res_logits_bhw
            for row in range(2)
        ]
        so_far = both[1:]
        spots = torch.tensor([[[50.0, 40.0]]])
        on, off = (
            model.all_passes(features, nothing, spots, torch.tensor([[sign]]), previous_logits_bhw=so_far)
            for sign in (1, 0)
        )
    torch.testing.assert_close(both, torch.cat(alone), atol=1e-4, rtol=1e-4)
    assert not torch.allclose(on[-1].low_res_logits_bhw, off[-1].low_res_logits_bhw)


def test_prompts_are_drawn_where_they_are() -> None:
    points = torch.tensor([[[16.0, 8.0], [48.0, 40.0], [32.0, 24.0], [0, 0]]])
    labels = torch.tensor([[2, 3, 1, -1]], dtype=torch.int32)
    box, on, off = draw(points, labels, (64, 64), 1)[0]
    assert box[8:40, 16:48].min() == 1
    assert box.sum() == 32 * 32
    assert on[23:25, 31:33].min() == 1
    assert on[:, :20].max() == 0
    assert off.max() == 0


def test_nothing_beyond_a_box_is_asked_for() -> None:
    """An object may reach beyond its box by a tenth of the box's side; without a box it may be anywhere."""
    points = torch.tensor([[[20.0, 10.0], [40.0, 30.0]], [[20.0, 10.0], [40.0, 30.0]]])
    labels = torch.tensor([[2, 3], [1, 1]])
    beyond = beyond_box(points, labels, (48, 48), 1)
    inside = torch.zeros(48, 48, dtype=torch.bool)
    inside[8:32, 18:42] = True
    assert torch.equal(beyond[0], ~inside)
    assert not beyond[1].any()
    everywhere, one = torch.full((2, 48, 48), 5.0), torch.ones(2)
    answer = Answer(everywhere, one, one, torch.zeros_like(everywhere), everywhere)
    boxed, free = answer.settled(beyond_rhw=beyond).logits_rhw > 0
    assert torch.equal(boxed, inside)
    assert free.all()


def test_clicks_change_what_they_lie_on_and_nothing_else_of_a_tracked_mask() -> None:
    tracked = torch.full((1, 48, 48), -5.0)
    tracked[:, 10:30, 10:30] = 5.0
    decoded = tracked.clone()
    decoded[:, 10:30, 30:36] = 4.0  # what was missed, where the click lies
    decoded[:, 40:45, 5:20] = 4.0  # something else far away
    decoded[:, 12:16, 12:16] = -4.0  # and a hole
    clicks = torch.zeros(1, 48, 48, dtype=torch.bool)
    clicks[:, 19:22, 32:35] = True
    one = torch.ones(1)
    answer = Answer(decoded, one, one, torch.zeros_like(decoded), decoded)
    corrected = answer.settled(clicks, None, tracked).logits_rhw
    expected = tracked.clone()
    expected[:, 10:30, 30:36] = 4.0
    assert torch.equal(corrected, expected)
    nowhere = torch.zeros_like(clicks)
    assert torch.equal(answer.settled(nowhere, None, tracked).logits_rhw, decoded), (
        "a click that changes nothing"
    )


def test_the_frame_before_is_read_by_keys_while_the_object_is_there() -> None:
    def frame(index: int, score: float) -> MemoryFrame:
        return MemoryFrame(index, None, torch.zeros(1), score, 1.0, None)

    given, there, gone = frame(0, 5.0), frame(3, 2.0), frame(3, -2.0)
    assert adds_latest(([given], there))
    assert not adds_latest(([given], gone))
    assert not adds_latest(([given], given))


def test_parts_of_another_model_are_refused() -> None:
    changed = {**CONFIG, "memory_attention": {"name": "rotary"}}
    settings = parse(EngineSettings, changed, where="test", error=ConfigError)
    with pytest.raises(ConfigError, match="memory_attention"):
        build_model(settings, "test")
    changed = {**CONFIG, "backbone": {"name": "plain-vit", "variant": "tiny"}}
    single = parse(EngineSettings, changed, where="test", error=ConfigError)
    with pytest.raises(ConfigError, match="pyramid"):
        build_model(single, "test")


def marks_of(box: tuple[int, int, int, int] | None, clicks: list[tuple[int, int, int]]) -> torch.Tensor:
    """Maps as `draw` makes them, on a grid of SIZE x SIZE cells of one pixel; clicks are (x, y, label)."""
    corners = [] if box is None else [(*box[:2], 2), (*box[2:], 3)]
    every = torch.tensor([*corners, *clicks], dtype=torch.float32)
    return draw(every[None, :, :2], every[None, :, 2], (SIZE, SIZE), 1)


def test_the_first_guess_at_a_box_is_what_stands_out_in_it() -> None:
    rng = np.random.default_rng(3)
    picture = rng.normal((60, 110, 60), 12, (SIZE, SIZE, 3))
    yy, xx = np.mgrid[:SIZE, :SIZE]
    disk = (yy - 44) ** 2 + (xx - 50) ** 2 < 18**2
    picture[disk] = rng.normal((190, 60, 50), 12, (int(disk.sum()), 3))
    pixels = torch.from_numpy(picture.clip(0, 255)).permute(2, 0, 1)[None].float()
    boxed = marks_of((30, 24, 71, 65), [])
    guess = first_guess(pixels, torch.cat((boxed, marks_of(None, [(50, 44, 1)]))))
    assert guess.shape == (2, SIZE, SIZE)
    assert region_j(guess[0].numpy() > 0.5, disk) > 0.9
    # Clicks alone are no more than their disks.
    assert region_j(guess[1].numpy() > 0.5, (yy + 0.5 - 44) ** 2 + (xx + 0.5 - 50) ** 2 < 5.5**2) > 0.9


def test_a_box_in_which_nothing_stands_out_is_the_guess_itself() -> None:
    plain = torch.full((1, 3, SIZE, SIZE), 90.0)
    boxed = marks_of((30, 24, 70, 64), [])
    guess = first_guess(plain, boxed)[0].numpy() > 0.5
    inside = boxed[0, 0].numpy() > 0.5
    assert guess[inside].mean() > 0.9
    assert not guess[~inside].any()


def disk_and_patch() -> tuple[torch.Tensor, np.ndarray, np.ndarray]:
    """Pixels of a red disk on green with a blue patch at its side, 1 x 3 x SIZE x SIZE; where these are."""
    rng = np.random.default_rng(3)
    picture = rng.normal((60, 110, 60), 12, (SIZE, SIZE, 3))
    yy, xx = np.mgrid[:SIZE, :SIZE]
    disk = (yy - 44) ** 2 + (xx - 50) ** 2 < 18**2
    patch = (abs(yy - 44) < 9) & (xx >= 68) & (xx < 84)
    picture[disk] = rng.normal((190, 60, 50), 12, (int(disk.sum()), 3))
    picture[patch] = rng.normal((50, 60, 190), 12, (int(patch.sum()), 3))
    return torch.from_numpy(picture.clip(0, 255)).permute(2, 0, 1)[None].float(), disk, patch


def test_clicks_correct_the_mask_so_far() -> None:
    pixels, disk, patch = disk_and_patch()
    so_far = torch.from_numpy(np.stack([disk | patch, disk, disk, np.zeros_like(disk)])).float()
    points = torch.tensor([[[76.0, 44.0]]] * 3 + [[[50.0, 44.0]]])
    labels = torch.tensor([[0], [1], [-1], [1]])
    less, more, same, found = corrected(pixels, so_far, points, labels, 1).numpy()
    assert region_j(less > 0.5, disk) > 0.9
    assert region_j(more > 0.5, disk | patch) > 0.9
    assert np.array_equal(same, disk)
    assert region_j(found > 0.5, disk) > 0.9
    # Where nothing changes, a mask stays as sure as it was.
    soft = corrected(pixels, 0.3 + 0.4 * so_far[:1], points[:1], labels[:1], 1)[0].numpy()
    assert np.allclose(soft[disk & (less > 0.5)], 0.7)


def test_a_box_asks_anew_and_clicks_start_from_the_mask_so_far(tmp_path: Path) -> None:
    model = tracker(tmp_path).engine.model
    features = model.encode(torch.randn(3, SIZE, SIZE, generator=generator(0)))
    conditioned = model.without_memory(features)
    previous = 10 * torch.randn(1, SIZE // 2, SIZE // 2, generator=generator(1))
    box = torch.tensor([[[20.0, 20.0], [60.0, 60.0]]]), torch.tensor([[2, 3]])
    click = torch.tensor([[[4.0, 4.0]]]), torch.tensor([[0]])
    anew, after = (
        model.all_passes(features, conditioned, *box, previous_logits_bhw=before)
        for before in (None, previous)
    )
    for one, other in zip(anew, after, strict=True):
        assert torch.equal(one.low_res_logits_bhw, other.low_res_logits_bhw)
    first = model.all_passes(features, conditioned, *click)
    (corrected_once,) = model.all_passes(features, conditioned, *click, previous_logits_bhw=previous)
    agrees = [
        float(((answer.low_res_logits_bhw > 0) == (previous > 0)).float().mean())
        for answer in (first[-1], corrected_once)
    ]
    assert agrees[1] > agrees[0] + 0.2


def test_pieces_that_no_click_lies_on_are_not_asked_for() -> None:
    mask = torch.zeros(4, 8, 12, dtype=torch.bool)
    mask[:, 1:4, 1:4] = True
    mask[:, 4, 4] = True  # hangs on by its corner
    mask[:, 5:7, 8:11] = True
    clicks = torch.zeros_like(mask)
    clicks[0, 2, 2] = True
    clicks[1, 2, 2] = clicks[1, 6, 9] = True
    clicks[2, 0, 7] = True  # beside all of them
    dropped = unclicked_pieces(mask, clicks)
    assert torch.equal(dropped[0].nonzero(), (mask[0] & (torch.arange(12) > 6)).nonzero())
    assert not dropped[1:].any()


def test_an_object_goes_on_where_the_flow_takes_it() -> None:
    there = torch.zeros(1, 16, 16)
    there[:, 4:12, 4:12] = 1
    nowhere, calm, loud = torch.zeros_like(there), 0.2 * torch.ones_like(there), torch.ones_like(there)
    half, third = there.clone(), there.clone()
    half[:, :, 9:], third[:, :, 7:] = 0, 0
    seen = {
        (there, there, calm): True,
        (half, there, calm): True,
        (there, there, loud): False,  # something else is where it should be
        (third, there, calm): False,
        (there, third, calm): False,
        (nowhere, there, calm): False,
        (there, nowhere, calm): False,  # it was absent before
        (nowhere, nowhere, calm): False,
    }
    for (decoded, carried, mismatch), answer in seen.items():
        assert evidence(decoded > 0, carried, mismatch, is_prompted=True).tolist() == [STAYS * answer]


def test_clicks_correct_a_mask_wherever_it_came_from() -> None:
    """A mask so far is what clicks change; a box alone asks anew."""
    pixels, so_far = torch.rand(1, 3, 48, 48) * 255, torch.randn(1, 48, 48)
    points = torch.tensor([[[20.0, 10.0], [40.0, 30.0], [60.0, 40.0]]])
    asked = ask(pixels, points, torch.tensor([[1, 0, 1]]), so_far)
    assert asked.corrected_rhw is so_far
    assert asked.clicks_rhw is not None
    assert asked.clicks_rhw[0, 20, 30]
    assert not asked.clicks_rhw[0, 40, 5]
    assert ask(pixels, points[:, :2], torch.tensor([[2, 3]]), so_far).corrected_rhw is None
    assert ask(pixels, points, torch.tensor([[1, 0, 1]]), None).corrected_rhw is None
