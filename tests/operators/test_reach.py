"""Products of what researchers bring: derivatives inside a loss, operations that PyTorch differentiates once or wrongly."""

import itertools

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.func import grad, hessian, jacfwd, jacrev, jvp, vmap

import landscape as ls

D = torch.float64
PROGRAMS = pytest.mark.parametrize("program", ["auto", "kept", "recompute", "split"])


def row_sums(loss, parameters):
    """H 1 by plain double backward."""
    first = torch.autograd.grad(loss, parameters, create_graph=True, materialize_grads=True)
    total = sum(g.sum() for g in first)
    return torch.cat([g.flatten() for g in torch.autograd.grad(total, parameters, materialize_grads=True)])


def close(objective, loss, program="auto"):
    H = ls.Hessian(objective, program=program)
    right = row_sums(loss, list(objective.model.parameters()))
    torch.testing.assert_close(H @ torch.ones(H.size, dtype=D), right, rtol=1e-8, atol=1e-10)
    assert objective.loss() == pytest.approx(loss.item(), rel=1e-12)
    H.check()


# --- derivatives inside -------------------------------------------------------------------------------------------------


def residual(model, batch, leaf=True, own=True):
    with torch.set_grad_enabled(own or torch.is_grad_enabled()):
        x = batch[0].clone().requires_grad_()
        x = x if leaf else x * 1
        u = model(x)
        (slope,) = torch.autograd.grad(u.sum(), x, create_graph=True)
        return (slope - u).square().mean()


@PROGRAMS
@pytest.mark.parametrize(("leaf", "own"), [(True, False), (True, True), (False, True)])
def test_a_physics_informed_loss(program, leaf, own):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(1, 6), nn.Tanh(), nn.Linear(6, 1)).double()
    X = torch.linspace(0, 1, 24, dtype=D)[:, None]
    objective = ls.Objective(model, [[X]], ls.BatchLoss(lambda m, b: residual(m, b, leaf, own)))
    close(objective, residual(model, [X]), program)
    assert not X.requires_grad
    assert all(p.grad is None for p in model.parameters())


class Forces(nn.Module):
    def __init__(self):
        super().__init__()
        self.energy = nn.Sequential(nn.Linear(3, 5), nn.SiLU(), nn.Linear(5, 1))

    def forward(self, x):
        x = x.clone().requires_grad_()
        return -torch.autograd.grad(self.energy(x).sum(), x, create_graph=True)[0]


def test_forces_are_outputs_like_any_other():
    torch.manual_seed(0)
    model, X, Y = Forces().double(), torch.randn(20, 3, dtype=D), torch.randn(20, 3, dtype=D)
    objective = ls.Objective(model, (X, Y), "mse_loss", batch_size=7)
    close(objective, F.mse_loss(model(X), Y))
    torch.testing.assert_close(objective.outputs(), model(X).detach(), rtol=1e-12, atol=1e-14)
    assert not objective.outputs().requires_grad
    assert objective.evaluate()["loss"] == pytest.approx(objective.loss())
    G = [ls.GaussNewton(objective, program=p) @ torch.ones(objective.size, dtype=D) for p in ("kept", "recompute")]
    torch.testing.assert_close(*G, rtol=1e-10, atol=1e-12)


def test_a_penalty_on_the_gradient_in_the_parameters():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.GELU(), nn.Linear(4, 3)).double()
    X, y = torch.randn(20, 3, dtype=D), torch.randint(0, 3, (20,))

    def penalised(model, batch):
        loss = F.cross_entropy(model(batch[0]), batch[1])
        gradient = torch.autograd.grad(loss, list(model.parameters()), create_graph=True)
        return loss + 0.1 * sum(g.square().sum() for g in gradient)

    close(ls.Objective(model, [(X, y)], ls.BatchLoss(penalised), batches="fixed"), penalised(model, (X, y)))


# --- operations ---------------------------------------------------------------------------------------------------------


class InPlace(nn.Linear):
    def forward(self, x):
        h = F.gelu(super().forward(x))
        h += x
        t = super().forward(h)
        u = torch.tanh(t)
        t += 1
        return u


