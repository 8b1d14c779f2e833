"""File names that are not UTF-8, which Linux allows: Python carries their odd bytes as lone surrogates.

JSON takes them escaped, `\\udcff`, and gives them back. `vidseg.validation.FileName` is their type in models.
"""

ESCAPED = "backslashreplace"
"""How text with file names in it is encoded: what UTF-8 does not have becomes an escape of JSON."""
