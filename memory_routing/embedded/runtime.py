"""ONNX Runtime, kept quiet, deterministic and usable after a fork."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from memory_routing.embedded.encoding import Ids

# Recent builds report usage and write to the home folder from the import on, unless told before it.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import onnxruntime

__all__ = ["Graph"]


class Graph:
    """A model that maps token ids `(T,)` to token outputs `(T, 2C)`.

    One thread for one conversation, and no batches: dynamic quantisation takes its scale from the whole
    input, so that a padded batch would change its rows. Calls may come from many threads at once.
    """

    def __init__(self, model: bytes) -> None:
        self._model = model
        self._open()

    def __call__(self, ids: Ids) -> NDArray[np.float32]:
        """The first output for ids `(T,)`: of a router's model the token outputs `(T, 2C)`."""
        return self.all(ids)[0]

    def all(self, ids: Ids) -> list[NDArray[np.float32]]:
        """Every output of the graph for ids `(T,)`."""
        if self._process != os.getpid():  # a session does not survive a fork
            self._open()
        outputs: list[NDArray[np.float32]] = self._session.run(None, {"ids": ids})
        return outputs

    def _open(self) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.add_session_config_entry("session.inter_op.allow_spinning", "0")
        options.log_severity_level = 3
        self._session: Any = onnxruntime.InferenceSession(self._model, options, providers=["CPUExecutionProvider"])
        self._process = os.getpid()
