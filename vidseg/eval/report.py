"""`report.html`: one file without scripts; charts are inline SVG, pictures inline JPEG."""

from __future__ import annotations

import base64
import html
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from vidseg.eval.datasets.contract import DataSet, SequenceToTrack
from vidseg.eval.protocols import build_protocol
from vidseg.eval.protocols.contract import Headline
from vidseg.eval.tracking import MASKS
from vidseg.pipeline.atomic import write_bytes
from vidseg.pipeline.file_names import ESCAPED
from vidseg.pipeline.label_png import read_label_png

if TYPE_CHECKING:
    from vidseg.trackers.painting import Painter

FILE_NAME = "report.html"
WORST_MOMENTS = 10
APART = 10
"""Least number of frames between two moments of one object."""
OF_ONE_OBJECT = 2
"""How many moments of one object are shown at most: a tracker that lost its object is wrong for long."""
STRIP_STEP = 4
"""How many frames lie between the pictures of a strip."""
PICTURE_WIDTH = 300


@dataclass(frozen=True)
class Moment:
    """One object on one frame, for the report."""

    sequence: SequenceToTrack
    obj: str
    place: int
    """Number of the frame among the scored ones of the object."""
    frame: str
    score: float


def write_report(data: DataSet, results: dict[str, Any], out: Path) -> None:
    """Write OUT/report.html from the results and the values of every frame."""
    values = {
        s.name: json.loads((out / "frames" / f"{s.name}.json").read_text(encoding="utf-8"))
        for s in data.sequences
        if s.name in results["objects"]
    }
    card = results["card"]
    sections = [
        f"<h1>{_text(data.name)}: {_text(card['tracker'])}</h1>",
        _headline(data, results),
        _failures(results),
        _anchor_table(data, results),
        _sequence_table(data, results, values),
        _worst_moments(data, values, out),
        _speed(results),
        "<h2>How it was made</h2>",
        _definition_list({**card, "protocol": data.protocol, "status": results["status"]}),
    ]
    page = f"<!doctype html><html lang=en><meta charset=utf-8><title>{_text(data.name)}</title>{_STYLE}"
    write_bytes(
        out / FILE_NAME, (page + "\n".join(filter(None, sections)) + "</html>\n").encode(errors=ESCAPED)
    )


def _headline(data: DataSet, results: dict[str, Any]) -> str:
    if results["global"] is None:
        failed = all(of["status"] == "failed" for of in results["sequences"].values())
        why = "No sequence could be tracked and scored" if failed else "The ground truth is not here"
        return f"<p>{why}: nothing is scored.</p>"
    name = build_protocol(data.protocol).headline.key
    rest = "".join(
        f"<tr><td>{_text(key)}<td class=n>{_number(value)}" for key, value in results["global"].items()
    )
    score = "-" if results["score"] is None else f"{results['score']:.1f}"
    return f"<p class=big>{_text(name)} {score}</p><table>{rest}</table>"


def _failures(results: dict[str, Any]) -> str:
    failed = {name: of["error"] for name, of in results["sequences"].items() if of["status"] == "failed"}
    if not failed:
        return ""
    rows = "".join(f"<li>{_text(name)}: {_text(error)}" for name, error in failed.items())
    return f"<h2 class=bad>{len(failed)} sequences failed and are left out of the scores</h2><ul>{rows}</ul>"


def _anchor_table(data: DataSet, results: dict[str, Any]) -> str:
    if not data.published or results["score"] is None:
        return ""
    rows = [(anchor.score, anchor.name, anchor.source, "") for anchor in data.published]
    rows.append((results["score"], results["card"]["tracker"], "this run", " class=own"))
    body = "".join(
        f"<tr{own}><td>{_text(name)}<td class=n>{score:.1f}<td>{_bar(score)}<td>{_text(source)}"
        for score, name, source, own in sorted(rows, key=lambda row: -row[0])
    )
    note = (
        "<p>Published on the whole set; here it is the sequences listed below."
        " Compare only where they are the same.</p>"
    )
    head = f"<tr><th>tracker<th>{_text(build_protocol(data.protocol).headline.key)}<th><th>source"
    return f"<h2>Beside published figures</h2>{note}<table>{head}{body}</table>"


