"""Carries one object from the last frame into this one: along the flow, corrected by its appearance."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from vidseg.masks import tight_box
from vidseg.trackers.carrying.motion import scale_flow, warp
from vidseg.trackers.flow.appearance import Appearance
from vidseg.trackers.flow.colour import BoolMap, FloatMap, IntMap, colour_bins, to_half
from vidseg.trackers.flow.config import FlowConfig
from vidseg.trackers.flow.motion import motion_evidence
from vidseg.trackers.flow.objects import TrackedObject
from vidseg.trackers.flow.redetection import cut_shape, find_shape
from vidseg.trackers.flow.refinement import guided_filter, keep_pieces, limit_area, signed_distance
from vidseg.trackers.flow.window import HALF, QUARTER, Window

Picture = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class FrameFeatures:
    """Maps of a frame that are computed once for all its objects."""

    guide: FloatMap
    """h x w x 3, 0 to 1: the picture, slightly smoothed."""
    bins: IntMap
    """h/2 x w/2: colour bins."""
    flow: FloatMap
    half_flow: FloatMap
    quarter_flow: FloatMap
    """Flow to the previous frame at full, half and quarter resolution, each in pixels of that resolution."""

    @classmethod
    def of(cls, picture: Picture, flow: FloatMap) -> FrameFeatures:
        """The features of a picture and of its flow to the previous one."""
        height, width = picture.shape[:2]
        return cls(
            cv2.GaussianBlur(picture, (0, 0), 0.8).astype(np.float32) / np.float32(255),
            colour_bins(to_half(picture)),
            flow,
            scale_flow(flow, (max(1, height // HALF), max(1, width // HALF))),
            scale_flow(flow, (max(1, height // QUARTER), max(1, width // QUARTER))),
        )


def learn(tracked: TrackedObject, picture: Picture, mask: BoolMap, config: FlowConfig) -> None:
    """Learn an object's appearance anew from its true mask in a picture, and put it there."""
    bins, half = _at_half(picture, mask)
    tracked.looks = Appearance.learn(bins, half, config)
    tracked.shape_response = _own_response(mask, tracked.looks.colour_evidence(bins, config))
    tracked.whole_area = 0.0
    remember_shape(tracked, mask, 1.0, config)
    tracked.show(mask)


def learn_ahead(tracked: TrackedObject, picture: Picture, mask: BoolMap, config: FlowConfig) -> None:
    """Learn an object's appearance from a frame that lies ahead; its present mask stays as it was."""
    if tracked.looks is None:
        learn(tracked, picture, mask, config)
        tracked.lose()
    else:
        tracked.looks.add(*_at_half(picture, mask), config)


def arrive(tracked: TrackedObject, picture: Picture, mask: BoolMap, config: FlowConfig) -> None:
    """Put an object where `learn_ahead` saw it, once tracking comes to that frame."""
    bins, half = _at_half(picture, mask)
    assert tracked.looks is not None
    tracked.looks.look_closely(bins, half.astype(np.float32), float(np.sqrt(mask.sum())), config)
    tracked.whole_area = 0.0
    remember_shape(tracked, mask, 1.0, config)
    tracked.show(mask)


def propagate(objects: Mapping[int, TrackedObject], frame: FrameFeatures, config: FlowConfig) -> None:
    """Carry all objects into a frame: follow each, look for lost ones, and mark those not found as absent."""
    lost = [tracked for tracked in objects.values() if not follow(tracked, frame, config)]
    taken = np.zeros(frame.flow.shape[:2], bool)
    for tracked in objects.values():
        if not any(tracked is other for other in lost):
            taken |= tracked.mask
    for tracked in lost:
        if not find_again(tracked, frame, taken, config):
            tracked.lose()
    share_pixels(objects)


def share_pixels(objects: Mapping[int, TrackedObject]) -> None:
    """Give each pixel to the object that it most likely belongs to; on a tie, to the lowest id."""
    shown = [tracked for _, tracked in sorted(objects.items()) if tracked.mask.any()]
    if len(shown) < 2:
        return
    winner = np.stack([tracked.prob for tracked in shown]).argmax(0)
    for row, tracked in enumerate(shown):
        tracked.prob = np.where(winner == row, tracked.prob, np.minimum(tracked.prob, np.float32(0.49)))
        if not tracked.mask.any():
            tracked.lose()


