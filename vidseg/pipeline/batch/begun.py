"""What an earlier try left at a job's address, and whether that is of the same job."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any

from vidseg.errors import SourceError
from vidseg.pipeline.batch import stores
from vidseg.pipeline.batch.jobs import Job
from vidseg.pipeline.discovery_options import discovery_of
from vidseg.pipeline.prompts import Prompts
from vidseg.pipeline.run_record import FILE_NAME
from vidseg.trackers.contract import Tracker
from vidseg.trackers.options import TrackerOptions

_SAMPLE_BYTES = 1 << 20
_NOT_IN_FINGERPRINT = {"tracker", "weights", "save_every", "queue_frames"}
"""Options that change no mask, or are covered otherwise: the tracker by its configuration, weights by their
checksum."""


@dataclass(frozen=True, kw_only=True)
class Begun:
    """A job, as it is to be done at its address."""

    record: dict[str, Any] | None
    """The run.json that lies there."""
    is_same: bool
    """Whether that is of this very job, so that it can be resumed, or is done."""
    asked: TrackerOptions
    """The job's options of its tracker, with the type that its masks are made in."""
    fingerprint: str
    """A checksum of all that decides the masks."""


def begun(job: Job, address: str, prompts: Prompts, tracker: Tracker) -> Begun:
    """Look at a job's address. What was begun in a type stays in it, where the job leaves the type open."""
    record = _record_at(address)
    asked = job.options.for_tracker()
    if record is not None:
        kept = asked.with_dtype_of(record.get("options", {}).get("dtype"))
        digest = _fingerprint(job, prompts, tracker, kept)
        if record.get("job", {}).get("fingerprint") == digest:
            return Begun(record=record, is_same=True, asked=kept, fingerprint=digest)
    chosen = asked.with_dtype_of(tracker.describe().get("dtype"))
    digest = _fingerprint(job, prompts, tracker, chosen)
    return Begun(record=record, is_same=False, asked=chosen, fingerprint=digest)


def _record_at(address: str) -> dict[str, Any] | None:
    """The record of the run at an address; None if none can be read."""
    try:
        record = json.loads(stores.read_bytes(stores.join(address, FILE_NAME)))
    except (SourceError, ValueError):
        return None
    return record if isinstance(record, dict) and "status" in record else None


def _fingerprint(job: Job, prompts: Prompts, tracker: Tracker, asked: TrackerOptions) -> str:
    about = tracker.describe()
    options = {**job.options.model_dump(exclude=_NOT_IN_FINGERPRINT), "dtype": asked.dtype}
    if discover := options.pop("discover"):  # else jobs that were done before there was discovery stay done
        said = discovery_of(discover)
        options["discover"] = said.document() if said is not None and said.detector else discover
    facts = {
        "video": _contents(job.video),
        "prompts": prompts.document(),
        "tracker": [about["name"], about["config"], about["weights_sha256"]],
        "options": options,
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _contents(video: str) -> dict[str, Any]:
    """The size of a video and a checksum of its ends; for a folder of frames, of file names and sizes."""
    if stores.is_folder(video):
        files = json.dumps(stores.list_files(video))
        return {"files": hashlib.sha256(files.encode(errors="surrogateescape")).hexdigest()}
    if not stores.is_remote(video) and (path := stores.local_path(video)).exists() and not path.is_file():
        raise SourceError(  # to open a pipe would take until somebody writes to it
            f"'{video}' is neither a file nor a folder", hint="store it as a file: jobs are read again"
        )
    size = stores.size_of(video)
    digest = hashlib.sha256(stores.read_bytes(video, 0, min(size, _SAMPLE_BYTES)))
    if size > _SAMPLE_BYTES:
        digest.update(stores.read_bytes(video, size - _SAMPLE_BYTES, size))
    return {"bytes": size, "sha256_of_ends": digest.hexdigest()}
