"""How far exported graphs are from the official predictors: a golden's logits, as a share of their deviation.

    python benchmarks/exported_goldens.py [--goldens edgetam_A] [--dtype float16]

Weights, frames and prompts are those of the goldens (tests/support/goldens.py). The largest difference is
given of the low-resolution logits and of those at the video's size. With random weights a memory of a
prompted mask, which is yes or no, hangs on single pixels at its border that rounding moves to the other side.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np

sys.path.append(str(Path(__file__).parents[1] / "tests"))

import vidseg
from support.golden_play import play
from support.goldens import Golden, load_golden, seeded_state
from support.image_goldens import golden_picture, load_image_golden
from vidseg.export.write import export
from vidseg.trackers.options import TrackerOptions

GOLDENS = (
    *(f"sam2.1_hiera_t_{scenario}" for scenario in "ACFL"),
    *(f"edgetam_{scenario}" for scenario in "ACGH"),
    *(f"efficienttam_ti_512x512_{scenario}" for scenario in "BD"),
    "efficienttam_ti_1_A",
    "efficienttam_ti_2_A",
    "efficienttam_ti_2_L",
)
IMAGES = "mobile_sam"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--goldens", nargs="+", default=(*GOLDENS, IMAGES))
    parser.add_argument("--dtype", choices=("float32", "float16"), default="float16")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for name in options.goldens:
            if name == IMAGES:
                apart = of_pictures(Path(folder), options.dtype)
            else:
                apart = of_video(load_golden(name), Path(folder), options.dtype)
            print(f"{name}  {apart:.2e}", flush=True)


def of_video(golden: Golden, folder: Path, dtype: str) -> float:
    out = folder / f"{golden.tracker}-{golden.image_size}"
    if not out.exists():
        asked = TrackerOptions.of(golden.tracker, weights=seeded_state(golden), image_size=golden.image_size)
        export(asked, out, dtype=dtype)
    got = play(golden, vidseg.load(out / "tracker.yaml"))
    return max(share(got[key], golden.arrays[key]) for key in got if key.endswith(("_low", "_video_sub")))


def of_pictures(folder: Path, dtype: str) -> float:
    golden = load_image_golden(IMAGES)
    export(TrackerOptions.of("mobile-sam", weights=golden.state()), folder / IMAGES, dtype=dtype)
    embedding = vidseg.load_image(folder / IMAGES / "tracker.yaml").embed(golden_picture())
    answers = {prompt: embedding.candidates(**given) for prompt, given in golden.prompts.items()}
    return max(
        max(
            share(answer.low_res_logits[:, ::4, ::4], golden.arrays[f"{prompt}_low"]),
            share(answer.logits()[:, ::4, ::4], golden.arrays[f"{prompt}_full_sub"]),
        )
        for prompt, answer in answers.items()
    )


def share(got: np.ndarray, want: np.ndarray) -> float:
    return float(np.abs(got - want).max() / want.std())


if __name__ == "__main__":
    main()
