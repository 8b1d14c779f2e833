"""Graphs give the same after they are rewritten, and only what is known to be the same is rewritten."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vidseg.export.rewrite import rewrite

onnx = pytest.importorskip("onnx", reason="the packages of the extra 'onnx' are not installed")
onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")

RNG = np.random.default_rng(0)


class Drawn:
    """A graph that is written node by node, over inputs of float32 whose first size is free."""

    def __init__(self, **inputs: list[int]) -> None:
        self.inputs = inputs
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def node(self, kind: str, inputs: list[str], out: str, **attributes: Any) -> str:
        self.nodes.append(onnx.helper.make_node(kind, inputs, [out], **attributes))
        return out

    def constant(self, name: str, values: Any) -> str:
        self.constants.append(onnx.numpy_helper.from_array(np.asarray(values), name))
        return name

    def weights(self, name: str, *shape: int) -> str:
        return self.constant(name, RNG.standard_normal(shape).astype(np.float32))

    def model(self, *outputs: str) -> Any:
        def typed(name: str, shape: Any = None) -> Any:
            return onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)

        given = [typed(name, ["objects", *shape]) for name, shape in self.inputs.items()]
        graph = onnx.helper.make_graph(
            self.nodes, "drawn", given, [typed(name) for name in outputs], self.constants
        )
        opset = onnx.helper.make_opsetid("", 20)
        model = onnx.helper.make_model(graph, opset_imports=[opset], ir_version=10)
        return onnx.shape_inference.infer_shapes(model)


def rewritten(drawn: Drawn, *outputs: str) -> list[str]:
    """The operators of the graph after rewriting; its outputs stay as they were, with two objects."""
    model = drawn.model(*outputs)
    feeds = {
        name: RNG.standard_normal((2, *shape)).astype(np.float32) for name, shape in drawn.inputs.items()
    }
    before = run(model, feeds)
    rewrite(model, Path())
    onnx.checker.check_model(model)
    for want, got in zip(before, run(model, feeds), strict=True):
        np.testing.assert_allclose(got, want, atol=2e-5, rtol=2e-5)
    return [node.op_type for node in model.graph.node]


def run(model: Any, feeds: dict[str, Any]) -> list[Any]:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    outputs: list[Any] = session.run(None, feeds)
    return outputs


def test_means_over_windows_become_a_convolution_if_channels_are_few() -> None:
    for channels, expected in ((3, "Conv"), (32, "AveragePool")):
        drawn = Drawn(x=[channels, 8, 8])
        drawn.node("AveragePool", ["x"], "y", kernel_shape=[2, 2], strides=[2, 2], pads=[0] * 4)
        assert rewritten(drawn, "y") == [expected]


def test_means_over_windows_that_overlap_stay() -> None:
    drawn = Drawn(x=[3, 8, 8])
    drawn.node("AveragePool", ["x"], "y", kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4)
    assert rewritten(drawn, "y") == ["AveragePool"]


@pytest.mark.parametrize(("turn", "kinds"), [([0, 1, 3, 5, 2, 4], 1), ([0, 3, 5, 1, 2, 4], 3)])
def test_pixels_are_moved_to_channels_by_a_convolution(turn: list[int], kinds: int) -> None:
    drawn = Drawn(x=[3, 8, 12])
    blocks = drawn.constant("blocks", np.array([-1, 3, 2, 4, 3, 4]))
    drawn.node("Reshape", ["x", blocks], "a")
    drawn.node("Transpose", ["a"], "b", perm=turn)
    drawn.node("Reshape", ["b", drawn.constant("shape", np.array([-1, 48, 2, 3]))], "y")
    assert len(rewritten(drawn, "y")) == kinds


@pytest.mark.parametrize(("side", "size", "is_rewritten"), [(3, 8, True), (1, 12, True), (3, 6, False)])
def test_a_convolution_to_one_channel_computes_blocks_of_pixels(
    side: int, size: int, is_rewritten: bool
) -> None:
    drawn = Drawn(x=[5, size, size])
    inputs = ["x", drawn.weights("weight", 1, 5, side, side), drawn.weights("bias", 1)]
    drawn.node("Conv", inputs, "y", pads=[side // 2] * 4, strides=[1, 1])
    assert rewritten(drawn, "y") == (["Conv", "DepthToSpace"] if is_rewritten else ["Conv"])


@pytest.mark.parametrize(("axis", "is_rewritten"), [(1, True), (2, False)])
def test_lengths_over_channels_are_sums_of_squares(axis: int, is_rewritten: bool) -> None:
    drawn = Drawn(x=[8, 4, 4])
    drawn.node("ReduceL2", ["x", drawn.constant("axes", np.array([axis]))], "y", keepdims=1)
    assert rewritten(drawn, "y") == (["Mul", "Conv", "Sqrt"] if is_rewritten else ["ReduceL2"])


def test_a_group_norm_scales_and_shifts_in_one_pass() -> None:
    drawn = Drawn(x=[8, 4, 4])
    ones, zeros = (drawn.constant(str(i), np.full(2, i, np.float32)) for i in (1, 0))
    drawn.node("Reshape", ["x", drawn.constant("groups", np.array([0, 2, -1]))], "a")
    drawn.node("InstanceNormalization", ["a", ones, zeros], "b")
    drawn.node("Reshape", ["b", drawn.constant("whole", np.array([-1, 8, 4, 4]))], "c")
    drawn.node("Mul", ["c", drawn.weights("factors", 8, 1, 1)], "d")
    drawn.node("Add", ["d", drawn.weights("offsets", 8, 1, 1)], "y")
    assert rewritten(drawn, "y") == ["Reshape", "InstanceNormalization", "Reshape", "BatchNormalization"]


def test_what_convolutions_make_is_added_first_and_other_sums_stay() -> None:
    drawn = Drawn(x=[4, 8, 8], z=[4, 4, 4], outside=[6, 8, 8])
    drawn.node("Conv", ["x", drawn.weights("fine", 6, 4, 1, 1)], "a")
    drawn.node("Conv", ["z", drawn.weights("coarse", 6, 4, 1, 1)], "b")
    scales = drawn.constant("scales", np.array([1, 1, 2, 2], np.float32))
    drawn.node("Resize", ["b", "", scales], "c", mode="linear")
    drawn.node("Add", ["a", "outside"], "d")
    drawn.node("Add", ["d", "c"], "y")
    model = drawn.model("y")
    rewrite(model, Path())
    first, last = model.graph.node[-2:]
    assert (list(first.input), list(last.input)) == (["a", "c"], [*first.output, "outside"])
    rewritten(drawn, "y")
    # If the sum is wanted elsewhere, too, it is computed once and as it was.
    drawn.node("Relu", ["d"], "e")
    assert rewritten(drawn, "y", "e").count("Add") == 2
