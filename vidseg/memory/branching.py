"""One step of tracking under a policy that chooses among candidates or follows several hypotheses."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from vidseg.memory.bank import Branch, DecidingPolicy, MemoryFrame, Moment, ObjectBank, Offer

Choice = tuple[int, int]
"""The number of an offer, and the number of the candidate taken from it."""


def branch(
    policy: DecidingPolicy,
    banks: Sequence[ObjectBank],
    moment: Moment,
    *,
    offer: Callable[[Sequence[ObjectBank]], Sequence[Offer]],
    remember: Callable[[Sequence[Choice]], Sequence[MemoryFrame]],
) -> None:
    """Carry every hypothesis of every bank into a frame, and keep the branches that the policy wants.

    Args:
        offer: asks the decoder for the candidates of the given hypotheses. Hypotheses that remember the same
            frames get the same candidates, so only one of them is passed.
        remember: makes the memories of choices; branches with the same choice share one.
    """
    different, numbers = _different([h for bank in banks for h in bank.hypotheses])
    offers = offer(different)
    waiting = iter(numbers)
    plans: list[tuple[ObjectBank, list[tuple[Branch, Choice]]]] = []
    for bank in banks:
        own = [next(waiting) for _ in bank.hypotheses]
        branches = policy.decide(bank, moment, [offers[number] for number in own])
        plans.append((bank, [(b, (own[b.hypothesis], b.candidate)) for b in branches]))
    wanted = list(dict.fromkeys(choice for _, plan in plans for _, choice in plan))
    memories = dict(zip(wanted, remember(wanted), strict=True))
    for bank, plan in plans:
        bank.grow([(kept, memories[choice]) for kept, choice in plan])


def _different(hypotheses: Sequence[ObjectBank]) -> tuple[list[ObjectBank], list[int]]:
    """The hypotheses that differ in what they remember, and the place in that list of each given one."""
    places: dict[tuple[int, ...], int] = {}
    different: list[ObjectBank] = []
    numbers = []
    for bank in hypotheses:
        key = (*map(id, bank.conditioning.values()), -1, *map(id, bank.tracked.values()))
        if key not in places:
            places[key] = len(different)
            different.append(bank)
        numbers.append(places[key])
    return different, numbers
