"""What the long steps of a compression gave, kept so that the same command goes on where it was cut off.

.NAME.kept/depends_on           a digest of all that decides what the steps give
.NAME.kept/STEP.safetensors     what a step gave: tensors, and JSON values in the metadata

The folder lies beside the one to come, and goes when that one is whole.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from vidseg.compression.calibration import Image
from vidseg.pipeline.atomic import write_bytes
from vidseg.trackers.weights import state_sha256
from vidseg.training.training_state import write_tensors
from vidseg.version import __version__

if TYPE_CHECKING:
    from vidseg.trackers.contract import Box

Step = tuple[dict[str, Tensor], dict[str, Any]]
"""Tensors on the CPU, and JSON values."""
SHARE_OF_TIME = 0.1
"""At most this share of the time goes into keeping epochs: on a GPU those of a large part are over sooner
than its weights and moments are on a disk."""
_MARK, _FACTS = "depends_on", "facts"


class Kept:
    """Steps of one compression.

    Args:
        out: the folder to come.
        depends_on: values, as a YAML may hold, that decide what the steps give. What was kept of others is
            forgotten.
    """

    def __init__(self, out: Path, depends_on: Mapping[str, Any]) -> None:
        self.folder = out.with_name(f".{out.name}.kept")
        text = json.dumps({"vidseg": __version__, **depends_on}, sort_keys=True, default=str)
        self._digest = hashlib.sha256(text.encode()).hexdigest()
        self._due_s = 0.0
        mark = self.folder / _MARK
        if not mark.is_file() or mark.read_text(encoding="ascii", errors="replace") != self._digest:
            self.forget()

    @classmethod
    def of(
        cls,
        out: Path,
        config: Mapping[str, Any],
        weights: Mapping[str, Tensor],
        pictures: Sequence[Image],
        box: Box | None,
        **asked: Any,
    ) -> Kept:
        """What was kept of a model on pictures.

        Args:
            config: the model's YAML.
            weights: the model's.
            box: an object of the pictures.
            asked: what else decides what the steps give.
        """
        seen = hashlib.sha256()
        for picture in pictures:
            seen.update(str(picture.shape).encode() + picture.tobytes())
        model = {"config": config, "weights": state_sha256(weights)}
        return cls(out, {**asked, **model, "pictures": seen.hexdigest(), "box": box})

    def read(self, step: str) -> Step | None:
        """What a step gave; None if it has not ended yet."""
        from safetensors import SafetensorError, safe_open

        path = self._path(step)
        if not path.is_file():
            return None
        try:
            with safe_open(path, "pt") as file:
                facts = json.loads(file.metadata()[_FACTS])
                return {key: file.get_tensor(key) for key in file.keys()}, facts  # noqa: SIM118
        except (SafetensorError, OSError, ValueError, KeyError, TypeError):
            return None  # a disk spoilt it; the step is done anew

    @property
    def is_due(self) -> bool:
        """Whether keeping another step takes no more than its share of the time."""
        return time.monotonic() >= self._due_s

    def write(self, step: str, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
        """Keep what a step gave."""
        began = time.monotonic()
        self.folder.mkdir(parents=True, exist_ok=True)
        if not (self.folder / _MARK).exists():
            write_bytes(self.folder / _MARK, self._digest.encode())
        write_tensors(self._path(step), tensors, {_FACTS: json.dumps(facts)})
        now = time.monotonic()
        self._due_s = now + (now - began) / SHARE_OF_TIME

    def forget(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    def _path(self, step: str) -> Path:
        return self.folder / f"{step}.safetensors"
