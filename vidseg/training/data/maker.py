"""Makes clips as they are needed: the same seed makes the same clip, in any process."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from vidseg.errors import ConfigError, RunError
from vidseg.training.data.clip import Clip
from vidseg.training.data.motion import log_uniform
from vidseg.training.data.scene import Scene, render
from vidseg.training.data.scenes import SceneMaker
from vidseg.training.data.settings import ClipSettings
from vidseg.training.data.sources import StillSource, VideoSource, VosSource

__all__ = ["ClipMaker", "ClipSettings"]

_ATTEMPTS = 60
_GAPS = 2, 20
_SOURCE_FIELDS = {"stills", "videos", "vos", "still_cache_mb", "video_cache_mb"}


@functools.lru_cache(maxsize=2)
def _sources(fields: str) -> tuple[StillSource, VideoSource, VosSource]:
    """The sources of clips. All makers of a process share them: stages differ only in size and length."""
    settings = ClipSettings.model_validate_json(fields)
    return (
        StillSource(settings.stills, settings.still_cache_mb),
        VideoSource(settings.videos, settings.video_cache_mb),
        VosSource(settings.vos),
    )


class ClipMaker:
    """Makes clips from the sources of `settings`; without sources, from made shapes and textures alone.

    Folders are listed here; pictures are read when first needed. A pickled maker leaves behind what it has
    read.

    Raises:
        ConfigError: a source is missing or holds nothing of its kind, or no kind of clips has a source.
    """

    def __init__(self, settings: ClipSettings) -> None:
        self.settings = settings
        self._sources = _sources(settings.model_dump_json(include=_SOURCE_FIELDS))
        mix, (stills, _, vos) = settings.mix, self._sources
        if not (mix.composed or (stills and (mix.in_place or mix.whole)) or (vos and mix.vos)):
            raise ConfigError(
                "no kind of clips is left: those with a weight above 0 have no source",
                where="field 'mix'",
                hint="in_place and whole need 'stills', vos needs 'vos'",
            )

    @property
    def said(self) -> list[str]:
        """What of each folder is used, in lines for people."""
        stills, _, vos = self._sources
        return [*stills.said, *vos.said]

    def preload(self) -> None:
        """Read stills and videos now, so that worker processes that are forked later share them."""
        stills, videos, _ = self._sources
        stills.preload()
        videos.preload()

    def make(self, seed: int) -> Clip:
        """The clip of a seed (0 or more).

        Raises:
            RunError: the sources show no object that is large enough.
        """
        for attempt in range(_ATTEMPTS):
            rng = np.random.default_rng((seed, attempt))
            left_out = round(log_uniform(rng, *_GAPS)) if rng.random() < self.settings.gap else 0
            lasts = self.settings.model_copy(update={"num_frames": self.settings.num_frames + left_out})
            scene: Scene | None = SceneMaker(lasts, *self._sources).make(rng)
            clip = None if scene is None else render(rng, scene, lasts, left_out)
            if clip is not None:
                return clip
        raise RunError(
            f"no clip with a visible object in {_ATTEMPTS} attempts", hint="use sources with larger objects"
        )

    def __getstate__(self) -> dict[str, Any]:
        return {"settings": self.settings}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["settings"])  # type: ignore[misc]