class Padded(nn.Module):
    def __init__(self):
        super().__init__()
        self.words, self.head = nn.Parameter(torch.randn(20, 6)), nn.Linear(6, 3)

    def forward(self, x):
        return self.head(torch.tanh(F.embedding(x, self.words).mean(1)))


class PaddedInName(Padded):
    def forward(self, x):
        return self.head(torch.tanh(F.embedding(x, self.words, padding_idx=0).mean(1)))


class Bags(nn.Module):
    def __init__(self, **options):
        super().__init__()
        self.bags, self.head = nn.EmbeddingBag(9, 5, **options), nn.Linear(5, 3)

    def forward(self, words):
        offsets = torch.arange(0, words.numel(), words.shape[1])
        return self.head(torch.tanh(self.bags(words) + self.bags(words.flatten(), offsets)))


def looked_up(model, words):
    """What `Bags` computes, by looking up."""
    vectors = model.bags.weight[words]
    counted = words != (-1 if model.bags.padding_idx is None else model.bags.padding_idx)
    total = (vectors * counted[..., None]).sum(1)
    total = total / counted.sum(1, keepdim=True).clamp_min(1) if model.bags.mode == "mean" else total
    return model.head(torch.tanh(2 * total))


def example(model, inputs):
    torch.manual_seed(0)
    model = model().double()
    X = inputs()
    return model, X, torch.randint(0, 3, (len(X),))


@PROGRAMS
def test_in_place_after_a_smooth_activation(program):
    model, X, y = example(lambda: InPlace(6, 6), lambda: torch.randn(24, 6, dtype=D))
    close(ls.Objective(model, (X, y), "cross_entropy"), F.cross_entropy(model(X), y), program)


@PROGRAMS
def test_products_are_derivatives_of_the_gradient_where_a_look_up_has_padding(program):
    model, X, y = example(PaddedInName, lambda: torch.randint(0, 20, (24, 4)))
    objective = ls.Objective(model, (X, y), "cross_entropy")
    plain = Padded().double()
    plain.load_state_dict(model.state_dict())
    right = row_sums(F.cross_entropy(plain(X), y), list(plain.parameters()))
    H = ls.Hessian(objective, program=program)
    torch.testing.assert_close(H @ torch.ones(H.size, dtype=D), right, rtol=1e-8, atol=1e-10)
    H.check()


@PROGRAMS
@pytest.mark.parametrize(
    "options", [{}, {"sparse": True}, {"mode": "sum"}, {"padding_idx": 0}, {"mode": "sum", "padding_idx": -1}], ids=str
)
def test_bags_of_embeddings(options, program):
    model, X, y = example(lambda: Bags(**options), lambda: torch.randint(0, 9, (30, 4)))
    objective = ls.Objective(model, (X, y), "cross_entropy")
    close(objective, F.cross_entropy(looked_up(model, X), y), program)
    assert objective.gradient().isfinite().all()


def distances(output, centres):
    return (output[:, None] - centres).square().sum(-1).sqrt()


@pytest.mark.parametrize("n", [20, 100])
def test_distances_do_not_depend_on_the_number_of_rows(n):
    model, X, y = example(lambda: nn.Linear(4, 5), lambda: torch.randn(n, 4, dtype=D))
    centres = torch.eye(3, 5, dtype=D)
    objective = ls.Objective(model, (X, y), lambda h, t: F.cross_entropy(-torch.cdist(h, centres), t))
    close(objective, F.cross_entropy(-distances(model(X), centres), y))


@pytest.mark.parametrize(
    "options", [{}, {"p": 2}, {"p": 2, "margin": 0.5, "weight": torch.tensor([1.0, 2.0, 3.0]).double()}]
)
def test_margins_between_classes(options):
    model, X, y = example(
        lambda: nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)), lambda: torch.randn(9, 4, dtype=D)
    )
    objective = ls.Objective(model, (X, y), lambda h, t: F.multi_margin_loss(h, t, **options))

    def plain(output):
        gaps = (options.get("margin", 1.0) - output[range(9), y][:, None] + output).clamp_min(0) ** options.get("p", 1)
        gaps = gaps * options.get("weight", torch.ones(3, dtype=D))[y][:, None]
        return gaps[F.one_hot(y, 3) == 0].sum() / 3 / 9

    close(objective, plain(model(X)))


