"""The made clips that a tracker follows worst, as a picture: a row a clip, truth in green, masks in pink.

    python benchmarks/failures.py --out sheet.png [--tracker NAME] [--weights FILE] [--clips 60] [--rows 5]

Clips are made of shapes and textures from numbers alone, from seeds that training does not use; the object's
mask is given on the first frame.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch

import vidseg
from vidseg.eval.metrics import region_j
from vidseg.trackers.choices import DEFAULT_TRACKER
from vidseg.training.data import ClipMaker, ClipSettings
from vidseg.training.data.dataset import clip_seed
from vidseg.training.sheet import write_sheet

BASE_SEED = 2 * 10**9
NUM_FRAMES = 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--tracker", default=DEFAULT_TRACKER, help="name or YAML")
    parser.add_argument("--weights", type=Path, help="a file; without it, the tracker's own")
    parser.add_argument("--clips", type=int, default=60)
    parser.add_argument("--rows", type=int, default=5)
    args = parser.parse_args()

    tracker = vidseg.load(args.tracker, weights=args.weights)
    maker = ClipMaker(ClipSettings(size=256, num_frames=NUM_FRAMES))
    clips = [maker.make(clip_seed(BASE_SEED, index)) for index in range(args.clips)]
    scored = []
    for clip in clips:
        session = tracker.start(num_frames=NUM_FRAMES)
        session.prompt(1, mask=clip.masks[0])
        masks = [session.step(vidseg.Frame(t, t / 24, image)).masks[0] for t, image in enumerate(clip.images)]
        pairs = list(zip(masks, clip.masks, strict=True))[1:]
        scored.append((float(np.mean([region_j(*pair) for pair in pairs])), np.stack(masks)))
    worst = sorted(range(len(clips)), key=lambda i: scored[i][0])[: args.rows]
    images = np.stack([clips[i].images.transpose(0, 3, 1, 2) for i in worst])
    write_sheet(
        args.out,
        torch.from_numpy(images),
        torch.from_numpy(np.stack([clips[i].masks for i in worst])),
        torch.from_numpy(np.stack([scored[i][1] for i in worst])).float() - 0.5,
    )
    mean = np.mean([j for j, _ in scored])
    print(f"{args.out}: J {', '.join(f'{scored[i][0]:.2f}' for i in worst)}; mean of all {mean:.3f}")


if __name__ == "__main__":
    main()
