"""The table of formats by name. A plug-in adds a row, and then every command knows it:

    register_writer("mine", ExportFormat("masklets.mine.txt", write_mine))

`write_mine(path, masklets)` then makes the file from the finished masklets.jsonl, when a run ends and in
`vidseg convert`. A format that also needs the pictures is a `FrameFormat`. docs/outputs.md has an example.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vidseg import plugins
from vidseg.errors import ConfigError, InputError, unknown
from vidseg.registry import Registry

if TYPE_CHECKING:
    from vidseg.pipeline.writers import Masklets, VideoDescription, Writer


@dataclass(frozen=True)
class FrameFormat:
    """A format whose writer is given every frame of a run with its masks."""

    output: str
    """Name of the file or folder below the run's folder; that of a folder ends with '/'."""
    build: Callable[[Path, VideoDescription], Writer]
    """Builds the writer of one run from its folder and a description of its video."""
    wants_order: bool = False
    """Whether the writer, such as an encoder, needs the frames in rising order in one go. For these, a run
    that goes backward or was resumed reads its source once more at its end."""


@dataclass(frozen=True)
class ExportFormat:
    """A format that is made from a finished masklets.jsonl: at the end of a run, and by `vidseg convert`."""

    output: str
    """See `FrameFormat.output`."""
    write: Callable[[Path, Masklets], None]
    """Writes the file or folder at a path; it gets its final name once it is whole."""
    entries: tuple[str, ...] = ()
    """Names of all that it may write in its folder, where people keep files of their own beside that; if
    there are none, the whole folder is taken for the format's own."""
    max_id: int | None = None
    """The highest id of an object that it holds; None: any."""


Format = FrameFormat | ExportFormat

# Writers are imported when they are needed, so that `--help` and plug-ins load none of them.


def _png(out: Path, video: VideoDescription) -> Writer:
    from vidseg.pipeline.writers.png import PngWriter

    return PngWriter(out, video)


def _frames(out: Path, video: VideoDescription) -> Writer:
    from vidseg.pipeline.writers.frames import FramesWriter

    return FramesWriter(out, video)


def _alpha(out: Path, video: VideoDescription) -> Writer:
    from vidseg.pipeline.writers.alpha import AlphaPngWriter

    return AlphaPngWriter(out, video)


def _alpha_prores(out: Path, video: VideoDescription) -> Writer:
    from vidseg.pipeline.writers.alpha import prores_writer

    return prores_writer(out, video.frame_rate)


def _alpha_vp9(out: Path, video: VideoDescription) -> Writer:
    from vidseg.pipeline.writers.alpha import vp9_writer

    return vp9_writer(out, video.frame_rate)


def _rle(out: Path, video: VideoDescription) -> Writer:
    from vidseg.pipeline.writers.masklets import MaskletsWriter

    return MaskletsWriter(out)


def _overlay(out: Path, video: VideoDescription) -> Writer:
    from vidseg.pipeline.writers.overlay import OverlayWriter
    from vidseg.trackers.painting import Painter

    painter = Painter(video.all_labels, colours=video.colours, unpainted=video.unpainted)
    return OverlayWriter(out, frame_rate=video.frame_rate, painter=painter)


def _coco(path: Path, masklets: Masklets) -> None:
    from vidseg.pipeline.writers.coco import write_coco

    write_coco(path, masklets)


def _coco_polygons(path: Path, masklets: Masklets) -> None:
    from vidseg.pipeline.writers.coco import write_coco

    write_coco(path, masklets, polygons=True)


def _ytvis(path: Path, masklets: Masklets) -> None:
    from vidseg.pipeline.writers.ytvis import write_ytvis

    write_ytvis(path, masklets)


def _sav(path: Path, masklets: Masklets) -> None:
    from vidseg.pipeline.writers.sav import write_sav

    write_sav(path, masklets)


def _cvat(path: Path, masklets: Masklets) -> None:
    from vidseg.pipeline.writers.cvat import write_cvat

    write_cvat(path, masklets)


