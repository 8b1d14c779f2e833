"""The official SAM 2 video predictor behind our tracker contract: for parity tests and benchmarks.

Needs the extra `sam2` (the package `sam2` on PyPI, an upload of https://github.com/facebookresearch/sam2).
Every number is the official code's own; this module feeds it frame by frame and collects what it says.
As in the official package, memory grows with the video: all outputs are kept, and all frames unless
`keep_frames: false`.

Where we had to choose:

- A frame's image is resized as the official loader of JPEG folders does it (Pillow's `resize`, bicubic).
- The official loop takes a whole clip and skips frame 0 in reverse; here each step does what one turn of that
  loop does, so frames may come from a stream, and frame 0 is tracked in reverse too.
- A float32 run of the official code fails where an object has a memory but no pointer (on frames before its
  first prompt): nothing lifts the bfloat16 memory to float32. Memories of conditioning frames are therefore
  kept as float32 after the rounding to bfloat16; the values are the same.
- Hole filling needs the official CUDA extension. Without it the official code leaves masks as they are and
  warns on each call; here the option is off then, which gives the same masks.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import sys
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from os import PathLike
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from vidseg.errors import ConfigError, InputError, MissingExtraError, PromptError
from vidseg.trackers.contract import Frame, FrameResult, Prompt
from vidseg.trackers.engine_tracker import pick_device, pick_dtype, state_sha256
from vidseg.trackers.session_file import read_session, write_session
from vidseg.trackers.states import object_state
from vidseg.trackers.weights import check_state, find_weights, read_checkpoint, shapes_of, tracker_of
from vidseg.validation import Strict, parse

if TYPE_CHECKING:
    from sam2.sam2_video_predictor import SAM2VideoPredictor

    from vidseg.trackers.contract import FloatArray
    from vidseg.trackers.registry import LoadOptions

OfficialConfig = Literal[
    "sam2_hiera_t",
    "sam2_hiera_s",
    "sam2_hiera_b+",
    "sam2_hiera_l",
    "sam2.1_hiera_t",
    "sam2.1_hiera_s",
    "sam2.1_hiera_b+",
    "sam2.1_hiera_l",
]

IMAGE_MEAN = (0.485, 0.456, 0.406)
IMAGE_STD = (0.229, 0.224, 0.225)
HORIZON = 16
"""Of tracked frames, none further back than this is read (6 memories, 15 pointers)."""
LIVE_STREAM_LENGTH = 1 << 30
"""The official code wants a number of frames; all numbers from 16 on have the same effect."""


class Sam2ReferenceConfig(Strict):
    """What the YAML and a caller's extra options may say."""

    config: OfficialConfig
    image_size: int | None = None
    """A multiple of 32; None for 1024."""
    keep_frames: bool = True
    """False drops a frame once it was stepped through, which the official code never does."""
    non_overlap_masks: bool = False
    add_all_frames_to_correct_as_cond: bool = False
    fill_hole_area: int = 8


