"""An evaluation of an image model, picture after picture.

OUT/evaluation.json   what is evaluated (--resume must agree with it)
OUT/pictures.jsonl    a line for each picture that is done, or failed
OUT/detections.json   coco-detections: the results with masks, as COCO's server takes them
OUT/results.json      the numbers, beside published ones
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vidseg.errors import InputError, VidsegError, told
from vidseg.eval.evaluation_folder import RESULTS, about_before, check_folder, claim
from vidseg.eval.images.coco import AnnotatedPictures, open_pictures
from vidseg.eval.images.detected import average_precision, masks_of_picture, read_detections
from vidseg.eval.images.names import COCO_DETECTIONS, COCO_PROMPTS
from vidseg.eval.images.prompted import PROMPTS, ious_of_picture, mean_ious
from vidseg.eval.images.published import published_of
from vidseg.eval.scoring import without_nan
from vidseg.out_of_memory import explained
from vidseg.pipeline.atomic import write_bytes, write_json
from vidseg.pipeline.machine import machine, versions
from vidseg.trackers.options import TrackerOptions

if TYPE_CHECKING:
    from vidseg.trackers.image.embedding import Embedding
    from vidseg.trackers.image.segmenter import ImageSegmenter

LINES, DETECTIONS = "pictures.jsonl", "detections.json"


@dataclass(frozen=True, kw_only=True)
class ImageEvaluationOptions:
    """What is evaluated of an image model."""

    annotations: Path | None = None
    """The JSON of COCO or LVIS; None: that of COCO val 2017 below the root."""
    prompts: tuple[str, ...] = tuple(PROMPTS)
    """coco-prompts: names of `prompted.PROMPTS`."""
    detections: Path | None = None
    """coco-detections: a file of COCO results with the detector's boxes."""
    limit: int | None = None
    """How many pictures, the first ones in the document; None: all."""
    seed: int = 0
    """Decides which points are drawn at random."""
    resume: bool = False


def evaluate_images(
    kind: str,
    root: Path,
    out: Path,
    asked: TrackerOptions | None = None,
    options: ImageEvaluationOptions | None = None,
    *,
    on_picture: Callable[[dict[str, Any]], object] = lambda line: None,
) -> dict[str, Any]:
    """Evaluate an image model on COCO or LVIS, and write the results.

    Args:
        kind: a name in `vidseg.eval.images.names.EVALUATIONS`.
        root: the data set's folder.
        out: the folder of the results.
        asked: which model; the default one where it is not given.
        on_picture: is told of every picture when it is done: its line in pictures.jsonl.

    Returns:
        What `results.json` holds. "status" is "done", or "some failed": failed pictures are left out.

    Raises:
        InputError: the data are not complete, the model cannot be loaded, or `out` holds something else.
    """
    from vidseg.trackers.image.load import build_segmenter  # needs torch

    asked, options = asked or TrackerOptions(), options or ImageEvaluationOptions()
    _check(kind, options)
    pictures = open_pictures(root, options.annotations)
    answer = _question(kind, pictures, options)
    check_folder(out, resume=options.resume)
    asked = asked.with_dtype_of(about_before(out).get("dtype"))
    segmenter = build_segmenter(asked)
    about = _about(kind, pictures, segmenter, asked, options)
    claim(out, about)
    images = pictures.document["images"][: options.limit]
    lines = list(_lines(out / LINES, images, pictures, segmenter, answer, on_picture))
    done = [line for line in lines if line["error"] is None]
    if not done:
        raise InputError(
            f"no picture could be evaluated; the first error: {lines[0]['error'] if lines else '-'}"
        )
    results: dict[str, Any] = {
        "dataset": kind,
        "status": "done" if len(done) == len(images) else "some failed",
        "pictures": {"done": len(done), "failed": len(images) - len(done)},
        "global": _numbers(kind, pictures, done, out),
        "published": published_of(segmenter.name),
        "milliseconds": {
            key: round(sum(line["ms"][key] for line in done) / len(done), 3) for key in done[0]["ms"]
        },
        "card": {**about, "versions": versions(), "machine": machine()},
    }
    results = without_nan(results)
    write_json(out / RESULTS, results)
    return results


Answer = Callable[["Embedding", int], Any]
"""(an embedding, the id of its picture) -> what is kept of the picture."""


def _question(kind: str, pictures: AnnotatedPictures, options: ImageEvaluationOptions) -> Answer:
    if kind == COCO_PROMPTS:
        return lambda embedding, image_id: ious_of_picture(
            embedding, pictures.annotations_of[image_id], options.prompts, options.seed
        )
    assert options.detections is not None
    detections = read_detections(options.detections, pictures)
    return lambda embedding, image_id: masks_of_picture(embedding, detections.get(image_id, []))