def _cvat_polygons(path: Path, masklets: Masklets) -> None:
    from vidseg.pipeline.writers.cvat import write_cvat

    write_cvat(path, masklets, polygons=True)


def _cvat_images(path: Path, masklets: Masklets) -> None:
    from vidseg.pipeline.writers.cvat import write_cvat_images

    write_cvat_images(path, masklets)


def _cvat_images_polygons(path: Path, masklets: Masklets) -> None:
    from vidseg.pipeline.writers.cvat import write_cvat_images

    write_cvat_images(path, masklets, polygons=True)


def _label_studio(path: Path, masklets: Masklets) -> None:
    from vidseg.pipeline.writers.label_studio import write_label_studio

    write_label_studio(path, masklets)


def _yolo(path: Path, masklets: Masklets) -> None:
    from vidseg.pipeline.writers.yolo import write_yolo

    write_yolo(path, masklets)


def _mots(path: Path, masklets: Masklets) -> None:
    from vidseg.pipeline.writers.mots import write_mots

    write_mots(path, masklets)


def _mot(path: Path, masklets: Masklets) -> None:
    from vidseg.pipeline.writers.mot import write_mot

    write_mot(path, masklets)


def _tar(path: Path, masklets: Masklets) -> None:
    from vidseg.pipeline.writers.tar import write_tar

    write_tar(path, masklets)


RLE = "rle"
"""The format from which all exported ones are made."""

FORMATS: Registry[Format] = Registry(
    "format",
    {
        "png": FrameFormat("masks/", _png),
        RLE: FrameFormat("masklets.jsonl", _rle),
        "frames": FrameFormat("frames/", _frames),
        "overlay": FrameFormat("overlay.mp4", _overlay, wants_order=True),
        "alpha": FrameFormat("alpha/", _alpha),
        "alpha:prores": FrameFormat("alpha.mov", _alpha_prores, wants_order=True),
        "alpha:vp9": FrameFormat("alpha.webm", _alpha_vp9, wants_order=True),
        "coco": ExportFormat("masklets.coco.json", _coco),
        "coco:polygons": ExportFormat("masklets.coco.json", _coco_polygons),
        "ytvis": ExportFormat("masklets.ytvis.json", _ytvis),
        "sav": ExportFormat("masklets.sav.json", _sav),
        "cvat": ExportFormat("masklets.cvat.xml", _cvat),
        "cvat:polygons": ExportFormat("masklets.cvat.xml", _cvat_polygons),
        "cvat-images": ExportFormat("masklets.cvat-images.xml", _cvat_images),
        "cvat-images:polygons": ExportFormat("masklets.cvat-images.xml", _cvat_images_polygons),
        "label-studio": ExportFormat(
            "masklets.label-studio/", _label_studio, ("images.json", "images.xml", "video.json", "video.xml")
        ),
        "yolo": ExportFormat("masklets.yolo/", _yolo, ("data.yaml", "labels")),
        "mots": ExportFormat("masklets.mots/", _mots, ("instances", "instances.txt"), max_id=999),
        "mot": ExportFormat("masklets.mot.txt", _mot),
        "tar": ExportFormat("masks.tar", _tar),
    },
)
DEFAULT_FORMATS = ("png", RLE, "overlay")


def register_writer(name: str, format: Format) -> None:
    """Make `--format NAME` write `format`, in every command.

    Args:
        format: its `output` must begin with 'masklets.', as those of exchange formats do: by that
            `--overwrite` knows which files belong to a run.

    Raises:
        ConfigError: the name or the output is taken, or cannot be one.
    """
    if not name or set(name) & set(", \t\n"):
        raise ConfigError(f"the format '{name}' has a comma or a space in its name, or none at all")
    if not isinstance(format, FrameFormat | ExportFormat):
        raise ConfigError(
            f"the format '{name}' is a {type(format).__name__}", hint="give a FrameFormat or an ExportFormat"
        )
    file_name = format.output.removesuffix("/")
    if not file_name.startswith("masklets.") or "/" in file_name or "\\" in file_name:
        raise ConfigError(
            f"the format '{name}' writes '{format.output}'", hint=f"call it masklets.{name}, with a suffix"
        )
    if any(file_name == FORMATS[other].output.removesuffix("/") for other in FORMATS.known if other != name):
        raise ConfigError(f"the format '{name}' writes '{format.output}', as another one does")
    FORMATS.register(name, format)


