"""Scores many sequences, in this process or in several."""

from __future__ import annotations

import math
import multiprocessing
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from os import PathLike
from pathlib import Path
from typing import Any

from vidseg import plugins
from vidseg.errors import InputError, RunError, VidsegError
from vidseg.eval.protocols import build_protocol
from vidseg.eval.protocols.contract import ScoringProtocol, SequenceJob, SequenceScore
from vidseg.eval.protocols.layout import is_run, sequence_of_run

QUEUED_A_WORKER = 2
"""How many sequences are handed out for each process: one in hand, and the next one."""


def score(
    protocol: str,
    gt: str | PathLike[str],
    pred: str | PathLike[str],
    *,
    meta: str | PathLike[str] | None = None,
    no_skip: bool = False,
    per_frame: bool = False,
    workers: int = 1,
) -> dict[str, Any]:
    """Score masks that exist already, as `vidseg score` does.

    Args:
        protocol: 'davis2016', 'davis2017', 'davis2017-unsupervised', 'sav', 'vos-benchmark', 'vost', 'lvos',
            'mosev2', 'hota', 'ytvis', 'ytvos', or one of a plug-in.
        gt: the folder of the ground truth; of ytvis a JSON file.
        pred: the folder of the masks to be scored: a folder for each sequence; or a run of `vidseg track`, or
            a folder of runs.
        meta: the data set's meta file, if it is not in the folder of the ground truth.
        no_skip: whether the first and last frame count, too ('sav' and 'vos-benchmark').
        per_frame: whether to return the values of every frame, too.
        workers: number of processes; 1: this one.

    Returns:
        What `vidseg score --json` writes, with the official program's keys and units; None where it has no
        number.

    Raises:
        InputError: an unknown protocol, a meta file for one that takes none, or what the official program
            would refuse.
    """
    chosen = build_protocol(protocol, no_skip=no_skip)
    if meta is not None and not chosen.takes_meta:
        raise InputError(f"the protocol '{protocol}' takes no meta file", hint="leave --meta out")
    document = score_folders(
        chosen,
        Path(gt),
        Path(pred),
        meta=None if meta is None else Path(meta),
        workers=workers,
        per_frame=per_frame,
    )
    if not any(document["objects"].values()):
        raise InputError("there is nothing to score: no sequence has an object", where=str(gt))
    return document


def score_folders(
    protocol: ScoringProtocol,
    truth: Path,
    prediction: Path,
    *,
    meta: Path | None = None,
    workers: int = 1,
    per_frame: bool = False,
    only: Collection[str] | None = None,
    on_score: Callable[[str, SequenceScore], None] | None = None,
    on_refused: Callable[[str, VidsegError], None] | None = None,
) -> dict[str, Any]:
    """Score folders of masks.

    Args:
        prediction: a folder of masks for each sequence; or the folder of several runs, of an evaluation, or
            of one run, whose sequence alone is scored.
        workers: number of processes; 1: this one.
        per_frame: whether to return the values of every frame, too.
        only: names of the only sequences to score; None: all.
        on_score: called with the score of every sequence when it is done.
        on_refused: called with the error of every sequence that the official program would refuse, which is
            then left out; None: the first one ends it.

    Returns:
        `{"protocol": ..., "global": {...}, "objects": {sequence: {object: {...}}}}` with the official
        program's keys and units; None where it has no number.

    Raises:
        InputError: what the official program would refuse.
    """
    if is_run(prediction):
        only = {sequence_of_run(prediction, truth)}
    jobs = protocol.jobs(truth, prediction, meta, only)
    objects: dict[str, Any] = {job.name: {} for job in jobs}
    remarks: dict[str, Any] = {}
    for job, score in score_jobs(protocol, jobs, workers):
        if isinstance(score, VidsegError):
            if on_refused is None:
                raise score
            del objects[job.name]
            on_refused(job.name, score)
            continue
        objects[job.name] = {
            name: {**of.values, **(of.per_frame if per_frame else {})} for name, of in score.objects.items()
        }
        if on_score is not None:
            on_score(job.name, score)
        for key, remark in score.remarks.items():
            remarks.setdefault(key, {})[job.name] = remark
    document: dict[str, Any] = {"protocol": protocol.name, **protocol.choices}
    document |= {"global": protocol.total(objects), "objects": objects, **remarks}
    return without_nan(document)


def score_jobs(
    protocol: ScoringProtocol, jobs: list[SequenceJob], workers: int = 1
) -> Iterator[tuple[SequenceJob, SequenceScore | VidsegError]]:
    """The jobs in order of completion: with their scores, or with why the official program refuses them.

    Raises:
        RunError: a process ended before it answered.
    """
    if workers <= 1 or len(jobs) <= 1:
        _prepare_process()
        for job in jobs:
            yield job, _score_or_error(protocol, job)
        return
    waiting = sorted(jobs, key=lambda job: len(job.frames))  # longest last, as jobs are taken from the end
    running: dict[Future[SequenceScore | VidsegError], SequenceJob] = {}
    with _pool(min(workers, len(jobs))) as pool:
        try:
            while waiting or running:
                while waiting and len(running) < workers * QUEUED_A_WORKER:
                    job = waiting.pop()
                    running[pool.submit(_score_or_error, protocol, job)] = job
                done, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    yield running.pop(future), future.result()
        except BrokenProcessPool:
            raise RunError(
                "a process that scores ended before it answered; memory may have run out",
                hint="run it again with fewer --workers",
            ) from None
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _score_or_error(protocol: ScoringProtocol, job: SequenceJob) -> SequenceScore | VidsegError:
    try:
        return protocol.score(job)
    except VidsegError as error:
        return error


def without_nan(value: Any) -> Any:
    """The same value with None in place of NaN, which JSON does not have."""
    if isinstance(value, dict):
        return {key: without_nan(item) for key, item in value.items()}
    if isinstance(value, list):
        return [without_nan(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def _pool(workers: int) -> ProcessPoolExecutor:
    methods = multiprocessing.get_all_start_methods()
    context = multiprocessing.get_context("forkserver" if "forkserver" in methods else "spawn")
    if hasattr(context, "set_forkserver_preload"):
        context.set_forkserver_preload(["vidseg.eval.protocols"])  # so that workers start quickly
    return ProcessPoolExecutor(
        workers, mp_context=context, initializer=_prepare_process, initargs=(plugins.named(),)
    )


def _prepare_process(named_plugins: tuple[str, ...] = ()) -> None:
    import cv2

    if named_plugins:  # pickle needs the class of a protocol from a plug-in
        plugins.use(*named_plugins)
        plugins.load()
    cv2.setNumThreads(1)  # sequences already run in parallel
    # When glibc frees a block larger than any before, it returns memory to the system page by page, and takes
    # it anew for the next frame. Freeing one large block that was never touched ends that.
    bytes(31 << 20)