def _numbers(
    kind: str, pictures: AnnotatedPictures, done: list[dict[str, Any]], out: Path
) -> dict[str, float]:
    answers = [line["answer"] for line in done]
    if kind == COCO_PROMPTS:
        return {f"mIoU {name}": value for name, value in mean_ious(answers).items()}
    results = [result for of_picture in answers for result in of_picture]
    write_json(out / DETECTIONS, results)
    counted = {line["image_id"] for line in done}
    return average_precision(_only(pictures, counted), results)


def _only(pictures: AnnotatedPictures, image_ids: set[int]) -> AnnotatedPictures:
    """The pictures that were looked at; the objects of others are not missed."""
    document = {
        **pictures.document,
        "images": [image for image in pictures.document["images"] if image["id"] in image_ids],
        "annotations": [a for a in pictures.document["annotations"] if a["image_id"] in image_ids],
    }
    return AnnotatedPictures(pictures.root, pictures.path, document)


def _lines(
    path: Path,
    images: list[dict[str, Any]],
    pictures: AnnotatedPictures,
    segmenter: ImageSegmenter,
    answer: Answer,
    on_picture: Callable[[dict[str, Any]], object],
) -> Iterator[dict[str, Any]]:
    """The line of each picture: kept from an earlier run if it was done there, or made now."""
    kept = _whole_lines(path)
    # Failed pictures are tried again; their old lines would stand beside the new ones.
    text = "".join(json.dumps(line) + "\n" for line in kept.values())
    write_bytes(path, text.encode())
    with open(path, "a", encoding="utf-8") as file:
        for image in images:
            line = kept.get(image["id"])
            if line is None:
                line = _evaluated(image, pictures, segmenter, answer)
                file.write(json.dumps(line) + "\n")
                file.flush()
            on_picture(line)
            yield line


def _evaluated(
    image: dict[str, Any], pictures: AnnotatedPictures, segmenter: ImageSegmenter, answer: Answer
) -> dict[str, Any]:
    line: dict[str, Any] = {"image_id": image["id"], "error": None, "ms": {}, "answer": None}
    try:
        picture = pictures.read(image)
        began = time.perf_counter()
        embedding = segmenter.embed(picture)
        encoded = time.perf_counter()
        line["answer"] = answer(embedding, image["id"])
        line["ms"] = {"encode": 1000 * (encoded - began), "answer": 1000 * (time.perf_counter() - encoded)}
    except Exception as raised:  # whatever is wrong with this picture, the others count
        error = explained(raised) or raised
        line["error"] = str(error) if isinstance(error, VidsegError) else _told(error, image)
    return line


def _told(error: Exception, image: dict[str, Any]) -> str:
    return f"the picture {image['id']!r} could not be evaluated ({type(error).__name__}: {told(error)})"


def _whole_lines(path: Path) -> dict[int, dict[str, Any]]:
    """Image id -> line, of the pictures that were done; a line that was cut off is left out."""
    lines: dict[int, dict[str, Any]] = {}
    if not path.is_file():
        return lines
    for text in path.read_text(encoding="utf-8").splitlines():
        try:
            line = json.loads(text)
        except ValueError:
            continue
        if line["error"] is None:
            lines[line["image_id"]] = line
    return lines


def _check(kind: str, options: ImageEvaluationOptions) -> None:
    unknown = [name for name in options.prompts if name not in PROMPTS]
    if unknown or not options.prompts:
        raise InputError(
            f"the prompts '{', '.join(options.prompts)}'", hint=f"choose of {', '.join(PROMPTS)}"
        )
    if kind == COCO_DETECTIONS and options.detections is None:
        raise InputError(
            "coco-detections needs a detector's boxes", hint="give a file of COCO results: --detections FILE"
        )
    if options.limit is not None and options.limit < 1:
        raise InputError(f"--limit {options.limit}", hint="give 1 or more")


def _about(
    kind: str,
    pictures: AnnotatedPictures,
    segmenter: ImageSegmenter,
    asked: TrackerOptions,
    options: ImageEvaluationOptions,
) -> dict[str, Any]:
    from vidseg.trackers.image.load import configuration_of
    from vidseg.trackers.model import module_of
    from vidseg.trackers.weights import sha256_of, state_sha256

    files = {"annotations": pictures.path, "detections": options.detections}
    digests = {f"{name}_sha256": sha256_of(path) for name, path in files.items() if path is not None}
    choices = {key: value for key, value in asdict(options).items() if key not in ("resume", *files)}
    about = {
        "dataset": kind,
        "root": str(pictures.root.resolve()),
        "tracker": segmenter.name,
        "configuration": configuration_of(asked.tracker, segmenter),
        "weights": asked.weights,
        "weights_sha256": state_sha256(module_of(segmenter.model).state_dict()),
        "random_weights": bool(asked.allow_random_weights and asked.weights is None),
        "device": str(segmenter.device),
        "dtype": str(segmenter.dtype).removeprefix("torch."),
        **choices,
        **digests,
    }
    result: dict[str, Any] = json.loads(json.dumps(about))
    return result