def is_output(name: str) -> bool:
    """Whether a format writes, or that of a plug-in which is not loaded may have written, a file of this name
    below a run's folder: 'masklets.coco.json', 'masklets.yolo/labels/00000.txt'."""
    top, *below = name.split("/")
    if not below:
        return top == "masks.tar" or top.startswith("masklets.")
    rows = (row for row in map(FORMATS.lookup, FORMATS.known) if row.output == f"{top}/")
    entries = next((row.entries for row in rows if isinstance(row, ExportFormat)), ())
    return top.startswith("masklets.") and (not entries or below[0] in entries)


def export_names() -> list[str]:
    """Names of the formats that `vidseg convert` makes, with those of plug-ins imported so far."""
    return [name for name in FORMATS.known if isinstance(FORMATS[name], ExportFormat)]


def check_formats(names: Sequence[str]) -> None:
    """Check the names of formats.

    Raises:
        InputError: a name is not in `FORMATS` or given twice, or none is given.
    """
    if isinstance(names, str) or not isinstance(names, Sequence | Set):
        example = [name.strip() for name in names.split(",")] if isinstance(names, str) else ["png", "rle"]
        raise InputError(f"formats is {names!r}, not a list of names", hint=f"formats={example}")
    for name in names:
        if not isinstance(name, str):
            raise InputError(f"the format {name!r} is not a name", hint="formats=['png', 'rle'], say")
        if name not in FORMATS and "," in name:
            raise InputError(f"the format '{name}' is several", hint=f"formats={name.split(',')}")
        FORMATS.lookup(name)
    if len(set(names)) < max(len(names), 1):
        raise InputError(f"formats {','.join(names)!r}", hint="name at least one, and each once")
    _check_outputs(names)


def _check_outputs(names: Sequence[str]) -> None:
    """Raise an `InputError` for two formats that write the same file, such as 'coco' and 'coco:polygons'."""
    written: dict[str, str] = {}
    for name in names:
        output = FORMATS[name].output
        if (other := written.setdefault(output, name)) != name:
            raise InputError(f"'{other}' and '{name}' are both written to {output}", hint="name one of them")


def check_ids(names: Iterable[str], obj_ids: Iterable[int], where: str | None = None) -> None:
    """Check that formats hold the ids of objects, before a video is tracked for nothing.

    Args:
        where: the prompt file.

    Raises:
        InputError: an id is too high.
    """
    highest = max(obj_ids, default=0)
    for name in names:
        row = FORMATS.lookup(name)
        if isinstance(row, ExportFormat) and row.max_id is not None and highest > row.max_id:
            raise InputError(
                f"the format '{name}' holds object ids up to {row.max_id}, and there is {highest}",
                where=where,
                hint="number the objects lower, or choose another format",
            )


def exports_by_name(names: Sequence[str]) -> dict[str, ExportFormat]:
    """The rows of exported formats.

    Raises:
        InputError: a name is not in the table, or not exported, or none is given.
    """
    rows: dict[str, ExportFormat] = {}
    for name in names:
        if name not in FORMATS:
            raise ConfigError(
                unknown("format", name, export_names()), hint="; ".join(plugins.broken()) or None
            )
        row = FORMATS.lookup(name)
        if isinstance(row, FrameFormat):
            raise InputError(
                f"the format '{name}' is written while tracking", hint=f"vidseg track SOURCE --format {name}"
            )
        rows[name] = row
    _check_outputs(names)
    if not names:
        raise InputError("no format is named", hint=f"known formats: {', '.join(export_names())}")
    return rows
