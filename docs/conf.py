"""Sphinx builds the documentation from the Markdown files of this folder: `make docs`."""

from __future__ import annotations

import re

from sphinx.application import Sphinx

import vidseg

project = "vidseg"
author = "The vidseg authors"
copyright = author
version = release = vidseg.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
html_theme = "furo"
html_title = "vidseg"

# Headings down to this level can be linked to, by the names that GitHub gives them.
myst_heading_anchors = 3
autodoc_typehints = "description"


def setup(app: Sphinx) -> None:
    for name in vidseg.__all__:  # they are imported on first use, and autodoc lists what is there already
        setattr(vidseg, name, getattr(vidseg, name))
    app.connect("autodoc-process-docstring", mark_code)


def mark_code(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """Docstrings mark code by `single` backticks, as Markdown does; Sphinx wants two, and no letter next."""
    text = re.sub(r"(?<!`)`([^`]+)`(?!`)", r"``\1``\\ ", "\n".join(lines))  # code may go on in the next line
    lines[:] = text.split("\n")
