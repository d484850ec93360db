"""An exported graph with int8 weights, and as little lost by it as can be.

Inputs of the products are quantised as they come, with one scale for the whole tensor, so that a few large features
would leave the others few steps. SmoothQuant (Xiao et al. 2023) moves their size into the weights, which have a
scale for each column: on the validation data it brings int8 back to float32 (`docs/results/model_choice.md`).
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic

from memory_routing.embedded.encoding import Window
from memory_routing.embedded.runtime import Graph

__all__ = ["quantised"]

_MIGRATION: Final = 0.8
"""Share of a large feature's size that moves into the weights."""

Array = NDArray[Any]


def quantised(model: onnx.ModelProto, sample: Iterable[Window]) -> bytes:
    """The graph with int8 weights: each product's by column, each word's embedding by row.

    `sample` is what the sizes of the features are measured on.
    """
    smooth = _smoothed(model, sample)
    _shrink_words(smooth)
    # Says that the graph needs no simplifying first, which would otherwise be advised on standard error.
    helper.set_model_props(smooth, {"onnx.quant.pre_process": "onnxruntime.quant"})
    with tempfile.TemporaryDirectory() as folder:
        full, small = Path(folder) / "full.onnx", Path(folder) / "small.onnx"
        onnx.save(smooth, full)
        quantize_dynamic(
            full,
            small,
            op_types_to_quantize=["MatMul"],
            per_channel=True,
            weight_type=QuantType.QInt8,
            extra_options={"MatMulConstBOnly": True},
        )
        return small.read_bytes()


def _smoothed(model: onnx.ModelProto, sample: Iterable[Window]) -> onnx.ModelProto:
    """The same function, with every product's input divided by a size for each feature and its weights multiplied."""
    model = onnx.ModelProto.FromString(model.SerializeToString())
    weights = {constant.name: constant for constant in model.graph.initializer}
    products = [node for node in model.graph.node if node.op_type == "MatMul" and node.input[1] in weights]
    largest = _largest(model, sorted({node.input[0] for node in products}), sample)
    nodes = list(model.graph.node)
    for product in products:
        features, name = product.input
        weight = numpy_helper.to_array(weights[name])
        own = np.maximum(np.abs(weight).max(axis=1), 1e-5)
        size = np.maximum(largest[features], 1e-5) ** _MIGRATION / own ** (1 - _MIGRATION)
        size = (size / np.exp(np.log(size).mean())).astype(np.float32)
        weights[name].CopyFrom(numpy_helper.from_array(weight * size[:, None], name))
        model.graph.initializer.append(numpy_helper.from_array(1 / size, f"{name}.sizes"))
        divide = helper.make_node("Mul", [features, f"{name}.sizes"], [f"{name}.input"], name=f"{name}.input/node")
        nodes.insert(nodes.index(product), divide)
        product.input[0] = f"{name}.input"
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return model


def _largest(model: onnx.ModelProto, features: list[str], sample: Iterable[Window]) -> dict[str, Array]:
    """Largest magnitude of every feature over a sample, for each of these tensors of the graph."""
    probe = onnx.ModelProto.FromString(model.SerializeToString())
    del probe.graph.output[:]
    probe.graph.output.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in features)
    graph = Graph(probe.SerializeToString())
    maxima = [[np.abs(values).max(axis=0) for values in graph.all(window.ids)] for window in sample]
    return {name: np.max(column, axis=0) for name, column in zip(features, zip(*maxima, strict=True), strict=True)}


def _shrink_words(model: onnx.ModelProto) -> None:
    """Keep word embeddings as int8 with a scale for each row, spread again when they are looked up."""
    constants = model.graph.initializer
    words = next(constant for constant in constants if constant.name == "words")
    table = numpy_helper.to_array(words)
    scale = np.maximum(np.abs(table).max(axis=1, keepdims=True), 1e-12) / 127
    constants.remove(words)
    constants.append(numpy_helper.from_array(np.round(table / scale).astype(np.int8), "words"))
    constants.append(numpy_helper.from_array(scale.astype(np.float32), "word_scales"))
    gather = next(node for node in model.graph.node if node.output[0] == "word_states")
    place = list(model.graph.node).index(gather)
    model.graph.node.remove(gather)
    steps = [
        helper.make_node("Gather", ["words", "ids"], ["word_steps"], name="word_steps/node"),
        helper.make_node("Cast", ["word_steps"], ["word_floats"], name="word_floats/node", to=TensorProto.FLOAT),
        helper.make_node("Gather", ["word_scales", "ids"], ["word_scale"], name="word_scale/node"),
        helper.make_node("Mul", ["word_floats", "word_scale"], ["word_states"], name="word_states/node"),
    ]
    for offset, step in enumerate(steps):
        model.graph.node.insert(place + offset, step)
