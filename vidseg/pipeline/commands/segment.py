"""`vidseg segment`: masks of pictures from boxes and points, by any image model."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from vidseg.pipeline.commands.stills_arguments import (
    add_stills_arguments,
    check_stills_arguments,
    run_stills,
)
from vidseg.pipeline.typed_prompts import add_prompt_arguments, combine

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from vidseg.pipeline.stills.masks import PictureMasks
    from vidseg.pipeline.stills.pictures import Picture
    from vidseg.trackers.image.segmenter import ImageSegmenter


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_prompt_arguments(
        parser,
        title="what to segment, in every picture; without these, a.jpg goes with the prompt file a.json",
        where="in pixels",
    )
    add_stills_arguments(parser)


def run(args: argparse.Namespace) -> int:
    check_stills_arguments(args)
    from vidseg.pipeline.stills.pictures import list_pictures
    from vidseg.pipeline.stills.segment import own_prompts, same_prompts, segment, with_prompts_beside

    pictures = list_pictures(args.source)
    if args.prompts:
        prompts_of = same_prompts(combine(args.prompts))
    else:
        prompts_of = own_prompts
        pictures, without = with_prompts_beside(pictures)
        if without and not args.quiet:
            names = ", ".join(picture.path.name for picture in without[:3])
            more = f" and {len(without) - 3} more" if len(without) > 3 else ""
            print(f"vidseg: warning: left out, as there is no prompt file: {names}{more}", file=sys.stderr)

    def find(segmenter: ImageSegmenter, picture: Picture, image: npt.NDArray[np.uint8]) -> PictureMasks:
        return segment(segmenter, prompts_of(picture), picture, image)

    prompts = prompts_of(pictures[0]).document() if args.prompts else "beside the pictures"
    return run_stills(args, pictures, find, {"command": "segment", "prompts": prompts}, tags=True)
