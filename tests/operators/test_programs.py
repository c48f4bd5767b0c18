"""How products are computed: plans, memory, coalescing, mixed keeping, compiling, and what happens when they fail."""

import gc
import subprocess
import sys
import warnings

import pytest
import torch
from torch import nn

import landscape as ls
from landscape.errors import LandscapeError, NumericalError
from landscape.function.memory import budget
from landscape.graphs import TraceError
from landscape.operators.hessian import HessianRule
from landscape.operators.programs import split
from landscape.operators.programs.choose import Settings, _cheaper, coalesced
from landscape.operators.programs.costs import Costs, measure
from landscape.operators.programs.program import Kept, Recompute
from landscape.operators.programs.split import Split


def problem(n=40, batch_size=8, dtype=torch.float64, **options):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 6), nn.GELU(), nn.Linear(6, 3))
    return ls.Objective(
        model,
        (torch.randn(n, 4), torch.randint(0, 3, (n,))),
        "cross_entropy",
        batch_size=batch_size,
        dtype=dtype,
        **options,
    )


def vector(op, seed=1):
    return torch.randn(op.size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(op.dtype)


def same(op, other):
    torch.testing.assert_close(op @ vector(op), other @ vector(op), rtol=1e-10, atol=1e-12)


# --- memory -------------------------------------------------------------------------------------------------------------


def test_small_batches_are_joined_and_the_product_stays_the_same():
    objective = problem()
    joined, apart = ls.Hessian(objective), ls.Hessian(objective, coalesce=False)
    assert (joined.plan.batches, apart.plan.batches) == (1, 5)
    same(joined, apart)


def test_a_budget_for_some_batches_keeps_those_and_computes_the_others_again():
    objective = problem()
    costs = measure(objective, objective.batches[0])
    H = ls.Hessian(objective, memory=int(2.5 * costs.graph(8)) + costs.saved(8), coalesce=False)
    reference = ls.Hessian(objective) @ vector(H)
    for _ in range(2):
        torch.testing.assert_close(H @ vector(H), reference, rtol=1e-10, atol=1e-12)
    assert H.plan.kept == 2
    assert len(H._states) == 2
    H.release()
    assert not H._states


def test_fewer_vectors_go_together_when_memory_is_short():
    objective = problem()
    costs = measure(objective, objective.batches[0])
    H = ls.Hessian(objective, memory=costs.saved(8) + 2 * 3 * 16 * objective.size, coalesce=False, program="recompute")
    assert 1 <= H.plan.chunk < 64
    V = torch.stack([vector(H, s) for s in range(10)], 1)
    torch.testing.assert_close(H @ V, ls.Hessian(objective) @ V, rtol=1e-10, atol=1e-12)


def test_a_batch_that_does_not_fit_is_cut():
    objective = problem(n=64, batch_size=64)
    costs = measure(objective, objective.batches[0])
    smaller = coalesced(objective, costs, 4 * costs.saved(16))
    assert max(batch.size for batch in smaller.stored) <= 16
    H = ls.Hessian(objective, memory=4 * costs.saved(16))
    assert H.plan.batch_size <= 16
    same(H, ls.Hessian(objective))


class Centred(nn.Linear):
    """A network whose output for an example depends on the rest of the batch, also in eval mode."""

    def forward(self, x):
        out = super().forward(x)
        return out - out.mean(0)


def test_batches_whose_outputs_depend_on_each_other_stay_apart():
    torch.manual_seed(0)
    data = torch.randn(40, 4), torch.randint(0, 3, (40,))
    with pytest.raises(LandscapeError, match="depend on what else is in its batch"):
        ls.Objective(Centred(4, 3), data, "cross_entropy", batch_size=8)
    objective = ls.Objective(Centred(4, 3), data, "cross_entropy", batch_size=8, batches="fixed")
    assert ls.Hessian(objective).plan.batches == 5


def test_two_hundred_products_leave_memory_flat():
    H = ls.Hessian(problem())
    H @ vector(H)

    def tensors():
        gc.collect()
        return sum(issubclass(type(o), torch.Tensor) for o in gc.get_objects())

    before = tensors()
    for _ in range(200):
        H @ vector(H)
    assert tensors() <= before


@pytest.mark.parametrize("memory", [0, -1, 0.0])
def test_a_budget_of_nothing_is_refused(memory):
    with pytest.raises(LandscapeError, match="above 0"):
        ls.Hessian(problem(), memory=memory).plan  # noqa: B018


def test_a_fraction_is_of_what_is_free_and_a_number_is_bytes():
    cpu = torch.device("cpu")
    assert 0 < budget(0.25, cpu) < budget(1.0, cpu)
    assert budget(12345, cpu) == 12345


# --- running out of memory ----------------------------------------------------------------------------------------------


def test_out_of_memory_halves_the_chunk_then_drops_states_then_recomputes(monkeypatch):
    H = ls.Hessian(problem(), coalesce=False)
    V = torch.stack([vector(H, s) for s in range(4)], 1)
    reference = H @ V
    H.release()
    seen = []

    def scarce(self, state, batch, columns):
        seen.append((columns.shape[1], len(H._states)))
        raise torch.OutOfMemoryError("no memory")

    monkeypatch.setattr(Kept, "multiply", scarce)
    torch.testing.assert_close(H @ V, reference, rtol=1e-10, atol=1e-12)
    assert [columns for columns, _ in seen][:3] == [4, 2, 1]
    assert H.plan.program == "recompute"
    monkeypatch.setattr(Recompute, "multiply", scarce)
    with pytest.raises(LandscapeError, match="smaller batch_size"):
        H @ V


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("no memory"), MemoryError("no memory")])
def test_memory_that_ends_while_a_program_is_traced_leaves_the_one_that_keeps_nothing(monkeypatch, error):
    def scarce(self, program, batch):
        raise error

    monkeypatch.setattr(Split, "_check", scarce)
    objective = problem()
    H = ls.Hessian(objective, program="split", compile=True)
    assert (H.plan.program, H.plan.reason) == (
        "recompute",
        "nothing else fits into memory; checked against differences of gradients",
    )
    assert 0 < H.plan.difference < 1e-6
    same(H, ls.Hessian(objective))


