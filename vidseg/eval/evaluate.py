"""An evaluation: tracks a data set, scores it as its leaderboard does, and leaves results that can be
audited.

    OUT/evaluation.json   what is evaluated: data set, tracker, prompts (--resume must agree with it)
    OUT/runs, OUT/masks   see `tracking`
    OUT/frames/SEQ.json   values of every frame
    OUT/results.json, results.csv, report.html, submission.zip
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from vidseg.errors import InputError, VidsegError, one_line
from vidseg.eval.datasets import open_dataset
from vidseg.eval.datasets.contract import DataSet
from vidseg.eval.evaluation_folder import RESULTS, about_before, check_folder, claim
from vidseg.eval.protocols import build_protocol
from vidseg.eval.protocols.contract import SequenceScore
from vidseg.eval.report import write_report
from vidseg.eval.scoring import score_folders, without_nan
from vidseg.eval.submission import FILE_NAME as SUBMISSION
from vidseg.eval.submission import write_submission
from vidseg.eval.tracking import (
    MASKS,
    RUNS,
    PromptKind,
    SequenceOutcome,
    Workers,
    track_sequences,
)
from vidseg.pipeline.atomic import write_bytes, write_json
from vidseg.pipeline.file_names import ESCAPED
from vidseg.pipeline.machine import machine, versions
from vidseg.pipeline.run_record import FILE_NAME as RUN_RECORD
from vidseg.pipeline.run_record import read_record
from vidseg.trackers.discovery.looking import look_of
from vidseg.trackers.options import TrackerOptions
from vidseg.trackers.registry import build_tracker

TABLE, FRAMES = "results.csv", "frames"


@dataclass(frozen=True, kw_only=True)
class EvaluationOptions:
    """How an evaluation is run."""

    prompt: PromptKind = "mask"
    discover: Mapping[str, Any] = field(default_factory=dict)
    """How objects are found on data sets that do not give them; see `discover` of `vidseg.track`."""
    sequences: Sequence[str] | None = None
    """Names of the only sequences to evaluate; None: all."""
    workers: Workers = field(default_factory=Workers)
    resume: bool = False


def evaluate(
    dataset: str,
    root: Path,
    out: Path,
    asked: TrackerOptions | None = None,
    options: EvaluationOptions | None = None,
    *,
    on_outcome: Callable[[SequenceOutcome], object] = lambda outcome: None,
) -> dict[str, Any]:
    """Track a data set by its benchmark's protocol, score it, and write the results.

    Args:
        dataset: a name of `vidseg.eval.datasets.DATASETS`.
        root: the data set's folder, as downloaded.
        asked: which tracker; the default one where it is not given.
        out: the folder of the results.
        on_outcome: is told of every sequence when it is tracked, and again where its scoring fails.

    Returns:
        What `results.json` holds. "status" is "done", or "some failed": failed sequences are left out of
        the scores.

    Raises:
        InputError: the data set is not complete, the tracker cannot be loaded, or `out` holds something else.
    """
    asked, options = asked or TrackerOptions(), options or EvaluationOptions()
    data = _chosen(open_dataset(dataset, root), options.sequences)
    check_folder(out, resume=options.resume)
    asked = asked.with_dtype_of(about_before(out).get("dtype"))
    about = _about(data, asked, options)
    claim(out, about)
    asked = asked.with_dtype_of(_dtype_of_runs(out))  # the sequences of an evaluation have one type
    outcomes = track_sequences(
        data,
        asked,
        out,
        prompt=options.prompt,
        discover=_discover(data, options),
        workers=options.workers,
        on_outcome=on_outcome,
    )
    tracked = [s.name for s in data.sequences if outcomes[s.name].status == "done"]

    def refuse(name: str, error: VidsegError) -> None:
        reason = one_line(error.message + (f" ({error.where})" if error.where else ""))
        outcomes[name] = replace(outcomes[name], status="failed", error=reason)
        on_outcome(outcomes[name])

    scores = _scores(data, out, tracked, min(options.workers.count, os.cpu_count() or 1), refuse)
    done = [name for name in tracked if outcomes[name].status == "done"]
    runs = [read_record(out / RUNS / name / RUN_RECORD) for name in done]
    facts = runs[0]["tracker_facts"] if runs else {}
    results = {
        "dataset": data.name,
        "protocol": data.protocol,
        "status": "done" if len(done) == len(data.sequences) else "some failed",
        **scores,
        "sequences": {name: _facts_of(outcomes[name]) for name in (s.name for s in data.sequences)},
        "speed": _speed([outcomes[name] for name in done]),
        "card": {
            **about,
            "tracker_facts": facts,
            "notes": [*data.notes, *_notes(asked, facts), *_remark_on_versions(runs)],
            "versions": versions(),
            "machine": machine(),
        },
    }
    results["submission"] = results["submission_server"] = None
    (out / SUBMISSION).unlink(missing_ok=True)  # one of an earlier call may have other masks
    write_json(out / RESULTS, results)
    write_bytes(out / TABLE, as_csv(results).encode(errors=ESCAPED))
    write_report(data, results, out)
    if data.submission is not None and len(done) == len(data.sequences):
        write_submission(data, out / MASKS, out / SUBMISSION)
        results["submission"] = SUBMISSION
        results["submission_server"] = data.submission.server
        write_json(out / RESULTS, results)
    return results


def as_csv(results: dict[str, Any]) -> str:
    """The results as CSV, one row for each object of each sequence."""
    rows = [
        {"sequence": sequence, "object": obj, **values}
        for sequence, objects in results["objects"].items()
        for obj, values in objects.items()
    ]
    text = io.StringIO()
    if rows:
        table = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
        table.writeheader()
        table.writerows(rows)
    return text.getvalue()


def _chosen(data: DataSet, names: Sequence[str] | None) -> DataSet:
    if names is None:
        return data
    known = {s.name for s in data.sequences}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise InputError(
            f"{data.name} has no sequence '{unknown[0]}'", hint=f"it has {', '.join(sorted(known)[:10])} ..."
        )
    return replace(data, sequences=[s for s in data.sequences if s.name in names], submission=None)


def _about(data: DataSet, asked: TrackerOptions, options: EvaluationOptions) -> dict[str, Any]:
    # The tracker is built on the CPU only to describe it; nothing is computed with it.
    plain = {"device": "cpu", "dtype": "float32", "compile": None}
    built = build_tracker(asked.model_copy(update=plain))
    if data.max_proposals is not None and "discover_with" not in options.discover:
        look_of(built, None, "cpu")  # a tracker that finds nothing is refused before any sequence
    tracker = built.describe()
    about = {
        "dataset": data.name,
        "root": str(data.root.resolve()),
        "sequences": [s.name for s in data.sequences],
        "prompt": options.prompt,
        **({} if data.max_proposals is None else {"discover": _discover(data, options)}),
        "tracker": tracker["name"],
        "configuration": tracker["config"],
        "weights": asked.weights,
        "weights_sha256": tracker["weights_sha256"],
        "image_size": asked.image_size or tracker["config"].get("image_size"),
        "dtype": asked.dtype,
        "device": asked.device,
        "options": tracker.get("options"),
    }
    result: dict[str, Any] = json.loads(json.dumps(about))
    return result


def _notes(asked: TrackerOptions, facts: Mapping[str, Any]) -> list[str]:
    """What readers of the scores should know of the tracker."""
    is_random = asked.allow_random_weights and asked.weights is None and facts.get("parameters")
    return ["random weights: the scores mean nothing"] if is_random else []


def _discover(data: DataSet, options: EvaluationOptions) -> dict[str, Any] | None:
    """How objects are found; None on data sets that give them."""
    if data.max_proposals is not None:
        # A proposal that is no object costs nothing, and a frame on which an object is missing does.
        return {"max_objects": data.max_proposals, "report_tentative": True, **options.discover}
    if options.discover:
        said = min(options.discover).replace("_", "-")
        raise InputError(
            f"--{said} is about objects that are found; {data.name} gives them",
            hint="vidseg eval davis2017-unsupervised",
        )
    return None


def _dtype_of_runs(out: Path) -> object:
    """The type that earlier calls tracked in; None if they left no run."""
    for record in sorted((out / RUNS).glob(f"*/{RUN_RECORD}")):
        with suppress(VidsegError):
            return read_record(record)["options"].get("dtype")
    return None


def _remark_on_versions(runs: Sequence[Mapping[str, Any]]) -> list[str]:
    """A note if an evaluation went on with another version of vidseg, whose masks may differ."""
    used = {str(run.get("versions", {}).get("vidseg")) for run in runs}
    return [f"tracked by several versions of vidseg: {', '.join(sorted(used))}"] if len(used) > 1 else []


def _scores(
    data: DataSet, out: Path, tracked: list[str], workers: int, refuse: Callable[[str, VidsegError], None]
) -> dict[str, Any]:
    """`global`, `objects` and `score`; empty if the ground truth is not public.

    Args:
        refuse: is told of every sequence that the official program would refuse.
    """
    if data.truth is None or not tracked:
        return {"global": None, "objects": {}, "score": None}
    frames = out / FRAMES
    frames.mkdir(exist_ok=True)
    for path in frames.glob("*.json"):
        path.unlink()  # an earlier call scored it, and it may fail now

    def keep_frames(name: str, score: SequenceScore) -> None:
        values = {obj: {"frames": of.frames, **of.per_frame} for obj, of in score.objects.items()}
        write_json(frames / f"{name}.json", without_nan(values))

    protocol = build_protocol(data.protocol)
    document = score_folders(
        protocol,
        data.truth,
        out / MASKS,
        meta=data.meta,
        workers=workers,
        only=tracked,
        on_score=keep_frames,
        on_refused=refuse,
    )
    if not document["objects"]:
        return {"global": None, "objects": {}, "score": None}
    return {
        "global": document["global"],
        "objects": document["objects"],
        "score": protocol.headline.of_set(document["global"]),
    }


def _facts_of(outcome: SequenceOutcome) -> dict[str, Any]:
    facts = asdict(outcome)
    del facts["name"]
    return facts


def _speed(outcomes: list[SequenceOutcome]) -> dict[str, Any]:
    frames, seconds = sum(o.frames for o in outcomes), sum(o.seconds for o in outcomes)
    peaks: dict[str, int] = {}
    for outcome in outcomes:
        for where, count in outcome.peak_memory_bytes.items():
            peaks[where] = max(peaks.get(where, 0), count)
    return {
        "frames": frames,
        "seconds": round(seconds, 3),
        "frames_per_second": round(frames / seconds, 3) if seconds else None,
        "peak_memory_bytes": peaks,
    }