def _sequence_table(data: DataSet, results: dict[str, Any], values: dict[str, Any]) -> str:
    if not values:
        return ""
    headline = build_protocol(data.protocol).headline
    rows = []
    for sequence in data.sequences:
        if sequence.name not in values:
            continue
        lines = [_per_frame(of, headline) for of in values[sequence.name].values()]
        facts = results["sequences"][sequence.name]
        means = [float(np.mean(line)) for line in lines if len(line)]
        shown = f"{100 * np.mean(means):.1f}" if means else "-"
        rows.append(
            f"<tr><td>{_text(sequence.name)}<td class=n>{len(lines)}<td class=n>{shown}"
            f"<td class=n>{facts['frames_per_second']:.1f}<td>{_chart(lines)}"
        )
    head = (
        "<tr><th>sequence<th>objects<th>mean<th>frames/s"
        f"<th>{_text(headline.measure)} over time, a line for each object, 0 to 1"
    )
    return f"<h2>Sequences</h2><table>{head}{''.join(rows)}</table>"


def _per_frame(values: dict[str, Any], headline: Headline) -> npt.NDArray[np.float64]:
    """The protocol's measure on each scored frame, 0 to 1."""
    return np.mean([np.asarray(values[key], float) for key in headline.frame_keys], axis=0)


def _chart(lines: list[npt.NDArray[np.float64]]) -> str:
    from vidseg.trackers.palette import object_colour

    width, height = 420, 60
    paths = []
    for number, line in enumerate(lines, start=1):
        if not len(line):
            continue
        xs = np.linspace(1, width - 1, len(line)) if len(line) > 1 else np.array([width / 2])
        points = " ".join(
            f"{x:.1f},{height - 2 - y * (height - 4):.1f}" for x, y in zip(xs, line, strict=True)
        )
        red, green, blue = object_colour(number)
        paths.append(f'<polyline points="{points}" style="stroke:rgb({red},{green},{blue})"/>')
    return f'<svg viewBox="0 0 {width} {height}" width={width} height={height}>{"".join(paths)}</svg>'


def _bar(score: float) -> str:
    return f'<svg width=200 height=12><rect width="{2 * max(score, 0):.1f}" height=12 /></svg>'


def _worst_moments(data: DataSet, values: dict[str, Any], out: Path) -> str:
    if data.max_proposals is not None:  # scores tell objects by their matches, and masks by their proposals
        return ""
    moments = worst_moments(data, values)
    if not moments:
        return ""
    assert data.truth is not None
    # Only the protocol knows where masks of a sequence lie in the folder of the ground truth.
    jobs = build_protocol(data.protocol).jobs(data.truth, out / MASKS, data.meta, only=values)
    folders = {job.name: (job.truth, job.prediction) for job in jobs}
    strips = "".join(
        f"<h3>{_text(f'{m.sequence.name}, object {m.obj}, frame {m.frame}: {100 * m.score:.1f}')}</h3>"
        + _strip(data, m, values[m.sequence.name][m.obj]["frames"], folders[m.sequence.name])
        for m in moments
    )
    return f"<h2>The worst moments</h2><p>Above the ground truth, below the result.</p>{strips}"


def worst_moments(data: DataSet, values: dict[str, Any]) -> list[Moment]:
    """The frames with the lowest scores; those of one object lie some frames apart."""
    candidates = []
    headline = build_protocol(data.protocol).headline
    for sequence in data.sequences:
        for obj, of in values.get(sequence.name, {}).items():
            candidates += [
                Moment(sequence, obj, place, of["frames"][place].removesuffix(".png"), float(score))
                for place, score in enumerate(_per_frame(of, headline))
            ]
    chosen: list[Moment] = []
    for moment in sorted(candidates, key=lambda m: m.score):
        same = [c for c in chosen if (c.sequence.name, c.obj) == (moment.sequence.name, moment.obj)]
        if len(same) < OF_ONE_OBJECT and all(abs(c.place - moment.place) >= APART for c in same):
            chosen.append(moment)
        if len(chosen) == WORST_MOMENTS:
            break
    return chosen


