"""Makes a mask from a prompt: GrabCut (Rother et al., SIGGRAPH 2004) in a crop around the prompt."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from vidseg.masks import tight_box
from vidseg.trackers.contract import Prompt
from vidseg.trackers.grab_cut import grab_cut

BoolMask = npt.NDArray[np.bool_]
Picture = npt.NDArray[np.uint8]
Lab = npt.NDArray[np.float32]

_PADDING = 0.3
"""How far around a box GrabCut sees, as a share of the sides of the box."""
_CROP_SIDE = 260
"""Longer side, in pixels, of what GrabCut works on; larger crops are slower and no better."""
_ROUNDS = 5
_REACH = 0.3
"""How far around points a new object is searched, as a share of the picture's longer side."""
_RIVAL_COLOURS = 8
_NEAR, _FAR = 20.0, 60.0
"""Distances in Lab (0 to 255 a channel, lightness halved): nearer colours are the same, farther ones never
are."""


def segment_prompt(picture: Picture, prompt: Prompt, current: BoolMask | None = None) -> BoolMask:
    """The mask that a prompt asks for: bool h x w with at least one pixel.

    Every point on the object lies in it, and none that is off it.

    Args:
        picture: uint8 h x w x 3, RGB.
        prompt: in pixels of the picture.
        current: the object's mask so far on this picture, which points alone correct; None for a new object.
    """
    if prompt.mask is not None:
        return prompt.mask
    if prompt.box is not None:
        return _from_box(picture, prompt)
    if current is not None and current.any():
        return _corrected(picture, prompt, current)
    return _from_points(picture, prompt)


def _from_box(picture: Picture, prompt: Prompt) -> BoolMask:
    assert prompt.box is not None
    height, width = picture.shape[:2]
    x0, y0 = np.floor(prompt.box[:2]).astype(int)
    x1, y1 = np.ceil(prompt.box[2:]).astype(int)
    x0, y0 = min(x0, width - 1), min(y0, height - 1)
    seeds = np.full((height, width), cv2.GC_BGD, np.uint8)
    seeds[y0 : max(y1, y0 + 1), x0 : max(x1, x0 + 1)] = cv2.GC_PR_FGD
    inside = seeds == cv2.GC_PR_FGD
    mask = _grab_cut(picture, seeds, prompt, _padded_window(inside, _PADDING * max(x1 - x0, y1 - y0)))
    # If GrabCut finds next to nothing in the box, the box itself is the best guess.
    return mask if mask.sum() > 0.05 * inside.sum() else _honour_points(inside, prompt)


def _from_points(picture: Picture, prompt: Prompt) -> BoolMask:
    reach = _REACH * max(picture.shape[:2])
    positive = prompt.labels == 1
    if not positive.any():
        # Points off an object without a mask do not say where it is: mark all of the picture but them.
        return _honour_points(np.ones(picture.shape[:2], bool), prompt)
    near = _discs(picture.shape[:2], prompt.points_xy[positive], 1.0)
    window = _padded_window(near, reach)
    seeds = np.full(picture.shape[:2], cv2.GC_BGD, np.uint8)
    seeds[window] = cv2.GC_PR_BGD
    lab = _lab(picture[window])
    border = np.ones(lab.shape[:2], bool)
    rim = max(1, round(0.1 * min(border.shape)))
    border[rim:-rim, rim:-rim] = False
    rivals = _rivals(lab, border)
    for point in prompt.points_xy[positive]:
        seeds[window][_alike(lab, rivals, point - _corner(window))] = cv2.GC_PR_FGD
    mask = _grab_cut(picture, seeds, prompt, window)
    return _components_at(mask, prompt.points_xy[positive])


def _corrected(picture: Picture, prompt: Prompt, current: BoolMask) -> BoolMask:
    """The current mask with the clicked surfaces added or taken away, near the clicks alone."""
    reach = max(0.5 * float(np.sqrt(current.sum())), 0.05 * max(current.shape))
    window = _padded_window(_discs(current.shape, prompt.points_xy, 1.0), reach)
    seeds = np.where(current, cv2.GC_FGD, cv2.GC_BGD).astype(np.uint8)
    seeds[window] = np.where(current[window], cv2.GC_PR_FGD, cv2.GC_PR_BGD)
    lab = _lab(picture[window])
    rivals = {label: _rivals(lab, current[window] != bool(label)) for label in set(prompt.labels.tolist())}
    for point, label in zip(prompt.points_xy, prompt.labels.tolist(), strict=True):
        alike = _alike(lab, rivals[label], point - _corner(window))
        seeds[window][alike] = cv2.GC_FGD if label else cv2.GC_BGD
    return _grab_cut(picture, seeds, prompt, window)


