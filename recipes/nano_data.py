"""Part the data that vidseg-nano is trained on from the data that is kept aside for choosing.

    python recipes/nano_data.py VIDSEG_DATA OUT

VIDSEG_DATA holds davis_train/ (the 30 training sequences of DAVIS 2016) and stills/ with `coco_*` and
`people_*`. Folders of links are made in OUT:

- davis_train/: 24 of the sequences, to be trained on;
- davis_dev/: the other six. Weights, thresholds and rules are chosen on them;
- stills_train/: all `coco_*`, and every second one of `people_*`, by name;
- stills_dev/: the other half of `people_*`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

DEV = ("bmx-bumps", "breakdance-flare", "car-turn", "dog-agility", "flamingo", "soccerball")
"""A rider who leaves the picture and returns, a dancer among people, a car that grows, a fast animal, one
bird among its likes, a small thing behind trunks."""


def main() -> None:
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    data, out = Path(sys.argv[1]).resolve(), Path(sys.argv[2])
    part_davis(data / "davis_train", out)
    part_stills(data / "stills", out)


def part_davis(davis: Path, out: Path) -> None:
    names = sorted(path.name for path in (davis / "Annotations/480p").iterdir())
    for folder, part in (("davis_train", [n for n in names if n not in DEV]), ("davis_dev", DEV)):
        for kind in ("JPEGImages/480p", "Annotations/480p"):
            _link(davis / kind, out / folder / kind, part)
        listed = out / folder / "ImageSets/2016/all.txt"
        listed.parent.mkdir(parents=True, exist_ok=True)
        listed.write_text("\n".join(part) + "\n")


def part_stills(stills: Path, out: Path) -> None:
    names = sorted(path.stem for path in (stills / "masks").glob("*.png"))
    people = [name for name in names if name.startswith("people_")]
    coco = [name for name in names if name.startswith("coco_")]
    for folder, part in (("stills_train", coco + people[::2]), ("stills_dev", people[1::2])):
        _link(stills / "images", out / folder / "images", [f"{name}.jpg" for name in part])
        _link(stills / "masks", out / folder / "masks", [f"{name}.png" for name in part])


def _link(source: Path, target: Path, names: Iterable[str]) -> None:
    target.mkdir(parents=True, exist_ok=True)
    for name in names:
        link = target / name
        link.unlink(missing_ok=True)
        link.symlink_to(source / name)


if __name__ == "__main__":
    main()
