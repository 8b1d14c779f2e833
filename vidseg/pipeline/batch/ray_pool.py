"""A pool of Ray actors that run the stage. Addresses and outcomes are sent; frames never are.

Each actor holds one stage, which keeps its tracker loaded, and has at most one job. Work goes to actors that
are free, so a file of a million jobs makes no more references than there are workers. Ray restarts nothing by
itself: a worker that ends is replaced, and the driver decides about its job.
"""

from __future__ import annotations

import math
import os
import re
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

from vidseg import plugins
from vidseg.errors import ConfigError, MissingExtraError, RunError, VidsegError, told
from vidseg.pipeline.batch.jobs import Job
from vidseg.pipeline.batch.pool import JobStage, Lost
from vidseg.pipeline.batch.stage import JobOutcome
from vidseg.version import __version__

try:
    import ray
    from ray.exceptions import ActorUnavailableError, OutOfMemoryError, RayError, RayTaskError

    from vidseg.pipeline.batch.stalled import StallWatch
except ModuleNotFoundError:
    raise MissingExtraError(
        "ray", "ray", needed_for="a pool of workers", instead="--workers 0, which tracks in this process"
    ) from None

T = TypeVar("T")

OBJECT_STORE_BYTES = 100 << 20
"""Size of the object store of a Ray that is started here; it is small, as no data goes through it."""
LOOK_AGAIN_S = 10.0
"""Seconds between two looks at whether the cluster has grown."""
MAX_FAILED_STARTS = 5
"""After this many workers in a row have died before they started, the pool gives up,"""
START_PATIENCE_S = 60.0
"""but only after these seconds: Ray takes a while to see that a machine is gone, and until then sends workers
there."""
STALL_S = 3600.0
"""No frame and no ending of a job takes as many seconds, and a decoder that hangs would take for ever."""
IDLE_PATIENCE_S = 60.0
"""After so many seconds without a worker one is told why: a cluster may have no room, or be growing."""

_NOT_BY_WORKER = ("its node has died", "The actor never ran")
"""Parts of Ray's messages about failures that are no worker's fault; another worker is started then. On a
busy machine Ray may lose a message between its own parts, and give an actor up before it has a process."""


@dataclass(frozen=True, kw_only=True)
class Needs:
    """The resources of a machine that one worker takes."""

    cpus: float = 1.0
    gpus: float | None = None
    """May be a fraction. None: a whole GPU if the cluster has any."""
    memory_bytes: int | None = None
    """Ray starts no more workers on a machine than fit by this; None: memory is not considered."""

    def fit_in(self, have: dict[str, float]) -> int:
        """How many workers fit into some resources."""
        wants = {"CPU": self.cpus, "GPU": self.gpus or 0.0, "memory": float(self.memory_bytes or 0)}
        return min(math.floor(have.get(name, 0.0) / want + 1e-9) for name, want in wants.items() if want)

    def alone(self, machines: Sequence[Mapping[str, float]]) -> Needs:
        """What a worker takes that is to have its GPU or, without one, its machine to itself.

        Args:
            machines: the resources of each machine.
        """
        if self.gpus:
            return replace(self, gpus=float(math.ceil(self.gpus)))
        return replace(self, cpus=max(self.cpus, *(machine.get("CPU", 0.0) for machine in machines)))


class _Worker:
    """An actor: a stage, and methods that ask it to stop, and how far it is, while it works."""

    def __init__(self, stage: JobStage, named_plugins: tuple[str, ...]) -> None:
        self.stage = stage
        self._named_plugins = named_plugins

    def setup(self, job: Job, version: str) -> tuple[str, int]:
        """Get the stage ready.

        Args:
            version: that of vidseg where the driver runs.

        Returns:
            the node that the actor runs on, and its process id there.

        Raises:
            RunError: this machine has another version, whose masks may differ.
        """
        if version != __version__:
            raise RunError(
                f"a machine has vidseg {__version__}, and the command {version}",
                where=f"machine {ray.util.get_node_ip_address()}",
                hint="install the same version on every machine",
            )
        plugins.use(*self._named_plugins)  # machines of a cluster do not inherit our environment
        self.stage.setup(job)
        return ray.get_runtime_context().get_node_id(), os.getpid()

    def process(self, job: Job) -> JobOutcome:
        return self.stage.process(job)

    def progress(self) -> int:
        return self.stage.progress()

    def request_stop(self) -> None:
        self.stage.request_stop()

    def close(self) -> None:
        self.stage.close()


@dataclass
class _Member:
    actor: Any
    node_id: str | None = None
    pid: int | None = None
    """Node and process id; both None until the worker runs."""


