"""A Kalman filter of a box with constant velocity, one step a frame.

Source: Wojke et al., "Simple Online and Realtime Tracking with a Deep Association Metric", 2017, section 2.1.
The state is (centre x, centre y, aspect = width / height, height) and their velocities.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vidseg.memory.policies.boxes import Box

FloatArray = npt.NDArray[np.float64]

POSITION_STD = 1 / 20
"""Deviation of centre and height, in heights; of the process and of the measurement."""
VELOCITY_STD = 1 / 160
ASPECT_STD, ASPECT_VELOCITY_STD = 1e-2, 1e-5
MEASURED_ASPECT_STD = 1e-1

_MOTION = np.eye(8) + np.eye(8, k=4)
_READING = np.eye(4, 8)


@dataclass(frozen=True)
class BoxFilter:
    mean: FloatArray
    """8."""
    covariance: FloatArray
    """8 x 8."""

    @classmethod
    def started(cls, box: Box) -> BoxFilter:
        """At rest where the box is; of place twice the process' deviation, of velocity ten times."""
        measured = _measure(box)
        height = measured[3]
        place, speed = 2 * POSITION_STD * height, 10 * VELOCITY_STD * height
        std = [place, place, ASPECT_STD, place, speed, speed, ASPECT_VELOCITY_STD, speed]
        return cls(np.concatenate((measured, np.zeros(4))), np.diag(np.square(std)))

    def predicted(self) -> BoxFilter:
        """One frame on."""
        height = self.mean[3]
        place, speed = POSITION_STD * height, VELOCITY_STD * height
        std = [place, place, ASPECT_STD, place, speed, speed, ASPECT_VELOCITY_STD, speed]
        covariance = _MOTION @ self.covariance @ _MOTION.T + np.diag(np.square(std))
        return BoxFilter(_MOTION @ self.mean, covariance)

    def updated(self, box: Box) -> BoxFilter:
        """With what was seen."""
        height = self.mean[3]
        std = [POSITION_STD * height, POSITION_STD * height, MEASURED_ASPECT_STD, POSITION_STD * height]
        spread = _READING @ self.covariance @ _READING.T + np.diag(np.square(std))
        gain = np.linalg.solve(spread, _READING @ self.covariance).T
        mean = self.mean + gain @ (_measure(box) - _READING @ self.mean)
        return BoxFilter(mean, self.covariance - gain @ spread @ gain.T)

    @property
    def box(self) -> Box:
        x, y, aspect, height = self.mean[:4]
        width = aspect * height
        return float(x - width / 2), float(y - height / 2), float(x + width / 2), float(y + height / 2)


def _measure(box: Box) -> FloatArray:
    x0, y0, x1, y1 = box
    return np.array([(x0 + x1) / 2, (y0 + y1) / 2, (x1 - x0) / (y1 - y0), y1 - y0])
