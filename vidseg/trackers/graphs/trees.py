"""Values made of tensors, taken apart into a list of tensors and put together again.

A tree is a tensor, None or another plain value, or a list, tuple or dataclass of trees.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

import torch
from torch import Tensor


def leaves(tree: Any) -> list[Tensor]:
    """The tensors of a tree, in order."""
    found: list[Tensor] = []

    def note(tensor: Tensor) -> Tensor:
        found.append(tensor)
        return tensor

    map_tensors(tree, note)
    return found


def map_tensors(tree: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """The tree with each tensor changed; other values stay as they are."""
    if isinstance(tree, Tensor):
        return change(tree)
    if isinstance(tree, list | tuple):
        return type(tree)(map_tensors(item, change) for item in tree)
    if is_dataclass(tree) and not isinstance(tree, type):
        return type(tree)(**{f.name: map_tensors(getattr(tree, f.name), change) for f in fields(tree)})
    return tree


def with_leaves(tree: Any, tensors: Sequence[Tensor]) -> Any:
    """The tree with its tensors replaced, in the order of `leaves`."""
    queue: Iterator[Tensor] = iter(tensors)
    return map_tensors(tree, lambda _: next(queue))


def cat_trees(trees: Sequence[Any]) -> Any:
    """Trees of one structure as one: their tensors are put one after the other along the first axis."""
    if len(trees) == 1:
        return trees[0]
    columns = zip(*(leaves(tree) for tree in trees), strict=True)
    return with_leaves(trees[0], [torch.cat(column) for column in columns])


def signature(tree: Any) -> Hashable:
    """What two trees must share for one recording to serve both: structure, plain values, and the shape,
    layout, type and device of each tensor."""
    if isinstance(tree, Tensor):
        return tuple(tree.shape), tree.stride(), tree.dtype, tree.device
    if isinstance(tree, list | tuple):
        return (type(tree), *(signature(item) for item in tree))
    if is_dataclass(tree) and not isinstance(tree, type):
        return (type(tree), *(signature(getattr(tree, f.name)) for f in fields(tree)))
    plain: Hashable = tree
    return plain
