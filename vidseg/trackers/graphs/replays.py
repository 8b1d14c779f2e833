"""Functions of tensors whose calls are recorded once they have been seen, and replayed from then on.

A function takes trees (`vidseg.trackers.graphs.trees`) and treats each row of its row arguments by itself.
Rows go in pieces of 16, 8, 4, 2 and 1, so that five recordings serve any number of objects, and no row is
computed in vain.
"""

from __future__ import annotations

import threading
import warnings
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from vidseg.trackers.graphs.recorder import Recorder, Recording
from vidseg.trackers.graphs.trees import cat_trees, leaves, map_tensors, signature, with_leaves

PIECES = (16, 8, 4, 2, 1)
"""How many rows go together: a GPU is busy with a few objects, so larger pieces only take memory."""
SEEN_BEFORE = 2
"""Calls of one signature that run as they are before the next one is recorded. Recording takes as long as
running, and shapes that pass by while banks grow are not worth it."""
MAX_BYTES = 1 << 30
"""Most bytes of inputs and outputs that recordings hold; those replayed longest ago are dropped."""
MOST_APART = 1e-3
"""How far a replay may be from the call itself, as a share of the result's norm: sums of floats by atomic
additions differ in their last bits."""
MAX_SIGNATURES = 256
"""How many signatures are remembered as seen."""


class Replays:
    """The recordings of a model's parts; several sessions and threads may use them."""

    def __init__(self, recorder: Recorder, *, max_bytes: int = MAX_BYTES) -> None:
        self._recorder = recorder
        self._max_bytes = max_bytes
        self._seen: OrderedDict[Hashable, int] = OrderedDict()
        self._recordings: OrderedDict[Hashable, tuple[Recording, Any]] = OrderedDict()
        self._lock = threading.RLock()
        self._is_inside = False
        self._refused: set[Callable[..., Any]] = set()

    @property
    def num_recordings(self) -> int:
        """How many recordings are held."""
        return len(self._recordings)

    def of(self, function: Callable[..., Any], *, shared: int) -> Callable[..., Any]:
        """The function, replayed where that can be; its results are copies that nobody overwrites.

        Args:
            function: takes trees, and plain values as keywords. A call with a tensor among its keywords runs
                as it is.
            shared: how many arguments at the front belong to all rows; the tensors of the others have a row
                each, and so have those of the result.
        """

        def call(*args: Any, **plain: Any) -> Any:
            tensors = leaves(args)
            is_plain = not any(isinstance(value, Tensor) for value in plain.values())
            if not (is_plain and self._recorder.serves(tensors)):
                return function(*args, **plain)
            with self._lock:
                # Parts of a recorded function are not recorded again by themselves.
                if self._is_inside or function in self._refused:
                    return function(*args, **plain)
                self._is_inside = True
                try:
                    parts = [
                        self._run(function, (*args[:shared], *piece), plain)
                        for piece in _pieces(args[shared:])
                    ]
                finally:
                    self._is_inside = False
            return cat_trees(parts)

        return call

    def _run(self, function: Callable[..., Any], args: tuple[Any, ...], plain: dict[str, Any]) -> Any:
        key = (function, signature(args), tuple(sorted(plain.items())))
        is_recorded = key in self._recordings or (
            self._is_due(key) and self._record(key, function, args, plain)
        )
        if not is_recorded:
            return function(*args, **plain)
        self._recordings.move_to_end(key)
        recording, result = self._recordings[key]
        torch._foreach_copy_(list(recording.inputs), leaves(args))
        recording.replay()
        return with_leaves(result, [output.clone() for output in recording.outputs])

    def _is_due(self, key: Hashable) -> bool:
        """Note that a signature was seen, and tell whether it is time to record it."""
        count = self._seen.pop(key, 0)
        self._seen[key] = count + 1
        if len(self._seen) > MAX_SIGNATURES:
            self._seen.popitem(last=False)
        return count >= SEEN_BEFORE

    def _record(
        self, key: Hashable, function: Callable[..., Any], args: tuple[Any, ...], plain: dict[str, Any]
    ) -> bool:
        results: list[Any] = []

        def run(tensors: Sequence[Tensor]) -> list[Tensor]:
            results.append(function(*with_leaves(args, tensors), **plain))
            return leaves(results[-1])

        try:
            recording = self._recorder.record(run, leaves(args))
            _check(recording, args, leaves(function(*args, **plain)))
        except RuntimeError as error:  # also out of memory: what runs as it is may still fit
            self._refused.add(function)
            if isinstance(error, torch.OutOfMemoryError):
                self._recordings.clear()
            name = getattr(function, "__qualname__", "a part of the model")
            warnings.warn(
                f"{name} runs without a recorded CUDA graph, which is slower: {str(error).splitlines()[0]}",
                RuntimeWarning,
                stacklevel=2,
            )
            return False
        self._recordings[key] = recording, results[0]
        while len(self._recordings) > 1 and self._num_bytes() > self._max_bytes:
            self._recordings.popitem(last=False)
        return True

    def _num_bytes(self) -> int:
        return sum(recording.num_bytes for recording, _ in self._recordings.values())


def _check(recording: Recording, args: tuple[Any, ...], wanted: Sequence[Tensor]) -> None:
    """Replay a recording once beside the same call as it is.

    Raises:
        RuntimeError: the results are not the same.
    """
    torch._foreach_copy_(list(recording.inputs), leaves(args))
    recording.replay()
    for got, want in zip(recording.outputs, wanted, strict=True):
        apart = (got.double() - want.double()).norm()
        if not apart <= MOST_APART * want.double().norm():
            raise RuntimeError(f"its replay gives other results, {float(apart):.1e} apart")


def _pieces(rows: tuple[Any, ...]) -> Iterator[tuple[Any, ...]]:
    """The row arguments in pieces of `PIECES` rows."""
    count = leaves(rows)[0].shape[0]
    start = 0
    while start < count:
        size = next(size for size in PIECES if size <= count - start)
        if size == count:
            yield rows
        else:
            yield map_tensors(rows, partial(_slice, start=start, size=size))
        start += size


def _slice(x: Tensor, *, start: int, size: int) -> Tensor:
    return x[start : start + size]