class RayPool(Generic[T]):
    """A pool of Ray actors.

    Args:
        stage: does the jobs; each worker gets a copy.
        first_job: says which tracker workers load when they start.
        workers: number of workers; None: as many as the cluster has room for, now and when it grows.
        address: of a cluster ('auto', 'host:6379', 'ray://host:10001'); None starts Ray on this machine.
        stall_s: a worker is ended whose job gets no further for so many seconds; None: none is.

    Raises:
        ConfigError: the cluster cannot be reached, or a machine started for it has no room for a worker.
        VidsegError: raised by `wait` if no worker can start.
    """

    def __init__(
        self,
        stage: JobStage,
        first_job: Job,
        *,
        workers: int | None = None,
        needs: Needs | None = None,
        address: str | None = None,
        stall_s: float | None = STALL_S,
    ) -> None:
        needs = needs or Needs()
        self._is_ours = not ray.is_initialized()
        if self._is_ours:
            _start(address, math.ceil((workers or 0) * needs.cpus))
        if needs.gpus is None:
            has_any = ray.cluster_resources().get("GPU", 0) > 0
            needs = Needs(cpus=needs.cpus, gpus=float(has_any), memory_bytes=needs.memory_bytes)
        self._needs = needs
        self._is_alone = False
        self._workers = workers
        self._first_job = first_job
        self._watch = StallWatch(stall_s)
        # The stage is sent once; otherwise it would be sent to each actor anew.
        self._stage = ray.put(stage)
        self._in_flight: dict[Any, tuple[_Member, T | None]] = {}
        """Reference -> its worker, and the ticket of the job; None while the worker starts."""
        self._free: list[_Member] = []
        self._is_stopping = False
        self._failed_starts = 0
        self._failing_since_s = 0.0
        self._next_look_s = 0.0
        self._idle_since_s = time.monotonic()
        if address is None and needs.fit_in(ray.cluster_resources()) < 1:
            have = _resources()
            self.close()
            raise ConfigError(
                f"this machine has no room for a worker: it needs {needs}, there is {have}",
                hint="ask for less with --cpus, --gpus or --memory",
            )
        self._hire()

    @property
    def num_workers(self) -> int:
        return len(self._free) + sum(member.pid is not None for member, _ in self._in_flight.values())

    def has_room(self) -> bool:
        return bool(self._free)

    def submit(self, ticket: T, job: Job) -> None:
        member = self._free.pop()
        self._in_flight[member.actor.process.remote(job)] = (member, ticket)

    def wait(self, timeout_s: float) -> list[tuple[T, JobOutcome | Lost]]:
        if not self._is_stopping and time.monotonic() >= self._next_look_s:
            self._hire()
        refs = list(self._in_flight)
        if not refs:
            time.sleep(timeout_s)
            return []
        ended, rest = ray.wait(refs, num_returns=1, timeout=timeout_s)
        if ended and rest:
            ended += ray.wait(rest, num_returns=len(rest), timeout=0)[0]
        results: list[tuple[T, JobOutcome | Lost]] = []
        for ref in ended:
            member, ticket = self._in_flight.pop(ref)
            result = self._result(ref, member, is_job=ticket is not None)
            if ticket is None:
                self._started(member, result)
            else:
                if isinstance(result, JobOutcome):
                    self._free.append(member)
                results.append((ticket, result))
        return results + self._end_stalled()

    def _end_stalled(self) -> list[tuple[T, Lost]]:
        """End the workers whose jobs get no further."""
        at_work = {
            ref: (member, ticket) for ref, (member, ticket) in self._in_flight.items() if ticket is not None
        }
        ended = []
        for ref in self._watch.stalled({ref: member.actor for ref, (member, _) in at_work.items()}):
            member, ticket = at_work[ref]
            ray.kill(member.actor)
            del self._in_flight[ref]
            self._next_look_s = 0.0
            ended.append((ticket, _stalled(self._watch.limit_s or 0.0)))
        return ended

    def make_room(self) -> None:
        """Start anew with workers that each have a whole GPU or, without GPUs, a whole machine."""
        self._let_go()
        machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        self._needs, self._is_alone = self._needs.alone(machines), True
        self._hire()

    def request_stop(self) -> None:
        self._is_stopping = True
        for member, ticket in self._in_flight.values():
            if ticket is not None:
                member.actor.request_stop.remote()

    def close(self) -> None:
        """Let the workers go; also stop Ray if it was started here."""
        self._let_go()
        if self._is_ours:
            ray.shutdown()

    def _let_go(self) -> None:
        farewells = [member.actor.close.remote() for member in self._free]
        if farewells:
            ray.wait(farewells, num_returns=len(farewells), timeout=10)
        for member in [*self._free, *(member for member, _ in self._in_flight.values())]:
            ray.kill(member.actor)
        self._free.clear()
        self._in_flight.clear()

    def _hire(self) -> None:
        """Start workers where some are missing."""
        now = time.monotonic()
        self._next_look_s = now + LOOK_AGAIN_S
        if self.num_workers:
            self._idle_since_s = now
        elif now - self._idle_since_s >= IDLE_PATIENCE_S:
            warnings.warn(
                f"no worker is up, and jobs wait: one needs {self._needs}, and all machines "
                f"together have {_resources()}",
                stacklevel=3,
            )
        target = self._workers
        if target is None or self._is_alone:
            # Ask for at least one: an autoscaler starts machines only for workers that wait.
            fitting = max(1, self._needs.fit_in(ray.cluster_resources()))
            target = min(fitting, target or fitting)
        actor_class = ray.remote(_Worker).options(
            num_cpus=self._needs.cpus,
            num_gpus=self._needs.gpus,
            memory=self._needs.memory_bytes,
            max_restarts=0,
            max_concurrency=3,  # a job, the request to stop it, and how far it is
            scheduling_strategy="SPREAD",
        )
        for _ in range(target - len(self._free) - len(self._in_flight)):
            member = _Member(actor_class.remote(self._stage, plugins.named()))
            self._in_flight[member.actor.setup.remote(self._first_job, __version__)] = (member, None)

    def _started(self, member: _Member, result: tuple[str, int] | Lost | VidsegError) -> None:
        if isinstance(result, tuple):
            self._failed_starts = 0
            member.node_id, member.pid = result
            self._free.append(member)
            return
        now = time.monotonic()
        if not self._failed_starts:
            self._failing_since_s = now
        self._failed_starts += not (isinstance(result, Lost) and result.is_by_node)
        is_long = now - self._failing_since_s >= START_PATIENCE_S
        is_hopeless = not self.num_workers and self._failed_starts >= MAX_FAILED_STARTS and is_long
        if isinstance(result, Lost):
            self._next_look_s = now + 1.0
            if is_hopeless:
                raise RunError(f"workers die when they start: {result.reason}", hint="see Ray's logs")
            return
        # One machine without the weights must not end what others can do.
        self._next_look_s = now + LOOK_AGAIN_S
        if is_hopeless or not (self._free or self._in_flight):
            raise result
        warnings.warn(f"a worker could not start ({told(result)})", stacklevel=2)

    def _result(self, ref: Any, member: _Member, *, is_job: bool) -> Any:
        try:
            return ray.get(ref)
        except RayTaskError as error:
            cause = getattr(error, "cause", None)
            ray.kill(member.actor)
            if not is_job:
                return cause if isinstance(cause, VidsegError) else _broken_start(cause or error)
            # A stage turns errors of jobs into outcomes, so an error here means that the process is broken.
            return Lost(reason=_in_one_line(cause or error), is_by_node=False)
        except RayError as error:
            if isinstance(error, ActorUnavailableError):
                ray.kill(member.actor)  # or it may return and do the job a second time
            self._next_look_s = 0.0
            return Lost(
                reason=_in_one_line(error),
                is_by_node=_is_node_gone(member, error),
                ran_out_of_memory=isinstance(error, OutOfMemoryError),
            )


