"""Find products of weight matrices with nothing but a contraction between: queries and keys, values and output, LoRA.

Each linear layer's output is replaced by the numbers of its rows; operations that only move entries are then run on
these numbers, so that every way of packing, splitting and reordering heads is followed exactly.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import Node
from torch.overrides import TorchFunctionMode

from landscape.errors import NotDefinedError
from landscape.function.batches import few
from landscape.function.objective import Objective
from landscape.function.structure import converted
from landscape.graphs.exported import Inputs, View, export, index_of, moved, overlap, shape
from landscape.graphs.ops import OPS, facts, operation
from landscape.graphs.units.spaces import Layer, module_of

Block = tuple[int, ...]
Rows = tuple[int, int]
"""A row of a layer: the number of the layer, the number of the row."""

LEFT = "queries and keys that are rotated or normalised keep a smaller symmetry, which is left in"


@dataclass(frozen=True)
class Product:
    """Two factors of which only the product matters: rows `left` become A·rows if rows `right` become A⁻ᵀ·rows.

    Attributes:
        width: size of the contraction, the rows of A.
        left: (tensor name, flat positions (width, entries)).
        right: the same.
        attention: it belongs to a head of attention, and not to two linear layers in a row.
    """

    width: int
    left: list[tuple[str, Tensor]]
    right: list[tuple[str, Tensor]]
    attention: bool = False

    @property
    def modules(self) -> list[str]:
        """The modules that own the factors, the left ones first."""
        return [module_of(name) for name, _ in (*self.left, *self.right)]


@dataclass(frozen=True, eq=False)
class _Outputs:
    """An activation of a layer's outputs: which row each entry is, and the blocks that must stay whole."""

    source: int
    rows: Tensor
    blocks: tuple[Block, ...] | None = None


@dataclass
class _Search:
    values: dict[Node, Any] = field(default_factory=dict)
    layers: list[Layer] = field(default_factory=list)
    spoiled: set[Rows] = field(default_factory=set)
    found: list[tuple[Product, list[Rows]]] = field(default_factory=list)
    readers: dict[str, dict[str, Tensor]] = field(default_factory=dict)
    left: list[str] = field(default_factory=list)

    def spoil(self, value: Any) -> None:
        """Rule out every row that reaches an operation which is not understood."""
        for item in value if isinstance(value, tuple) else (value,):
            if isinstance(item, _Outputs):
                self.spoiled |= {(item.source, row) for row in item.rows.unique().tolist()}

    def rows_of(self, source: int, block: Block) -> list[tuple[str, Tensor]]:
        """Return the positions of a layer's rows in its weight and bias."""
        layer, picked = self.layers[source], list(block)
        parts = [(layer.weight.name, layer.weight.index[picked].reshape(len(picked), -1))]
        if layer.bias is not None:
            parts.append((layer.bias.name, layer.bias.index[picked].reshape(len(picked), 1)))
        return parts


def search_products(model: nn.Module, example_inputs: Inputs) -> tuple[list[Product], tuple[str, ...]]:
    """Find the pairs of factors in which a change of basis cancels; and say at which attention there are none, and why.

    Raises:
        LandscapeError: the network cannot be traced.
    """
    graph, views = export(model, example_inputs)
    search = _Search()
    for node in graph.nodes:
        if node.op == "placeholder":
            search.values[node] = views.get(node.name)
        elif node.op == "output":
            for source in node.all_input_nodes:
                search.spoil(search.values.get(source))
        else:
            search.values[node] = _step(search, node)
    return _unambiguous(search), tuple(dict.fromkeys(search.left))


def products_of(objective: Objective) -> tuple[list[Product], tuple[str, ...]]:
    """Find the products of an objective's network, as `search_products` does; most networks need no tracing for it.

    Raises:
        LandscapeError: the network may have products, and cannot be traced.
    """
    example, watch = few(objective.batches[0], 2), _Watch()
    # suppressed, because a loss of the user's may not say what the outputs are
    with objective.guard(), torch.no_grad(), suppress(NotDefinedError), watch:
        objective.batch_outputs(objective.theta, example)
    if not watch.seen:
        return [], ()
    return search_products(converted(objective.model, objective.device, objective.dtype), example.inputs)


