"""Search for the subnet that is nearest to the teacher among those within a budget of time.

A small evolution: the best few of what was seen are mixed and mutated, and what is too slow is made smaller
step by step until it fits. SuperSAM lets a program autotuner search under a limit of size.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from vidseg.compression.supernet.choices import Choices
from vidseg.compression.supernet.subnet import Subnet
from vidseg.errors import ConfigError

POPULATION = 16
"""How many subnets are judged at first and in each generation, unless they were judged before."""
GENERATIONS = 6
PARENTS = 4
"""How many of the best are mixed and mutated."""


@dataclass(frozen=True)
class Found:
    """The result of a search."""

    subnet: Subnet
    apart: float
    """Its distance from the teacher."""
    ms: float
    seen: int
    """How many subnets were judged."""


def search(
    choices: Choices,
    apart: Callable[[Subnet], float],
    milliseconds: Callable[[Subnet], float],
    budget: float,
    *,
    seed: int = 0,
    tell: Callable[[str], None] = lambda line: None,
) -> Found:
    """The best subnet within the budget that was found.

    Args:
        apart: the distance of a subnet from the teacher.
        milliseconds: the time of a subnet.
        budget: in milliseconds.

    Raises:
        ConfigError: even the smallest subnet takes longer.
    """
    least = milliseconds(choices.smallest)
    if least > budget:
        raise ConfigError(
            f"the smallest subnet takes {least:.1f} ms here, and the budget is {budget:g}",
            where="--within-ms",
            hint="give more, a smaller --image-size, or a smaller model",
        )
    rng = random.Random(seed)
    seen: dict[Subnet, float] = {}

    def judge(subnet: Subnet) -> None:
        while milliseconds(subnet) > budget:
            subnet = choices.smaller(subnet, rng)
        if subnet not in seen:
            seen[subnet] = apart(subnet)

    for subnet in (choices.largest, choices.smallest, *(choices.draw(rng) for _ in range(POPULATION - 2))):
        judge(subnet)
    for generation in range(GENERATIONS):
        parents = sorted(seen, key=seen.__getitem__)[:PARENTS]
        for number in range(POPULATION):
            if number % 2:
                judge(choices.mixed(rng.choice(parents), rng.choice(parents), rng))
            else:
                judge(choices.mutated(rng.choice(parents), rng))
        tell(f"generation {generation + 1}/{GENERATIONS}: distance {min(seen.values()):.4g}")
    best = min(seen, key=seen.__getitem__)
    return Found(best, seen[best], milliseconds(best), len(seen))
