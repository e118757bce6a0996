"""A trained model as ONNX graphs, float64: the step of the map, and how a context becomes a state.

`Architecture.step` is written once, for arrays of any namespace; here it is run on symbols that note down what is done to
them. So every architecture is exported by its own definition, and one that does what `Symbol` cannot is refused.

    step:     state (B, M) [, inputs (B, K)] [, nuisance (B, P)]  ->  next_state (B, M), observation (B, N)
    encoder:  context (B, C, N) [, nuisance (B, C, P)]            ->  state (B, M)

Context, inputs, nuisance and observation are in the series' own units, oldest row first; the observation is that of the next state.

A model that sees its states through a kernel of L steps (`kernel` in the metadata) cannot tell an observation from one state:

    step:     ... -> next_state (B, M), unfiltered (B, N) [, contamination (B, N)]
    encoder:  ... -> states (B, L, M), the last of them `lead` steps before the last row of the context

The kernel sums to 1 and what is observed is linear, so x_t = sum_k kernel[k] unfiltered_{t-k} + contamination_t. `unfiltered` of the
states before the first step comes from the graph of the step as well, or from `read` of the encoder (B, L, N).
Of a model with a map for each recording the graphs are those of one recording.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from models.trained import TrainedModel

if TYPE_CHECKING:
    from onnx import NodeProto, TensorProto

OPSET, IR_VERSION = 17, 8  # of 2022: read by every runtime that is still kept
STEP, ENCODER = "model.onnx", "encoder.onnx"


class CannotExport(ValueError):
    """The model has something that the graphs do not; the message says what."""


class Graph:
    """Nodes and constants as they are noted down."""

    def __init__(self) -> None:
        self.nodes: list[NodeProto] = []
        self.constants: list[TensorProto] = []

    def constant(self, value: Any) -> str:
        from onnx import numpy_helper

        name = f"c{len(self.constants)}"
        array = np.asarray(value)
        kind = np.int64 if array.dtype.kind == "i" else np.float64
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(array, kind).reshape(array.shape), name))
        return name

    def add(self, operation: str, inputs: list[str], shape: tuple[int | None, ...], **attributes: Any) -> Symbol:
        from onnx import helper

        name = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(operation, inputs, [name], **attributes))
        return Symbol(self, name, shape)


class Symbol:
    """A float64 array of the graph whose leading axis is the batch (None in `shape`)."""

    __array_ufunc__ = None  # numpy leaves `array * symbol` to the symbol

    def __init__(self, graph: Graph, name: str, shape: tuple[int | None, ...]) -> None:
        self.graph, self.name, self.shape = graph, name, shape

    def _binary(self, operation: str, other: Any, *, swapped: bool = False) -> Symbol:
        symbol = isinstance(other, Symbol)
        mine, others = self.shape, other.shape if symbol else np.shape(other)
        length = max(len(mine), len(others))
        padded = [(1,) * (length - len(s)) + tuple(s) for s in (mine, others)]
        shape = tuple(b if a == 1 else a for a, b in zip(*padded, strict=True))
        names = [self.name, other.name if symbol else self.graph.constant(np.asarray(other, np.float64))]
        return self.graph.add(operation, names[::-1] if swapped else names, shape)

    def __add__(self, other: Any) -> Symbol:
        return self._binary("Add", other)

    def __radd__(self, other: Any) -> Symbol:
        return self._binary("Add", other, swapped=True)

    def __sub__(self, other: Any) -> Symbol:
        return self._binary("Sub", other)

    def __rsub__(self, other: Any) -> Symbol:
        return self._binary("Sub", other, swapped=True)

    def __mul__(self, other: Any) -> Symbol:
        return self._binary("Mul", other)

    def __rmul__(self, other: Any) -> Symbol:
        return self._binary("Mul", other, swapped=True)

    def __truediv__(self, other: Any) -> Symbol:
        return self._binary("Div", other)

    def __matmul__(self, matrix: np.ndarray) -> Symbol:
        """By a constant (K, J) or (K,)."""
        if matrix.shape[0] == 0:  # not every runtime multiplies what has no elements
            return self.graph.add("Identity", [self.graph.constant(np.zeros(matrix.shape[1:]))], matrix.shape[1:])
        return self.graph.add("MatMul", [self.name, self.graph.constant(matrix)], self.shape[:-1] + matrix.shape[1:])

    def __getitem__(self, key: Any) -> Symbol:
        """`[..., None]` and `[..., a:b]`."""
        if not (isinstance(key, tuple) and len(key) == 2 and key[0] is Ellipsis):
            raise CannotExport(f"A graph has no index {key!r}.")
        if key[1] is None:
            axis = self.graph.constant(np.array([-1]))
            return self.graph.add("Unsqueeze", [self.name, axis], (*self.shape, 1))
        size = self.shape[-1]
        if size is None or not isinstance(key[1], slice):
            raise CannotExport(f"A graph has no index {key!r}.")
        start, stop, step = key[1].indices(size)
        if step != 1:
            raise CannotExport(f"A graph has no index {key!r}.")
        ends = [self.graph.constant(np.array([n])) for n in (start, stop, -1)]
        return self.graph.add("Slice", [self.name, *ends], (*self.shape[:-1], max(0, stop - start)))

    def mean(self, axis: int) -> Symbol:
        return self.graph.add("ReduceMean", [self.name], self.shape[:-1], axes=[axis], keepdims=0)


class _Namespace:
    """What the architectures ask of numpy and torch."""

    @staticmethod
    def relu(x: Symbol) -> Symbol:
        return x.graph.add("Relu", [x.name], x.shape)

    @staticmethod
    def tanh(x: Symbol) -> Symbol:
        return x.graph.add("Tanh", [x.name], x.shape)

    @staticmethod
    def concatenate(parts: tuple[Symbol, ...], axis: int) -> Symbol:
        sizes = [part.shape[-1] or 0 for part in parts]
        graph = parts[0].graph
        return graph.add("Concat", [p.name for p in parts], (*parts[0].shape[:-1], sum(sizes)), axis=axis)


def export_step(model: TrainedModel) -> bytes:
    """The step of the map with what is observed after it. Raises CannotExport."""
    model = _checked(model)
    graph = Graph()
    z = Symbol(graph, "state", (None, model.latent_dim))
    inputs: list[tuple[str, tuple[int | None, ...]]] = [("state", (None, model.latent_dim))]
    try:
        following = model.map.step(model.params, z, _Namespace)
    except (AttributeError, TypeError) as error:
        raise CannotExport(f"The architecture {model.architecture} does what graphs of this release cannot.") from error
    if model.inputs is not None:
        inputs.append(("inputs", (None, len(model.inputs.channels))))
        driving = Symbol(graph, "inputs", inputs[-1][1])
        following = following + ((driving - model.inputs.mean) / model.inputs.std) @ model.inputs.C.T
    seen, contamination = _observe(model, following), None
    if model.nuisance is not None:
        inputs.append(("nuisance", (None, len(model.nuisance.channels))))
        contamination = _contamination(model, Symbol(graph, "nuisance", inputs[-1][1])) * model.std
    outputs = [("next_state", following)]
    if model.filter is None:
        outputs.append(("observation", seen if contamination is None else seen + contamination))
    else:
        outputs += [("unfiltered", seen)] + ([] if contamination is None else [("contamination", contamination)])
    return _model(model, graph, "step", inputs, outputs)


def export_encoder(model: TrainedModel) -> bytes:
    """What a context ends with: a state, or as many as a kernel is long. Raises CannotExport."""
    model = _checked(model)
    graph = Graph()
    shape: tuple[int | None, ...] = (None, model.context_steps, len(model.channels))
    inputs = [("context", shape)]
    standard = (Symbol(graph, "context", shape) - model.mean) / model.std
    if model.nuisance is not None:
        inputs.append(("nuisance", (None, model.context_steps, len(model.nuisance.channels))))
        standard = standard - _contamination(model, Symbol(graph, "nuisance", inputs[-1][1]))
    if model.filter is not None:
        states = _encode(model, _deconvolved(model, standard))
        return _model(model, graph, "encoder", inputs, [("states", states), ("read", _observe(model, states))])
    rows = [_row(standard, model.lags[-1] - lag) for lag in model.lags]
    embedded = rows[0] if len(rows) == 1 else _Namespace.concatenate(tuple(rows), -1)
    return _model(model, graph, "encoder", inputs, [("state", _encode(model, embedded))])


def _checked(model: TrainedModel) -> TrainedModel:
    if model.family is not None:
        names = ", ".join(model.family.names[:20]) + (", ..." if len(model.family.names) > 20 else "")
        raise CannotExport(
            f"The model has a map for each recording, and a graph holds one: name a recording of {names}."
        )
    if model.readouts is not None:
        raise CannotExport(
            "A model with channels of counts or classes has no ONNX graph: what it shows is drawn, not computed."
        )
    return model.as_float64()


def _contamination(model: TrainedModel, nuisance: Symbol) -> Symbol:
    """J r~ of rows (..., P), standardised units: (..., N)."""
    assert model.nuisance is not None
    return ((nuisance - model.nuisance.mean) / model.nuisance.std) @ model.observation["J"].T


def _deconvolved(model: TrainedModel, standard: Symbol) -> Symbol:
    """The last L rows that a context (B, C, N) tells of before its kernel, (B, L, N): one matrix (L, C) for each channel."""
    assert model.filter is not None
    gains = model.filter.gains(model.context_steps)  # (N, C + L - 1, C)
    stop = gains.shape[1] - model.lead
    length, n, graph = model.filter.steps, len(model.channels), standard.graph
    by_channel = graph.add("Transpose", [standard.name], (None, n, model.context_steps), perm=[0, 2, 1])
    two, matrices = graph.constant(np.array([2])), graph.constant(gains[:, stop - length : stop].transpose(0, 2, 1))
    rows = graph.add("Unsqueeze", [by_channel.name, two], (None, n, 1, model.context_steps))
    product = graph.add("MatMul", [rows.name, matrices], (None, n, 1, length))
    found = graph.add("Squeeze", [product.name, two], (None, n, length))
    return graph.add("Transpose", [found.name], (None, length, n), perm=[0, 2, 1])


def _row(context: Symbol, row: int) -> Symbol:
    """One row of a context, (B, N)."""
    names = [context.name, context.graph.constant(np.array(row))]
    return context.graph.add("Gather", names, (context.shape[0], context.shape[2]), axis=1)


def _encode(model: TrainedModel, embedded: Symbol) -> Symbol:
    observation = model.observation
    if "B" in observation:
        read = (embedded - observation["b"]) @ np.linalg.pinv(observation["B"]).T
        unread = model.latent_dim - observation["B"].shape[1]
        return _Namespace.concatenate((read, embedded @ np.zeros((model.n_observed, unread))), -1) if unread else read
    if "L0" in observation:
        return _Namespace.concatenate((embedded, embedded @ observation["L0"].T), -1)
    return embedded


def _observe(model: TrainedModel, z: Symbol) -> Symbol:
    """The channels at lag 0 in own units."""
    n = len(model.channels)
    if "B" in model.observation:
        matrix, offset = model.observation["B"][:n], model.observation["b"][:n]
        seen = z[..., : matrix.shape[1]] @ matrix.T + offset
    else:
        seen = z[..., :n]
    return seen * model.std + model.mean


def _model(
    model: TrainedModel,
    graph: Graph,
    name: str,
    inputs: list[tuple[str, tuple[int | None, ...]]],
    outputs: list[tuple[str, Symbol]],
) -> bytes:
    from onnx import TensorProto, checker, helper

    def described(name: str, shape: tuple[int | None, ...]) -> Any:
        return helper.make_tensor_value_info(name, TensorProto.DOUBLE, ["batch" if n is None else n for n in shape])

    for output, symbol in outputs:
        graph.nodes.append(helper.make_node("Identity", [symbol.name], [output]))
    made = helper.make_graph(
        graph.nodes,
        name,
        [described(*given) for given in inputs],
        [described(output, symbol.shape) for output, symbol in outputs],
        graph.constants,
        doc_string=(__doc__ or "").strip(),
    )
    opsets = [helper.make_opsetid("", OPSET)]
    proto = helper.make_model(made, opset_imports=opsets, ir_version=IR_VERSION, producer_name="attractor")
    facts: dict[str, Any] = {
        "architecture": model.architecture,
        "equation": (model.map.__doc__ or "").splitlines()[0],
        "channels": model.channels,
        "input_channels": model.input_channels,
        "lags": model.lags,
        "dt": model.dt,
        "time_unit": model.time_unit,
    }
    if model.nuisance is not None:
        facts |= {"nuisance_channels": model.nuisance.channels, "nuisance_mean": model.nuisance.mean.tolist()}
    if model.filter is not None:
        facts |= {"kernel": model.filter.kernel.tolist(), "lead": model.lead}
    helper.set_model_props(proto, {key: v if isinstance(v, str) else json.dumps(v) for key, v in facts.items()})
    checker.check_model(proto)
    return proto.SerializeToString(deterministic=True)
