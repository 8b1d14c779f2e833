"""The picture of a frame as a sampler asks it.

Where the model that finds objects is the one that tracks, its features of the frame are used, which are
there already: no frame goes through an encoder twice.
"""

from __future__ import annotations

from typing import Any, Protocol

from vidseg.errors import ConfigError, InputError
from vidseg.samplers import PromptedPicture
from vidseg.trackers.choices import DEFAULT_TRACKER
from vidseg.trackers.close_up.session import CloseUpSession
from vidseg.trackers.contract import Frame, Session, Tracker
from vidseg.trackers.engine_tracker import EngineTracker
from vidseg.trackers.following.session import FollowingSession
from vidseg.trackers.following.tracker import FollowingTracker
from vidseg.trackers.image.embedded_picture import EmbeddedPicture
from vidseg.trackers.image.load import build_segmenter, segmenter_of
from vidseg.trackers.image.segmenter import ImageSegmenter
from vidseg.trackers.options import TrackerOptions
from vidseg.trackers.session import EngineSession


class Look(Protocol):
    """Looks at frames with one model."""

    @property
    def sampling(self) -> dict[str, Any]:
        """The settings of samplers that fit the model, for discovery."""
        ...

    def at(self, session: Session, frame: Frame) -> PromptedPicture:
        """A frame that the session has just stepped to."""
        ...


class OwnLook:
    """Looks with the tracker's own model, at the features that it tracked with."""

    def __init__(self, tracker: EngineTracker) -> None:
        self._segmenter = segmenter_of(tracker)
        self.sampling = self._segmenter.discovery

    def at(self, session: Session, frame: Frame) -> PromptedPicture:
        assert isinstance(session, EngineSession | CloseUpSession)
        return EmbeddedPicture(
            model=self._segmenter.model,
            framing=self._segmenter.framing,
            encoded=session.features(frame),
            size_hw=frame.size_hw,
            embed_crop=None,
            weights_sha256=self._segmenter.weights_sha256,
        )


class FollowedLook:
    """Looks with the image model that follows the video, at the embedding that it followed with."""

    def __init__(self, tracker: FollowingTracker) -> None:
        self._segmenter = tracker.segmenter
        self.sampling = self._segmenter.discovery

    def at(self, session: Session, frame: Frame) -> PromptedPicture:
        assert isinstance(session, FollowingSession)
        assert session.embedding is not None  # of the frame that was stepped to
        return session.embedding.prompted()


class OtherLook:
    """Looks with another model, which encodes the frames it is asked about."""

    def __init__(self, segmenter: ImageSegmenter) -> None:
        self._segmenter = segmenter
        self.sampling = segmenter.discovery
        self._last: tuple[Frame, PromptedPicture] | None = None

    def at(self, session: Session, frame: Frame) -> PromptedPicture:
        if self._last is None or self._last[0] is not frame:
            if frame.image is None:
                raise InputError("discovery with another model needs the frames' pictures")
            self._last = (frame, self._segmenter.embed(frame.image).prompted())
        return self._last[1]


def look_of(tracker: Tracker, discover_with: str | None, device: str) -> Look:
    """The model that finds objects for a tracker.

    Args:
        discover_with: an image model; None: the tracker's own.
        device: of another model.

    Raises:
        ConfigError: the tracker has no model that segments pictures, and no other one is named.
        CheckpointError: the other model's weights are missing.
    """
    if isinstance(tracker, EngineTracker) and discover_with in (None, tracker.name):
        return OwnLook(tracker)
    if isinstance(tracker, FollowingTracker) and discover_with in (None, tracker.name):
        return FollowedLook(tracker)
    if discover_with is None:
        raise ConfigError(
            f"the tracker '{tracker.name}' cannot find objects by itself",
            hint=f"--discover-with {DEFAULT_TRACKER}",
        )
    return OtherLook(build_segmenter(TrackerOptions.of(discover_with, device=device)))
