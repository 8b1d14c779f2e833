"""Runs the recipes of image models in small, for machines without the teachers' weights.

    python benchmarks/distil_images.py --steps 200

The student is the recipe's own, at 128 pixels; `vidseg-nano`, whose weights are in the package, stands for
the teacher. It has no output tokens of SAM's kind, so TinySAM's loss on these is left out. Pictures are made.
"""

from __future__ import annotations

import argparse
import csv
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from vidseg.errors import ConfigError
from vidseg.training.run import train
from vidseg.training.settings import TrainSettings
from vidseg.validation import parse

RECIPES = ("mobile-sam", "nano-sam", "tiny-sam", "edge-sam", "efficient-sam")
SIZE = 128


def small(recipe: Path, steps: int) -> TrainSettings:
    """The settings of a recipe, in small."""
    values: dict[str, Any] = yaml.safe_load(recipe.read_text(encoding="utf-8"))
    values |= {
        "steps": steps,
        "batch": 4,
        "workers": 0,
        "log_every": 10,
        "lr": 1e-3,
        "dtype": "float32",
        "schedule": {"warm_up": 10, "shape": "constant"},
        "data": {"size": SIZE, "num_frames": 1},
        "only": [],
        "distil": {**values["distil"], "teacher": "vidseg-nano", "tokens": 0.0},
    }
    return parse(TrainSettings, values, where=str(recipe), error=ConfigError)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--recipes", default=",".join(RECIPES))
    args = parser.parse_args()
    os.environ.setdefault("VIDSEG_DATA", "")
    for name in args.recipes.split(","):
        recipe = Path(__file__).parent.parent / f"recipes/distil-{name}.yaml"
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "run"
            record = train(small(recipe, args.steps), out)
            with open(out / "log.csv", newline="", encoding="utf-8") as file:
                rows = list(csv.DictReader(file))
        fifth = max(1, len(rows) // 5)
        for part in (key for key in rows[0] if key.startswith("distil_")):
            values = [float(row[part]) for row in rows]
            first, last = np.mean(values[:fifth]), np.mean(values[-fifth:])
            print(
                f"{name:<14} {part:<18} {first:10.4f} -> {last:10.4f}   {record['seconds']:.0f} s", flush=True
            )


if __name__ == "__main__":
    main()
