"""Addresses such as https://host/dog.mp4?signature=..., which may hold a password or a signature.

Whoever has the whole address of a signed file can read the file, so only its beginning is shown and written.
"""

from __future__ import annotations

import re
from urllib.parse import unquote

_SECRET = re.compile(r"(\w+://)(?:[^\s/@'\"]*@)?([^\s?#'\"]*)[?#]?[^\s'\"]*")
"""Matches an address anywhere in a text. Its groups are the parts before and after user and password, up to
the query."""


def is_address(text: str) -> bool:
    """Whether a text is the address of something that is not on this machine's disk."""
    return "://" in text and not text.startswith("file://")


def shown(address: str) -> str:
    """The part of an address that may be shown and written: no user, password, query or fragment."""
    if not is_address(address):
        return address
    scheme, _, rest = address.partition("://")
    host, slash, path = re.split(r"[?#]", rest, maxsplit=1)[0].partition("/")
    return f"{scheme}://{host.rpartition('@')[2]}{slash}{path}"


def without_secrets(text: str) -> str:
    """A text, such as the message of another library, with every address in it as `shown`."""
    return _SECRET.sub(r"\1\2", text)


def name_of(address: str) -> str:
    """The name of the file at an address: the last part of its path, in plain letters; '' if it has none."""
    path = shown(address).partition("://")[2].partition("/")[2]
    name = re.sub(r"[/\0]", "_", unquote(path.rstrip("/").rpartition("/")[2]))
    return "" if name in (".", "..") else name