@PROGRAMS
@pytest.mark.parametrize("norm", [lambda w: w.norm(dim=1), lambda w: torch.linalg.vector_norm(w, dim=1)])
def test_a_norm_at_zero_is_flat_for_every_program(norm, program):
    model, X, y = example(lambda: nn.Linear(4, 3), lambda: torch.randn(30, 4, dtype=D))
    model.weight.data[0] = 0
    loss = ls.BatchLoss(lambda m, b: F.cross_entropy(m(b[0]), b[1]) + 0.1 * norm(m.weight).sum())
    right = F.cross_entropy(model(X), y) + 0.1 * norm(model.weight[1:]).sum()
    close(ls.Objective(model, (X, y), loss), right, program)


# --- torch.func, compiled functions ---------------------------------------------------------------------------------------

INSIDE = {
    "grad": lambda m, b: vmap(grad(lambda x: m(x)[0]))(b[0]).square().mean(),
    "jacrev": lambda m, b: vmap(jacrev(lambda x: m(x)[0]))(b[0]).square().mean(),
    "jacfwd": lambda m, b: vmap(jacfwd(lambda x: m(x)[0]))(b[0]).square().mean(),
    "jvp": lambda m, b: jvp(m, (b[0],), (torch.ones_like(b[0]),))[1].square().mean(),
    "hessian": lambda m, b: vmap(hessian(lambda x: m(x)[0]))(b[0]).diagonal(dim1=1, dim2=2).sum(1).square().mean(),
}


@pytest.mark.parametrize("program", ["auto", "kept", "recompute"])
@pytest.mark.parametrize("kind", INSIDE)
def test_transforms_inside_a_loss(kind, program):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 1)).double()
    batch = (torch.randn(6, 2, dtype=D),)
    close(ls.Objective(model, [batch], ls.BatchLoss(INSIDE[kind])), INSIDE[kind](model, batch), program)


def test_compiled_functions_run_as_they_are_written():
    model, X, y = example(lambda: nn.Linear(4, 3), lambda: torch.randn(9, 4, dtype=D))

    def soft(target):
        return 0.9 * F.one_hot(target, 3).double() + 0.1 / 3

    def loss(prepare):
        return lambda output, target: -(prepare(target) * output.log_softmax(1)).sum(1).mean()

    ran = []
    compiled = torch.compile(soft, backend=lambda graph, inputs: ran.append(graph) or graph.forward)
    close(ls.Objective(model, (X, y), loss(compiled)), loss(soft)(model(X), y))
    assert not ran
    compiled(y)  # as before outside
    assert ran


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("joined", [False, True])
def test_alignments_of_sequences(reduction, joined):
    torch.manual_seed(0)
    model, X = nn.Linear(3, 4).double(), torch.randn(6, 3, 3, dtype=D)
    Y, steps, lengths = torch.tensor([[1, 1], [2, 3], [3, 0]]), torch.tensor([6, 4, 5]), torch.tensor([2, 2, 1])
    targets = torch.tensor([1, 1, 2, 3, 3]) if joined else Y

    def loss(model, batch):
        return F.ctc_loss(model(batch[0]).log_softmax(2), *batch[1:], reduction=reduction)

    def by_paths(model):
        """Minus the logarithm of the sum over all paths that collapse to the target."""
        logs, losses = model(X).log_softmax(2), []
        for n in range(3):
            wanted, total = Y[n, : lengths[n]].tolist(), []
            for path in itertools.product(range(4), repeat=int(steps[n])):
                if [k for k, _ in itertools.groupby(path) if k] == wanted:
                    total.append(sum(logs[t, n, k] for t, k in enumerate(path)))
            losses.append(-torch.stack(total).logsumexp(0) / (lengths[n] if reduction == "mean" else 1))
        return torch.stack(losses).mean() if reduction == "mean" else torch.stack(losses).sum()

    objective = ls.Objective(model, [(X, targets, steps, lengths)], ls.BatchLoss(loss), examples=3, batches="fixed")
    close(objective, by_paths(model))
