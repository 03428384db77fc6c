"""Trace what a model does after a layer into a module, by torch.fx with the model's modules as steps."""

import inspect
import operator
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import is_dataclass
from itertools import chain
from typing import Any

import torch
from torch import Tensor, fx, nn

from mfh._checks import InputError, fail
from mfh._focus.chain import leading_modules, sequence
from mfh._focus.inventory import INPUT
from mfh._focus.outputs import is_access, part_of, with_part

INSTEAD = "or pass a trunk and a head of your own."
_CONSTANTS = "_constants"


class UntraceableError(InputError):
    """The code around a layer cannot be traced into a head."""


def trace_head(
    model: nn.Module,
    layer: str,
    example: tuple[tuple[Any, ...], Mapping[str, Any]] | None,
    output: Any,
) -> nn.Module:
    """Trace the head of a model that is cut at a layer, from the code of the modules that contain the layer.

    All other modules become steps of the head, unchanged. The inputs of the model are symbols, so that the
    graph shows whether the head needs them.

    Args:
        model: a module, in evaluation mode.
        layer: name of a submodule.
        example: positional and named inputs, which show the arguments to trace; None for those without a
            default.
        output: the layer's output on the example, which shows the part that the head receives; None for a
            tensor.

    Raises:
        UntraceableError: the code cannot be traced, or does not call the layer exactly once.
        InputError: the head needs what was computed before the layer.
    """
    tracer = _Tracer(model, layer, recording=True)

    def run() -> Any:
        bound = _symbols(tracer, model, example)
        return _traceable(model(*bound.args, **bound.kwargs))

    graph = tracer.record(run)
    here = (node for node in graph.nodes if node.op == "call_module" and tracer.is_target(node.target))
    start = next(here)
    if part_of(output)[0] is not None:
        start = _main_part(graph, start, output, tracer.cut)
    return _module(tracer, _after(graph, start, tracer.cut))


def trace_rest(model: nn.Module, layer: str, run: Callable[[Callable[[Any], Any]], Any]) -> nn.Module:
    """Trace as `trace_head`, but run the code that leads to the layer on an example instead of tracing it.

    Python numbers from the example become constants of the head, so the caller must compare the head with
    the model on other inputs.

    Args:
        model: a module, in evaluation mode.
        layer: name of a submodule.
        run: runs the model on an example; its argument maps the layer's output to what replaces it.
    """
    tracer = _Tracer(model, layer, recording=False)
    return _module(tracer, tracer.record(lambda: _traceable(run(tracer.start))))


def _traceable(output: Any) -> Any:
    """Return a model's output, or its `.logits` if torch.fx cannot trace the object."""
    known = (fx.Proxy, Tensor, Mapping, tuple, list)
    if isinstance(output, known) or is_dataclass(output) or not hasattr(output, "logits"):
        return output
    return output.logits


def _main_part(graph: fx.Graph, layer: fx.Node, output: Any, cut: str) -> fx.Node:
    """Insert one node for the tensor in a layer's output, and let it replace all accesses to the tensor."""
    part = part_of(output)[0]
    with graph.inserting_after(layer):
        main = graph.call_function(operator.getitem, (layer, part))
    for user in [user for user in layer.users if user is not main]:
        if not user.users:
            graph.erase_node(user)
            continue
        accesses = user.op == "call_function" and user.target in (operator.getitem, getattr)
        if not (accesses and is_access(part, user.args[1], output)):
            fail(
                f"{cut}: the code after it needs more of its {type(output).__name__} than `{part}`. Name a "
                f"layer after it, {INSTEAD}"
            )
        user.replace_all_uses_with(main)
        graph.erase_node(user)
    return main


class _Tracer(fx.Tracer):
    """Record calls of modules, and trace the code of those that contain the layer.

    With `recording` False everything up to the layer runs without being recorded.
    """

    def __init__(self, model: nn.Module, layer: str, *, recording: bool) -> None:
        super().__init__()
        self.model, self.recording, self.symbolic = model, recording, recording
        self.target = model.get_submodule(layer)
        self.cut = f"`split` cannot cut at `{layer}`"
        self.calls = 0
        self.names = {module: name for name, module in model.named_modules()}
        self.around = {m for m in model.modules() if m is not self.target and self.target in m.modules()}
        self.tensors: dict[str, Tensor] = dict(chain(model.named_parameters(), model.named_buffers()))
        self.paths = {id(tensor): path for path, tensor in self.tensors.items()}

    def record(self, run: Callable[[], Any]) -> fx.Graph:
        """Trace `run`, which must call the layer once."""
        try:
            graph = self.trace(run)
        except InputError:
            raise
        except Exception as error:
            raise UntraceableError(
                f"{self.cut}: the code around it cannot be traced ({type(error).__name__}: {error}). "
                f"Give an `example` of several samples, name a later layer, {INSTEAD}"
            ) from error
        if self.calls != 1:
            raise UntraceableError(
                f"{self.cut}: a forward pass calls it {self.calls} times instead of once. Name a layer that "
                f"is called once, {INSTEAD}"
            )
        return graph

    def start(self, output: object) -> Any:
        """Begin to record, with a symbol in place of the tensor in the layer's output."""
        self.recording = True
        return with_part(output, part_of(output)[0], self.create_proxy("placeholder", "features", (), {}))

    def is_target(self, path: str) -> bool:
        """Return whether this is the path of the layer."""
        return self.model.get_submodule(path) is self.target

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:  # noqa: ARG002
        """Return whether a call of the module is one step; a module made during the call is not."""
        return m in self.names and m not in self.around

    def path_of_module(self, mod: nn.Module) -> str:
        """Return the module's name in the model."""
        return self.names.get(mod, "")

    def call_module(
        self, m: nn.Module, forward: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """Record the call; before the layer, only make it."""
        self.calls += m is self.target
        return super().call_module(m, forward, args, kwargs) if self.recording else forward(*args, **kwargs)

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: dict[str, Any]) -> Any:  # noqa: ARG002
        """Record the use of a parameter or buffer, so that the head shares it."""
        path = self.paths.get(id(attr_val)) if self.recording else None
        return attr_val if path is None else self.create_proxy("get_attr", path, (), {})

    def create_arg(self, a: Any) -> Any:
        """Return a step's argument; a tensor is a parameter, a buffer, or a constant of the model's code."""
        if not isinstance(a, Tensor):
            return super().create_arg(a)
        if id(a) not in self.paths:
            if not self.symbolic:  # it may have been computed from the example
                fail(
                    f"{self.cut}: the code after it also needs a tensor of shape {tuple(a.shape)} that is "
                    f"neither its output nor a parameter or buffer. Name a layer after the place where "
                    f"both meet, {INSTEAD}"
                )
            self.paths[id(a)] = f"{_CONSTANTS}.tensor{len(self.tensors)}"
            self.tensors[self.paths[id(a)]] = a.detach()
        return self.create_node("get_attr", self.paths[id(a)], (), {})