def _grab_cut(picture: Picture, seeds: Picture, prompt: Prompt, window: tuple[slice, slice]) -> BoolMask:
    """The mask that GrabCut makes of `seeds` within `window`; outside of it the seeds stay."""
    crop, labels = picture[window], seeds[window]
    positive = prompt.labels == 1
    radius = max(1.0, 0.01 * max(picture.shape[:2]))
    labels = labels.copy()
    labels[_discs(seeds.shape, prompt.points_xy[~positive], radius)[window]] = cv2.GC_BGD
    labels[_discs(seeds.shape, prompt.points_xy[positive], radius)[window]] = cv2.GC_FGD

    scale = min(1.0, _CROP_SIDE / max(labels.shape))
    small_wh = max(1, round(labels.shape[1] * scale)), max(1, round(labels.shape[0] * scale))
    small = cv2.resize(crop, small_wh, interpolation=cv2.INTER_AREA)
    small_labels = cv2.resize(labels, small_wh, interpolation=cv2.INTER_NEAREST)
    soft = grab_cut(cv2.cvtColor(small, cv2.COLOR_RGB2BGR), small_labels, _ROUNDS).astype(np.float32)
    found = cv2.resize(soft, labels.shape[::-1], interpolation=cv2.INTER_LINEAR) > 0.5

    mask = (seeds == cv2.GC_FGD) | (seeds == cv2.GC_PR_FGD)
    mask[window] = found
    return _honour_points(mask, prompt)


def _lab(crop: Picture) -> Lab:
    """The colours of a crop in Lab, smoothed: float32 h x w x 3."""
    lab = cv2.cvtColor(cv2.medianBlur(np.ascontiguousarray(crop), 5), cv2.COLOR_RGB2LAB).astype(np.float32)
    lab[..., 0] *= 0.5  # shading and texture change lightness most
    return lab


def _rivals(lab: Lab, marked: BoolMask) -> Lab:
    """The colours of marked pixels, or the chief ones of many: float32 N x 3."""
    colours = lab[marked]
    if len(colours) <= _RIVAL_COLOURS:
        return colours
    cv2.setRNGSeed(0)  # k-means starts at random; fix the seed
    until = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_COUNT, 20, 0.5)
    sample = colours[:: max(1, len(colours) // 2000)]
    _, _, centres = cv2.kmeans(sample, _RIVAL_COLOURS, None, until, 1, cv2.KMEANS_PP_CENTERS)
    return centres


def _alike(lab: Lab, rivals: Lab, point_xy: npt.NDArray[np.float32]) -> BoolMask:
    """The pixels connected with a point whose colours are closer to the point's than to any rival's.

    Args:
        rivals: colours that compete; those near the point's own do not count.
        point_xy: in pixels of the crop.
    """
    height, width = lab.shape[:2]
    disc = _discs((height, width), point_xy[None], max(2.0, 0.02 * max(height, width)))
    own = lab[disc].mean(0)
    planes = cv2.split(lab)
    difference = _distance(planes, own)
    alike = difference < _FAR
    for colour in rivals:
        if float(np.linalg.norm(colour - own)) > _NEAR:
            alike &= difference < _distance(planes, colour)
    alike = (cv2.medianBlur(alike.astype(np.uint8), 5) > 0) | disc
    return _components_at(alike, point_xy[None])


def _distance(planes: Sequence[Lab], colour: Lab) -> Lab:
    """How far each pixel's colour is from another: float32 h x w.

    Planes are added up, as NumPy sums along three channels slowly.
    """
    first, second, third = ((plane - value) ** 2 for plane, value in zip(planes, colour, strict=True))
    distance: Lab = np.sqrt(first + second + third)
    return distance


def _discs(shape_hw: tuple[int, ...], points_xy: npt.NDArray[np.float32], radius: float) -> BoolMask:
    picture = np.zeros(shape_hw, np.uint8)
    for x, y in points_xy:
        centre = min(int(x), shape_hw[1] - 1), min(int(y), shape_hw[0] - 1)
        cv2.circle(picture, centre, round(radius), 1, -1)
    return picture > 0


def _honour_points(mask: BoolMask, prompt: Prompt) -> BoolMask:
    height, width = mask.shape
    for (x, y), label in zip(prompt.points_xy, prompt.labels, strict=True):
        mask[min(int(y), height - 1), min(int(x), width - 1)] = bool(label)
    return mask


def _corner(window: tuple[slice, slice]) -> npt.NDArray[np.float32]:
    """x and y of the first pixel of a window."""
    return np.array([window[1].start, window[0].start], np.float32)


def _padded_window(marked: BoolMask, padding: float) -> tuple[slice, slice]:
    x0, y0, x1, y1 = tight_box(marked)
    pad = round(padding) + 1
    height, width = marked.shape
    return slice(max(0, y0 - pad), min(height, y1 + pad)), slice(max(0, x0 - pad), min(width, x1 + pad))


def _components_at(mask: BoolMask, points_xy: npt.NDArray[np.float32]) -> BoolMask:
    """The connected components of the mask in which the points lie."""
    height, width = mask.shape
    marked = np.zeros_like(mask)
    for x, y in points_xy:
        marked[min(int(y), height - 1), min(int(x), width - 1)] = True
    return components_on(mask, marked)


def components_on(mask: BoolMask, marked: BoolMask) -> BoolMask:
    """The connected components (of 8 neighbours) of the mask that have a marked pixel."""
    count, labels = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)
    is_kept = np.zeros(count, bool)
    is_kept[labels[mask & marked]] = True
    kept: BoolMask = is_kept[labels]
    return kept
