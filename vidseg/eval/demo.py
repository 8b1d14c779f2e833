"""`vidseg demo`: makes a video, tracks it and scores the result; a first try with nothing to download."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vidseg.errors import InputError, OutputError
from vidseg.pipeline.atomic import write_json
from vidseg.pipeline.commands.tracker_arguments import add_tracker_arguments, options_of
from vidseg.pipeline.formats import DEFAULT_FORMATS
from vidseg.pipeline.made_video import FRAME_RATE, MadeVideo
from vidseg.pipeline.out_folder import OutFolder
from vidseg.trackers.registry import build_tracker

if TYPE_CHECKING:
    import numpy.typing as npt
    from PIL import Image

    from vidseg.pipeline.writers import FrameMasks
    from vidseg.trackers.options import TrackerOptions

TRUTH = "truth"
PROMPT = "prompt.json"
PICTURE_AT = (0.0, 0.2, 0.4, 0.55, 0.75, 1.0)
"""Moments on the contact sheet, as shares of the video's length."""
ANIMATION_WIDTH = 480


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--out", metavar="DIR", type=Path, default=Path("runs/demo"), help="default: runs/demo"
    )
    parser.add_argument(
        "--frames", metavar="N", type=int, default=90, help="length of the video (default: 90)"
    )
    parser.add_argument("--size", metavar="WxH", default="640x360", help="default: 640x360")
    add_tracker_arguments(parser)
    parser.add_argument(
        "--animation", metavar="FILE", type=Path, help="also write the overlay as a small animated .webp"
    )
    parser.add_argument("--json", action="store_true", help="print the result as JSON")


def run(args: argparse.Namespace) -> int:
    video = MadeVideo(num_frames=_checked_frames(args.frames), size_hw=_size_hw(args.size))
    if args.animation is not None and args.animation.suffix != ".webp":
        raise InputError(f"--animation '{args.animation}'", hint="give a name that ends in .webp")
    result = demo(video, args.out, options_of(args), animation=args.animation)
    print(json.dumps(result, indent=2) if args.json else _as_text(result))
    return 0


def demo(
    video: MadeVideo, out: Path, asked: TrackerOptions | None = None, *, animation: Path | None = None
) -> dict[str, Any]:
    """Write a made video into a folder, track it there, and score the result against its ground truth.

    The score is J&F as in DAVIS 2017, over all frames but the first and the last, in percent.

    Returns:
        the result, as JSON values; paths as text.

    Raises:
        OutputError: the folder holds something else than an earlier demo.
    """
    from vidseg.pipeline.track import track
    from vidseg.trackers.options import TrackerOptions

    asked = asked or TrackerOptions()
    loaded = build_tracker(asked)  # first, so that nothing is written if it fails
    is_earlier_demo = _is_demo(out, video)
    if out.exists() and not is_earlier_demo and not (out.is_dir() and not any(out.iterdir())):
        raise OutputError(f"'{out}' holds something else than a demo", hint="choose another --out")
    OutFolder(out, DEFAULT_FORMATS).earlier_run()  # the demo may have become somebody's project since
    video_path, prompt_path = out / "video.mp4", out / PROMPT
    out.mkdir(parents=True, exist_ok=True)
    write_json(prompt_path, video.prompts())  # first, as it says of the folder that it is a demo
    _write_video(video, video_path)
    summary = track(video_path, prompt_path, tracker=loaded, out=out, overwrite=is_earlier_demo)
    scores = _score(video, out)
    _write_pictures(video, out, animation)
    objects = {
        label: {"J": round(100 * j, 2), "F": round(100 * f, 2)}
        for label, (j, f) in zip(video.labels.values(), scores, strict=True)
    }
    return {
        "J&F": round(100 * float(np.mean(scores)), 2),
        "objects": objects,
        "tracker": asked.tracker,
        "frames": video.num_frames,
        "size": f"{video.size_hw[1]}x{video.size_hw[0]}",
        "frames_per_second": round(summary.frames_per_second, 1),
        "video": str(video_path),
        "overlay": str(out / "overlay.mp4"),
        "picture": str(out / "picture.png"),
        **({"animation": str(animation)} if animation is not None else {}),
    }


def _is_demo(folder: Path, video: MadeVideo) -> bool:
    """Whether a folder is that of an earlier demo, by the objects that its prompt file names."""
    try:
        objects = json.loads((folder / PROMPT).read_bytes())["objects"]
        return [(each["id"], each["label"]) for each in objects] == list(video.labels.items())
    except (OSError, ValueError, TypeError, LookupError):
        return False