def _symbols(
    tracer: _Tracer, model: nn.Module, example: tuple[tuple[Any, ...], Mapping[str, Any]] | None
) -> inspect.BoundArguments:
    """Return the arguments of a call of the model with a symbol for every tensor."""
    signature = inspect.signature(model.forward)
    if example is None:
        required = [p for p in signature.parameters.values() if p.default is p.empty]
        some = torch.empty(0)
        values = {p.name: (some,) if p.kind is p.VAR_POSITIONAL else some for p in required}
        values = {p.name: values[p.name] for p in required if p.kind is not p.VAR_KEYWORD}
        bound = inspect.BoundArguments(signature, OrderedDict(values))
    else:
        bound = signature.bind(*example[0], **example[1])

    for name, value in bound.arguments.items():

        def symbol(item: Any, name: str = name) -> Any:
            return tracer.create_proxy("placeholder", name, (), {}) if isinstance(item, Tensor) else item

        bound.arguments[name] = fx.node.map_aggregate(value, symbol)
    return bound


def _after(graph: fx.Graph, start: fx.Node, cut: str) -> fx.Graph:
    """Return the part of a graph that depends on a node, with that node as its only input.

    Other values that it needs are copied along if they do not depend on an input of the graph; else raise.
    """
    part = fx.Graph()
    copies = {start: part.placeholder("features")}
    reads_input: set[fx.Node] = set()
    follows = {start}

    def copy(node: fx.Node) -> fx.Node:
        if node not in copies:
            if node in reads_input:
                fail(
                    f"{cut}: the code after it also needs {_describe(node)}, which is not part of the "
                    f"layer's output. Name a layer before both or after the place where they meet"
                    f"{_meeting(graph, start, node)}, {INSTEAD}"
                )
            copies[node] = part.node_copy(node, copy)
        return copies[node]

    for node in graph.nodes:
        if node.op == "placeholder" or reads_input.intersection(node.all_input_nodes):
            reads_input.add(node)
        if node.op == "output":
            part.output(fx.node.map_arg(node.args[0], copy))
        elif follows.intersection(node.all_input_nodes):
            follows.add(node)
            copies[node] = part.node_copy(node, copy)
    return part


def _meeting(graph: fx.Graph, start: fx.Node, other: fx.Node) -> str:
    """Return the first submodule that takes what depends on both values, as words; empty if there is none."""
    after: dict[fx.Node, set[fx.Node]] = {start: {start}, other: {other}}
    for node in graph.nodes:
        found = set().union(*(after.get(source, set()) for source in node.all_input_nodes))
        if node.op == "call_module" and {start, other} <= found:
            return f", such as `{node.target}{INPUT}`, the input of `{node.target}`"
        after[node] = after.get(node, set()) | found
    return ""


def _describe(node: fx.Node) -> str:
    if node.op == "placeholder":
        return f"the model's input `{node.target}`"
    if node.op == "call_module":
        return f"the output of `{node.target}`"
    return f"the result of `{getattr(node.target, '__name__', node.target)}`"


def _module(tracer: _Tracer, graph: fx.Graph) -> nn.Module:
    """Return a graph with one input as a module: an nn.Sequential as far as it is a chain of modules."""
    calls = graph.find_nodes(op="call_module")
    parts = tracer.tensors | {node.target: tracer.model.get_submodule(node.target) for node in calls}
    traced = fx.GraphModule(parts, graph)
    steps, node = leading_modules(traced)
    if not all(user.op == "output" and user.args == (node,) for user in node.users):
        rest = fx.GraphModule(traced, _after(traced.graph, node, tracer.cut))
        _share_buffers(rest, tracer.model)
        steps.append(rest)
    return sequence(steps)


def _share_buffers(rest: nn.Module, model: nn.Module) -> None:
    """Share the buffers that the model's code reads, so that they move with the model to another device."""
    for path, _ in list(rest.named_buffers(remove_duplicate=False)):
        owner, _, _ = path.rpartition(".")
        if owner != _CONSTANTS:
            rest.get_submodule(owner)._buffers = model.get_submodule(owner)._buffers
