"""`vidseg annotate`: prompt, watch, correct and export, in a page or from Python.

    database    the project on disk: every act is one transaction, and can be undone
    project     what the tables hold, typed: objects, prompts, masks, marks
    session     the interactive session: acts in, events out; it knows no server
    server      the page, its pictures and its socket

Imports run upwards in this list.
"""