# --- the choice ---------------------------------------------------------------------------------------------------------


def test_the_cost_model_chooses_split_for_convolutions_and_many_products_only():
    def choice(convolutional, products, operations=1e9):
        costs = Costs(0, 1e4, operations, convolutional, 4.0, 5e10)
        return _cheaper(problem(), costs, Settings(products=products), 2**40)[0]

    assert choice(1.0, 100) == "split"
    assert choice(1.0, 2) == "kept"
    assert choice(1.0, 100, operations=1e6) == "kept"
    assert choice(0.0, 100) == "kept"


def test_the_plan_says_what_was_done_and_stores_nothing_that_varies():
    H = ls.Hessian(problem(), program="split")
    assert H.plan.program == "split"
    assert H.plan.kept_bytes > 0
    assert H.plan.trace_seconds > 0
    assert not {"trace_seconds", "budget_bytes"} & set(H.plan.to_dict())
    assert H.provenance["program"] == "split"
    assert H.provenance["plan"] == H.plan.to_dict()


def test_everything_is_kept_where_there_is_room_and_the_fewest_bytes_otherwise():
    objective = problem()
    least, most = (ls.Hessian(objective, program="split", keep=keep).plan.kept_bytes for keep in ("fewest", "all"))
    assert least < most
    assert ls.Hessian(objective, program="split").plan.kept_bytes == most
    assert ls.Hessian(objective, program="split", memory=4 * most - 4, coalesce=False).plan.kept_bytes < most


class Attending(nn.Module):
    """Heads cut out of one projection: their layout changes when values are mapped over vectors."""

    def __init__(self):
        super().__init__()
        self.embedding, self.qkv, self.out = nn.Embedding(8, 8), nn.Linear(8, 24), nn.Linear(8, 3)

    def forward(self, tokens):
        x = self.embedding(tokens)
        q, k, v = self.qkv(x).view(*tokens.shape, 3, 2, 4).permute(2, 0, 3, 1, 4)
        attended = nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(x.shape)
        return self.out(x + attended).mean(1)


