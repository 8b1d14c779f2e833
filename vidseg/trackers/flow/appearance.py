"""Appearance of an object: learned from the masks that a user gave, and followed cautiously through the
frames."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vidseg.trackers.carrying.motion import scale_flow, warp
from vidseg.trackers.flow.colour import (
    BoolMap,
    FloatMap,
    IntMap,
    cluster_colours,
    count_colours,
    count_locally,
    log_ratio,
    surroundings_weight,
)
from vidseg.trackers.flow.config import FlowConfig
from vidseg.trackers.flow.window import CELL, HALF, Window

_FEW = 0.02
"""Local colours count for more than all colours once this share of a window has been seen on a side."""


@dataclass
class Appearance:
    """Colours of one object and of its surroundings.

    The colours that a user showed stay as they are: learning from the tracker's own masks would reinforce
    leaks. The local colours follow the flow and are renewed from own masks, so they know what lies beside a
    contour now.
    """

    of_object: FloatMap
    """float32 32768: share of each colour in the object, on the frames that a user prompted."""
    of_surroundings: FloatMap
    """float32 32768: share of each colour in the surroundings, on the frames that a user prompted."""
    clusters: npt.NDArray[np.uint8]
    """uint8 32768: the cluster of each colour."""
    shares: FloatMap
    """float32 2 x K: share of each cluster in the object and in its surroundings."""
    near_object: FloatMap
    near_surroundings: FloatMap
    """float32 rows x columns x K: local weight of each cluster on either side; 0 where nothing was seen."""
    own_evidence: float
    """Mean colour evidence inside the object as a user showed it."""

    @classmethod
    def learn(cls, bins: IntMap, mask: BoolMap, config: FlowConfig) -> Appearance:
        """The appearance of an object from its true mask; colour bins and mask are at half resolution."""
        size_px = HALF * float(np.sqrt(max(int(mask.sum()), 1)))
        near = surroundings_weight(mask, config.ring_share * size_px / HALF + 1)
        of_object = count_colours(bins, mask.astype(np.float32))
        of_surroundings = count_colours(bins, near)
        clusters = cluster_colours(bins, mask, near > 0.4, config.colours)
        labels = clusters[bins].ravel()
        counts = np.stack([np.bincount(labels, w.ravel(), config.colours) for w in (mask, near)])
        shares = (counts / np.maximum(counts.sum(1, keepdims=True), 1e-9)).astype(np.float32)
        looks = cls(of_object, of_surroundings, clusters, shares, *_EMPTY, own_evidence=0.0)
        inside = looks.colour_evidence(bins, config)[mask]
        looks.own_evidence = float(inside.mean()) if len(inside) else 0.0
        looks.look_closely(bins, mask.astype(np.float32), size_px, config)
        return looks

    def add(self, bins: IntMap, mask: BoolMap, config: FlowConfig) -> None:
        """Take in another true mask, on a frame that lies ahead; local colours stay as they are."""
        other = Appearance.learn(bins, mask, config)
        self.of_object = np.float32(0.5) * (self.of_object + other.of_object)
        self.of_surroundings = np.float32(0.5) * (self.of_surroundings + other.of_surroundings)
        self.own_evidence = (self.own_evidence + other.own_evidence) / 2

    def look_closely(self, bins: IntMap, prob: FloatMap, size_px: float, config: FlowConfig) -> None:
        """Learn the local colours from this frame alone."""
        self.near_object, self.near_surroundings = self._local_counts(bins, prob, size_px, config)

    def follow(
        self, bins: IntMap, prob: FloatMap, flow: FloatMap, window: Window, size_px: float, config: FlowConfig
    ) -> None:
        """Carry the local colours along the flow, and renew them from this frame's mask.

        Args:
            bins, prob, flow: maps of the window, at half resolution.
        """
        rate = np.float32(config.local_rate)
        seen = self._local_counts(bins, prob, size_px, config)
        cell_flow = scale_flow(flow, seen[0].shape[:2])
        sides = []
        for known, new in zip((self.near_object, self.near_surroundings), seen, strict=True):
            side = np.zeros_like(known)
            carried = warp(known, cell_flow, window.corner(CELL))
            side[window.at(CELL)] = (1 - rate) * carried + rate * new
            sides.append(side)
        self.near_object, self.near_surroundings = sides

    def colour_evidence(self, bins: IntMap, config: FlowConfig) -> FloatMap:
        """Log-likelihood ratio of each pixel's colour: that of the whole object against its surroundings."""
        return log_ratio(self.of_object, self.of_surroundings, config.colour_limit)[bins]

    def local_evidence(
        self, bins: IntMap, flow: FloatMap, corner: tuple[int, int], config: FlowConfig
    ) -> FloatMap:
        """Log-likelihood ratio of each pixel's colour among those seen near it on either side.

        Args:
            bins, flow: maps of a window at half resolution, whose top row and left column are `corner`.
        """
        height, width = bins.shape
        rows, columns, _ = self.near_object.shape
        y = np.arange(corner[0], corner[0] + height, dtype=np.float32)[:, None] + flow[..., 1]
        x = np.arange(corner[1], corner[1] + width, dtype=np.float32)[None] + flow[..., 0]
        row = np.clip((y * np.float32(HALF / CELL)).astype(np.int32), 0, rows - 1)
        column = np.clip((x * np.float32(HALF / CELL)).astype(np.int32), 0, columns - 1)
        label = self.clusters[bins]
        likelihoods = []
        for near, share in zip((self.near_object, self.near_surroundings), self.shares, strict=True):
            seen = near.sum(-1)[row, column]
            likelihood = (near[row, column, label] + np.float32(_FEW) * share[label]) / (
                seen + np.float32(_FEW)
            )
            likelihoods.append(likelihood)
        return log_ratio(likelihoods[0], likelihoods[1], config.colour_limit, floor=1e-3)

    def resemblance(self, evidence: FloatMap, mask: BoolMap) -> float:
        """Mean colour evidence inside a mask, as a share of the object's own; 0: the colours say nothing."""
        if self.own_evidence <= 0 or not mask.any():
            return 0.0
        return float(evidence[mask].mean()) / self.own_evidence

    def _local_counts(
        self, bins: IntMap, prob: FloatMap, size_px: float, config: FlowConfig
    ) -> tuple[FloatMap, FloatMap]:
        labels = self.clusters[bins]
        radius = max(1, round(config.local_share * size_px / CELL))
        of_object, of_rest = (count_locally(labels, w, config.colours, radius) for w in (prob, 1 - prob))
        return of_object, of_rest


_EMPTY = (np.zeros((0, 0, 0), np.float32), np.zeros((0, 0, 0), np.float32))
