"""Follow objects with an exported model of SAM 2's family, with NumPy and onnxruntime alone.

    vidseg export sam2.1-hiera-tiny --out onnx
    python examples/onnx_tracker.py onnx frames.npy 100,80,300,260 masks.npy

It is the plain form of SAM 2's memory, to be read, or ported to another language: the prompted frame, the
last six memories and the last fifteen object pointers of each object. `vidseg track VIDEO --tracker
onnx/tracker.yaml` gives the same masks; corrections, several prompts, policies, resuming and all outputs are
there alone.

Layouts: B objects · T memory frames · N tokens of a memory frame · R pointers · C channels · h w the low-res
grid · S side of the model's input.
"""

from __future__ import annotations

import json
import sys
from collections import deque
from pathlib import Path

import numpy as np
import onnxruntime

MEAN = np.float32([0.485, 0.456, 0.406])
STD = np.float32([0.229, 0.224, 0.225])
RECENT_MEMORIES, POINTERS = 6, 16
STABILITY_DELTA, STABILITY_THRESHOLD = 0.05, 0.98
ABSENT_LOGIT = -1024.0


class OnnxTracker:
    """Objects that are followed through one video, frame by frame.

    Args:
        folder: what `vidseg export` wrote, in float32 or float16.
        num_frames: length of the video; under 16 it scales the times of pointers. None: long, or not known.

    Raises:
        ValueError: the folder holds a model of another kind.
    """

    def __init__(self, folder: Path, num_frames: int | None = None) -> None:
        self.facts = json.loads((folder / "facts.json").read_text(encoding="utf-8"))
        if (self.facts["format"], self.facts["model"]) != ("onnx", "sam2"):
            raise ValueError(f"{folder} is no ONNX export of SAM 2's family, whose memory this example has")
        options = onnxruntime.SessionOptions()
        # Products of eight bits overflow without it where a processor lacks VNNI instructions. Leave it out
        # where there are such instructions, as graphs in eight bits are slower with it.
        options.add_session_config_entry("session.x64quantprecision", "1")
        self.graphs = {
            part: onnxruntime.InferenceSession(str(folder / about["file"]), options)
            for part, about in self.facts["parts"].items()
        }
        self.pointer_limit = min(num_frames or POINTERS, POINTERS)
        self.absent_pointer = np.float32(self.facts["absent_pointer"])
        self.no_memory = np.float32(self.facts["no_memory"])[None, :, None, None]
        self.objects: dict[int, Memory] = {}
        self.prompts: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        self.frame = -1

    def prompt(self, obj_id: int, points_xy: list[list[float]], labels: list[int]) -> None:
        """Prompt a new object on the next frame.

        Args:
            points_xy: pixels of the model's input, S x S.
            labels: 1 on the object, 0 off it; a box is its two corners with labels 2 and 3, which come first.
        """
        self.prompts[obj_id] = (np.float32(points_xy)[None], np.int32(labels)[None])

    def step(self, image: np.ndarray) -> dict[int, np.ndarray]:
        """Follow all objects into the next frame.

        Args:
            image: uint8 S x S x 3, RGB: the frame, stretched to the model's input (Pillow's bicubic filter is
                what the models were trained with).

        Returns:
            Object -> mask logits float32 h x w (a quarter of S); above 0 is on the object, and -1024
            everywhere where it is not in sight.
        """
        self.frame += 1
        pixels = (image.astype(np.float32) / np.float32(255) - MEAN) / STD
        features, *finer = self._run("image_encoder", image=pixels.transpose(2, 0, 1)[None])
        high_res = dict(zip(self.facts["finer_features"], finer, strict=True))
        found = {}
        for obj_id, memory in self.objects.items():
            conditioned = self._attend(features, memory)
            none = np.zeros((1, 1, 2), np.float32), np.full((1, 1), -1, np.int32)
            found[obj_id] = self._decode(conditioned, *none, high_res)
        for obj_id, (points, labels) in self.prompts.items():
            found[obj_id] = self._decode(features + self.no_memory, points, labels, high_res)
        for obj_id, (logits, pointer, score) in found.items():
            is_prompted = obj_id in self.prompts
            if is_prompted:
                self.objects[obj_id] = Memory()
            (tokens,) = self._run(
                "memory_encoder",
                features=features,
                logits=logits[None],
                object_scores=score,
                from_prompt=np.array([is_prompted]),
            )
            self.objects[obj_id].keep(self.frame, to_bfloat16(tokens[0]), pointer, is_prompted)
        self.prompts = {}
        return {obj_id: logits for obj_id, (logits, _, _) in found.items()}

    def _attend(self, features: np.ndarray, memory: Memory) -> np.ndarray:
        """The features of the frame, conditioned on what is remembered of one object."""
        recent = [(self.frame - frame, tokens, pointer) for frame, tokens, pointer in memory.recent]
        read = [(back, tokens) for back, tokens, _ in recent if back <= RECENT_MEMORIES]
        # The slot of a memory is its distance less 1; the prompted frame comes first and has the last slot.
        slots = [self.facts["memory_slots"] - 1] + [back - 1 for back, _ in read]
        named = [(back, pointer) for back, _, pointer in reversed(recent) if back < self.pointer_limit]
        pointers = [memory.first_pointer, *(pointer for _, pointer in named)]
        times = [self.frame - memory.first_frame, *(back for back, _ in named)]
        # Where memories are read in squares of cells, one that is alone is not, and has a graph of its own.
        alone = "memory_attention_of_one_frame"
        (conditioned,) = self._run(
            alone if alone in self.graphs and not read else "memory_attention",
            features=features,
            memories=np.stack([memory.first_tokens, *(tokens for _, tokens in read)])[None],
            slots=np.array([slots]),
            pointers=np.stack(pointers)[None],
            times=np.float32([times]) / (self.pointer_limit - 1),
        )
        return conditioned

    def _decode(
        self,
        conditioned: np.ndarray,
        points: np.ndarray,
        labels: np.ndarray,
        high_res: dict[str, np.ndarray],
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Logits h x w, pointer C, and object score (1) of the best candidate."""
        side = self.facts["low_res"]
        logits, ious, pointers, scores = self._run(
            "mask_decoder",
            conditioned=conditioned,
            points=points,
            labels=labels,
            earlier_logits=np.zeros((1, side, side), np.float32),
            has_earlier=np.array([False]),
            **high_res,
        )
        # One click, or none, is ambiguous: the best of three. Else candidate 0, if its edge is sharp.
        best = 1 + int(ious[0, 1:].argmax())
        token = best
        if points.shape[1] > 1:
            token = 0
            if is_stable(logits[0, 0]):
                best = 0
        if scores[0] <= 0:
            return np.full_like(logits[0, 0], ABSENT_LOGIT), self.absent_pointer, scores
        return logits[0, best], pointers[0, token], scores

    def _run(self, part: str, **inputs: np.ndarray) -> list[np.ndarray]:
        """The outputs of a part. Graphs of float16 take and give most of theirs in it."""
        graph = self.graphs[part]
        for needed in graph.get_inputs():
            if needed.type == "tensor(float16)":
                inputs[needed.name] = inputs[needed.name].astype(np.float16)
        return [output.astype(np.float32) for output in graph.run(None, inputs)]


class Memory:
    """What is remembered of one object: its prompted frame, and the frames before the current one."""

    def __init__(self) -> None:
        self.recent: deque[tuple[int, np.ndarray, np.ndarray]] = deque(maxlen=POINTERS - 1)

    def keep(self, frame: int, tokens: np.ndarray, pointer: np.ndarray, is_prompted: bool) -> None:
        if is_prompted:
            self.first_frame, self.first_tokens, self.first_pointer = frame, tokens, pointer
        else:
            self.recent.append((frame, tokens, pointer))


def is_stable(logits: np.ndarray) -> bool:
    """Whether a mask changes little when its threshold moves."""
    inner, outer = (logits > STABILITY_DELTA).sum(), (logits > -STABILITY_DELTA).sum()
    return not outer or inner / outer >= STABILITY_THRESHOLD


def to_bfloat16(x: np.ndarray) -> np.ndarray:
    """Rounded to the nearest bfloat16, to even on a tie, as SAM 2 keeps its memories; still float32."""
    bits = x.view(np.uint32)
    rounded = bits + 0x7FFF + ((bits >> 16) & 1)
    return (rounded & 0xFFFF0000).astype(np.uint32).view(np.float32)


def main(folder: str, frames: str, box: str, out: str) -> None:
    video = np.load(frames)  # uint8 T x S x S x 3
    tracker = OnnxTracker(Path(folder), num_frames=len(video))
    x0, y0, x1, y1 = (float(value) for value in box.split(","))
    tracker.prompt(1, [[x0, y0], [x1, y1]], [2, 3])
    np.save(out, np.stack([tracker.step(image)[1] > 0 for image in video]))


if __name__ == "__main__":
    main(*sys.argv[1:])