def build_predictor(
    config: str,
    state: Mapping[str, Tensor] | None = None,
    *,
    image_size: int | None = None,
    device: str | torch.device = "cpu",
    compile: bool = False,
    **model_options: Any,
) -> SAM2VideoPredictor:
    """The official predictor in evaluation mode, with the official video settings.

    Args:
        config: an official configuration's name, e.g. 'sam2.1_hiera_t'.
        state: weights under the official names; None leaves the official initialisation, seeded with 0.
        image_size: side of the square model input, a multiple of 32; None for 1024.
        compile: the official compiled variant (`vos_optimized`).
        **model_options: arguments of the official class (`non_overlap_masks=True`, ...).

    Raises:
        MissingExtraError: the package `sam2` is not installed.
        CheckpointError: the weights do not fit.
    """
    if find_spec("sam2") is None:
        raise MissingExtraError("sam2", "sam2", needed_for="the tracker 'sam2-reference'")
    from importlib.resources import files

    from hydra.utils import instantiate
    from omegaconf import OmegaConf

    # The official builder composes the same file through Hydra's process-wide state, which a caller may use.
    folder = "sam2.1" if config.startswith("sam2.1") else "sam2"
    text = files("sam2").joinpath("configs", folder, f"{config}.yaml").read_text(encoding="utf-8")
    model: Any = OmegaConf.to_container(OmegaConf.create(text), resolve=True)["model"]  # type: ignore[call-overload, index]
    variant = "SAM2VideoPredictorVOS" if compile else "SAM2VideoPredictor"
    model["_target_"] = f"sam2.sam2_video_predictor.{variant}"
    # What `build_sam2_video_predictor(apply_postprocessing=True)` adds.
    model["sam_mask_decoder_extra_args"] = {
        "dynamic_multimask_via_stability": True,
        "dynamic_multimask_stability_delta": 0.05,
        "dynamic_multimask_stability_thresh": 0.98,
    }
    model["binarize_mask_from_pts_for_mem_enc"] = True
    model["fill_hole_area"] = 8
    model["compile_image_encoder"] = compile
    if image_size is not None:
        model["image_size"] = image_size
        grid = [image_size // 16, image_size // 16]
        model["memory_attention"]["layer"]["self_attention"]["feat_sizes"] = grid
        model["memory_attention"]["layer"]["cross_attention"]["feat_sizes"] = grid
    model.update(model_options)
    if find_spec("sam2._C") is None:
        model["fill_hole_area"] = 0
    # The compiled variant prints to stdout, which belongs to the commands' own output.
    with torch.random.fork_rng(devices=[]), contextlib.redirect_stdout(sys.stderr):
        torch.manual_seed(0)
        predictor = instantiate(model, _recursive_=True)
    if state is not None:
        check_state(shapes_of(predictor.state_dict()), state, tracker="sam2-reference")
        predictor.load_state_dict(state)
    return predictor.to(device).eval()


def start_state(
    predictor: SAM2VideoPredictor, images: Any, size_hw: tuple[int, int], num_frames: int
) -> dict[str, Any]:
    """What the official `init_state` returns, without its video loader.

    Args:
        images: anything that gives a normalised float32 (3, S, S) tensor for a frame number.
        size_hw: the video's height and width.
    """
    return {
        "images": images,
        "num_frames": num_frames,
        "video_height": size_hw[0],
        "video_width": size_hw[1],
        "device": predictor.device,
        "storage_device": predictor.device,
        "offload_video_to_cpu": False,
        "offload_state_to_cpu": False,
        "cached_features": {},
        "constants": {},
        "obj_id_to_idx": OrderedDict(),
        "obj_idx_to_id": OrderedDict(),
        "obj_ids": [],
        "point_inputs_per_obj": {},
        "mask_inputs_per_obj": {},
        "output_dict_per_obj": {},
        "temp_output_dict_per_obj": {},
        "frames_tracked_per_obj": {},
    }


def add_prompt(
    predictor: SAM2VideoPredictor, state: dict[str, Any], frame_idx: int, obj_id: int, prompt: Prompt
) -> Tensor:
    """Hand one prompt to the official predictor; returns the masks it answers with, (N, 1, H, W) logits."""
    if prompt.mask is not None:
        _, _, masks = predictor.add_new_mask(state, frame_idx, obj_id, torch.from_numpy(prompt.mask))
    else:
        points = prompt.points_xy if len(prompt.points_xy) else None
        labels = prompt.labels if len(prompt.points_xy) else None
        _, _, masks = predictor.add_new_points_or_box(
            state, frame_idx, obj_id, points=points, labels=labels, box=prompt.box
        )
    return masks


class Sam2ReferenceTracker:
    """See `vidseg.trackers.contract.Tracker`."""

    def __init__(
        self,
        name: str,
        config: Sam2ReferenceConfig,
        predictor: SAM2VideoPredictor,
        dtype: torch.dtype,
        weights_sha256: str | None,
    ) -> None:
        self.name = name
        self.config = config
        self.predictor = predictor
        self.dtype = dtype
        self.weights_sha256 = weights_sha256

    @classmethod
    def build(cls, name: str, config: Mapping[str, Any], options: LoadOptions) -> Sam2ReferenceTracker:
        """Build and load. `dtype='bfloat16'` is the official use: weights in float32, autocast to bfloat16.

        Raises:
            MissingExtraError: the package `sam2` is not installed.
            ConfigError: the configuration or an option is wrong, or the device is not there.
            CheckpointError: weights are missing or do not fit.
        """
        where = f"tracker '{name}'"
        merged = {**config, **options.extra}
        if options.image_size is not None:
            merged["image_size"] = options.image_size
        checked = parse(Sam2ReferenceConfig, merged, where=where, error=ConfigError)
        if checked.image_size is not None and (checked.image_size < 32 or checked.image_size % 32):
            raise ConfigError(
                f"image size {checked.image_size}", where=where, hint="give a multiple of 32, e.g. 512"
            )
        state = None
        if options.weights is not None:
            state = read_checkpoint(options.weights)
        elif not options.allow_random_weights:
            state = read_checkpoint(find_weights(tracker_of(checked.config)))
        predictor = build_predictor(
            checked.config,
            state,
            image_size=checked.image_size,
            device=pick_device(options.device),
            compile=options.compile,
            non_overlap_masks=checked.non_overlap_masks,
            add_all_frames_to_correct_as_cond=checked.add_all_frames_to_correct_as_cond,
            fill_hole_area=checked.fill_hole_area,
        )
        digest = state_sha256(predictor.state_dict()) if state is not None else None
        return cls(name, checked, predictor, pick_dtype(options.dtype), digest)

    def start(self, num_frames: int | None = None, reverse: bool = False) -> Sam2ReferenceSession:
        return Sam2ReferenceSession(self, num_frames, reverse)

    def restore(self, path: str | PathLike[str]) -> Sam2ReferenceSession:
        tensors, facts = read_session(
            path, tracker=self.name, fingerprint=self.fingerprint(), device=str(self.predictor.device)
        )
        session = self.start(facts["num_frames"], facts["reverse"])
        session.fill(tensors, facts)
        return session

    def describe(self) -> dict[str, Any]:
        from importlib.metadata import version

        return {
            "name": self.name,
            "config": {"kind": "sam2-reference", **self.config.model_dump()},
            "options": {"fills_holes": self.predictor.fill_hole_area > 0},
            "weights_sha256": self.weights_sha256,
            "parameters": sum(parameter.numel() for parameter in self.predictor.parameters()),
            "device": str(self.predictor.device),
            "dtype": str(self.dtype).removeprefix("torch."),
            "sam2": version("sam2"),
        }

    def fingerprint(self) -> str:
        """What must be the same for a saved session to go on."""
        facts = {key: value for key, value in self.describe().items() if key != "device"}
        facts["weights_sha256"] = self.weights_sha256 or state_sha256(self.predictor.state_dict())
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


class Sam2ReferenceSession:
    """See `vidseg.trackers.contract.Session`."""

    def __init__(self, tracker: Sam2ReferenceTracker, num_frames: int | None, reverse: bool) -> None:
        self.tracker = tracker
        self.num_frames = num_frames
        self.reverse = reverse
        self._pending: dict[int, Prompt] = {}
        self._images: dict[int, Tensor] = {}
        self._state: dict[str, Any] | None = None
        self._seen: Frame | None = None
        self._predicted_ious: dict[tuple[int, int], float] = {}
        """(frame, object id) -> what the official state does not keep."""

    @property
    def obj_ids(self) -> list[int]:
        return list(self._state["obj_ids"]) if self._state else []

    def prompt(
        self,
        obj_id: int,
        *,
        box: Sequence[float] | None = None,
        points: Sequence[Sequence[float]] | None = None,
        labels: Sequence[int] | None = None,
        mask: Any = None,
    ) -> None:
        prompt = Prompt.of(box=box, points=points, labels=labels, mask=mask)
        earlier = self._pending.get(obj_id)
        self._pending[obj_id] = earlier.merge(prompt) if earlier else prompt

    def step(self, frame: Frame) -> FrameResult:
        state = self._take(frame)
        self._seen = frame
        with self._computing():
            self._answer_pending(state, frame)
            if self.obj_ids:
                self._preflight(state)
            for obj_idx, obj_id in enumerate(self.obj_ids):
                self._track(state, frame.index, obj_idx, obj_id)
        result = self._result(state, frame)
        if not self.tracker.config.keep_frames:
            self._images = {frame.index: self._images[frame.index]}
            state["images"] = self._images
        return result

    def condition(self, frame: Frame) -> FrameResult:
        state = self._take(frame)
        if not self._pending:
            raise PromptError(f"frame {frame.index} was given to condition() but no object is prompted")
        with self._computing():
            self._answer_pending(state, frame)
        return self._result(state, frame)

    def refine(
        self,
        obj_id: int,
        *,
        box: Sequence[float] | None = None,
        points: Sequence[Sequence[float]] | None = None,
        labels: Sequence[int] | None = None,
        mask: Any = None,
    ) -> FrameResult:
        if self._state is None or self._seen is None:
            raise InputError(
                "there is no frame to correct",
                hint="step() a frame first (also after a session was restored)",
            )
        prompt = Prompt.of(box=box, points=points, labels=labels, mask=mask).fit(self._seen.size_hw)
        with self._computing():
            self._answer(self._state, self._seen.index, obj_id, prompt)
        return self._result(self._state, self._seen)

    def remove(self, obj_id: int) -> None:
        if obj_id not in self.obj_ids and obj_id not in self._pending:
            raise PromptError(f"there is no object {obj_id} to remove", hint=f"objects: {self.obj_ids}")
        self._pending.pop(obj_id, None)
        if self._state is not None and obj_id in self.obj_ids:
            with self._computing():
                self.tracker.predictor.remove_object(self._state, obj_id, need_output=False)

    def save(self, path: str | PathLike[str]) -> None:
        tensors, facts = self._contents()
        write_session(
            path,
            tracker=self.tracker.name,
            fingerprint=self.tracker.fingerprint(),
            tensors=tensors,
            facts=facts,
        )

    @contextlib.contextmanager
    def _computing(self) -> Any:
        device, dtype = self.tracker.predictor.device, self.tracker.dtype
        is_cast = dtype != torch.float32
        with torch.inference_mode(), torch.autocast(device.type, dtype=dtype, enabled=is_cast):
            yield

    def _take(self, frame: Frame) -> dict[str, Any]:
        """Put a frame where the official code looks for it."""
        if self.num_frames is not None and not 0 <= frame.index < self.num_frames:
            raise InputError(
                f"frame {frame.index} in a video that was declared to have {self.num_frames} frames",
                hint="start(num_frames=...) with the real length, or None where it is not known",
            )
        predictor = self.tracker.predictor
        if self._state is None:
            length = self.num_frames or LIVE_STREAM_LENGTH
            self._state = start_state(predictor, self._images, frame.size_hw, length)
        state = self._state
        if frame.size_hw != (state["video_height"], state["video_width"]):
            raise InputError(
                f"frame {frame.index} is {frame.size_hw[1]}x{frame.size_hw[0]}, "
                f"the video was {state['video_width']}x{state['video_height']}",
                hint="start a new session for a new size",
            )
        self._images[frame.index] = model_input(frame, predictor.image_size).to(predictor.device)
        if frame.index in state["cached_features"]:
            state["cached_features"] = {}
        return state

    def _answer_pending(self, state: dict[str, Any], frame: Frame) -> None:
        """The prompts for this frame; a wrong one is dropped with its error, the others keep waiting."""
        fitted = {}
        for obj_id, prompt in list(self._pending.items()):
            try:
                fitted[obj_id] = prompt.fit(frame.size_hw)
            except PromptError as error:
                del self._pending[obj_id]
                raise error.at(f"object {obj_id}, frame {frame.index}") from None
        self._pending.clear()
        for obj_id, prompt in fitted.items():
            self._answer(state, frame.index, obj_id, prompt)

    def _answer(self, state: dict[str, Any], frame_idx: int, obj_id: int, prompt: Prompt) -> None:
        with _predicted_iou(self.tracker.predictor) as found:
            add_prompt(self.tracker.predictor, state, frame_idx, obj_id, prompt)
        # A mask prompt is taken as it is; the decoder runs for the pointer alone.
        self._predicted_ious[frame_idx, obj_id] = 1.0 if prompt.mask is not None else found[-1]

    def _preflight(self, state: dict[str, Any]) -> None:
        """Encode what was prompted into memory, as the official loop does before it starts."""
        self.tracker.predictor.propagate_in_video_preflight(state)
        if self.tracker.dtype == torch.float32:
            for outputs in state["output_dict_per_obj"].values():
                for output in outputs["cond_frame_outputs"].values():
                    output["maskmem_features"] = output["maskmem_features"].float()

    def _track(self, state: dict[str, Any], frame_idx: int, obj_idx: int, obj_id: int) -> None:
        """One object's turn of the loop in the official `propagate_in_video`."""
        outputs = state["output_dict_per_obj"][obj_idx]
        if frame_idx not in outputs["cond_frame_outputs"]:
            with _predicted_iou(self.tracker.predictor) as found:
                output, _ = self.tracker.predictor._run_single_frame_inference(
                    inference_state=state,
                    output_dict=outputs,
                    frame_idx=frame_idx,
                    batch_size=1,
                    is_init_cond_frame=False,
                    point_inputs=None,
                    mask_inputs=None,
                    reverse=self.reverse,
                    run_mem_encoder=True,
                )
            outputs["non_cond_frame_outputs"][frame_idx] = output
            self._predicted_ious[frame_idx, obj_id] = found[-1]
        state["frames_tracked_per_obj"][obj_idx][frame_idx] = {"reverse": self.reverse}

    def _result(self, state: dict[str, Any], frame: Frame) -> FrameResult:
        """What the official state holds of a frame, newest first: corrections, prompts, tracked."""
        rows = []
        for obj_idx, obj_id in enumerate(self.obj_ids):
            for outputs in (
                state["temp_output_dict_per_obj"][obj_idx],
                state["output_dict_per_obj"][obj_idx],
            ):
                found = outputs["cond_frame_outputs"].get(frame.index)
                found = found or outputs["non_cond_frame_outputs"].get(frame.index)
                if found is not None:
                    rows.append((obj_id, found))
                    break
        side = self.tracker.predictor.image_size // 4
        low_res = _stacked([output["pred_masks"][0, 0] for _, output in rows], (0, side, side))
        scores = _stacked([output["object_score_logits"][0, 0] for _, output in rows], (0,))
        ious = np.array([self._predicted_ious[frame.index, obj_id] for obj_id, _ in rows], np.float32)
        has_pixels = [bool(mask.any()) for mask in low_res > 0]
        return FrameResult(
            frame_idx=frame.index,
            pts_seconds=frame.pts_seconds,
            size_hw=frame.size_hw,
            obj_ids=[obj_id for obj_id, _ in rows],
            low_res_logits=low_res,
            object_score_logits=scores,
            predicted_ious=ious,
            states=[object_state(*facts) for facts in zip(scores, ious, has_pixels, strict=True)],
            to_video_res=self._to_video_res,
            object_pointers=_stacked([output["obj_ptr"][0] for _, output in rows], (0, 256)),
        )

    def _to_video_res(self, low_res_logits: FloatArray, size_hw: tuple[int, int]) -> FloatArray:
        if not len(low_res_logits):
            return np.zeros((0, *size_hw), np.float32)
        assert self._state is not None
        with torch.inference_mode():
            logits = torch.from_numpy(low_res_logits)[:, None]
            _, video_res = self.tracker.predictor._get_orig_video_res_output(self._state, logits)
        return np.asarray(video_res[:, 0].float().cpu().numpy())

    def _contents(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """What can still be read: conditioning frames, and tracked ones within the horizon."""
        tensors: dict[str, Tensor] = {}
        facts: dict[str, Any] = {
            "num_frames": self.num_frames,
            "reverse": self.reverse,
            "size_hw": None,
            "objects": [],
            "pending": [],
        }
        for obj_id, prompt in self._pending.items():
            facts["pending"].append(obj_id)
            arrays = {
                "points": prompt.points_xy,
                "labels": prompt.labels,
                "box": prompt.box,
                "mask": prompt.mask,
            }
            for part, array in arrays.items():
                if array is not None:
                    tensors[f"pending.{obj_id}.{part}"] = torch.from_numpy(np.asarray(array))
        state = self._state
        if state is None:
            return tensors, facts
        facts["size_hw"] = [state["video_height"], state["video_width"]]
        if not self.obj_ids:
            return tensors, facts
        with self._computing():
            self._preflight(state)
        for level, codes in enumerate(state["constants"]["maskmem_pos_enc"]):
            tensors[f"constants.{level}"] = codes
        now = self._seen.index if self._seen else None
        for obj_idx, obj_id in enumerate(self.obj_ids):
            entry: dict[str, Any] = {"id": obj_id}
            for kind, outputs in state["output_dict_per_obj"][obj_idx].items():
                is_read = {
                    idx: output
                    for idx, output in outputs.items()
                    if kind == "cond_frame_outputs" or now is None or abs(idx - now) <= HORIZON
                }
                entry[kind] = {idx: self._predicted_ious[idx, obj_id] for idx in is_read}
                for idx, output in is_read.items():
                    for part in _STORED:
                        tensors[f"{obj_id}.{kind}.{idx}.{part}"] = output[part]
            entry["tracked"] = list(state["frames_tracked_per_obj"][obj_idx])
            facts["objects"].append(entry)
        return tensors, facts

    def fill(self, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
        """Put what `save` wrote into a fresh session."""
        for obj_id in facts["pending"]:
            parts = {
                part: tensors[key].cpu().numpy()
                for part in ("points", "labels", "box", "mask")
                if (key := f"pending.{obj_id}.{part}") in tensors
            }
            self._pending[obj_id] = Prompt(
                parts["points"], parts["labels"], parts.get("box"), parts.get("mask")
            )
        if facts["size_hw"] is None:
            return
        predictor = self.tracker.predictor
        height, width = facts["size_hw"]
        length = self.num_frames or LIVE_STREAM_LENGTH
        state = self._state = start_state(predictor, self._images, (height, width), length)
        if not facts["objects"]:
            return
        codes = [tensors[name] for name in sorted(name for name in tensors if name.startswith("constants."))]
        state["constants"]["maskmem_pos_enc"] = codes
        for entry in facts["objects"]:
            obj_id = entry["id"]
            obj_idx = predictor._obj_id_to_idx(state, obj_id)
            for kind, outputs in state["output_dict_per_obj"][obj_idx].items():
                for text, predicted_iou in entry[kind].items():
                    name = f"{obj_id}.{kind}.{text}"
                    output = {part: tensors[f"{name}.{part}"] for part in _STORED}
                    outputs[int(text)] = {**output, "maskmem_pos_enc": codes}
                    self._predicted_ious[int(text), obj_id] = predicted_iou
            tracked = {idx: {"reverse": self.reverse} for idx in entry["tracked"]}
            state["frames_tracked_per_obj"][obj_idx] = tracked


_STORED = ("maskmem_features", "pred_masks", "obj_ptr", "object_score_logits")
"""The tensors of one object on one frame, in the official state."""


def model_input(frame: Frame, image_size: int) -> Tensor:
    """float32 (3, S, S): the frame as the official loader of JPEG folders prepares it.

    Raises:
        InputError: the frame carries a model input of another size.
    """
    if frame.image is None:
        given = torch.as_tensor(frame.model_input)
        if given.shape != (3, image_size, image_size):
            raise InputError(
                f"frame {frame.index}: the model input is {tuple(given.shape)}, "
                f"not {(3, image_size, image_size)}"
            )
        return given.float()
    resized = Image.fromarray(frame.image).resize((image_size, image_size))
    # As the official loader: divided in float64, rounded to float32, then normalised.
    pixels = torch.from_numpy(np.asarray(resized) / 255.0).permute(2, 0, 1).float()
    return (pixels - torch.tensor(IMAGE_MEAN)[:, None, None]) / torch.tensor(IMAGE_STD)[:, None, None]


@contextlib.contextmanager
def _predicted_iou(predictor: SAM2VideoPredictor) -> Any:
    """Collects the mask decoder's predicted IoU of the mask it chose, which the official state drops."""
    found: list[float] = []

    def keep(_module: Any, _inputs: Any, outputs: Any) -> None:
        # (masks, predicted IoUs, tokens, object score); of several candidates the best is chosen.
        found.append(float(outputs[1][0].max()))

    handle = predictor.sam_mask_decoder.register_forward_hook(keep)
    try:
        yield found
    finally:
        handle.remove()


def _stacked(tensors: Sequence[Tensor], empty: tuple[int, ...]) -> FloatArray:
    if not tensors:
        return np.zeros(empty, np.float32)
    return np.asarray(torch.stack(list(tensors)).float().cpu().numpy())