def _write_video(video: MadeVideo, path: Path) -> None:
    """Write the video, and beside it its true label maps, `truth/00000.png ...`."""
    from fractions import Fraction

    from vidseg.pipeline.writers.h264 import H264Video
    from vidseg.pipeline.writers.png import write_label_png

    mp4 = H264Video(path, rate=Fraction(FRAME_RATE))
    try:
        for frame, label_map in video:
            assert frame.image is not None
            mp4.write(frame.image, frame.pts_seconds)
            write_label_png(path.parent / TRUTH / f"{frame.index:05d}.png", label_map)
    except BaseException:
        mp4.discard()
        raise
    mp4.finish()


def _score(video: MadeVideo, out: Path) -> npt.NDArray[np.float64]:
    """J and F of each object, as means over the frames that count: (objects, 2)."""
    from vidseg.eval.metrics import boundary_f, region_j

    per_frame = []
    for masks, truth in _masks_and_truth(out):
        if 0 < masks.frame_idx < video.num_frames - 1:
            rows = [masks.masks[list(masks.obj_ids).index(obj_id)] for obj_id in video.labels]
            truths = [truth == obj_id for obj_id in video.labels]
            per_frame.append([(region_j(m, t), boundary_f(m, t)) for m, t in zip(rows, truths, strict=True)])
    return np.mean(per_frame, axis=0)


def _masks_and_truth(out: Path) -> Iterator[tuple[FrameMasks, npt.NDArray[np.uint8]]]:
    from PIL import Image

    from vidseg.pipeline.writers import read_masklets

    for masks in read_masklets(out / "masklets.jsonl"):
        with Image.open(out / TRUTH / f"{masks.frame_idx:05d}.png") as truth:
            yield masks, np.asarray(truth)


def _write_pictures(video: MadeVideo, out: Path, animation: Path | None) -> None:
    """Write a contact sheet of painted frames, three in a row, and the animation if it is wanted."""
    from PIL import Image

    wanted = [round(share * (video.num_frames - 1)) for share in PICTURE_AT]
    height, width = video.size_hw
    sheet = Image.new("RGB", (3 * width, 2 * height))
    small: list[Image.Image] = []
    for index, picture in enumerate(_painted(out)):
        for place, wanted_index in enumerate(wanted):
            if wanted_index == index:
                sheet.paste(picture, (place % 3 * width, place // 3 * height))
        if animation is not None and index % 2 == 0:
            size = (ANIMATION_WIDTH, round(height * ANIMATION_WIDTH / width))
            small.append(picture.resize(size, Image.Resampling.LANCZOS))
    sheet.save(out / "picture.png")
    if animation is not None:
        animation.parent.mkdir(parents=True, exist_ok=True)
        small[0].save(
            animation,
            save_all=True,
            append_images=small[1:],
            duration=round(2000 / FRAME_RATE),
            loop=0,
            quality=70,
            method=6,
        )


def _painted(out: Path) -> Iterator[Image.Image]:
    """The frames of the overlay video."""
    from PIL import Image

    from vidseg.pipeline.read import read

    with read(out / "overlay.mp4") as overlay:
        for frame in overlay:
            assert frame.image is not None
            yield Image.fromarray(frame.image)


def _checked_frames(num_frames: int) -> int:
    if not 3 <= num_frames <= 10_000:
        raise InputError(f"--frames {num_frames}", hint="give a number from 3 to 10000")
    return num_frames


def _size_hw(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d{2,4})x(\d{2,4})", text)
    width, height = (int(match[1]), int(match[2])) if match else (0, 0)
    if min(width, height) < 64:
        raise InputError(
            f"--size '{text}'", hint="give width x height of 64 to 9999 pixels each, such as 640x360"
        )
    return height, width


def _as_text(result: dict[str, Any]) -> str:
    lines = [
        f"made     {result['video']}  ({result['frames']} frames of {result['size']})",
        f"tracked  with {result['tracker']} at {result['frames_per_second']} frames/s",
        *(
            f"{label:8} J {scores['J']:5.1f}  F {scores['F']:5.1f}"
            for label, scores in result["objects"].items()
        ),
        f"J&F      {result['J&F']:.1f}",
        f"picture  {result['picture']}",
        f"overlay  {result['overlay']}",
    ]
    if "animation" in result:
        lines.append(f"moving   {result['animation']}")
    return "\n".join(lines)
