"""Training in lockstep: the pass over a batch in fixed shapes answers as the engine does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import vidseg
from support.training import (
    SIZE,
    SPACE_TIME,
    assert_same_tensors,
    log_rows,
    tracker_yaml,
    training_settings,
    training_values,
)
from vidseg.errors import ConfigError
from vidseg.pipeline.stop import Stop
from vidseg.trackers.engine import Engine
from vidseg.trackers.image_encoder import normalise
from vidseg.trackers.space_time.grids import LOW_RES_STRIDE, low_res_pixels
from vidseg.trackers.space_time.pixel_reading import flow_between
from vidseg.training.data import ClipMaker, ClipSettings
from vidseg.training.lockstep.batches import PooledBatches
from vidseg.training.lockstep.graph import Recorded
from vidseg.training.lockstep.pool import Pool, mirrored
from vidseg.training.lockstep.prepared import Rows, prepare
from vidseg.training.lockstep.unroll import Dials, Shares, Told, deepest_errors, places_of, unroll
from vidseg.training.prompts import PromptShares, sample
from vidseg.training.run import train
from vidseg.training.settings import TrainSettings
from vidseg.training.trainee import build_trainee
from vidseg.training.unroll import Script, UnrollSettings, play
from vidseg.validation import parse

BOXES = PromptShares(mask=0.0, box=1.0)
LENGTH, COUNT = 6, 3


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    weights = Path(vidseg.__file__).parent / "weights/vidseg-nano.safetensors"
    folder = tmp_path_factory.mktemp("engine")
    engine = build_trainee(training_settings(folder, tracker="vidseg-nano", init=str(weights)))
    engine.model.eval()
    return engine


def rows_of(num_frames: int) -> Rows:
    maker = ClipMaker(ClipSettings(size=96, num_frames=num_frames, vanish=1.0))
    made = [prepare(maker.make(seed), BOXES, seed) for seed in range(COUNT)]
    return {name: torch.cat([row[name] for row in made]) for name in made[0]}


@pytest.mark.parametrize("heeds_score", [True, False])
@pytest.mark.parametrize("given", [COUNT, 0], ids=["mask", "box"])
def test_a_batch_is_tracked_as_by_the_engine(engine: Engine, heeds_score: bool, given: int) -> None:
    clips, stills = rows_of(LENGTH), rows_of(1)
    # In full precision: clips keep their flow in half of it.
    pixels = low_res_pixels(normalise(clips["images"].flatten(0, 1))).unflatten(0, (COUNT, LENGTH))
    flows = [[flow_between(row[t], row[t - 1]) for t in range(1, LENGTH)] for row in pixels]
    clips["flows"] = torch.tensor(np.array(flows)).permute(0, 1, 4, 2, 3)
    settings = UnrollSettings(heeds_score=heeds_score, truncate=3, corrections=0.0)
    dials = Dials(torch.tensor(0.0), torch.tensor(heeds_score))
    generators = [torch.Generator().manual_seed(seed) for seed in range(COUNT)]
    asked = [sample(clips["masks"][row, :1], BOXES, g) for row, g in enumerate(generators)]
    points, labels = (torch.cat([each[k] for each in asked]) for k in (1, 2))
    script = Script(torch.full((COUNT,), given == COUNT), points, labels, corrected=-1)
    with torch.no_grad():
        told = unroll(engine.model, clips, stills, Shares(given, 0, 0), dials, settings)
        played = play(engine, clips["images"], clips["masks"], script, settings, torch.Generator())
    wanted = torch.stack(played.shown, dim=1)
    assert 0.01 < (wanted > 0).float().mean() < 0.9
    print([a.decoded.object_score_logits_b for a in played.answers])
    torch.testing.assert_close(told.shown_bthw, wanted, atol=2e-2, rtol=1e-3)


def test_mirrored_rows_are_what_a_mirror_shows() -> None:
    """The flow of mirrored pictures is the mirrored flow, against the x axis."""
    rows = rows_of(3)
    is_mirrored = torch.tensor([True] * COUNT)
    seen = mirrored(rows, is_mirrored)
    assert torch.equal(seen["images"], rows["images"].flip(-1))
    assert torch.equal(seen["guess"], rows["guess"].flip(-1))
    there, back = places_of(rows["flows"]), places_of(seen["flows"])
    assert torch.equal(mirrored(rows, ~is_mirrored)["flows"], rows["flows"])
    torch.testing.assert_close(back.flip(3) * torch.tensor([-1.0, 1.0]), there, atol=1e-6, rtol=0)


def test_a_pool_keeps_the_newest_rows() -> None:
    pool = Pool(4, torch.device("cpu"))
    for number in range(3):
        images = torch.full((2, 1, 3, 4, 4), number, dtype=torch.uint8)
        pool.put({"images": images, "number": torch.full((2, 1), number)})
    assert (pool.size, pool.taken_in) == (4, 6)
    drawn = pool.draw(4, torch.Generator())["number"].flatten()
    assert sorted(drawn.tolist()) == [1, 1, 2, 2]


def test_a_correction_asks_for_what_is_wrong() -> None:
    """Clicks to be learned from lie where the mask so far is wrong, more often than not."""
    rows = rows_of(1)
    assert rows["click"].flatten(1).amax(dim=1).gt(0.5).all()
    assert rows["so_far"].shape == rows["guess"].shape


def test_a_click_on_an_answer_lies_deep_in_its_largest_error() -> None:
    truth, logits = torch.zeros(3, 64, 64), torch.full((3, 64, 64), -5.0)
    truth[0, 10:50, 10:30] = 1  # all of it is missed
    logits[0, 5:8, 60:63] = 5.0  # a smaller error
    truth[1, :, :20] = 1
    logits[1, :, :50] = 5.0  # too much, on the right
    points, labels = deepest_errors(logits, truth)
    assert labels.flatten().tolist() == [1, 0, -1]
    (x, y), (right, _) = points[0, 0].tolist(), points[1, 0].tolist()
    assert abs(x / LOW_RES_STRIDE - 20) <= 4
    assert abs(y / LOW_RES_STRIDE - 30) <= 12
    assert abs(right / LOW_RES_STRIDE - 35) <= 6


def test_training_ends_by_the_clock(tmp_path: Path) -> None:
    """Steps without end are ended by the minutes, with the last rate near the floor."""
    settings = training_settings(
        tmp_path,
        tracker=tracker_yaml(tmp_path),
        steps=10**6,
        minutes=0.05,
        workers=0,
        lockstep={"pool": 8},
        first_frames={"batch": 2},
    )
    record = train(settings, tmp_path / "run")
    assert record["status"] == "done"
    assert 0 < record["steps_done"] < 10**6
    assert (tmp_path / "run/weights.safetensors").is_file()


def test_first_frames_alone_teach_the_network_for_prompts(tmp_path: Path) -> None:
    """Without clips a step learns from single frames; all but the network for prompts stays as it was."""
    model = {**SPACE_TIME["model"], "prompt_decoder": True}
    settings = training_settings(
        tmp_path,
        tracker=tracker_yaml(tmp_path, name="own", model=model),
        only=["prompt_decoder"],
        steps=3,
        batch=0,
        lockstep={"pool": 8, "answers_corrected": True},
        first_frames={"batch": 4},
    )
    following = training_settings(tmp_path, tracker=tracker_yaml(tmp_path))
    earlier = {name: value.clone() for name, value in build_trainee(following).model.state_dict().items()}
    save_file(earlier, tmp_path / "earlier.safetensors")
    settings = settings.model_copy(update={"init": str(tmp_path / "earlier.safetensors")})
    before = build_trainee(settings).model.state_dict()
    assert all(torch.equal(before[name], value) for name, value in earlier.items())
    assert train(settings, tmp_path / "run")["status"] == "done"
    after = load_file(tmp_path / "run/weights.safetensors")
    changed = {name.split(".")[0] for name, value in before.items() if not torch.equal(value, after[name])}
    assert changed == {"prompt_decoder"}


def test_the_decoder_learns_first_answers_beside_the_network_for_prompts(engine: Engine) -> None:
    """The network's answers are what they are without it, and gradients reach both."""
    model, stills, settings = engine.model, rows_of(1), UnrollSettings()
    dials = Dials(torch.tensor(0.0), torch.tensor(True))

    def told(decoded: int) -> Told:
        model.zero_grad()
        result = unroll(model, {}, stills, Shares(0, 0, 0, decoded), dials, settings)
        result.loss.backward()
        return result

    alone = told(0)
    assert all(p.grad is None for p in model.decoder.parameters())
    both = told(2)
    assert torch.equal(both.shown_bthw, alone.shown_bthw)
    for part in (model.decoder.enter, model.prompt_decoder):
        assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in part.parameters())
    assert 0 < float(both.parts["J_decode"]) < 1