def test_vectors_mapped_together_give_what_one_after_the_other_do(monkeypatch):
    torch.manual_seed(0)
    data = torch.randint(0, 8, (5, 4)), torch.tensor([0, 1, 2, 1, 0])
    objective = ls.Objective(Attending(), data, "cross_entropy", dtype=torch.float64)
    V = torch.stack([vector(objective, s) for s in range(3)], 1)
    looped = ls.Hessian(objective) @ V
    monkeypatch.setattr(Split, "mapped", lambda self: True)
    H = ls.Hessian(objective, program="split")
    assert H.plan.mapped
    torch.testing.assert_close(H @ V, looped, rtol=1e-10, atol=1e-12)


class Checkpointing(nn.Linear):
    def forward(self, x):
        return torch.utils.checkpoint.checkpoint(super().forward, x, use_reentrant=False).tanh()


@pytest.mark.parametrize("checkpointing", [False, True])
def test_the_network_is_called_again_only_where_a_checkpointed_block_needs_it(monkeypatch, checkpointing):
    torch.manual_seed(0)
    model = Checkpointing(4, 3) if checkpointing else nn.Sequential(nn.Linear(4, 3), nn.Tanh())
    objective = ls.Objective(model, (torch.randn(8, 4), torch.randint(0, 3, (8,))), "cross_entropy")
    H = ls.Hessian(objective, program="kept")
    first = H @ vector(H)
    calls, call = [], objective.call
    monkeypatch.setattr(objective, "call", lambda *args: calls.append(1) or call(*args))
    torch.testing.assert_close(H @ vector(H), first, rtol=0, atol=0)
    assert bool(calls) == checkpointing


def test_a_network_that_cannot_be_traced_falls_back_unless_the_split_was_asked_for():
    torch.manual_seed(0)
    objective = ls.Objective(Checkpointing(4, 3), (torch.randn(8, 4), torch.randint(0, 3, (8,))), "cross_entropy")
    with pytest.raises(TraceError, match="no trace"):
        ls.Hessian(objective, program="split") @ objective.theta
    H = ls.Hessian(objective, compile=True)
    assert H.plan.program == "kept"
    assert "tracing failed" in H.plan.reason


def test_a_trace_that_does_not_give_the_plain_numbers_is_refused(monkeypatch):
    objective = problem()
    plain = HessianRule.product
    # a trace sees the first batch and bakes its scale in; the plain path does not
    monkeypatch.setattr(HessianRule, "product", lambda *args: 1.01 * plain(*args))
    with pytest.raises(TraceError, match="differs from the plain one"):
        ls.Hessian(objective, program="split") @ vector(objective)


@pytest.mark.parametrize("foreign", [False, True])
def test_a_trace_is_compared_on_a_few_examples_unless_it_holds_tensors_from_elsewhere(monkeypatch, foreign):
    weights, sizes, record = torch.full((3,), 2.0, dtype=torch.float64), [], HessianRule.record
    monkeypatch.setattr(
        HessianRule, "record", lambda rule, at, batch: sizes.append(batch.size) or record(rule, at, batch)
    )
    model = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Tanh(), nn.Linear(3, 3)).double()
    data = torch.randn(20, 4, dtype=torch.float64), torch.arange(20) % 3

    def loss(output, target):
        return nn.functional.cross_entropy(output, target, weight=weights if foreign else None)

    objective = ls.Objective(model.eval(), data, loss)
    H = ls.Hessian(objective, program="split", check=None)
    torch.testing.assert_close(
        H @ vector(H), ls.Hessian(objective, program="recompute") @ vector(H), rtol=1e-10, atol=0
    )
    assert sizes[0] == (20 if foreign else 4)


