"""What lowers the error of eight bits: graphs stay the same where they should, and err less."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vidseg.export.int8.equalisation import equalise
from vidseg.export.int8.quantise import in_eight_bits, quantise
from vidseg.export.int8.rounding import gptq, round_weights
from vidseg.export.int8.watch import Moments
from vidseg.trackers.onnx import graphs
from vidseg.trackers.onnx.graphs import session_options

onnx = pytest.importorskip("onnx", reason="the packages of the extra 'onnx' are not installed")
onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")

WIDE = np.geomspace(0.01, 30, 24).astype(np.float32)
"""How wide the channels of a convolution reach."""


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    """A small network with all that factors pass, and all by which they leave again.

    A convolution whose channels differ in reach; a depthwise one and a residual sum; the mean over the
    picture that weights channels; products of matrices after a transposition, with a bias, a norm between
    them and a sum after them; an output that is read within, too.
    """
    rng = np.random.default_rng(0)
    node = onnx.helper.make_node
    count = len(WIDE)

    def drawn(*shape: int) -> Any:
        return (rng.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))).astype(np.float32)

    constants = {
        "uneven": drawn(count, 20, 1, 1) * WIDE[:, None, None, None] * 3,
        "uneven bias": drawn(count) * WIDE,
        "each": drawn(count, 1, 3, 3),
        "each bias": drawn(count),
        "few": drawn(18, count, 1, 1),
        "many": drawn(count, 18, 1, 1),
        "last": drawn(20, count, 3, 3),
        "up": drawn(count, 40),
        "up bias": drawn(40),
        "down": drawn(40, count),
        "down bias": drawn(count) * WIDE,
        "gamma": WIDE,
        "beta": drawn(count),
        "out": drawn(count, 20),
        "gemm": drawn(20, count),
        "gemm bias": drawn(20),
        "places": np.array([2, 3]),
        "rows": np.array([-1, count]),
    }
    nodes = [
        node("Conv", ["x", "uneven", "uneven bias"], ["a"], "uneven conv"),
        node("Relu", ["a"], ["a+"], "relu"),
        node("Conv", ["a+", "each", "each bias"], ["b"], "depthwise", group=count, pads=[1] * 4),
        node("Add", ["a+", "b"], ["c"], "residual"),
        node("ReduceMean", ["c", "places"], ["m"], "mean"),
        node("Conv", ["m", "few"], ["n"], "narrowed"),
        node("Relu", ["n"], ["n+"], "its relu"),
        node("Conv", ["n+", "many"], ["o"], "widened"),
        node("Sigmoid", ["o"], ["s"], "weights of channels"),
        node("Mul", ["c", "s"], ["d"], "weighted"),
        node("Conv", ["d", "last"], ["y"], "last conv", pads=[1] * 4),
        node("Transpose", ["d"], ["t"], "transposed", perm=[0, 2, 3, 1]),
        node("MatMul", ["t", "up"], ["u"], "up"),
        node("Add", ["u", "up bias"], ["v"], "up and bias"),
        node("Gelu", ["v"], ["w"], "gelu"),
        node("MatMul", ["w", "down"], ["p"], "down"),
        node("Add", ["p", "down bias"], ["q"], "down and bias"),
        node("Add", ["t", "q"], ["r"], "second residual"),
        node("LayerNormalization", ["r", "gamma", "beta"], ["l"], "norm", axis=-1),
        node("MatMul", ["l", "out"], ["z"], "out"),
        node("Reshape", ["r", "rows"], ["k"], "flat"),
        node("Gemm", ["k", "gemm", "gemm bias"], ["g"], "gemm", transB=1),
    ]

    def typed(name: str, shape: Any = None) -> Any:
        return onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)

    small = onnx.helper.make_graph(
        nodes,
        "small",
        [typed("x", [2, 20, 12, 12])],
        [typed(name) for name in ("y", "z", "g", "r")],
        [onnx.numpy_helper.from_array(values, name) for name, values in constants.items()],
    )
    opset = onnx.helper.make_opsetid("", 20)
    model = onnx.helper.make_model(small, opset_imports=[opset], ir_version=10)
    path = tmp_path / "graph.onnx"
    onnx.save(onnx.shape_inference.infer_shapes(model), path)
    return path


def feeds(seed: int = 1) -> list[dict[str, Any]]:
    """Channels that go along with one another, as those of pictures do."""
    mix = np.random.default_rng(0).standard_normal((3, 20))
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(4):
        common = np.einsum("bchw,cd->bdhw", rng.standard_normal((2, 3, 12, 12)), mix)
        found.append({"x": (common + 0.2 * rng.standard_normal((2, 20, 12, 12))).astype(np.float32)})
    return found


def run(path: Path) -> dict[str, Any]:
    session = onnxruntime.InferenceSession(str(path), session_options(), providers=["CPUExecutionProvider"])
    return dict(zip("yzgr", session.run(None, feeds(2)[0]), strict=True))


def equalised(graph: Path, given: list[dict[str, Any]]) -> list[str]:
    model = onnx.load(graph)
    changed = equalise(model, given, in_eight_bits(model.graph))
    onnx.save(model, graph)
    return changed


def test_uneven_channels_are_equalised_and_all_outputs_stay(graph: Path) -> None:
    before = run(graph)
    changed = equalised(graph, feeds())
    assert {"depthwise", "last conv", "up", "narrowed", "out"} <= set(changed)
    for name, want in before.items():
        np.testing.assert_allclose(run(graph)[name], want, atol=2e-5 * np.abs(want).max(), rtol=0)
    # Factors are in the weights; what leaves, to the norm and as an output, is multiplied back once.
    kinds = [node.op_type for node in onnx.load(graph).graph.node]
    assert kinds.count("Mul") == 2


def test_a_constant_that_others_use_keeps_its_values_for_them(graph: Path) -> None:
    model = onnx.load(graph)
    shared = next(node for node in model.graph.node if node.name == "depthwise")
    model.graph.node.append(onnx.helper.make_node("Add", ["each", "each"], ["twice"], "other use"))
    model.graph.output.append(onnx.helper.make_tensor_value_info("twice", onnx.TensorProto.FLOAT, None))
    onnx.save(model, graph)
    weights = {each.name: onnx.numpy_helper.to_array(each) for each in model.graph.initializer}
    assert shared.name in equalised(graph, feeds())
    after = onnx.load(graph).graph
    kept = {each.name: onnx.numpy_helper.to_array(each) for each in after.initializer}
    np.testing.assert_array_equal(kept["each"], weights["each"])
    assert next(node for node in after.node if node.name == "depthwise").input[1] != "each"


def test_a_channel_that_is_silent_on_calibration_frames_is_not_blown_up(graph: Path) -> None:
    model = onnx.load(graph)
    for each in model.graph.initializer:
        if each.name.startswith("uneven"):
            values = onnx.numpy_helper.to_array(each).copy()
            values[3] = 0
            each.CopyFrom(onnx.numpy_helper.from_array(values, each.name))
    onnx.save(model, graph)
    before = run(graph)["y"]
    assert equalised(graph, feeds())
    weights = [onnx.numpy_helper.to_array(each) for each in onnx.load(graph).graph.initializer]
    assert all(np.isfinite(values).all() and np.abs(values).max() < 1e4 for values in weights)
    np.testing.assert_allclose(run(graph)["y"], before, atol=2e-5 * np.abs(before).max(), rtol=0)


def error(path: Path, want: dict[str, Any]) -> float:
    got = run(path)
    return sum(
        float(np.square(got[name] - want[name]).mean() / np.square(want[name]).mean()) for name in want
    )


def test_eight_bits_err_less_where_channels_were_equalised(
    graph: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    want = run(graph)
    quantise(graph, tmp_path / "equalised.onnx", feeds())
    monkeypatch.setattr("vidseg.export.int8.quantise.equalise", lambda model, feeds, in_eight_bits: [])
    quantise(graph, tmp_path / "plain.onnx", feeds())
    assert error(tmp_path / "equalised.onnx", want) < 0.8 * error(tmp_path / "plain.onnx", want)


def test_weights_that_are_rounded_together_err_less(graph: Path) -> None:
    want = run(graph)
    exact, model = onnx.load(graph), onnx.load(graph)
    scales = round_weights(model, feeds(), ["narrowed"])
    onnx.save(model, graph)
    together = error(graph, want)
    products = {"uneven": 0, "each": 0, "many": 0, "last": 0, "up": 1, "down": 1, "out": 1, "gemm": 0}
    assert {name: found[0]["axis"] for name, found in scales.items()} == products
    for each in exact.graph.initializer:
        if each.name in scales:
            values = onnx.numpy_helper.to_array(each)
            steps = np.array([float(found["scale"]) for found in scales[each.name]])
            shape = [-1 if axis == products[each.name] else 1 for axis in range(values.ndim)]
            plain = np.round(values / steps.reshape(shape)) * steps.reshape(shape)
            each.CopyFrom(onnx.numpy_helper.from_array(plain.astype(np.float32), each.name))
    onnx.save(exact, graph)
    assert together < 0.5 * error(graph, want)


def test_what_is_added_up_is_not_rounded_and_no_copy_is_left(graph: Path, tmp_path: Path) -> None:
    quantise(graph, tmp_path / "int8.onnx", feeds())
    nodes = onnx.load(tmp_path / "int8.onnx").graph.node
    made_by = {name: node for node in nodes for name in node.output}
    assert "Identity" not in {node.op_type for node in nodes}
    second = next(node for node in nodes if node.name == "second residual")
    # One of them is read by a product in eight bits, too.
    assert "DequantizeLinear" not in {made_by[name].op_type for name in second.input}
    given = {made_by[node.input[0]].op_type for node in nodes if node.name in ("up", "last conv")}
    assert given == {"DequantizeLinear"}


def test_products_that_share_weights_run_everywhere(graph: Path, tmp_path: Path) -> None:
    model = onnx.load(graph)
    next(node for node in model.graph.node if node.name == "gemm").input[1] = "shared"
    model.graph.node.append(onnx.helper.make_node("Gemm", ["g", "shared", "up bias"], ["h"], "shared"))
    weight = np.random.default_rng(3).standard_normal((20, 24)).astype(np.float32)
    model.graph.initializer.append(onnx.numpy_helper.from_array(weight, "shared"))
    bias = np.zeros(24, np.float32)
    model.graph.initializer.append(onnx.numpy_helper.from_array(bias, "no bias"))
    model.graph.node[-1].input[2] = "no bias"
    onnx.save(model, graph)
    want = run(graph)
    quantise(graph, tmp_path / "int8.onnx", feeds())
    assert error(tmp_path / "int8.onnx", want) < 0.05


def moments(rows: Any) -> Moments:
    return Moments(rows.sum(axis=0)[None], (rows.T @ rows)[None], len(rows))


def test_weights_of_unrelated_inputs_are_rounded_to_the_nearest_step() -> None:
    weights = np.random.default_rng(0).standard_normal((1, 5, 8))
    read = moments(np.eye(8) * np.arange(1, 9))
    rounded, steps = gptq(weights, read)
    expected = np.round(weights / steps[:, :, None]) * steps[:, :, None]
    np.testing.assert_allclose(rounded, expected, rtol=0, atol=1e-12)
    np.testing.assert_allclose(steps, np.abs(weights).max(axis=2) / 127)


@pytest.mark.parametrize("inputs", [3, 40, 200])
def test_weights_of_related_inputs_make_up_for_one_another(inputs: int) -> None:
    rng = np.random.default_rng(inputs)
    common = rng.standard_normal((4000, 2)) @ rng.standard_normal((2, inputs))
    rows = common + 0.1 * rng.standard_normal((4000, inputs))
    weights = rng.standard_normal((1, 6, inputs))
    rounded, steps = gptq(weights, moments(rows))
    codes = rounded / steps[:, :, None]
    np.testing.assert_allclose(codes, np.round(codes), atol=1e-9)
    assert np.abs(codes).max() <= 127 + 1e-9
    plain = np.round(weights / steps[:, :, None]) * steps[:, :, None]

    def error(instead: Any) -> float:
        return float(np.square(rows @ (instead - weights)[0].T).sum())

    assert error(rounded) < 0.5 * error(plain)


def of_one_product() -> Any:
    """A model of c = MatMulInteger(a, b), with a unsigned and b signed."""
    given = [
        onnx.helper.make_tensor_value_info(name, kind, None)
        for name, kind in (("a", onnx.TensorProto.UINT8), ("b", onnx.TensorProto.INT8))
    ]
    sums = [onnx.helper.make_tensor_value_info("c", onnx.TensorProto.INT32, None)]
    node = onnx.helper.make_node("MatMulInteger", ["a", "b"], ["c"])
    graph = onnx.helper.make_graph([node], "products", given, sums)
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)


def test_the_graph_that_is_asked_for_overflow_is_one_product_of_eight_bits() -> None:
    assert onnx.load_from_string(graphs._PRODUCT) == of_one_product()


@pytest.mark.parametrize("rows", [1, 7])
def test_products_of_the_largest_numbers_do_not_overflow(rows: int) -> None:
    """Weights are constants, as in a quantised graph, since onnxruntime prepares those beforehand."""
    model = of_one_product()
    largest = np.where(np.arange(96 * 40).reshape(96, 40) % 3, 127, -128).astype(np.int8)
    model.graph.initializer.append(onnx.numpy_helper.from_array(largest, "b"))
    del model.graph.input[1]
    given = np.full((rows, 96), 255, np.uint8)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), session_options(), providers=["CPUExecutionProvider"]
    )
    np.testing.assert_array_equal(
        session.run(None, {"a": given})[0], given.astype(np.int32) @ largest.astype(np.int32)
    )


@pytest.mark.parametrize("overflow", [False, True])
def test_unsigned_products_are_asked_for_only_where_others_overflow(
    overflow: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(graphs, "products_overflow", lambda: overflow)
    key, value = graphs.EXACT_EIGHT_BITS
    if overflow:
        assert session_options().get_session_config_entry(key) == value
    else:
        with pytest.raises(RuntimeError, match=key):  # onnxruntime's answer where nothing was set
            session_options().get_session_config_entry(key)
