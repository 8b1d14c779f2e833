"""Are results the same to the bit as before a change? Digests of what trackers answer, to be compared.

    python benchmarks/same_masks.py --davis DAVIS --out before.json      # at one commit
    python benchmarks/same_masks.py --davis DAVIS --against before.json  # at another one, on the same machine

Two kinds of runs:
- trackers with weights of their own (`vidseg-nano`, `flow`) on the sequences of DAVIS, from the first frame's
  mask, box and click, with a click on a later frame before it is tracked, and one after;
- every engine tracker with its deterministic random weights on a made video at a small size: three objects,
  one of them later, one removed, a correction, a session saved and restored; and each bank policy likewise.

A digest covers masks, mask logits, scores, predicted IoUs and object pointers of every frame. With another
processor, torch or number of threads the digests are others.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from davis import frames_of, truths_of

import vidseg
from vidseg.pipeline.made_video import MadeVideo
from vidseg.trackers.contract import Frame, FrameResult, Session, Tracker
from vidseg.trackers.registry import read_config, tracker_names
from vidseg.training.prompts import prompt_of

SIZES = {"edgetam": 256}
SIZE = 128
FRAMES = 12
POLICIES = ("recent-frames", "similarity-pruning", "distractor-aware", "motion-aware", "memory-tree")
SKIPPED = ("sam2-reference",)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--davis", type=Path, help="a DAVIS folder; without it, made videos alone")
    parser.add_argument("--sequences", type=int, default=100, help="how many of its sequences")
    parser.add_argument("--out", type=Path, help="where to write the digests")
    parser.add_argument("--against", type=Path, help="digests to compare with")
    args = parser.parse_args()

    digests = dict(_all(args.davis, args.sequences))
    if args.out:
        args.out.write_text(json.dumps(digests, indent=1))
    if args.against:
        before = json.loads(args.against.read_text())
        changed = [name for name in before.keys() | digests.keys() if before.get(name) != digests.get(name)]
        print(f"{len(digests) - len(changed)} of {len(digests)} runs are the same to the bit")
        print("\n".join(f"changed: {name}" for name in sorted(changed)))
        sys.exit(bool(changed))


def _all(davis: Path | None, sequences: int) -> Iterator[tuple[str, str]]:
    for name in tracker_names():
        _, config = read_config(name)
        if name not in SKIPPED and config.get("kind") == "engine":
            tracker = vidseg.load(
                name, allow_random_weights=True, image_size=SIZES.get(name, SIZE), device="cpu"
            )
            yield f"made {name}", made(tracker)
    with tempfile.TemporaryDirectory() as folder:
        for policy in POLICIES:
            path = Path(folder) / f"{policy}.yaml"
            text = (Path(vidseg.__file__).parent / "configs/sam2.1-hiera-tiny.yaml").read_text()
            path.write_text(f"{text}\nbank: {{name: {policy}}}\n")
            tracker = vidseg.load(path, allow_random_weights=True, image_size=SIZE, device="cpu")
            yield f"made {policy}", made(tracker)
    if davis is not None:
        folders = sorted((davis / "JPEGImages/480p").iterdir())[:sequences]
        for name in ("vidseg-nano", "flow"):
            tracker = vidseg.load(name, device="cpu")
            yield f"made {name}, own weights", made(tracker)
            for number, folder in enumerate(folders):
                kind = ("mask", "box", "click")[number % 3]
                yield f"davis {name} {folder.name} {kind}", real(tracker, davis, folder.name, kind)


def made(tracker: Tracker) -> str:
    """Three objects of the made video, prompted, corrected, removed, saved and restored."""
    video = MadeVideo(num_frames=FRAMES, size_hw=(180, 320))
    boxes = [thing["prompts"][0]["box"] for thing in video.prompts()["objects"]]
    session = tracker.start(num_frames=FRAMES)
    session.prompt(1, box=boxes[0])
    x0, y0, x1, y1 = boxes[1]
    session.prompt(2, points=[[(x0 + x1) / 2, (y0 + y1) / 2]], labels=[1])
    rows, columns = np.ogrid[:180, :320]
    disk = (rows - 70) ** 2 + (columns - 200) ** 2 < 30**2
    digest = hashlib.sha256()
    for frame, _ in video:
        if frame.index == 3:
            session.prompt(7, mask=disk)
        if frame.index == 6:
            session.prompt(1, points=[[4, 4]], labels=[0])
        _add(digest, session.step(frame))
        if frame.index == 4:
            _add(digest, session.refine(2, points=[[5, 5]], labels=[0]))
        if frame.index == 8:
            session.remove(2)
            with tempfile.TemporaryDirectory() as folder:
                session.save(Path(folder) / "state.safetensors")
                session = tracker.restore(Path(folder) / "state.safetensors")
    return digest.hexdigest()


def real(tracker: Tracker, davis: Path, name: str, kind: str) -> str:
    truths = truths_of(davis / "Annotations/480p" / name)
    session: Session = tracker.start(num_frames=len(truths))
    session.prompt(1, **prompt_of(kind, truths[0]))
    digest = hashlib.sha256()
    for frame in _first(frames_of(davis / "JPEGImages/480p" / name), 24):
        if frame.index == 12:
            session.prompt(1, **prompt_of("click", truths[12]))
        _add(digest, session.step(frame))
        if frame.index == 18:
            _add(digest, session.refine(1, points=[[2, 2]], labels=[0]))
    return digest.hexdigest()


def _first(frames: Iterator[Frame], count: int) -> Iterator[Frame]:
    return (frame for frame, _ in zip(frames, range(count), strict=False))


def _add(digest: hashlib._Hash, result: FrameResult) -> None:
    parts: Sequence[np.ndarray | None] = (
        result.masks,
        result.low_res_logits,
        result.object_score_logits,
        result.predicted_ious,
        result.object_pointers,
    )
    digest.update(repr((result.frame_idx, result.obj_ids, result.states)).encode())
    for part in parts:
        digest.update(b"none" if part is None else np.ascontiguousarray(part).tobytes())


if __name__ == "__main__":
    main()