@pytest.mark.parametrize("n", [8, 20])
def test_a_sampled_fisher_matrix_can_be_split(n):
    model, data = nn.Linear(4, 3).double(), (torch.randn(n, 4, dtype=torch.float64), torch.arange(n) % 3)
    objective = ls.Objective(model, data, "cross_entropy", batch_size=8)
    kept, split = (ls.Fisher(objective, samples=2, program=program, coalesce=False) for program in ("kept", "split"))
    same(split, kept)


def test_ragged_batches_get_a_trace_each():
    objective = problem(n=20)
    H = ls.Hessian(objective, program="split", coalesce=False)
    same(H, ls.Hessian(objective))
    assert len(H._prepared.program._traces) == 2


@pytest.mark.slow
def test_compiled_products_are_the_plain_ones():
    objective = problem(dtype=torch.float32)
    H = ls.Hessian(objective, compile=True)
    assert H.plan.compiled
    torch.testing.assert_close(H @ vector(H), ls.Hessian(objective) @ vector(H), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("fault", ["raises", "differs"])
def test_compiled_code_that_fails_or_differs_is_not_used_and_warns_once(monkeypatch, fault):
    def compile(module, **options):
        def run(*args):
            if fault == "raises":
                raise RuntimeError("no compiler")
            return module(*args) * 1.01

        return run

    monkeypatch.setattr(split.torch, "compile", compile)
    objective = problem()
    H = ls.Hessian(objective, compile=True)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        product = H @ vector(H)
    assert len([w for w in caught if "not compiled" in str(w.message)]) == 1
    assert not H.plan.compiled
    torch.testing.assert_close(product, ls.Hessian(objective) @ vector(H), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"program": "fast"}, "program is 'fast'"),
        ({"keep": "some"}, "keep is 'some'"),
        ({"products": 0}, "products is 0"),
        ({"program": "kept", "compile": True}, "compile=True needs the split program"),
    ],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(LandscapeError, match=message):
        ls.Hessian(problem(), **options)


# --- derivatives that are missing, numbers that are not finite ----------------------------------------------------------


class Once(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.exp()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, g):
        return g * ctx.saved_tensors[0].exp()


class NoSecond(nn.Linear):
    def forward(self, x):
        return Once.apply(super().forward(x))


def test_a_missing_second_derivative_is_named_with_the_ways_out():
    torch.manual_seed(0)
    objective = ls.Objective(NoSecond(4, 3), (torch.randn(8, 4), torch.randint(0, 3, (8,))), "cross_entropy")
    with pytest.raises(LandscapeError, match=r"\(Once\) is marked @once_differentiable.*FiniteDifferenceHessian"):
        ls.Hessian(objective) @ objective.theta
    F = ls.operators.FiniteDifferenceHessian(objective)
    assert torch.isfinite(F @ objective.theta).all()


class Bags(nn.Module):
    def __init__(self):
        super().__init__()
        self.bags, self.head = nn.EmbeddingBag(7, 4, mode="max"), nn.Linear(4, 3)

    def forward(self, words):
        return self.head(self.bags(words))


@pytest.mark.parametrize("program", ["auto", "recompute"])
@pytest.mark.parametrize("kind", [ls.Hessian, ls.GaussNewton, ls.EmpiricalFisher])
def test_operations_without_a_derivative_are_named(program, kind):
    objective = ls.Objective(Bags(), (torch.randint(0, 7, (8, 5)), torch.arange(8) % 3), "cross_entropy")
    op = kind(objective, program=program)
    with pytest.raises(LandscapeError, match=r"^_embedding_bag\w* has no derivative .*use ls.operators.FiniteDiff"):
        op @ objective.theta


def test_a_gradient_that_is_not_finite_is_an_error():
    objective = problem().with_loss(ls.BatchLoss(lambda model, batch: (model(batch[0]).sum() * 0).sqrt()))
    with pytest.raises(NumericalError, match="gradient holds NaN"):
        ls.Hessian(objective) @ objective.theta


@pytest.mark.parametrize("program", ["kept", "recompute"])
def test_a_second_derivative_that_is_not_finite_is_named(program):
    objective = problem().with_loss(ls.BatchLoss(lambda model, batch: (model(batch[0]) * 0).abs().pow(1.5).sum()))
    with pytest.raises(NumericalError, match="as that of a square root or a power at zero"):
        ls.Hessian(objective, program=program).check()


