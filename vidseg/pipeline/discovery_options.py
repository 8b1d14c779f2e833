"""How a run finds objects: by a sampler, or by a detector that is opened here."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from vidseg.detectors.contract import is_sure
from vidseg.detectors.table import is_file, open_detector, parts_of
from vidseg.errors import ConfigError, InputError, told
from vidseg.trackers.discovery.settings import DiscoverySettings, Share
from vidseg.validation import parse

if TYPE_CHECKING:
    from vidseg.detectors import Detector
    from vidseg.trackers.contract import Tracker
    from vidseg.trackers.discovery.discovery import Discovery

BY_SAMPLER = ("sampler", "sampling", "discover_with")
"""Fields that say how a model finds objects; with a detector they say nothing."""
OF_DETECTOR = ("text", "threshold")


class DiscoveryOptions(DiscoverySettings):
    """When to look for objects, which to follow, and who finds them."""

    detector: Annotated[str, Field(min_length=1)] | None = None
    """What draws boxes around the objects, as `vidseg.detectors.open_detector` takes it; None: a sampler
    finds them."""
    text: Annotated[str, Field(min_length=1)] | None = None
    """What the detector looks for: 'red cup, dog'; it is told again on each frame."""
    threshold: Share | None = None
    """Lowest score of a detection; None: the detector's own."""

    def check(self) -> None:
        """Check that the options go together.

        Raises:
            ConfigError: they do not, or the sampler or one of its settings is unknown.
        """
        if self.detector is None:
            for name in OF_DETECTOR:
                if getattr(self, name) is not None:
                    raise ConfigError(
                        f"--{name} is for a detector, and none is given",
                        hint="--detector owlv2:FOLDER, model.onnx or boxes.json",
                    )
            self.check_sampler()
        for name in BY_SAMPLER:
            if self.detector is not None and name in self.model_fields_set:
                said = "set" if name == "sampling" else name.replace("_", "-")
                raise ConfigError(
                    f"--{said} is about objects that a model finds, and --detector finds them here",
                    hint="give one of the two",
                )

    def opened_detector(self) -> Detector | None:
        """The detector; None if a sampler finds the objects.

        Raises:
            ConfigError, InputError, MissingExtraError: see `vidseg.detectors.open_detector`.
        """
        if self.detector is None:
            return None
        return open_detector(self.detector, self.text or (), threshold=self.threshold)

    def discovery(
        self, tracker: Tracker, detector: Detector | None, *, first_id: int, device: str
    ) -> Discovery:
        """The discovery of one run.

        Args:
            detector: what `opened_detector` returned.

        Raises:
            ConfigError, InputError, MissingExtraError: the model that finds objects cannot be opened.
        """
        from vidseg.trackers.discovery.discovery import Discovery  # needs torch

        settings: DiscoverySettings = self
        if detector is not None and is_sure(detector) and "confirm_after" not in self.model_fields_set:
            # Objects that are sure are followed from their first frame on.
            settings = self.model_copy(update={"confirm_after": 0})
        return Discovery(tracker, settings, detector=detector, first_id=first_id, device=device)

    def document(self) -> dict[str, Any]:
        """The options as JSON values that decide the masks: files' names, and checksums of their content.

        Raises:
            InputError: the file of a detector, or of a sampler's weights, cannot be read.
        """
        said = self.model_dump()
        weights = self.sampling.get("weights")
        if isinstance(weights, str | Path):
            checksum = _checksum(Path(weights), "weights")
            said["sampling"] |= {"weights": Path(weights).name, "weights_sha256": checksum}
        return said | detector_document(self.detector)


def detector_document(spec: str | None) -> dict[str, Any]:
    """What says which detector it is, as JSON values: of a file its name and the checksum of its content.

    Raises:
        InputError: the file cannot be read.
    """
    name, argument = parts_of(spec or "")
    if not is_file(name):
        return {"detector": spec}
    path = Path(argument)
    return {"detector": path.name, "detector_sha256": _checksum(path, "detector")}


def _checksum(path: Path, what: str) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as failure:
        raise InputError(f"the {what} '{path}' cannot be read ({told(failure)})") from None


def discovery_of(said: bool | Mapping[str, Any] | None) -> DiscoveryOptions | None:
    """The options of discovery that a caller gave: True for the defaults, or some of the fields.

    Raises:
        ConfigError: an option is unknown, or not allowed.
    """
    if said is None or said is False:
        return None
    fields = {} if said is True else dict(said)
    return parse(DiscoveryOptions, fields, where="discover", error=ConfigError)
