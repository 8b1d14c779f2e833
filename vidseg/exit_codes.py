"""How commands end: the exit codes of `vidseg`."""

EXIT_FAILED = 1
"""Something failed while running; what was written stays valid."""
EXIT_USAGE = 2
"""The call or its input is wrong."""
EXIT_SOME_FAILED = 3
"""The command went through all items, and some of them failed."""
EXIT_INTERRUPTED = 130
"""The command was interrupted; `--resume` continues it where there is one."""
