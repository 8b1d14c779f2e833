"""Escapes names and labels for XML."""

from __future__ import annotations

import re
from xml.sax import saxutils

_NOT_IN_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")
"""Characters that no XML document can hold, not even escaped."""


def escape(text: str) -> str:
    """Text as the content of an element; characters that XML does not have become U+FFFD."""
    # A carriage return would be read back as the end of a line, or not at all.
    return saxutils.escape(_NOT_IN_XML.sub("\ufffd", text), {"\r": "&#13;"})


def quoteattr(text: str) -> str:
    """Text as the value of an attribute, with quotes; characters as in `escape`."""
    return saxutils.quoteattr(_NOT_IN_XML.sub("\ufffd", text))