class _Watch(TorchFunctionMode):
    """Sees in one forward pass whether there may be a product at all, which spares most networks the tracing."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = False
        self.outputs: dict[int, Any] = {}  # of linear layers, moved or scaled; kept alive, so that ids stay theirs

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name, kwargs = str(getattr(function, "__name__", "")).strip("_"), kwargs or {}
        known = any(id(argument) in self.outputs for argument in (*args, *kwargs.values()))
        found = function(*args, **kwargs)
        if name in (
            "scaled_dot_product_attention",
            "multi_head_attention_forward",
            "bmm",
            "matmul",
            "einsum",
            "baddbmm",
        ):
            self.seen = True
        op = OPS.get(name)
        if name in ("linear", "addmm", "mm"):
            self.seen = self.seen or known
        elif not (known and op is not None and (op.moves or (op.elementwise and op.linear is not None))):
            return found
        for item in found if isinstance(found, tuple | list) else (found,):
            self.outputs[id(item)] = item
        return found


def _step(search: _Search, node: Node) -> Any:
    name = operation(node)
    sources = [search.values.get(source) for source in node.all_input_nodes] or [None]
    if name == "getitem":
        return sources[0][index_of(node)] if isinstance(sources[0], tuple) else None
    copies = facts(node).moves or name in ("repeat", "repeat_interleave")
    if copies and len(sources) == 1 and isinstance(sources[0], View | _Outputs):
        entries: View | _Outputs = sources[0]
        if isinstance(entries, View):
            return moved(node, entries.index, partial(View, entries.name))
        return moved(node, entries.rows, partial(_Outputs, entries.source, blocks=entries.blocks))
    for source in sources:
        if isinstance(source, View):
            search.readers.setdefault(source.name, {})[node.name] = source.index
    if name == "linear":
        return _linear(search, node)
    if _scales_by_number(node) and isinstance(sources[0], _Outputs):
        return sources[0]
    if name == "scaled_dot_product_attention":
        return _attention(search, node, *sources[:3])
    if name in ("matmul", "bmm", "baddbmm") and len(sources) >= 2:
        return _contraction(search, node, *sources[-2:])
    for source in sources:
        search.spoil(source)
    return None


def _scales_by_number(node: Node) -> bool:
    op = facts(node)
    return op.elementwise and op.linear is not None and node.all_input_nodes == [node.args[0]]


def _linear(search: _Search, node: Node) -> _Outputs | None:
    arguments = [*node.args, None, None][:3]
    x, weight, bias = (search.values.get(a) if isinstance(a, Node) else None for a in arguments)
    if not isinstance(weight, View) or (arguments[2] is not None and not isinstance(bias, View)):
        search.spoil(x)
        return None
    if isinstance(x, _Outputs):
        _read_by(search, x, weight)
    search.layers.append(Layer(weight, bias))
    out = weight.index.shape[0]
    return _Outputs(len(search.layers) - 1, torch.arange(out).expand(shape(node)))


def _read_by(search: _Search, x: _Outputs, weight: View) -> None:
    """A layer reads another's outputs: values and output projection, or two linear layers in a row."""
    columns = x.rows.reshape(-1, x.rows.shape[-1])
    if not bool((columns == columns[:1]).all()):
        return search.spoil(x)
    order = columns[0].tolist()
    for block in x.blocks or (tuple(dict.fromkeys(order)),):
        where = [[j for j, row in enumerate(order) if row == wanted] for wanted in block]
        copies = {len(columns_of) for columns_of in where}
        if len(copies) != 1 or copies == {0}:
            search.spoil(x)
            continue
        right = [(weight.name, weight.index[:, [c[k] for c in where]].T) for k in range(copies.pop())]
        product = Product(len(block), search.rows_of(x.source, block), right, attention=x.blocks is not None)
        search.found.append((product, [(x.source, row) for row in block]))
    return None


