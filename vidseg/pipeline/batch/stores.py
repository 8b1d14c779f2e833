"""Addresses of files and folders: paths, and all that fsspec knows (s3://, gs://, memory://, ...)."""

from __future__ import annotations

import os
import posixpath
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any
from urllib.parse import unquote, urlsplit

from vidseg import disk_errors
from vidseg.errors import ConfigError, InputError, RunError, SourceError, VidsegError
from vidseg.pipeline import addresses
from vidseg.pipeline.addresses import is_address, shown, without_secrets
from vidseg.pipeline.atomic import PART, write_bytes

_PUTS_WHOLE = {"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "adl", "memory"}
"""Stores in which a file only appears once it is whole; in others it is written as `.part` and renamed."""
_PATTERN = re.compile(r"[*?[]")
"""Letters that make a path a pattern of several names for some functions of fsspec."""


class StoreError(RunError):
    """A store did not answer as it should; another try may succeed."""


def is_remote(address: str) -> bool:
    """Whether an address is that of a store, not a path on this machine."""
    return is_address(address)


def local_path(address: str) -> Path:
    """The path of an address that is not remote."""
    return Path(unquote(urlsplit(address).path) if address.startswith("file://") else address)


def join(folder: str, *names: str) -> str:
    """The address of something below a folder."""
    return posixpath.join(folder, *names) if is_remote(folder) else str(local_path(folder).joinpath(*names))


def resolve(address: str, folder: str) -> str:
    """The absolute address of what a file in `folder` names by `address`."""
    if "://" in address:
        return address
    if is_remote(folder):
        return join(folder, address)
    # pathlib keeps the parts of every path it has seen in memory; with a million jobs that is too much.
    return os.path.abspath(os.path.join(folder, address))


def parent(address: str) -> str:
    """The address of the folder; a signature, which is valid for the file alone, is left out."""
    return (
        posixpath.dirname(re.split(r"[?#]", address, maxsplit=1)[0])
        if is_remote(address)
        else str(local_path(address).parent)
    )


def name_of(address: str) -> str:
    """The name of the file or folder at an address."""
    if not is_remote(address):
        return local_path(address).name
    return addresses.name_of(address) or posixpath.basename(shown(address).rstrip("/")).strip(".")


def check_address(address: str) -> None:
    """Check that an address is of a kind that fsspec knows and can open here.

    Raises:
        ConfigError: it is not.
    """
    if not is_remote(address):
        return
    from fsspec import get_filesystem_class

    protocol = address.split("://", 1)[0]
    try:
        get_filesystem_class(protocol)
    except ValueError:
        raise ConfigError(
            f"'{protocol}://' is no store that fsspec knows",
            where=shown(address),
            hint="s3://, gs://, a path, ...",
        ) from None
    except ImportError as error:
        raise ConfigError(f"'{protocol}://' cannot be opened: {error}", where=shown(address)) from None


def exists(address: str) -> bool:
    """Whether a file or a folder is at an address."""
    with _opened(address) as (fs, path):
        return bool(fs.exists(path))


def is_folder(address: str) -> bool:
    """Whether a folder is at an address."""
    with _opened(address) as (fs, path):
        return bool(fs.isdir(path))


def size_of(address: str) -> int:
    """The size of a file in bytes."""
    with _opened(address) as (fs, path):
        return int(fs.size(path))


def list_files(address: str) -> list[tuple[str, int]]:
    """Every file below a folder, in order: its path below the folder, and its size in bytes."""
    with _opened(address) as (fs, path):
        root = fs._strip_protocol(path).rstrip("/") + "/"
        found = fs.find(path, detail=True)
        return sorted((str(name)[len(root) :], int(facts["size"])) for name, facts in found.items())


def read_bytes(address: str, start: int | None = None, end: int | None = None) -> bytes:
    """The bytes of a file, or some of them.

    Raises:
        SourceError: there is no such file, or it may not be read.
        StoreError: the store failed; it may pass.
    """
    with _opened(address) as (fs, path):
        return bytes(fs.cat_file(path, start=start, end=end))


def write_whole(address: str, data: bytes) -> None:
    """Write a file, whole or not at all."""
    if not is_remote(address):
        local = local_path(address)
        local.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(local, data)
        return
    with _opened(address) as (fs, path):
        is_whole = _puts_whole(fs)
        fs.pipe_file(path if is_whole else path + PART, data)
        if not is_whole:
            fs.mv(path + PART, path)


def read_lines(address: str) -> Iterator[bytes]:
    """The lines of a file, one after the other; it is never in memory as a whole."""
    with _opened(address) as (fs, path), fs.open(path, "rb") as file:
        yield from file


def write_whole_from(file: IO[bytes], address: str) -> None:
    """Copy the rest of an open file to an address, whole or not at all; it is never in memory as a whole."""
    with _opened(address) as (fs, path):
        is_whole = _puts_whole(fs)
        with fs.open(path if is_whole else path + PART, "wb") as target:
            shutil.copyfileobj(file, target, 1 << 20)
        if not is_whole:
            fs.mv(path + PART, path)


def download(address: str, target: Path) -> None:
    """Copy a file or a whole folder from a store to `target`."""
    with _opened(address) as (fs, path):
        if not fs.isdir(path):
            target.parent.mkdir(parents=True, exist_ok=True)
            fs.get_file(path, str(target))
            return
        for name, _ in list_files(address):
            place = target / name
            if not place.resolve().is_relative_to(target.resolve()):
                raise SourceError(f"the store holds a file named '{name}'", where=shown(address))
            place.parent.mkdir(parents=True, exist_ok=True)
            fs.get_file(posixpath.join(path, name), str(place))


def upload(files: list[Path], below: Path, address: str) -> None:
    """Copy files in the folder `below` to the same places below `address`, several at a time if possible."""
    if not files:
        return
    with _opened(address) as (fs, path):
        targets = [posixpath.join(path, file.relative_to(below).as_posix()) for file in files]
        sources = [str(file) for file in files]
        if _puts_whole(fs):
            fs.put(sources, targets)
            return
        for source, target in zip(sources, targets, strict=True):
            fs.makedirs(posixpath.dirname(target), exist_ok=True)
            fs.put_file(source, target + PART)
            fs.mv(target + PART, target)


def remove(address: str) -> None:
    """Remove a file or a folder with all that is in it; one that is not there is no error."""
    with _opened(address) as (fs, path):
        if not fs.exists(path):
            return
        if not _PATTERN.search(path):
            fs.rm(path, recursive=True)
            return
        # fsspec would take `run[1]` for a pattern, and remove what lies at `run1`.
        for name in fs.find(path):
            fs.rm_file(name)


def _puts_whole(fs: Any) -> bool:
    protocols = {fs.protocol} if isinstance(fs.protocol, str) else set(fs.protocol)
    return bool(protocols & _PUTS_WHOLE)


@contextmanager
def _opened(address: str) -> Iterator[tuple[Any, str]]:
    """The file system of an address, and the path in it; errors inside become ours."""
    from fsspec.core import url_to_fs
    from fsspec.implementations.local import LocalFileSystem

    try:
        if is_remote(address):
            fs, path = url_to_fs(address)
            # Other workers write there too, so cached listings may be out of date.
            fs.invalidate_cache()
            yield fs, path
        else:
            # `url_to_fs` would take what stands before '::' in a name for a protocol.
            yield LocalFileSystem(), os.path.abspath(local_path(address))
    except (VidsegError, MemoryError):
        raise
    except FileNotFoundError:
        raise SourceError(f"there is no '{shown(address)}'") from None
    except (PermissionError, IsADirectoryError, NotADirectoryError) as error:
        raise SourceError(f"'{shown(address)}' cannot be read or written ({_reason(error)})") from None
    except (ValueError, ImportError) as error:
        raise InputError(f"'{shown(address)}' cannot be opened ({_reason(error)})") from None
    except Exception as error:  # every store has a client with errors of its own
        if isinstance(full := disk_errors.explained(error), RunError):
            raise full from None
        has_key = "Credential" not in type(error).__name__
        raise StoreError(
            f"'{shown(address)}' could not be reached ({_reason(error)})",
            hint="run the same command again" if has_key else "give the store's client its credentials",
        ) from None


def _reason(error: Exception) -> str:
    text = without_secrets(" ".join(str(error).split()))
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
