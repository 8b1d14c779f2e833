"""The folder of downloaded weights, and the digests that are checked whenever a file is used.

Beside each file lie `<file>.sha256`, in the format of `sha256sum`, written on the first download (or first
use, for a file that a person put there), and `<file>.checked`, which remembers the size and time of change of
the file when it was last read in full: as long as those hold, its digest is not computed again.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
from os import PathLike
from pathlib import Path

from vidseg.errors import CheckpointError, OutputError
from vidseg.kept_figures import CACHE_VARIABLE, cache_root
from vidseg.trackers.weights.checkpoint import check_whole
from vidseg.trackers.weights.published import PUBLISHED, Published, published

DOWNLOAD_AGAIN = "delete the file and download it again: vidseg weights get NAME"
"""How to mend a file that is there, for which `get` downloads nothing."""


def cache_folder() -> Path:
    """The folder for weights, which may not exist: $VIDSEG_CACHE/weights, or else in the platform's cache."""
    return cache_root() / "weights"


def cached_path(name: str) -> Path | None:
    """The cached file of a tracker's weights, not verified; None if it is not there."""
    path = cache_folder() / published(name).file_name
    return path if path.is_file() else None


def find_weights(name: str) -> Path:
    """The cached file of a tracker's weights, verified.

    Raises:
        CheckpointError: it is missing (the hint says how to get it), or not what was first downloaded.
    """
    if name not in PUBLISHED:
        raise CheckpointError(
            f"the tracker '{name}' has no published weights", hint="give a file: --weights FILE"
        )
    wanted = PUBLISHED[name]
    path = cache_folder() / wanted.file_name
    if not path.is_file():
        raise missing_weights(name, wanted)
    verify(path, wanted)
    return path


def missing_weights(name: str, wanted: Published) -> CheckpointError:
    """The error that says how to get the weights of a tracker."""
    if wanted.url is None:
        hint = (
            f"download {wanted.file_name} in a browser from {wanted.by_hand}, "
            f"then put it into {cache_folder()}, or give it with --weights FILE"
        )
    else:
        hint = f"vidseg weights get {name}   (or give a file: --weights FILE)"
    return CheckpointError(f"the weights of '{name}' are not on this machine", hint=hint)


def verify(path: Path, wanted: Published | None = None, *, in_full: bool = False) -> str:
    """Check a file against its published or recorded digest; a file without either gets its digest recorded.

    Args:
        wanted: what the file should be, if that is known.
        in_full: whether to read the file even if size and time of change are those of the last check.

    Returns:
        its SHA-256, in hexadecimal.

    Raises:
        CheckpointError: the digest is another one, or the file is cut short or no checkpoint.
    """
    recorded = recorded_digest(path)
    published_digest = wanted.sha256 if wanted else None
    expected = published_digest or recorded
    digest = None if in_full else _remembered_digest(path)
    if digest is None or digest != expected:
        if expected is None:
            # The digest of half a file, once recorded, would refuse the whole one ever after.
            check_whole(path, hint=DOWNLOAD_AGAIN)
        digest = sha256_of(path)
        if expected is None and wanted is not None:
            check_first(path, digest, wanted)
    if expected is not None and digest != expected:
        raise CheckpointError(
            f"the weights are not those that were {'published' if published_digest else 'recorded'}: "
            f"SHA-256 {digest[:16]}..., not {expected[:16]}...",
            where=str(path),
            hint=DOWNLOAD_AGAIN,
        )
    # A cache that cannot be written to can still be read from.
    with contextlib.suppress(OSError):
        if recorded is None:
            record_digest(path, digest)
        _remember(path, digest)
    return digest


def check_first(path: Path, digest: str, wanted: Published) -> None:
    """Check a file whose digest is not known yet against what else its authors publish of it.

    Raises:
        CheckpointError: it is another file.
    """
    start = wanted.sha256_start
    if start is not None and not digest.startswith(start):
        raise CheckpointError(
            f"the weights are not the published ones: SHA-256 {digest[:16]}..., which does not start with "
            f"{start}",
            where=str(path),
        )
    if wanted.git_blob is None:
        return
    found = hashlib.sha1(f"blob {path.stat().st_size}\0".encode(), usedforsecurity=False)
    _feed(path, found)
    if found.hexdigest() != wanted.git_blob:
        raise CheckpointError(
            f"the weights are not the published ones: Git object {found.hexdigest()[:16]}..., "
            f"not {wanted.git_blob[:16]}...",
            where=str(path),
        )


def sha256_of(path: str | PathLike[str]) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    found = hashlib.sha256()
    _feed(Path(path), found)
    return found.hexdigest()


def _feed(path: Path, digest: hashlib._Hash) -> None:
    with open(path, "rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)


def recorded_digest(path: Path) -> str | None:
    """The digest recorded for a file, which itself may be gone; None if there is no record.

    Raises:
        CheckpointError: the record is no digest.
    """
    record = record_path(path)
    try:
        text = record.read_text(encoding="ascii")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError):
        text = ""
    found = re.match(r"[0-9a-f]{64}\b", text)
    if not found:
        raise CheckpointError(
            "the recorded digest cannot be read",
            where=str(record),
            hint="delete it if you trust the weights beside it; it is written anew",
        )
    return found.group()


def record_path(path: Path) -> Path:
    """Where the digest of a file is recorded."""
    return _beside(path, ".sha256")


def record_digest(path: Path, digest: str) -> None:
    """Record the digest that the file must have from now on (`sha256sum --check` reads the record)."""
    _write(record_path(path), f"{digest}  {path.name}\n")


def _remember(path: Path, digest: str) -> None:
    facts = path.stat()
    note = {"sha256": digest, "size": facts.st_size, "mtime_ns": facts.st_mtime_ns}
    if _read_note(path) != note:
        _write(_beside(path, ".checked"), json.dumps(note))


def _remembered_digest(path: Path) -> str | None:
    """The digest of the last full check, if the file has not been touched since."""
    note = _read_note(path)
    facts = path.stat()
    if (note.get("size"), note.get("mtime_ns")) != (facts.st_size, facts.st_mtime_ns):
        return None
    digest = note.get("sha256")
    return digest if isinstance(digest, str) else None


def _read_note(path: Path) -> dict[str, object]:
    try:
        note = json.loads(_beside(path, ".checked").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return note if isinstance(note, dict) else {}


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


def _write(path: Path, text: str) -> None:
    # The process id keeps two processes from writing one temporary file.
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    part.write_text(text, encoding="utf-8")
    os.replace(part, path)


def make_folder(folder: Path) -> None:
    """Make a folder for weights.

    Raises:
        OutputError: it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"the folder for weights cannot be made ({error.strerror})",
            where=str(folder),
            hint=f"set {CACHE_VARIABLE} to a folder that you may write to, or give --to DIR",
        ) from None
