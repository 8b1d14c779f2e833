"""DAVIS 2016 and 2017 (davischallenge.org): 480p, every frame annotated, objects of the first frame."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from vidseg.errors import InputError
from vidseg.eval.anchors import ANCHORS
from vidseg.eval.datasets.contract import (
    DataSet,
    GivenMask,
    SequenceToTrack,
    Submission,
    check_has_all,
    first_masks,
    frame_names_of,
    mask_files,
    need,
)
from vidseg.eval.protocols.davis2017_unsupervised import MAX_PROPOSALS
from vidseg.eval.protocols.layout import set_list

SOURCE = "https://davischallenge.org"
MASKS = "Annotations/480p"


def open_davis2017(root: Path) -> DataSet:
    """The val set of DAVIS 2017 in a folder."""
    return _open(root, "davis2017", "DAVIS 2017", ["ImageSets/2017/val.txt"])


def open_davis2017_test_dev(root: Path) -> DataSet:
    """DAVIS 2017 test-dev: only first masks are public, and the server scores the zip."""
    data = _open(root, "davis2017-test-dev", "DAVIS 2017 test-dev", ["ImageSets/2017/test-dev.txt"])
    return replace(data, protocol="davis2017", submission=Submission(server="CodaLab 6812 (was 20516)"))


def open_davis2017_unsupervised(root: Path) -> DataSet:
    """The val set of DAVIS 2017 without its masks: objects are to be found.

    The masks that it is scored by are those of `Annotations_unsupervised`, where they are, as the official
    program has it.
    """
    is_whole = (root / "Annotations_unsupervised/480p").is_dir()
    annotations = "Annotations_unsupervised/480p" if is_whole else MASKS
    data = _open(root, "davis2017", "DAVIS 2017", ["ImageSets/2017/val.txt"], annotations)
    found = [replace(sequence, given=[]) for sequence in data.sequences]
    return replace(
        data,
        name="davis2017-unsupervised",
        protocol="davis2017-unsupervised",
        sequences=found,
        max_proposals=MAX_PROPOSALS,
        published=(),
        submission=Submission(server="CodaLab 20515"),
    )


def open_davis2016(root: Path) -> DataSet:
    """DAVIS 2016: everything that is not background is the one object."""
    data = _open(root, "davis2016", "DAVIS 2016", ["ImageSets/2016/val.txt", "ImageSets/480p/val.txt"])
    merged = [
        replace(s, given=[GivenMask(1, "1", 0, s.given[0].path, merges_ids=True)]) for s in data.sequences
    ]
    return replace(data, sequences=merged)


def _open(root: Path, name: str, title: str, lists: list[str], annotations: str = MASKS) -> DataSet:
    listed = next((place for place in lists if (root / place).is_file()), lists[0])
    need(
        root,
        {"JPEGImages/480p": "folder", annotations: "folder", listed: "file"},
        data_set=title,
        source=SOURCE,
    )
    names = set_list(root, [listed.removeprefix("ImageSets/")]) or []
    sequences = [_sequence(root, sequence, title, annotations) for sequence in names]
    masks = {s.name: mask_files(root / annotations / s.name) for s in sequences}
    has_truth = any(len(of) > 1 for of in masks.values())
    for s in sequences if has_truth else []:
        annotated = [path.stem for path in masks[s.name]]
        check_has_all("masks", annotated, s.frame_names, where=root / annotations / s.name)
        check_has_all("frames", s.frame_names, annotated, where=s.images)
    return DataSet(
        name,
        root,
        name,
        sequences,
        root if has_truth else None,
        submission=Submission(),
        published=ANCHORS.get(name, []),
    )


def _sequence(root: Path, name: str, title: str, annotations: str) -> SequenceToTrack:
    images = root / "JPEGImages/480p" / name
    frames = frame_names_of(images, data_set=title, source=SOURCE)
    masks = mask_files(root / annotations / name)
    if not masks or masks[0].stem != frames[0]:
        raise InputError(f"the first frame of '{name}' has no mask", where=str(root / annotations / name))
    # Without ids other than 255, which is void elsewhere, the mask is of 0 and 255: one object.
    given = first_masks(masks[:1], frames) or [GivenMask(1, "1", 0, masks[0])]
    return SequenceToTrack(name, images, frames, given, frames)
