"""Objects painted on a frame: see-through colour, a crisp outline, a small tag with id and label."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from vidseg.trackers.palette import object_colour

if TYPE_CHECKING:
    import numpy.typing as npt

    from vidseg.trackers.label_map import Box

    Picture = npt.NDArray[np.uint8]
    Colour = tuple[int, int, int]


FILL_OPACITY = 0.45
MAX_TAG_CHARACTERS = 24


class Painter:
    """Paints the masks of one video's frames; line width and text grow with the picture.

    Only the boxes around masks are touched, and only an outline's own pixels are blended one by one.

    Args:
        tags: whether objects get their tags, which would hide much of a picture with a hundred of them.
        colours: R G B of objects that shall not have those of `object_colour`.
        unpainted: objects that are left out.
    """

    def __init__(
        self,
        labels: Mapping[int, str],
        *,
        tags: bool = True,
        colours: Mapping[int, Colour] = MappingProxyType({}),
        unpainted: Collection[int] = (),
    ) -> None:
        self._labels = labels
        self._colours = colours
        self._unpainted = unpainted
        self._has_tags = tags
        self._tags: dict[tuple[int, int], tuple[Picture, npt.NDArray[np.float32]]] = {}

    def paint(
        self,
        image: Picture,
        obj_ids: Sequence[int],
        masks_nhw: npt.NDArray[np.bool_],
        boxes: Sequence[Box],
    ) -> Picture:
        """A painted copy of uint8 (H, W, 3) RGB; where objects overlap the lowest id is on top.

        Args:
            masks_nhw: bool (N, H, W).
            boxes: see `vidseg.trackers.label_map.mask_boxes`.
        """
        canvas = image.copy()
        rows = sorted(range(len(obj_ids)), key=lambda i: -obj_ids[i])
        visible = [row for row in rows if boxes[row][2] and obj_ids[row] not in self._unpainted]
        for row in visible:
            _paint_mask(canvas, masks_nhw[row], boxes[row], self._colour(obj_ids[row]))
        for row in visible if self._has_tags else ():
            self._paint_tag(canvas, obj_ids[row], masks_nhw[row], boxes[row])
        return canvas

    def _colour(self, obj_id: int) -> Colour:
        return self._colours.get(obj_id) or object_colour(obj_id)

    def _paint_tag(
        self,
        canvas: Picture,
        obj_id: int,
        mask: npt.NDArray[np.bool_],
        box: Box,
    ) -> None:
        """Centred over the object, on top of the part of it that lies below."""
        height, width = canvas.shape[:2]
        text_px = max(11, round(min(height, width) / 36))
        if (obj_id, text_px) not in self._tags:
            text = f"{obj_id} {self._labels.get(obj_id, '')}".strip()
            self._tags[obj_id, text_px] = _draw_tag(text, self._colour(obj_id), text_px)
        tag, alpha = self._tags[obj_id, text_px]
        tag_h, tag_w = alpha.shape
        if tag_h > height or tag_w > width:
            return
        x, y, w, h = box
        gap = max(2, text_px // 4)
        left = min(max(x + (w - tag_w) // 2, 0), width - tag_w)
        below = mask[y : y + h, left : left + tag_w].any(1)
        top = min(max(y + int(below.argmax()) - tag_h - gap, 0), height - tag_h)
        under = canvas[top : top + tag_h, left : left + tag_w]
        under[:] = (under + (tag - under.astype(np.float32)) * alpha[..., None] + 0.5).astype(np.uint8)


def _paint_mask(canvas: Picture, mask: npt.NDArray[np.bool_], box: Box, colour: Colour) -> None:
    import cv2

    height, width = mask.shape
    line_px = max(1.0, min(height, width) / 320)
    margin = int(np.ceil(2 * line_px)) + 2
    x, y, w, h = box
    x0, y0, x1, y1 = (
        max(x - margin, 0),
        max(y - margin, 0),
        min(x + w + margin, width),
        min(y + h + margin, height),
    )
    region = canvas[y0:y1, x0:x1]
    inside = np.ascontiguousarray(mask[y0:y1, x0:x1]).view(np.uint8)

    filled = cv2.LUT(region, _fill_table(colour))
    cv2.copyTo(filled, inside, region)

    # The blurred mask falls from 1 to 0 across the edge, in step with the distance from it: a table of its
    # values gives a line of even width with smooth sides, without the mask's stairs.
    blurred = cv2.GaussianBlur(inside * np.uint8(255), (0, 0), line_px * 0.8, borderType=cv2.BORDER_REPLICATE)
    line = cv2.LUT(blurred, _line_table())
    rows, columns = np.nonzero(line)
    alpha = line[rows, columns, None].astype(np.float32) / 255
    under = region[rows, columns].astype(np.float32)
    bright = 0.65 * np.asarray(colour, np.float32) + 0.35 * 255
    region[rows, columns] = (under + (bright - under) * alpha + 0.5).astype(np.uint8)


def _fill_table(colour: Colour) -> Picture:
    """uint8 (256, 1, 3): each channel's value under the see-through colour."""
    values = np.arange(256, dtype=np.float32)[:, None, None]
    return (values * (1 - FILL_OPACITY) + np.asarray(colour, np.float32) * FILL_OPACITY + 0.5).astype(
        np.uint8
    )


def _line_table() -> Picture:
    """uint8 (256,): the outline's opacity for each value of the blurred mask; whole about the edge's 0.5."""
    from_edge = np.abs(np.arange(256, dtype=np.float32) / 255 - 0.5)
    return (np.clip((0.46 - from_edge) / 0.16, 0, 1) * 255).astype(np.uint8)


def _draw_tag(text: str, colour: Colour, text_px: int) -> tuple[Picture, npt.NDArray[np.float32]]:
    """A rounded tag: uint8 (h, w, 3) and its opacity, float32 (h, w)."""
    from PIL import Image, ImageDraw, ImageFont

    if len(text) > MAX_TAG_CHARACTERS:
        text = text[: MAX_TAG_CHARACTERS - 1] + "…"
    is_light = np.dot(colour, (0.299, 0.587, 0.114)) > 140
    font: Any = ImageFont.load_default(size=text_px)
    left, _, right, _ = font.getbbox(text)
    ascent, descent = font.getmetrics()
    pad = round(text_px * 0.4)
    size = (round(right - left) + 2 * pad, ascent + descent + pad // 2)
    # Four times too large, then reduced: PIL's rounded corners are not smoothed.
    shape = Image.new("L", (4 * size[0], 4 * size[1]))
    ImageDraw.Draw(shape).rounded_rectangle(
        (0, 0, 4 * size[0] - 1, 4 * size[1] - 1), radius=4 * round(text_px * 0.35), fill=235
    )
    alpha = shape.resize(size, Image.Resampling.BOX)
    tag = Image.new("RGB", size, colour)
    ImageDraw.Draw(tag).text(
        (pad - left, pad // 4), text, font=font, fill=(0, 0, 0) if is_light else (255, 255, 255)
    )
    return np.asarray(tag), (np.asarray(alpha) / 255).astype(np.float32)
