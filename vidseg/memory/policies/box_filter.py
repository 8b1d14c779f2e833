"""A Kalman filter that predicts a box, assuming constant velocity; one step a frame.

Source: Wojke et al., "Simple Online and Realtime Tracking with a Deep Association Metric", 2017, section 2.1.
The state is (centre x, centre y, aspect = width / height, height) and the velocities of these.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vidseg.memory.policies.boxes import Box

FloatArray = npt.NDArray[np.float64]

POSITION_STD = 1 / 20
"""Standard deviation of centre and height, as a share of the height; for both the motion and the measurement.
"""
VELOCITY_STD = 1 / 160
"""Standard deviation of their velocities, as a share of the height a frame."""
ASPECT_STD, ASPECT_VELOCITY_STD = 1e-2, 1e-5
MEASURED_ASPECT_STD = 1e-1

_MOTION = np.eye(8) + np.eye(8, k=4)
_READING = np.eye(4, 8)


@dataclass(frozen=True)
class BoxFilter:
    """The state of the filter; every step returns a new one."""

    mean: FloatArray
    """The state: four numbers of the box and their velocities, 8."""
    covariance: FloatArray
    """The covariance of the state, 8 x 8."""

    @classmethod
    def started(cls, box: Box) -> BoxFilter:
        """A filter at rest where the box is.

        It starts less certain than it will be: twice the deviation of place, ten times that of velocity.
        """
        measured = _measure(box)
        height = measured[3]
        place, speed = 2 * POSITION_STD * height, 10 * VELOCITY_STD * height
        std = [place, place, ASPECT_STD, place, speed, speed, ASPECT_VELOCITY_STD, speed]
        return cls(np.concatenate((measured, np.zeros(4))), np.diag(np.square(std)))

    def predicted(self) -> BoxFilter:
        """The state one frame later, before that frame is seen."""
        height = self.mean[3]
        place, speed = POSITION_STD * height, VELOCITY_STD * height
        std = [place, place, ASPECT_STD, place, speed, speed, ASPECT_VELOCITY_STD, speed]
        covariance = _MOTION @ self.covariance @ _MOTION.T + np.diag(np.square(std))
        return BoxFilter(_MOTION @ self.mean, covariance)

    def updated(self, box: Box) -> BoxFilter:
        """The state after a box has been measured on the frame."""
        height = self.mean[3]
        std = [POSITION_STD * height, POSITION_STD * height, MEASURED_ASPECT_STD, POSITION_STD * height]
        spread = _READING @ self.covariance @ _READING.T + np.diag(np.square(std))
        gain = np.linalg.solve(spread, _READING @ self.covariance).T
        mean = self.mean + gain @ (_measure(box) - _READING @ self.mean)
        return BoxFilter(mean, self.covariance - gain @ spread @ gain.T)

    @property
    def box(self) -> Box:
        """The box that the state stands for: (x0, y0, x1, y1) in pixels of the low-res grid."""
        x, y, aspect, height = self.mean[:4]
        width = aspect * height
        return float(x - width / 2), float(y - height / 2), float(x + width / 2), float(y + height / 2)


def _measure(box: Box) -> FloatArray:
    x0, y0, x1, y1 = box
    return np.array([(x0 + x1) / 2, (y0 + y1) / 2, (x1 - x0) / (y1 - y0), y1 - y0])
