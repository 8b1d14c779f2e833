"""The order in which pictures are made that nobody asked for."""

from __future__ import annotations

from vidseg.pipeline.read.random_access import RandomAccess

SPREADS = (64, 16, 4, 1)
"""Before any other pictures, those of keyframes are made: of each 64th, 16th, 4th, and of all."""
MOST_KEYFRAMES = 512


class PicturePlan:
    """Hands out the frames of one video in pieces. For one thread at a time.

    Keyframes come first, as they are quick to decode, and lie all over the video: one of them can stand in
    for a frame near it. Then come whole groups of pictures, that of the playhead first, as the frames of a
    group are decoded one after another in any case.
    """

    def __init__(self, video: RandomAccess) -> None:
        self._groups = video.groups()
        self.playhead = 0
        """The frame in sight."""
        self._chosen_near = 0
        """Where the playhead was when a group was chosen last."""
        self._keyframes: list[int] = []
        self._left: dict[int, range] = {}
        self.begin_anew()

    @property
    def has_more(self) -> bool:
        return bool(self._keyframes or self._left)

    def begin_anew(self) -> None:
        """Hand all frames out again, as their pictures had to go."""
        starts = [group.start for group in self._groups]
        starts = starts[:: -(-len(starts) // MOST_KEYFRAMES)]
        spread = dict.fromkeys(start for step in SPREADS for start in starts[::step])
        self._keyframes = list(reversed(spread))
        self._left = {group.start: group for group in self._groups}

    def go_on(self, frames: list[int]) -> list[int]:
        """The frames that a thread is to make next, the next one last.

        Args:
            frames: what is left of those that the thread was given before; they may come back to the plan,
                for others near the playhead.
        """
        if frames and self._chosen_near == self.playhead:
            return frames
        if self._keyframes and not frames:
            return [self._keyframes.pop()]
        self._chosen_near = self.playhead
        nearest = min(self._left.values(), key=self._distance, default=None)
        if nearest is None:
            return frames
        if frames:
            group = range(frames[-1], frames[0] + 1)
            if self._distance(group) <= self._distance(nearest):
                return frames
            self._left[group.start] = group
        del self._left[nearest.start]
        return list(reversed(nearest))

    def _distance(self, group: range) -> int:
        if self.playhead in group:
            return 0
        return min(abs(group.start - self.playhead), abs(group.stop - 1 - self.playhead))
