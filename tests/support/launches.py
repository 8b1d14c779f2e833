"""Counts what a GPU would be asked to launch, on a CPU."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from vidseg.trackers.engine import Engine, EngineStage

WHOLE = ("scaled_dot_product_attention", "upsample")
"""Operations that a GPU does in one launch, though PyTorch also knows them as several."""
VIEWS = ("aten._unsafe_view", "aten.detach_")
"""Operations that launch nothing, though their results are not declared as views."""


class Launches(TorchDispatchMode):
    """Counts operations that compute or copy, by the stage of the frame; views are none.

    Some operations are more than one launch on a GPU, as cuDNN changes layouts by itself: these show in
    `strided_norms`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.by_stage: Counter[str] = Counter()
        self.by_name: Counter[str] = Counter()
        self.strided_norms = 0
        """Layer norms of maps whose channels are not last in memory; a GPU copies such maps first."""
        self._stage = "rest"

    def watch(self, engine: Engine) -> None:
        """Tell stages of an engine apart."""

        @contextmanager
        def within(stage: EngineStage) -> Iterator[None]:
            before, self._stage = self._stage, stage
            yield
            self._stage = before

        engine.watch = within

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        name, given = str(func), kwargs or {}
        # In inference mode, operations that are made of others come here as one.
        if not any(whole in name for whole in (*WHOLE, *VIEWS)):
            with self:
                result = func.decompose(*args, **given)
            if result is not NotImplemented:
                return result
        is_view = any(value.alias_info and not value.alias_info.is_write for value in func._schema.returns)
        if not is_view and not name.startswith(VIEWS):
            self.by_stage[self._stage] += 1
            self.by_name[name.removeprefix("aten.").split(".")[0]] += 1
        if "native_layer_norm" in name and isinstance(args[0], Tensor):
            self.strided_norms += not args[0].is_contiguous()
        return func(*args, **given)