def test_the_states_belong_to_the_objective_and_not_to_the_users_model():
    objective = problem()
    H = ls.Hessian(objective)
    before = H @ vector(H)
    with torch.no_grad():
        for p in objective.model.parameters():
            p.zero_()
    torch.testing.assert_close(H @ vector(H), before, rtol=0, atol=0)
    H.release()
    torch.testing.assert_close(H @ vector(H), before, rtol=0, atol=0)


def test_a_failed_product_leaves_no_state_that_a_later_one_would_use(monkeypatch):
    H = ls.Hessian(problem(), coalesce=False)
    with monkeypatch.context() as patched:
        patched.setattr(ls.Hessian, "_multiply", lambda *_: (_ for _ in ()).throw(ValueError("stop")))
        with pytest.raises(ValueError, match="stop"):
            H @ vector(H)
    same(H, ls.Hessian(problem()))


# --- kinds of models ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("program", ["kept", "recompute"])
def test_half_precision_models_take_and_give_wider_vectors(dtype, program):
    exact = ls.Hessian(problem())
    H = ls.Hessian(problem(dtype=dtype), program=program)
    v = vector(exact)
    assert (H @ v.to(dtype)).dtype == dtype
    product = H @ v.float()
    assert product.dtype == torch.float32
    assert float((product - exact @ v).norm() / (exact @ v).norm()) < 0.05
    assert H.to_scipy().dtype == "float32"


def test_products_that_compile_nothing_do_not_import_the_compiler():
    script = """
import sys, torch, landscape as ls
data = torch.randn(9, 4), torch.randint(0, 3, (9,))
objective = ls.Objective(torch.nn.Sequential(torch.nn.Linear(4, 5), torch.nn.Linear(5, 3)), data, "cross_entropy")
for kind in (ls.Hessian, ls.GaussNewton, ls.Fisher, ls.EmpiricalFisher):
    kind(objective) @ objective.theta
sys.exit("torch._dynamo" in sys.modules)
"""
    subprocess.run([sys.executable, "-c", script], check=True)


def test_a_compiled_module_is_run_eagerly():
    objective = problem()
    data = [batch.raw for batch in objective.batches]
    other = ls.Objective(torch.compile(objective.model), data, "cross_entropy", dtype=torch.float64)
    H = ls.Hessian(other)
    same(H, ls.Hessian(objective))


def test_dictionary_batches_and_losses_of_ones_own_split_too():
    objective = problem()

    class Keywords(nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.inner = inner

        def forward(self, values, flag):
            return {"logits": self.inner(values)} if flag else None

    batches = [{"values": b.inputs, "flag": True, "labels": b.target} for b in objective.batches]
    keyword = ls.Objective(Keywords(objective.model), batches, "cross_entropy", dtype=torch.float64)
    own = objective.with_loss(ls.BatchLoss(lambda model, b: nn.functional.cross_entropy(model(b[0]), b[1])))
    expected = ls.Hessian(objective) @ vector(objective)
    for other in (keyword, own):
        for program in ("kept", "split"):
            H = ls.Hessian(other, program=program)
            torch.testing.assert_close(H @ vector(H), expected, rtol=1e-10, atol=1e-12)


def test_training_mode_batch_norm_is_differentiated_through_its_batch():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Tanh(), nn.Linear(5, 3)).double()
    X, y = torch.randn(16, 4).double(), torch.randint(0, 3, (16,))
    before = {k: t.clone() for k, t in model.state_dict().items()}
    objective = ls.Objective(model, (X, y), "cross_entropy", batch_size=8, mode="train")
    reference = ls.operators.FiniteDifferenceHessian(objective)
    for program in ("kept", "split", "recompute"):
        H = ls.Hessian(objective, program=program)
        assert H.plan.batches == 2
        torch.testing.assert_close(H @ vector(H), reference @ vector(H), rtol=1e-5, atol=1e-7)
    assert all(torch.equal(before[k], t) for k, t in model.state_dict().items())
