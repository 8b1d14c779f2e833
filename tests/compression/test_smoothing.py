"""Products whose input channels differ in range are evened out: graphs stay the same, eight bits err less."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vidseg.export.int8 import _quantise
from vidseg.export.smoothing import even_out
from vidseg.trackers.onnx.graphs import session_options

onnx = pytest.importorskip("onnx", reason="the packages of the extra 'onnx' are not installed")
onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")

CHANNELS = 32


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    """Products of one input with three weights; the channels of the last one's input are alike in range."""
    rng = np.random.default_rng(0)
    node = onnx.helper.make_node
    wide = np.geomspace(0.05, 50, CHANNELS).astype(np.float32)
    constants = {f"weight {i}": rng.standard_normal((CHANNELS, 16)).astype(np.float32) for i in range(3)}
    constants["wide"] = wide
    nodes = [
        node("Mul", ["x", "wide"], ["y"], "widened"),
        node("MatMul", ["y", "weight 0"], ["a"], "uneven"),
        node("MatMul", ["y", "weight 1"], ["b"], "uneven but exact"),
        node("MatMul", ["x", "weight 2"], ["c"], "even"),
    ]

    def typed(name: str, shape: Any = None) -> Any:
        return onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)

    drawn = onnx.helper.make_graph(
        nodes,
        "drawn",
        [typed("x", ["pictures", 64, CHANNELS])],
        [typed(name) for name in "abc"],
        [onnx.numpy_helper.from_array(values, name) for name, values in constants.items()],
    )
    opset = onnx.helper.make_opsetid("", 20)
    path = tmp_path / "graph.onnx"
    onnx.save(onnx.helper.make_model(drawn, opset_imports=[opset], ir_version=10), path)
    return path


def feeds() -> list[dict[str, Any]]:
    rng = np.random.default_rng(1)
    return [{"x": rng.standard_normal((2, 64, CHANNELS)).astype(np.float32)} for _ in range(4)]


def run(path: Path) -> list[Any]:
    session = onnxruntime.InferenceSession(str(path), session_options(), providers=["CPUExecutionProvider"])
    outputs: list[Any] = session.run(None, feeds()[0])
    return outputs


def test_uneven_products_are_evened_out_and_give_the_same(graph: Path) -> None:
    before = run(graph)
    assert even_out(graph, feeds(), ["uneven but exact"]) == ["uneven"]
    for want, got in zip(before, run(graph), strict=True):
        np.testing.assert_allclose(got, want, atol=1e-4, rtol=1e-4)
    assert [node.op_type for node in onnx.load(graph).graph.node].count("Mul") == 2


def test_a_channel_that_is_silent_on_calibration_frames_is_not_blown_up(graph: Path) -> None:
    silent = feeds()
    for feed in silent:
        feed["x"][..., 3] = 0
    even_out(graph, silent, [])
    constants = {each.name: onnx.numpy_helper.to_array(each) for each in onnx.load(graph).graph.initializer}
    factors = [values for name, values in constants.items() if name.endswith("_by")]
    assert factors
    assert all(np.isfinite(values).all() and values.max() < 1e4 for values in factors)


def test_eight_bits_err_less_where_products_were_evened_out(
    graph: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    want = run(graph)[0]
    errors = []
    for name in ("evened", "plain"):
        if name == "plain":
            monkeypatch.setattr("vidseg.export.int8.even_out", lambda path, feeds, exact: [])
        _quantise(graph, tmp_path / f"{name}.onnx", feeds())
        errors.append(float(np.square(run(tmp_path / f"{name}.onnx")[0] - want).mean()))
    assert errors[0] < 0.5 * errors[1]
