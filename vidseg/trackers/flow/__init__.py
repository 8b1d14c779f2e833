"""The weight-free tracker: dense optical flow for motion, colour for appearance, on the CPU."""

from __future__ import annotations

from vidseg.trackers.flow.config import FlowConfig as FlowConfig
from vidseg.trackers.flow.tracker import FlowTracker as FlowTracker