def _stalled(limit_s: float) -> Lost:
    return Lost(
        reason=f"it got no further for {limit_s / 60:g} minutes",
        is_by_node=False,
        hint="see whether `vidseg track` gets to the video's end; --stall-minutes waits longer",
    )


def _resources() -> dict[str, float]:
    have = ray.cluster_resources()
    return {name: have.get(name, 0) for name in ("CPU", "GPU", "memory")}


def _broken_start(error: Exception) -> RunError:
    return RunError(
        f"a worker could not start: {_in_one_line(error)}",
        hint="install the same version of vidseg, with the same extras, on every machine",
    )


def _is_node_gone(member: _Member, error: RayError) -> bool:
    if isinstance(error, ActorUnavailableError) or any(words in str(error) for words in _NOT_BY_WORKER):
        return True
    alive = {node["NodeID"] for node in ray.nodes() if node["Alive"]}
    return member.node_id is not None and member.node_id not in alive


def _start(address: str | None, num_cpus: int) -> None:
    """Begin to use a cluster, or a Ray that is started here.

    Args:
        num_cpus: how many processors the workers that were asked for take; 0: as many as there is room for.
    """
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    if address is not None:
        try:
            ray.init(address=address, **quiet)
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise ConfigError(
                f"there is no Ray cluster at '{address}' ({_in_one_line(error)})",
                hint="start one with `ray start --head`; see docs/batch.md",
            ) from None
        return
    try:
        ray.init(
            address="local",
            # A container may have fewer processors than its machine; Ray looks at its limits by itself.
            num_cpus=max(os.cpu_count() or 1, num_cpus) if num_cpus else None,
            object_store_memory=OBJECT_STORE_BYTES,
            include_dashboard=False,
            **quiet,
        )
    except Exception as error:  # Ray has no class of errors for this
        raise RunError(
            f"Ray did not start on this machine ({_in_one_line(error)})",
            hint="run the same command again; --workers 0 does without Ray",
        ) from None


def _in_one_line(error: Exception) -> str:
    plain = re.sub(r"\x1b\[[0-9;]*m", "", str(error))  # Ray colours its messages
    lines = [line.strip() for line in plain.splitlines() if line.strip()]
    return " ".join(lines)[:400] or type(error).__name__
