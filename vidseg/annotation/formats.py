"""What can be exported: the formats of `vidseg convert` and `vidseg track`, and the prompts."""

from __future__ import annotations

from typing import Any

from vidseg.pipeline.formats import FORMATS, RLE, FrameFormat

PROMPTS = "prompts"
"""The prompt file, with the masks that it names: a format of this table alone."""


def describe_formats() -> list[dict[str, Any]]:
    """Name, output and sort of every format, for pages."""
    found = [{"name": PROMPTS, "output": "prompts.json", "what": "prompts"}]
    for name in FORMATS.known:
        row = FORMATS[name]
        what = "masks" if name in (RLE, "png", "tar") else "exchange"
        if isinstance(row, FrameFormat) and what == "exchange":
            what = "pictures"
        found.append({"name": name, "output": row.output, "what": what})
    return found
