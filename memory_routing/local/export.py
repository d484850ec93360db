"""The trained network as an ONNX graph for one window of a conversation.

The graph is written node by node rather than traced: it then has no mask (one window, unpadded), one product
for query, key and value, and the same bytes for the same weights whatever version of torch made them.
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from memory_routing.local.model import TurnModel

__all__ = ["export_graph"]

_OPSET: Final = 20

Array = NDArray[Any]


class _Graph:
    """Nodes and constants, in the order in which they are added."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, name: str, value: Array) -> str:
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def add(self, kind: str, inputs: list[str], name: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(kind, inputs, [name], name=f"{name}/node", **attributes))
        return name

    def norm(self, x: str, module: nn.LayerNorm, name: str) -> str:
        scale, bias = (self.constant(f"{name}.{part}", _array(getattr(module, part))) for part in ("weight", "bias"))
        return self.add("LayerNormalization", [x, scale, bias], name, epsilon=module.eps)

    def linear(self, x: str, weight: Array, bias: Array, name: str) -> str:
        product = self.add("MatMul", [x, self.constant(f"{name}.weight", weight.T)], f"{name}.product")
        return self.add("Add", [product, self.constant(f"{name}.bias", bias)], name)


def export_graph(model: TurnModel) -> onnx.ModelProto:
    """Ids `(T,)` to token outputs `(T, 2C)`: attention logits, then values, in float32."""
    encoder, graph = model.encoder, _Graph()
    width = encoder.width
    words = graph.add("Gather", [graph.constant("words", _array(encoder.words.weight)), "ids"], "word_states")
    zero, axis = graph.constant("zero", np.array([0])), graph.constant("axis", np.array([0]))
    length = graph.add("Shape", ["ids"], "length")
    positions = graph.constant("positions", _array(encoder.positions.weight))
    places = graph.add("Slice", [positions, zero, length, axis], "place_states")
    x = graph.norm(graph.add("Add", [words, places], "input"), encoder.norm, "input_norm")
    graph.constant("thirds", np.array([width] * 3))
    graph.constant("flat", np.array([-1, width]))
    graph.constant("heads", np.array([-1, encoder.heads, width // encoder.heads]))
    for number, layer in enumerate(encoder.layers):
        x = _layer(graph, x, layer, f"layer{number}")
    weight = np.concatenate([_array(model.attention.weight), _array(model.value.weight)])
    bias = np.concatenate([np.zeros(len(model.attention.weight), np.float32), _array(model.value.bias)])
    graph.linear(x, weight, bias, "outputs")
    return helper.make_model(
        helper.make_graph(
            graph.nodes,
            "memory_routing",
            [helper.make_tensor_value_info("ids", TensorProto.INT64, ["T"])],
            [helper.make_tensor_value_info("outputs", TensorProto.FLOAT, ["T", len(bias)])],
            graph.constants,
        ),
        opset_imports=[helper.make_opsetid("", _OPSET)],
        ir_version=9,
    )


def _layer(graph: _Graph, x: str, layer: nn.Module, name: str) -> str:
    attention: Any = layer.attention
    width = attention.output.weight.shape[0]
    # The scale of the scores goes into the query's weights.
    parts = [(attention.query, 1 / math.sqrt(width // attention.heads)), (attention.key, 1.0), (attention.value, 1.0)]
    weight = np.concatenate([_array(module.weight) * np.float32(scale) for module, scale in parts])
    bias = np.concatenate([_array(module.bias) * np.float32(scale) for module, scale in parts])
    joint = graph.linear(x, weight, bias, f"{name}.joint")
    q, k, v = (f"{name}.{part}" for part in "qkv")
    graph.nodes.append(helper.make_node("Split", [joint, "thirds"], [q, k, v], name=f"{name}.split/node", axis=1))
    orders = {q: [1, 0, 2], k: [1, 2, 0], v: [1, 0, 2]}
    for part, order in orders.items():
        graph.add("Transpose", [graph.add("Reshape", [part, "heads"], f"{part}.split")], f"{part}.heads", perm=order)
    scores = graph.add("MatMul", [f"{q}.heads", f"{k}.heads"], f"{name}.scores")
    weights = graph.add("Softmax", [scores], f"{name}.weights", axis=-1)
    mixed = graph.add("MatMul", [weights, f"{v}.heads"], f"{name}.mixed")
    joined = graph.add("Transpose", [mixed], f"{name}.joined", perm=[1, 0, 2])
    mixed = graph.add("Reshape", [joined, "flat"], f"{name}.mixed.flat")

    def block(inside: str, out: str, module: Any, norm: Any) -> str:
        y = graph.linear(inside, _array(module.weight), _array(module.bias), f"{name}.{out}")
        return graph.norm(graph.add("Add", [x, y], f"{name}.{out}.sum"), norm, f"{name}.{out}.norm")

    x = block(mixed, "attention", attention.output, layer.attention_norm)
    up: Any = layer.up
    inner = graph.linear(x, _array(up.weight), _array(up.bias), f"{name}.up")
    return block(graph.add("Gelu", [inner], f"{name}.gelu"), "down", layer.down, layer.norm)


def _array(parameter: Any) -> Array:
    array: Array = parameter.detach().float().numpy()
    return array