@dataclass(frozen=True)
class CarriedMask:
    """Where flow, colours and motion put an object on a frame; nothing of it is remembered yet."""

    prob: FloatMap
    """h x w: how likely each pixel belongs to the object, 0 to 1."""
    window: Window
    """The part of the frame in which the object was searched; elsewhere `prob` is 0."""
    colour: FloatMap
    """Colour evidence in the window, at half resolution."""
    size_px: float
    """The carried object's size, the square root of its area."""


def follow(tracked: TrackedObject, frame: FrameFeatures, config: FlowConfig) -> bool:
    """Carry the mask along the flow and correct it by colour and motion; False if nothing of it is left."""
    carried = carry_mask(tracked, frame, config)
    if carried is None:
        return False
    take_mask(tracked, carried, carried.prob, frame, config)
    return True


def carry_mask(tracked: TrackedObject, frame: FrameFeatures, config: FlowConfig) -> CarriedMask | None:
    """The object's mask carried along the flow and corrected; None if nothing of it is left.

    The object stays as it was; `take_mask` remembers the mask that was made of it.
    """
    looks = tracked.looks
    if looks is None or not tracked.mask.any():
        return None
    grid_hw = tracked.prob.shape
    quarter_hw = frame.quarter_flow.shape[:2]
    roughly = warp(resize(tracked.prob, quarter_hw), frame.quarter_flow) > 0.1
    if not roughly.any():
        return None
    size_px = QUARTER * float(np.sqrt(roughly.sum()))
    window = Window.around(roughly, QUARTER, config.window_share * size_px + 2 * config.filter_px, grid_hw)
    full, half = window.at(1), window.at(HALF)
    bins, flow = frame.bins[half], frame.half_flow[half]

    carried = warp(tracked.prob, frame.flow[full], window.corner(1))
    prior = resize(carried, bins.shape)
    inside = prior > 0.5
    area = HALF**2 * int(inside.sum())
    if area < config.smallest_area_px:
        return None
    size_px = float(np.sqrt(area))
    colour = looks.colour_evidence(bins, config)
    logit = np.clip(
        HALF / config.prior_reach_px * signed_distance(inside), -config.prior_limit, config.prior_limit
    )
    logit += config.colour_weight * colour
    logit += config.local_colour_weight * looks.local_evidence(bins, flow, window.corner(HALF), config)
    logit += config.motion_weight * _motion(prior, flow, size_px, config)
    prob = _refined(logit, frame.guide[full], config)
    mask = keep_pieces(limit_area(prob, config.growth * area), carried > 0.5)
    if np.count_nonzero(mask) < config.smallest_area_px:
        return None
    whole = np.zeros(grid_hw, np.float32)
    whole[full] = np.where(mask, prob, np.minimum(prob, np.float32(0.49)))
    return CarriedMask(whole, window, colour, size_px)


def take_mask(
    tracked: TrackedObject, carried: CarriedMask, prob: FloatMap, frame: FrameFeatures, config: FlowConfig
) -> None:
    """Remember an object's mask on the frame that it was carried into.

    Args:
        prob: h x w, 0 to 1: the carried mask, or what was made of it.
    """
    looks, half = tracked.looks, carried.window.at(HALF)
    assert looks is not None
    half_prob = resize(prob[carried.window.at(1)], carried.colour.shape)
    resemblance = looks.resemblance(carried.colour, half_prob > 0.5)
    bins, flow = frame.bins[half], frame.half_flow[half]
    looks.follow(bins, half_prob, flow, carried.window, carried.size_px, config)
    tracked.judge(prob, resemblance)
    remember_shape(tracked, prob > 0.5, resemblance, config)


def find_again(tracked: TrackedObject, frame: FrameFeatures, taken: BoolMap, config: FlowConfig) -> bool:
    """Look for a lost object in the whole frame; False if no place fits its colours and shape well enough.

    Args:
        taken: h x w, the pixels that other objects have.
    """
    looks = tracked.looks
    if looks is None or tracked.shape is None or tracked.shape_response <= 0:
        return False
    colour = looks.colour_evidence(frame.bins, config)
    if taken.any():
        colour = np.where(resize(taken, colour.shape) > 0.5, np.float32(-config.colour_limit), colour)
    found = find_shape(resize(colour, frame.quarter_flow.shape[:2]), tracked.shape)
    if found is None or found.response < config.find_share * tracked.shape_response:
        return False
    size_px = QUARTER * float(np.sqrt(found.shape.sum()))
    placed = resize(found.shape, frame.bins.shape) >= 0.5
    # The place is known only to a fraction of the object's size, so colours must decide its outline.
    reach = 0.1 * size_px
    logit = np.clip(HALF / reach * signed_distance(placed), -config.prior_limit, config.prior_limit) + colour
    prob = _refined(logit, frame.guide, config)
    mask = keep_pieces(prob > 0.5, resize(placed, tracked.prob.shape) >= 0.5)
    resemblance = looks.resemblance(colour, resize(mask, colour.shape) >= 0.5)
    area_ratio = np.count_nonzero(mask) / max(size_px**2, 1.0)
    if resemblance < config.find_share or not 0.5 < area_ratio < 2:
        return False
    prob = np.where(mask, prob, np.minimum(prob, np.float32(0.49)))
    looks.look_closely(frame.bins, resize(prob, frame.bins.shape), size_px, config)
    tracked.judge(prob, resemblance)
    return True