def test_stages_change_the_clips_of_a_run_in_lockstep(tmp_path: Path) -> None:
    settings = training_settings(
        tmp_path,
        lockstep={"pool": 8},
        first_frames={"batch": 2},
        steps=4,
        stages=[{"from_step": 2, "size": 96, "num_frames": 2, "batch": 3, "first_frames": 4}],
    )
    shapes = [
        tuple(tuple(rows["masks"].shape) for rows in step)
        for step in PooledBatches(settings, torch.device("cpu")).from_step(0)
    ]
    young, old = ((2, 3, SIZE, SIZE), (2, 1, SIZE, SIZE)), ((3, 2, 96, 96), (4, 1, 96, 96))
    assert shapes == [young] * 2 + [old] * 2
    assert len(list(PooledBatches(settings, torch.device("cpu")).from_step(3))) == 1
    assert train(settings, tmp_path / "run")["status"] == "done"


@pytest.mark.parametrize("draws", [1.0, 2.5])
def test_clips_come_in_at_the_pace_of_the_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, draws: float
) -> None:
    settings = training_settings(
        tmp_path, steps=10, lockstep={"pool": 1000, "draws": draws}, first_frames={"batch": 2}
    )
    made: list[int] = []
    put = Pool.put
    monkeypatch.setattr(Pool, "put", lambda self, rows: (made.append(len(rows["flows"][0])), put(self, rows)))
    for number, _ in enumerate(PooledBatches(settings, torch.device("cpu")).from_step(0), start=1):
        clips = 4 * sum(frames > 0 for frames in made)  # a portion holds four
        assert clips - 4 < number * settings.batch / draws <= clips


