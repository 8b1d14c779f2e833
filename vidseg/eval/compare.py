"""Compares two evaluations: is their difference larger than the choice of sequences explains?"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vidseg.errors import InputError
from vidseg.eval.protocols import build_protocol
from vidseg.eval.protocols.contract import Headline

RESAMPLES = 10_000
"""How often sequences are drawn."""
CONFIDENCE = 0.95
"""Share of the draws that the interval holds."""
FEWEST = 6
"""How many sequences a clear difference takes: by chance alone, all of five point the same way in one case of
16, which is more than the interval leaves out."""


def compare(one: Path, other: Path, *, seed: int = 0) -> dict[str, Any]:
    """The difference of two evaluations of one data set, per sequence and over all.

    The interval is a paired bootstrap: sequences are drawn with replacement, the same ones for both runs, and
    each draw is scored as the mean over its objects. It says how much the difference depends on the choice of
    sequences, not how the trackers would vary.

    Args:
        one, other: folders of evaluations.

    Returns:
        `difference` is the score of `other` minus that of `one`, in percent points.

    Raises:
        InputError: the folders hold no evaluations, or ones of different data sets or protocols, or without
            common sequences.
    """
    a, b = read_results(one), read_results(other)
    for key in ("dataset", "protocol"):
        if a[key] != b[key]:
            raise InputError(f"the evaluations are of another {key}: {a[key]} and {b[key]}")
    headline = build_protocol(a["protocol"]).headline
    values = [_object_values(results, headline, path) for results, path in ((a, one), (b, other))]
    names = [name for name in values[0] if name in values[1]]
    if not names:
        raise InputError("the evaluations have no scored sequence in common", where=f"{one}, {other}")
    for name in names:
        if len(values[0][name]) != len(values[1][name]):
            raise InputError(f"'{name}' has another number of objects in each evaluation")
    sums = np.array([[values[run][name].sum() for name in names] for run in (0, 1)])
    counts = np.array([len(values[0][name]) for name in names])
    totals = sums.sum(1) / counts.sum()
    draws = np.random.default_rng(seed).integers(0, len(names), (RESAMPLES, len(names)))
    resampled = (sums[1] - sums[0])[draws].sum(1) / counts[draws].sum(1)
    tail = 100 * (1 - CONFIDENCE) / 2
    low, high = np.percentile(resampled, [tail, 100 - tail])
    return {
        "dataset": a["dataset"],
        "measure": headline.measure,
        "runs": [{"out": str(path), "tracker": r["card"]["tracker"]} for path, r in ((one, a), (other, b))],
        "common_sequences": len(names),
        "only_in_one": sorted(set(values[0]) ^ set(values[1])),
        "mean": [float(total) for total in totals],
        "difference": float(totals[1] - totals[0]),
        "interval": [float(low), float(high)],
        "confidence": CONFIDENCE,
        "share_of_draws_above_0": float((resampled > 0).mean()),
        "is_clear": bool(len(names) >= FEWEST and (low > 0 or high < 0)),
        "sequences": {
            name: {
                "mean": [float(values[run][name].mean()) for run in (0, 1)],
                "difference": float(values[1][name].mean() - values[0][name].mean()),
            }
            for name in names
        },
    }


def read_results(out: Path) -> dict[str, Any]:
    """The contents of an evaluation's results.json.

    Raises:
        InputError: there is none, or nothing was scored.
    """
    try:
        results: dict[str, Any] = json.loads((out / "results.json").read_text(encoding="utf-8"))
        results["dataset"], results["protocol"], results["card"]["tracker"], results["objects"]
    except FileNotFoundError:
        raise InputError(
            f"'{out}' holds no finished evaluation", hint="give the --out of vidseg eval"
        ) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"results.json cannot be read ({error})", where=str(out)) from None
    if not results["objects"]:
        raise InputError(f"nothing was scored in '{out}'")
    return results


def as_text(comparison: dict[str, Any]) -> str:
    """The comparison as text for terminals."""
    width = max(8, *map(len, comparison["sequences"]))
    # Trackers often share a name, or its beginning, so the columns have letters.
    lines = [
        f"{letter}: {run['out']} ({run['tracker']})"
        for letter, run in zip("AB", comparison["runs"], strict=True)
    ]
    lines += ["", f"{'sequence':<{width}} {'A':>12} {'B':>12} {'B - A':>11}"]
    by_difference = sorted(comparison["sequences"].items(), key=lambda item: item[1]["difference"])
    lines += [
        f"{name:<{width}} {of['mean'][0]:12.1f} {of['mean'][1]:12.1f} {of['difference']:+11.1f}"
        for name, of in by_difference
    ]
    low, high = comparison["interval"]
    mean_a, mean_b = comparison["mean"]
    verdict = "a clear difference" if comparison["is_clear"] else "no clear difference"
    if comparison["common_sequences"] < FEWEST:
        verdict = f"too few to tell, it takes {FEWEST}"
    lines += [
        "",
        f"{comparison['measure']} over all objects: {mean_a:.2f} and {mean_b:.2f}, "
        f"difference {comparison['difference']:+.2f}",
        f"{100 * comparison['confidence']:.0f} % interval {low:+.2f} to {high:+.2f} "
        f"over {comparison['common_sequences']} sequences: {verdict}",
    ]
    if comparison["only_in_one"]:
        lines.append(f"left out, in one run only: {', '.join(comparison['only_in_one'])}")
    return "\n".join(lines)


def _object_values(
    results: dict[str, Any], headline: Headline, out: Path
) -> dict[str, npt.NDArray[np.float64]]:
    """Sequence -> the main measure of each of its objects, in percent."""
    try:
        return {
            name: np.array([headline.of_object(of) for of in objects.values()])
            for name, objects in results["objects"].items()
            if objects
        }
    except (KeyError, TypeError, AttributeError):
        keys = " and ".join(headline.object_keys)
        raise InputError(f"results.json has not {keys} of every object", where=str(out)) from None
