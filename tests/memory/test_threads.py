"""Coarse threads: every row once, and one thread of torch's in each worker."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from vidseg.memory.threads import split_rows


@pytest.fixture
def three_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("three_threads")
@pytest.mark.parametrize("num_rows", [1, 2, 7, 300])
def test_every_row_comes_once(num_rows: int) -> None:
    seen: list[int] = []
    split_rows(lambda rows: seen.extend(range(rows.start, rows.stop)), num_rows)
    assert sorted(seen) == list(range(num_rows))


@pytest.mark.usefixtures("three_threads")
def test_workers_compute_with_one_thread_and_the_caller_with_its_own() -> None:
    """With more, the workers' teams would wait for each other's cores."""
    numbers: list[int] = []
    split_rows(lambda _: numbers.append(torch.get_num_threads()), 300)
    assert numbers == [1, 1, 1]
    assert torch.get_num_threads() == 3


@pytest.mark.usefixtures("three_threads")
def test_an_error_reaches_the_caller() -> None:
    with pytest.raises(ZeroDivisionError):
        split_rows(lambda rows: rows.start // 0, 3)