@pytest.mark.parametrize(("pool", "batch"), [(8, 2), (6, 0)])
def test_a_run_that_goes_on_draws_what_it_would_have_drawn(tmp_path: Path, pool: int, batch: int) -> None:
    """The pool holds fewer clips than came in before; where nothing but first frames is learned, too."""
    settings = training_settings(
        tmp_path,
        steps=9,
        batch=batch,
        lockstep={"pool": pool, "draws": 1.0},
        first_frames={"batch": 3},
        stages=[{"from_step": 7, "first_frames": 2}],
    )
    whole = list(PooledBatches(settings, torch.device("cpu")).from_step(0))
    for first in (1, 6, 8):
        rest = list(PooledBatches(settings, torch.device("cpu")).from_step(first))
        for drawn, expected in zip(rest, whole[first:], strict=True):
            for rows, known in zip(drawn, expected, strict=True):
                assert_same_tensors(rows, known)


def test_a_run_in_lockstep_repeats_to_the_bit_even_if_interrupted(tmp_path: Path) -> None:
    settings = training_settings(tmp_path, steps=4, lockstep={"pool": 8}, first_frames={"batch": 2})
    stop = Stop()

    def ask(line: str) -> None:
        stop.is_requested = line.startswith("step 2/")

    assert train(settings, tmp_path / "cut", stop=stop, tell=ask)["status"] == "interrupted"
    assert train(settings, tmp_path / "cut", resume=True)["status"] == "done"
    assert train(settings, tmp_path / "whole")["status"] == "done"
    assert log_rows(tmp_path / "cut") == log_rows(tmp_path / "whole")
    assert_same_tensors(*(load_file(tmp_path / run / "weights.safetensors") for run in ("cut", "whole")))


def test_no_clips_and_no_first_frames_teach_nothing(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="batch: 0 needs"):
        parse(TrainSettings, training_values(tmp_path, batch=0), where="test", error=ConfigError)


def test_models_of_another_kind_are_named(tmp_path: Path) -> None:
    settings = training_settings(
        tmp_path, tracker=tracker_yaml(tmp_path, sam2=True), lockstep={}, first_frames={"batch": 1}
    )
    with pytest.raises(ConfigError, match="cannot be trained in lockstep"):
        train(settings, tmp_path / "run")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_recorded_pass_gives_the_gradients_of_a_direct_one(engine: Engine) -> None:
    """Twice, with other clips the second time: what was recorded must read its inputs anew."""
    model = engine.model.cuda()
    parameters = list(model.parameters())
    shares, settings = Shares(COUNT, 1, 1), UnrollSettings(heeds_score=True)
    dials = Dials(torch.tensor(0.0, device="cuda"), torch.tensor(True, device="cuda"))

    def compute(clips: Rows, stills: Rows) -> torch.Tensor:
        told = unroll(model, clips, stills, shares, dials, settings)
        told.loss.backward()
        return told.loss.detach()

    recorded = Recorded(compute, parameters, torch.device("cuda"))
    for turned in (False, True):
        batch = [
            {name: (value.flip(0) if turned else value).cuda() for name, value in rows_of(length).items()}
            for length in (LENGTH, 1)
        ]
        loss = recorded(*batch).clone()
        found = [None if p.grad is None else p.grad.clone() for p in parameters]
        for parameter in parameters:
            parameter.grad = None
        torch.testing.assert_close(loss, compute(*batch), rtol=1e-2, atol=1e-3)
        for parameter, gradient in zip(parameters, found, strict=True):
            assert (gradient is None) == (parameter.grad is None)
            if gradient is not None and parameter.grad is not None:
                apart = (gradient - parameter.grad).norm() / parameter.grad.norm().clamp(min=1e-3)
                assert apart < 0.05
