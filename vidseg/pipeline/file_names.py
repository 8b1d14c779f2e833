"""File names that are not UTF-8, which Linux allows; Python holds their odd bytes as lone surrogates.

JSON can hold these escaped, as `\\udcff`, and gives them back. In models such names are of the type
`vidseg.validation.FileName`.
"""

ESCAPED = "backslashreplace"
"""How text with file names is encoded: characters that UTF-8 does not have become escapes of JSON."""
