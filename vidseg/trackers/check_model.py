"""Does a model keep the promises of `vidseg.trackers.model`? Checks for the authors of plug-ins.

    check_memory_model(MyModel(...))        # silent, or a ContractError that says which promise is broken

They ask for shapes and behaviour, not for good masks, and run in seconds on the CPU.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from vidseg.errors import ContractError
from vidseg.memory.bank import MemoryFrame, Moment, ObjectBank, RecentFrames
from vidseg.trackers.check_parts import near, noise, require
from vidseg.trackers.contract import ABSENT_LOGIT
from vidseg.trackers.model import Candidates, Decoded, Features, ImageModel, MemoryModel, module_of

OBJECTS = 3


def check_image_model(model: ImageModel) -> None:
    """Check an image model in evaluation mode.

    Raises:
        ContractError: names the broken promise; so too for a memory model.
    """
    what = f"the model {type(model).__name__}"
    module_of(model).eval()
    with torch.no_grad():
        features = _check_encoding(model, what)
        conditioned = model.without_memory(features)
        require(conditioned.dim() == 4, f"{what}: without_memory() gives {tuple(conditioned.shape)}")
        points, labels = _clicks(model)
        conditioned = conditioned.expand(OBJECTS, -1, -1, -1)
        candidates = model.candidates(features, conditioned, points_bp2=points, labels_bp=labels)
        _check_candidates(model, candidates, what)
        one = model.candidates(features, conditioned[:1], points_bp2=points[:1], labels_bp=labels[:1])
        near(candidates.logits_bkhw[:1], one.logits_bkhw, f"{what}: prompts of a batch change each other")
        ious, logits = candidates.predicted_ious_bk[0], candidates.logits_bkhw[0]
        for multimask in (True, False):
            order = model.best_first(logits, ious, multimask=multimask)
            require(
                len(order) == len(set(order)) > 0 and set(order) <= set(range(len(ious))),
                f"{what}: best_first() names candidates {order} of {len(ious)}",
            )


def check_memory_model(model: MemoryModel) -> None:
    """Check a model with a memory, on pictures too."""
    check_image_model(model)
    what = f"the model {type(model).__name__}"
    size, policy = model.image_size, RecentFrames(recent_frames=1, max_pointers=2)
    with torch.no_grad():
        features = model.encode(noise(3, size, size))
    points, labels = _clicks(model)
    conditioned = model.without_memory(features).expand(OBJECTS, -1, -1, -1)

    def answer() -> Decoded:
        return model.decode(features, conditioned, points_bp2=points, labels_bp=labels)

    _check_decoded(model, answer, what)
    with torch.inference_mode():
        masks = torch.zeros(OBJECTS, size, size, dtype=torch.bool)
        for row in range(OBJECTS):
            masks[row, size // 4 : size // 2 + 8 * row, size // 4 : size // 2] = True
        given = model.take_mask(features, masks)
        require(
            bool((given.object_score_logits_b > 0).all()), f"{what}: a mask that is given is called absent"
        )
        tokens = model.remember(features, given, from_prompt=True)
        require(tokens.dtype == torch.bfloat16, f"{what} remembers {tokens.dtype}, not bfloat16")
        require(
            tokens.dim() == 3 and len(tokens) == OBJECTS, f"{what} remembers tokens of {tuple(tokens.shape)}"
        )
        require(
            tuple(model.absent_pointer_c.shape) == (model.pointer_channels,),
            f"{what}: absent_pointer_c is {tuple(model.absent_pointer_c.shape)}",
        )
        banks = [
            ObjectBank({0: MemoryFrame(0, tokens[row], given.pointers_bc[row], 10.0, 1.0, None)})
            for row in range(OBJECTS)
        ]
        moment = Moment(1)
        recalls = [policy.recall(bank, moment) for bank in banks]
        conditioned = model.attend(features, recalls, policy.pointer_limit(moment))
        require(len(conditioned) == OBJECTS, f"{what}: attend() gives {len(conditioned)} rows for {OBJECTS}")
        alone = model.attend(features, recalls[:1], policy.pointer_limit(moment))
        near(conditioned[:1], alone, f"{what}: objects of a batch change each other's reads")
        require(not torch.equal(conditioned[0], conditioned[1]), f"{what}: another memory reads the same")
        candidates = model.candidates(features, conditioned)
        _check_candidates(model, candidates, what)
        chosen = torch.full((OBJECTS,), candidates.first_offer)
        taken = model.take(candidates, chosen)
        near(
            candidates.logits_bkhw[:, candidates.first_offer],
            taken.low_res_logits_bhw,
            f"{what}: take() gives another mask than the one that is chosen",
        )
        passes = model.all_passes(features, conditioned)
        require(bool(passes), f"{what}: all_passes() gives no answer")
        for each in passes:
            _require_raw(each.low_res_logits_bhw, what)


def _check_encoding(model: ImageModel, what: str) -> Features:
    size = model.image_size
    images = noise(2, 3, size, size)
    both, one = model.encode_batch(images), model.encode(images[0])
    require(len(one.top_1chw) == 1, f"{what}: encode() gives {len(one.top_1chw)} rows for a picture")
    require(len(both.top_1chw) == 2, f"{what}: encode_batch() gives {len(both.top_1chw)} rows for 2 pictures")
    for batched, alone in zip((both.top_1chw, *both.high_res), (one.top_1chw, *one.high_res), strict=True):
        near(batched[:1], alone, f"{what}: what is seen in a picture depends on the others of the batch")
    return one


def _clicks(model: ImageModel) -> tuple[Tensor, Tensor]:
    xy = torch.linspace(0.25, 0.75, OBJECTS) * model.image_size
    return torch.stack((xy, xy), dim=1)[:, None], torch.ones(OBJECTS, 1, dtype=torch.int32)


def _check_candidates(model: ImageModel, candidates: Candidates, what: str) -> None:
    rows, count, *grid = candidates.logits_bkhw.shape
    side = model.low_res_size
    require((rows, *grid) == (OBJECTS, side, side), f"{what}: masks of {tuple(candidates.logits_bkhw.shape)}")
    require(candidates.logits_bkhw.dtype == torch.float32, f"{what}: mask logits are not float32")
    require(
        tuple(candidates.predicted_ious_bk.shape) == (OBJECTS, count),
        f"{what}: predicted IoUs of {tuple(candidates.predicted_ious_bk.shape)} for {count} candidates",
    )
    require(0 <= candidates.first_offer < count, f"{what}: first_offer {candidates.first_offer} of {count}")
    _require_raw(candidates.logits_bkhw, what)


def _check_decoded(model: MemoryModel, answer: Callable[[], Decoded], what: str) -> None:
    with torch.no_grad():
        plain = answer()
    with torch.enable_grad():
        recorded = answer()
    side = model.low_res_size
    shape = tuple(plain.low_res_logits_bhw.shape)
    require(shape == (OBJECTS, side, side), f"{what}: decode() gives masks of {shape}")
    _require_raw(plain.low_res_logits_bhw, what)
    near(
        plain.low_res_logits_bhw,
        recorded.low_res_logits_bhw.detach(),
        f"{what}: answers depend on whether gradients are recorded",
    )


def _require_raw(logits: Tensor, what: str) -> None:
    is_blank = bool((logits == ABSENT_LOGIT).flatten(-2).all(dim=-1).any())
    if is_blank:
        raise ContractError(f"{what} empties masks of absent objects, which is for the engine to do")