def _attention(search: _Search, node: Node, q: Any, k: Any, v: Any) -> _Outputs | None:
    heads = shape(node)[-3] if len(shape(node)) > 2 else 1
    k, v = (_repeated(value, heads) for value in (k, v))
    _queries_and_keys(search, q, k)
    return _mixed(search, node, v)


def _contraction(search: _Search, node: Node, a: Any, b: Any) -> _Outputs | None:
    if isinstance(a, _Outputs) or _before_softmax(node):
        _queries_and_keys(search, a, replace(b, rows=b.rows.mT) if isinstance(b, _Outputs) else None)
        return None
    return _mixed(search, node, b)


def _before_softmax(node: Node) -> bool:
    """Whether a softmax reads this product, scaled and masked or not: queries meet keys, whatever was done to them."""
    while len(node.users) == 1:
        (node,) = node.users
        if operation(node) == "softmax":
            return True
        if operation(node) not in ("mul", "div", "add", "masked_fill", "where", "to", "_to_copy"):
            return False
    return False


def _repeated(value: Any, heads: int) -> Any:
    """Repeat heads of keys or values that several heads of queries share."""
    if isinstance(value, _Outputs) and value.rows.ndim > 2 and value.rows.shape[-3] < heads:
        return replace(value, rows=value.rows.repeat_interleave(heads // value.rows.shape[-3], dim=-3))
    return value


def _queries_and_keys(search: _Search, q: Any, k: Any) -> None:
    blocks = [_blocks(value) for value in (q, k)]
    if blocks[0] is None or blocks[1] is None or len(blocks[0]) != len(blocks[1]):
        search.spoil(q)
        search.spoil(k)
        search.left.append(LEFT)
        return
    queries_of: dict[Block, list[Block]] = {}
    for of_query, of_key in dict.fromkeys(zip(blocks[0], blocks[1])):
        queries_of.setdefault(of_key, []).append(of_query)
    for of_key, of_queries in queries_of.items():
        right = [part for block in of_queries for part in search.rows_of(q.source, block)]
        rows = [(k.source, row) for row in of_key] + [(q.source, row) for block in of_queries for row in block]
        product = Product(len(of_key), search.rows_of(k.source, of_key), right, attention=True)
        search.found.append((product, rows))


def _mixed(search: _Search, node: Node, v: Any) -> _Outputs | None:
    """Attention mixes positions: entry i of a head of its output stands for row i of that head's values."""
    blocks = _blocks(v)
    if blocks is None or v.rows.ndim != len(shape(node)):
        search.spoil(v)
        return None
    return replace(v, rows=v.rows[..., :1, :].expand(shape(node)), blocks=tuple(dict.fromkeys(blocks)))


def _blocks(value: Any) -> list[Block] | None:
    """Return the rows each head contracts over, if they are the same at every position (…, positions, width)."""
    if not isinstance(value, _Outputs) or value.blocks is not None:
        return None
    if value.rows.ndim < 2 or not bool((value.rows == value.rows[..., :1, :]).all()):
        return None
    return [tuple(block) for block in value.rows[..., 0, :].reshape(-1, value.rows.shape[-1]).tolist()]


def _unambiguous(search: _Search) -> list[Product]:
    """Keep the products none of whose rows are read elsewhere and none of whose tensors have a second role."""
    times: dict[Rows, int] = {}
    for _, rows in search.found:
        for row in rows:
            times[row] = times.get(row, 0) + 1
    shared = {name for name, by_node in search.readers.items() if overlap(list(by_node.values()))}
    return [
        product
        for product, rows in search.found
        if all(times[row] == 1 and row not in search.spoiled for row in rows)
        and not any(name in shared for name, _ in (*product.left, *product.right))
    ]
