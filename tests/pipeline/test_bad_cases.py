"""Generated prompts, options, tables and damaged files: no traceback, no hang, nothing half-written."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.bad_cases import BadCases, run_case


@pytest.fixture(scope="module")
def bad_cases(tmp_path_factory: pytest.TempPathFactory) -> BadCases:
    return BadCases(tmp_path_factory.mktemp("whole"))


@settings(max_examples=60)
@given(seed=st.integers(0, 2**32))
def test_generated_calls_and_damaged_files(
    bad_cases: BadCases, tmp_path_factory: pytest.TempPathFactory, seed: int
) -> None:
    """`benchmarks/bad_inputs.py` runs as many as one wants."""
    call, wrong = run_case(bad_cases, tmp_path_factory.mktemp("case") / "place", random.Random(seed))
    assert wrong is None, call
