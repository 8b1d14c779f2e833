"""Recognises that memory ran out, whichever library noticed it, and says what to lower."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from vidseg.errors import OutOfMemoryError

_WORDS = ("out of memory", "allocate memory", "not enough memory", "ALLOC_FAILED")
"""Parts of the messages of PyTorch's allocators, and of libraries that allocate on a GPU by themselves."""
_ASKED_FOR = re.compile(r"allocate (\d[\d.]* ?[KMGTPEi]*B(?:ytes)?)\b", re.IGNORECASE)
_HINT = (
    "follow fewer objects at once, lower --image-size, or give --dtype bfloat16 or --fast; "
    "where several workers share it, fewer --workers or more --gpus for each"
)


def explained(error: BaseException) -> OutOfMemoryError | None:
    """What an error says in words of ours, if it says that memory ran out."""
    if isinstance(error, OutOfMemoryError):
        return error
    text = str(error)
    # By name, as this is also asked where torch was never loaded.
    is_it = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    if not is_it and not (isinstance(error, RuntimeError) and any(words in text for words in _WORDS)):
        return None
    on_gpu = re.search(r"\b(CUDA|HIP|CUDNN|CUBLAS|MPS)", text) is not None
    asked_for = _ASKED_FOR.search(text)
    more = f" ({asked_for[1]} more were asked for)" if asked_for else ""
    return OutOfMemoryError(
        f"the memory of {'the GPU' if on_gpu else 'this machine'} ran out{more}", hint=_HINT
    )


@contextmanager
def explaining() -> Iterator[None]:
    """Tell it in words of ours if memory runs out inside.

    Raises:
        OutOfMemoryError: it did.
    """
    try:
        yield
    except Exception as error:
        if (told := explained(error)) is None:
            raise
        raise told from error
