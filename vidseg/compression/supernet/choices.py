"""Which subnets there are, and how one is drawn, mixed, changed and made smaller."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

from vidseg.compression.supernet.subnet import Subnet

RATIOS = (0.25, 0.5, 0.75, 1.0)
"""Which shares of the hidden units a block may use."""
SKIPPED = 1 / 3
"""Which share of the blocks, the least important ones, may be left out."""
CHANGED = 0.2
"""How likely each block changes in a mutation."""


@dataclass(frozen=True)
class Choices:
    """The numbers of hidden units that each block may use, ascending; 0 where it may be left out."""

    of_blocks: tuple[tuple[int, ...], ...]
    skip_weights: tuple[float, ...]
    """How readily each block is left out, for those that may be."""

    @classmethod
    def of(cls, whole: Subnet, layer_scores: Sequence[float]) -> Choices:
        """The subnets of a supernet.

        Args:
            whole: hidden units of each of its blocks.
            layer_scores: how much is lost without each block.
        """
        least = sorted(range(len(whole)), key=lambda block: layer_scores[block])
        skippable = set(least[: math.floor(SKIPPED * len(whole))])
        blocks = tuple(
            (
                *((0,) if block in skippable else ()),
                *sorted({max(1, math.floor(ratio * units)) for ratio in RATIOS}),
            )
            for block, units in enumerate(whole)
        )
        return cls(blocks, tuple(1 / max(score, 1e-12) for score in layer_scores))

    @property
    def largest(self) -> Subnet:
        return tuple(units[-1] for units in self.of_blocks)

    @property
    def smallest(self) -> Subnet:
        return tuple(units[0] for units in self.of_blocks)

    def draw(self, rng: random.Random) -> Subnet:
        """A random subnet: any number of the blocks that may be left out, the less important the likelier."""
        skippable = [block for block, units in enumerate(self.of_blocks) if units[0] == 0]
        skipped: set[int] = set()
        for _ in range(rng.randint(0, len(skippable))):
            left = [block for block in skippable if block not in skipped]
            skipped.add(rng.choices(left, [self.skip_weights[block] for block in left])[0])
        return tuple(
            0 if block in skipped else rng.choice([each for each in units if each])
            for block, units in enumerate(self.of_blocks)
        )

    def mutated(self, subnet: Subnet, rng: random.Random) -> Subnet:
        """The subnet with some blocks changed."""
        return tuple(
            rng.choice(units) if rng.random() < CHANGED else each
            for each, units in zip(subnet, self.of_blocks, strict=True)
        )

    def mixed(self, one: Subnet, other: Subnet, rng: random.Random) -> Subnet:
        """Each block from either of two subnets."""
        return tuple(rng.choice(pair) for pair in zip(one, other, strict=True))

    def smaller(self, subnet: Subnet, rng: random.Random) -> Subnet:
        """The subnet with one block a step smaller; the smallest stays as it is."""
        places = [units.index(each) for each, units in zip(subnet, self.of_blocks, strict=True)]
        can = [block for block, place in enumerate(places) if place]
        if not can:
            return subnet
        chosen = rng.choice(can)
        return tuple(
            self.of_blocks[block][places[block] - 1] if block == chosen else each
            for block, each in enumerate(subnet)
        )
