"""The split program gives the numbers of the traced function, keeps what a minimum cut says, and fails clearly."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.func import functional_call, grad, jvp
from torch.utils.checkpoint import checkpoint

from landscape.errors import LandscapeError
from landscape.graphs import TraceError, flatten, signature, split, trace


def hessian_product(model, loss=F.cross_entropy):
    """``f(theta, x, y, v)``: the Hessian of the loss times v, by forward over reverse mode."""
    shapes = {name: p.shape for name, p in model.named_parameters()}
    sizes = [shape.numel() for shape in shapes.values()]

    def value(theta, x, y):
        pieces = zip(shapes.items(), theta.split(sizes), strict=True)
        return loss(functional_call(model, {name: t.view(shape) for (name, shape), t in pieces}, (x,)), y)

    def product(theta, x, y, v):
        return jvp(lambda t: grad(value)(t, x, y), (theta,), (v,))[1]

    theta = torch.cat([p.detach().reshape(-1) for p in model.parameters()])
    return product, theta


def convolutional():
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(64, 3)
    )


def dense():
    return nn.Sequential(nn.Flatten(), nn.Linear(32, 16), nn.GELU(), nn.Linear(16, 16), nn.Tanh(), nn.Linear(16, 3))


@pytest.fixture(params=[dense, convolutional], ids=["dense", "convolutional"])
def problem(request):
    torch.manual_seed(0)
    model = request.param().double().eval()
    product, theta = hessian_product(model)
    return product, theta, torch.randn(5, 2, 4, 4).double(), torch.tensor([0, 1, 2, 1, 0])


@pytest.mark.parametrize("room", [0, float("inf")])
def test_both_parts_together_are_the_function_also_on_another_batch_and_at_another_point(problem, room):
    product, theta, x, y = problem
    program = split(product, [theta, x, y], [torch.ones_like(theta)], room=room)
    moved = [theta + 0.1 * torch.randn_like(theta), torch.randn_like(x), y.flip(0)]
    v = torch.randn_like(theta)
    result = program.second(program.first(moved), moved, [v])
    torch.testing.assert_close(result, product(*moved, v), rtol=1e-12, atol=1e-14)


def test_the_cut_keeps_fewer_bytes_and_the_report_is_what_the_kept_tensors_occupy(problem):
    product, theta, x, y = problem
    fewest, every = (split(product, [theta, x, y], [theta], room=room) for room in (0, float("inf")))
    assert fewest.kept_bytes < every.kept_bytes
    assert split(product, [theta, x, y], [theta], room=every.kept_bytes - 1).kept_bytes == fewest.kept_bytes
    for program in (fewest, every):
        storages = {t.untyped_storage().data_ptr(): t.untyped_storage() for t in program.first([theta, x, y])}
        assert sum(storage.nbytes() for storage in storages.values()) == program.kept_bytes


def test_a_chain_of_cheap_operations_is_cut_where_it_is_narrowest():
    def function(a, v):
        narrow = (a @ a).sum(1)  # (n,): the least to keep
        wide = narrow[:, None] * narrow[None, :]  # (n, n): cheap to make again
        return wide.sin().exp() * v

    a = torch.randn(20, 20)
    program = split(function, [a], [a])
    assert program.kept_bytes == 20 * 4
    torch.testing.assert_close(program.second(program.first([a]), [a], [a]), function(a, a))


def test_a_value_that_is_at_hand_is_not_kept():
    kept = [split(lambda a, v: a.sin() * v, [torch.ones(4)], [torch.ones(4)], room=room).kept_bytes for room in (0, 16)]
    assert kept == [0, 16]


def test_what_is_computed_twice_is_kept_once():
    def function(a, v):
        return (a @ a).sin() * v + (a @ a).cos() * v

    a = torch.randn(5, 5)
    program = split(function, [a], [a])
    assert program.kept_bytes == 25 * 4


def tokens():
    return nn.Sequential(nn.Flatten(2), nn.Linear(16, 6), nn.GELU(), nn.Linear(6, 4), nn.Flatten(), nn.Linear(8, 3))


@pytest.mark.parametrize("network", [dense, convolutional, tokens])
def test_vectors_can_be_mapped_over_the_second_part(network):
    torch.manual_seed(0)
    product, theta = hessian_product(network().double().eval())
    x, y = torch.randn(5, 2, 4, 4).double(), torch.tensor([0, 1, 2, 1, 0])
    program = split(product, [theta, x, y], [theta])
    kept = program.first([theta, x, y])
    V = torch.randn(len(theta), 3).double()
    mapped = torch.vmap(lambda v: program.second(kept, [theta, x, y], (v,)), in_dims=1, out_dims=1)(V)
    looped = torch.stack([program.second(kept, [theta, x, y], (v,)) for v in V.T], 1)
    torch.testing.assert_close(mapped, looped, rtol=1e-10, atol=1e-12)


def test_random_numbers_are_drawn_once_and_kept():
    program = split(lambda a, v: torch.rand_like(a).exp() * v, [torch.ones(4)], [torch.ones(4)])
    assert program.kept_bytes == 16
    kept = program.first([torch.ones(4)])
    first, second = (program.second(kept, [torch.ones(4)], [torch.ones(4)]) for _ in range(2))
    torch.testing.assert_close(first, second, rtol=0, atol=0)


def test_neither_part_records_a_graph(problem):
    product, theta, x, y = problem
    program = split(product, [theta, x, y], [theta])
    fixed = [theta.clone().requires_grad_(), x, y]
    kept = program.first(fixed)
    assert not any(t.requires_grad for t in kept)
    assert not program.second(kept, fixed, [theta.clone().requires_grad_()]).requires_grad


def test_in_place_steps_on_own_values_are_rewritten():
    graph = trace(lambda a: (a + 1).mul_(2).relu_(), [torch.ones(3)])
    assert not {"aten.mul_", "aten.relu_"} & {str(n.target).rpartition(".")[0] for n in graph.graph.nodes}
    torch.testing.assert_close(graph(torch.tensor([-3.0, 0.0, 1.0])), torch.tensor([0.0, 2.0, 4.0]))


def test_an_input_changed_in_place_is_refused():
    with pytest.raises(TraceError, match="add_ changes a tensor"):
        trace(lambda a: a.add_(1), [torch.ones(3)])


def test_a_value_changed_while_a_view_of_it_is_in_use_is_refused():
    def function(a):
        b = a * 2
        view = b[:2]
        b.add_(1)
        return view.sum() + b.sum()

    with pytest.raises(TraceError, match="used elsewhere"):
        trace(function, [torch.ones(3)])


@pytest.mark.parametrize(
    "function",
    [
        lambda a, v: v if float(a.sum()) > 0 else a,
        lambda a, v: grad(lambda t: checkpoint(torch.sin, t, use_reentrant=True).sum())(a) * v,
    ],
    ids=["a branch on data", "a checkpointed block"],
)
def test_what_cannot_be_traced_is_a_trace_error_of_one_line(function):
    with pytest.raises(TraceError, match="no trace") as caught:
        split(function, [torch.ones(3)], [torch.ones(3)])
    assert isinstance(caught.value, LandscapeError)
    assert "\n" not in str(caught.value)


def test_a_result_without_the_moving_arguments_is_refused():
    with pytest.raises(TraceError, match="nothing to split"):
        split(lambda a, v: a * 2, [torch.ones(3)], [torch.ones(3)])


def test_flatten_and_rebuild_nested_batches():
    tree = {"x": (torch.ones(2), None), "flag": True, "y": [torch.zeros(1)]}
    tensors, rebuild = flatten(tree)
    assert [t.numel() for t in tensors] == [2, 1]
    again = rebuild([t + 1 for t in tensors])
    assert again["flag"] is True
    assert again["x"][1] is None
    assert again["y"][0].item() == 1


def test_signatures_tell_shapes_types_and_plain_values_apart():
    base = {"x": torch.ones(2), "flag": True}
    assert signature(base) == signature({"x": torch.zeros(2), "flag": True})
    for other in (
        {"x": torch.ones(3), "flag": True},
        {"x": torch.ones(2).double(), "flag": True},
        base | {"flag": False},
    ):
        assert signature(other) != signature(base)
