"""Settings of clips: their sources, size and effects, as one section of a training configuration."""

from __future__ import annotations

import os
from pathlib import Path

from pydantic import Field

from vidseg.errors import ConfigError
from vidseg.validation import Strict


class StillFolder(Strict):
    """Still images with masks: `images/<name>.jpg` and `masks/<name>.png` (0 background, 1..N objects)."""

    folder: str
    prefix: str = ""
    """Only names that begin with this are taken."""
    research_only: bool = False
    """Whether to take also pictures that may not go into published weights: names that begin with `camvid_`
    (CamVid)."""


class ClipMix(Strict):
    """How many clips of each kind to make, relative to one another; a kind without sources is left out."""

    composed: float = Field(default=0.55, ge=0)
    """Weight of cut-outs and made shapes that move over a video, a still or a texture."""
    in_place: float = Field(default=0.25, ge=0)
    """Weight of objects that leave their place in a still; the hole behind them is filled."""
    whole: float = Field(default=0.2, ge=0)
    """Weight of stills that move and bend as a whole, the object with them: only natural outlines."""
    vos: float = Field(default=0.3, ge=0)
    """Weight of real sequences with real masks, from the `vos` folders."""


class ClipSettings(Strict):
    """Size, length, sources and effects of training clips. Without sources, clips are made by programs alone.

    Folders may hold `~` and environment variables (`${NAME}`).
    """

    size: int = Field(default=256, ge=64, le=2048)
    """S: clips are S x S pixels, cut out of frames that are squashed to a square, as the tracker squashes
    them."""
    num_frames: int = Field(default=4, ge=1, le=64)
    """T: how many frames a clip has."""

    stills: list[StillFolder] = Field(default=[])
    """Folders of stills with masks."""
    videos: list[str] = Field(default=[])
    """Video files, folders of them, or folders of frames; they serve as backgrounds and textures."""
    vos: list[str] = Field(default=[])
    """Folders in the style of DAVIS or YouTube-VOS: `JPEGImages/[480p/]<sequence>`,
    `Annotations/[480p/]<sequence>`."""

    mix: ClipMix = ClipMix()
    max_distractors: int = Field(default=4, ge=0, le=16)
    look_alike: float = Field(default=0.35, ge=0, le=1)
    """Probability that a distractor is the object's twin, or cut from the same texture."""
    crossing: float = Field(default=0.0, ge=0, le=1)
    """Probability that the object's twin crosses its way, in front of it or behind it."""
    carried: float = Field(default=0.0, ge=0, le=1)
    """Probability that something comes up to the object and goes along with it, as a hand does that moves a
    cup."""
    close_up: float = Field(default=0.0, ge=0, le=1)
    """Probability that a real sequence is seen in a close-up of its object, as trackers with `close_up` see
    it."""
    closer_look: float = Field(default=0.0, ge=0, le=1)
    """Probability that a clip shows the object as it is on the first frame, and little around it, stretched
    to a square, as `vidseg.trackers.closer_look` shows it."""
    occluder: float = Field(default=0.25, ge=0, le=1)
    """Probability that something passes in front of the object."""
    vanish: float = Field(default=0.12, ge=0, le=1)
    """Probability that the object goes away for some frames: out of the picture, or behind a cover."""
    gap: float = Field(default=0.0, ge=0, le=1)
    """Probability that frames after the first are left out, so that the first is an old memory, as in a long
    video."""
    turn: float = Field(default=0.25, ge=0, le=1)
    """Probability that the object turns about itself: its surface slides along, and shows what was hidden."""
    bend: float = Field(default=0.6, ge=0, le=1)
    """Probability that the object deforms."""
    hinge: float = Field(default=0.2, ge=0, le=1)
    """Probability that a part of the object swings about a joint."""
    light: float = Field(default=0.6, ge=0, le=1)
    """Probability that light and colours change over time."""
    motion_blur: float = Field(default=0.3, ge=0, le=1)
    defocus: float = Field(default=0.15, ge=0, le=1)
    noise: float = Field(default=0.35, ge=0, le=1)
    compression: float = Field(default=0.4, ge=0, le=1)

    still_cache_mb: int = Field(default=250, ge=0)
    """How many megabytes of decoded stills are kept in memory; further ones are read again when needed."""
    video_cache_mb: int = Field(default=250, ge=1)
    """How many megabytes of compressed video frames are kept in memory, shared evenly among the videos."""


def folder_of(text: str, field: str) -> Path:
    """The path that `text` names, with `~` and variables filled in.

    Raises:
        ConfigError: a variable in it is not set, or nothing is there.
    """
    expanded = os.path.expandvars(os.path.expanduser(text))
    if "$" in expanded:
        raise ConfigError(
            f"'{text}' holds a variable that is not set", where=field, hint="set it, or write the path out"
        )
    path = Path(expanded)
    if not path.exists():
        raise ConfigError(f"'{text}' is not there", where=field, hint="give a folder or file that exists")
    return path
