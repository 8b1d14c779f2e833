"""How many processors this process may use.

A container may take the time of fewer processors than its machine has (`docker run --cpus`, limits of
Kubernetes, systemd's CPUQuota). The kernel keeps it to that by pausing all of its threads, and neither Python
nor PyTorch looks at it.
"""

from __future__ import annotations

import math
import os
from pathlib import Path, PurePosixPath

CGROUPS, OWN_CGROUPS = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")


def usable() -> int:
    """The number of processors that this process is bound to or, if that is less, that its container may take
    the time of, rounded up."""
    bound = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    share = limit()
    return bound if share is None else max(1, min(bound, math.ceil(share)))


def limit(cgroups: Path = CGROUPS, own: Path = OWN_CGROUPS) -> float | None:
    """The time that the kernel lets this process take, in processors; None: all there is.

    Args:
        cgroups: where the kernel shows its control groups (cgroup v2, or v1's folder `cpu` in it).
        own: the file that names the groups of this process.
    """
    try:
        lines = own.read_text().splitlines()
    except OSError:  # not Linux
        return None
    limits = []
    for line in lines:
        _, kinds, path = line.split(":", 2)
        if kinds not in ("", "cpu", "cpu,cpuacct", "cpuacct,cpu"):
            continue
        folder = cgroups if kinds == "" else cgroups / "cpu"
        # Limits of the groups around it hold as well. A container sees its own group as the root, while its
        # path may be that on the machine.
        inside = PurePosixPath(path.lstrip("/"))
        for group in (inside, *inside.parents):
            limits += _limits_of(folder / group)
    return min(limits, default=None)


def _limits_of(group: Path) -> list[float]:
    """The limit of one control group, if it has one."""
    for names in (("cpu.max",), ("cpu.cfs_quota_us", "cpu.cfs_period_us")):
        try:
            quota, period = map(int, " ".join((group / name).read_text() for name in names).split())
        except (OSError, ValueError):  # no such file, or "max"
            continue
        if quota > 0 and period > 0:
            return [quota / period]
    return []