def remember_shape(tracked: TrackedObject, mask: BoolMap, resemblance: float, config: FlowConfig) -> None:
    """Keep an object's shape, in case it gets lost later; not while it is half hidden or in doubt."""
    area = float(np.count_nonzero(mask))
    # Let the known size fade: an object that moves away would otherwise count as half hidden forever.
    tracked.whole_area = max(area, config.size_memory * tracked.whole_area)
    if resemblance < config.sure_resemblance or area < config.whole_share * tracked.whole_area:
        return
    quarter = resize(mask, _at_quarter(mask.shape)) >= 0.5
    if quarter.any():
        tracked.shape = cut_shape(quarter)


def _at_half(picture: Picture, mask: BoolMap) -> tuple[IntMap, BoolMap]:
    """Colour bins and mask at half resolution; the mask keeps at least a pixel."""
    bins = colour_bins(to_half(picture))
    share = resize(mask, bins.shape)
    return bins, share >= min(0.5, float(share.max()))


def _own_response(mask: BoolMap, evidence: FloatMap) -> float:
    """How well the colours fit an object's shape in its own place; look-alikes elsewhere do not count."""
    quarter_hw = _at_quarter(mask.shape)
    quarter = resize(mask, quarter_hw) >= 0.5
    if not quarter.any():
        return 0.0
    x0, y0, x1, y1 = tight_box(quarter)
    margin = max(2, round(0.3 * float(np.sqrt(quarter.sum()))))
    place = np.s_[max(0, y0 - margin) : y1 + margin, max(0, x0 - margin) : x1 + margin]
    own = find_shape(resize(evidence, quarter_hw)[place], cut_shape(quarter), scales=(1.0,))
    return 0.0 if own is None else own.response


def _at_quarter(size_hw: tuple[int, ...]) -> tuple[int, int]:
    return max(1, size_hw[0] // QUARTER), max(1, size_hw[1] // QUARTER)


def resize(map_hw: npt.NDArray[np.floating] | BoolMap, size_hw: tuple[int, ...]) -> FloatMap:
    """A map at another resolution, as float32: area means when it shrinks, bilinear when it grows."""
    shrinks = size_hw[0] < map_hw.shape[0]
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    resized: FloatMap = cv2.resize(map_hw.astype(np.float32), (size_hw[1], size_hw[0]), interpolation=method)
    return resized


def _motion(prior: FloatMap, flow: FloatMap, size_px: float, config: FlowConfig) -> FloatMap:
    """Evidence from motion at half resolution, computed at a quarter."""
    each = QUARTER // HALF
    size_hw = max(1, prior.shape[0] // each), max(1, prior.shape[1] // each)
    evidence = motion_evidence(
        resize(prior, size_hw),
        resize_flow(flow, size_hw),
        radius=max(2, round(config.motion_share * size_px / QUARTER)),
        noise_px=config.flow_noise_px,
        limit=config.motion_limit,
    )
    return resize(evidence, prior.shape)


def resize_flow(flow: FloatMap, size_hw: tuple[int, int]) -> FloatMap:
    """The flow on a smaller grid, still in pixels of the session's grid."""
    small: FloatMap = HALF * cv2.resize(flow, size_hw[::-1], interpolation=cv2.INTER_AREA)
    return small


def _refined(logit: FloatMap, guide: FloatMap, config: FlowConfig) -> FloatMap:
    prob = (1 / (1 + np.exp(-logit))).astype(np.float32)
    filtered = guided_filter(guide, prob, max(1, config.filter_px // HALF), config.filter_eps)
    return np.clip(filtered, 0, 1)