def _strip(data: DataSet, moment: Moment, frames: list[str], folders: tuple[Path, Path]) -> str:
    """Three frames around a moment: ground truth above, result below.

    Args:
        folders: the folder of the sequence's true masks, and that of its result.
    """
    places = sorted({min(max(moment.place + d * STRIP_STEP, 0), len(frames) - 1) for d in (-1, 0, 1)})
    rows = []
    for masks in folders:
        pictures = [_picture(data, moment, frames[place].removesuffix(".png"), masks) for place in places]
        rows.append("<div>" + "".join(pictures) + "</div>")
    return "".join(rows)


def _picture(data: DataSet, moment: Moment, frame: str, masks: Path) -> str:
    from PIL import Image

    from vidseg.pipeline.read.folder import list_frames
    from vidseg.pipeline.read.images import read_image

    sequence = moment.sequence
    index = sequence.frame_names.index(frame)
    image = read_image(list_frames(sequence.images)[index])
    if data.has_mask_per_object:
        mask = read_label_png(masks / moment.obj / f"{frame}.png") > 0
    elif sequence.given and sequence.given[0].merges_ids:
        mask = read_label_png(masks / f"{frame}.png") > 0
    else:
        mask = read_label_png(masks / f"{frame}.png") == int(moment.obj)
    painted = _paint(image, mask, frame)
    height = max(1, round(image.shape[0] * PICTURE_WIDTH / image.shape[1]))
    small = Image.fromarray(painted).resize((PICTURE_WIDTH, height), Image.Resampling.LANCZOS)
    data_url = io.BytesIO()
    small.save(data_url, "JPEG", quality=80)
    text = base64.b64encode(data_url.getvalue()).decode()
    return f'<img alt="frame {_text(frame)}" src="data:image/jpeg;base64,{text}">'


def _paint(image: npt.NDArray[np.uint8], mask: npt.NDArray[np.bool_], frame: str) -> npt.NDArray[np.uint8]:
    from vidseg.pipeline.writers.contract import FrameMasks
    from vidseg.trackers.painting import Painter

    painter: Painter = Painter({1: frame})
    masks = FrameMasks(0, 0.0, (mask.shape[0], mask.shape[1]), [1], mask[None], [1.0])
    return painter.paint(image, masks.obj_ids, masks.masks, masks.boxes)


def _speed(results: dict[str, Any]) -> str:
    speed = results["speed"]
    facts = {
        "frames": speed["frames"],
        "seconds (reading, tracking, writing)": speed["seconds"],
        "frames per second": speed["frames_per_second"],
        **{
            f"peak memory, {where}": f"{count / 2**20:.0f} MiB"
            for where, count in speed["peak_memory_bytes"].items()
        },
    }
    return "<h2>Speed and memory</h2>" + _definition_list(facts)


def _definition_list(facts: dict[str, Any]) -> str:
    def show(value: Any) -> str:
        if isinstance(value, dict | list):
            return f"<code>{_text(json.dumps(value, ensure_ascii=False))}</code>"
        return _text(value)

    return "<table>" + "".join(f"<tr><td>{_text(k)}<td>{show(v)}" for k, v in facts.items()) + "</table>"


def _number(value: Any) -> str:
    return "-" if value is None else f"{value:.4f}"


def _text(value: Any) -> str:
    return html.escape("-" if value is None else str(value))


_STYLE = """<style>
body{font:15px/1.4 system-ui,sans-serif;max-width:70em;margin:2em auto;padding:0 1em;color:#222}
table{border-collapse:collapse}td,th{padding:.15em .8em;text-align:left;vertical-align:middle}
tr:nth-child(even){background:#f6f6f6}.n{text-align:right;font-variant-numeric:tabular-nums}
.big{font-size:2.2em;margin:.2em 0}.own{font-weight:bold}.bad{color:#a00}h3{margin:1.2em 0 .2em;font-size:1em}
svg{display:block}polyline{fill:none;stroke-width:1.5}rect{fill:#9bb8d8}.own rect{fill:#2a6db0}
img{margin:1px}code{font-size:.85em;word-break:break-all}
</style>"""
