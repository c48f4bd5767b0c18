"""Started by the tests beside it: measures in one, two and three processes, and writes what each found.

One interpreter imports the package; the processes are forked from it, which takes a moment where spawning takes seconds.
"""

import multiprocessing
import os
import pickle
import queue
import sys
import time
import traceback
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import Replicate, Shard, distribute_tensor
from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module

import landscape as ls
from landscape.comparison.gates import GATES
from landscape.scores.register import REGISTRY


def digits(examples, *, seed=1, group=None, **options):
    """Return the loss of a small network on the first digits."""
    data = tuple(part[:examples] for part in whole())
    model = ls.models.mlp((64, 6, 10), seed=seed)
    return ls.Objective(
        model,
        data,
        "cross_entropy",
        dtype=torch.float64,
        group=group,
        batch_size=16 if examples < 100 else 256,
        **options,
    )


def whole():
    """Return all 1,797 digits."""
    split = ls.datasets.digits(train=1697)
    return tuple(torch.cat(parts) for parts in zip(split.train, split.test, strict=True))


OPERATORS = {
    "Hessian": ls.Hessian,
    "GaussNewton": ls.GaussNewton,
    "Fisher": ls.Fisher,
    "Fisher sampled": lambda L: ls.Fisher(L, samples=3),
    "EmpiricalFisher": ls.EmpiricalFisher,
    "GradientCovariance": ls.GradientCovariance,
}


def products(group, examples):
    """Losses, gradients and products with every operator."""
    L = digits(examples, group=group)
    v = torch.randn(L.size, generator=torch.Generator().manual_seed(3), dtype=L.dtype)
    found = {"loss": L.loss(), "gradient": L.gradient(), "accuracy": L.evaluate()["accuracy"], "examples": L.n}
    found |= {name: make(L) @ v for name, make in OPERATORS.items()}
    found["covariance of batches"] = ls.Hessian(L.with_norm("batch", batch_size=8)) @ v
    return found | {"data": L.provenance()["data_sha256"], "outputs": L.outputs(), "per example": L.per_example()}


def spectra(group, examples):
    """Eigenpairs, density and trace, and a plane."""
    L = digits(examples, group=group)
    H = ls.Hessian(L)
    pairs = ls.top_eigenpairs(H, k=5, tol=1e-6)
    plane = ls.plane(L, ls.random_directions(L, n=2), points=3, errors=True)
    return {
        "top 5": pairs.values,
        "density": ls.spectral_density(H, probes=1, steps=8).nodes,
        "trace": ls.trace(H, matvecs=10).value,
        "subset": L.subset([30, 2, 17, 5]).gradient(),
        **{f"plane {name}": value for name, value in plane.values.items()},
    }


def panel(group, examples, scores=None):
    """A panel of scores."""
    L = digits(examples, group=group)
    rows = ls.sharpness(L, scores).rows
    return {f"{row.name} {row.radius}": row.value for row in rows}


def sharded_panel(group, examples, how):
    """The primary panel and the other scores that are defined on shards."""
    L = sharded_objective(group, examples, how)
    panel = ls.sharpness(
        L, [d.slug for d in REGISTRY.values() if d.shards and "init" not in d.slug and d.slug != "relative-movement"]
    )
    missing = ls.sharpness(L).rows if group else ()
    return {f"{row.name} {row.radius}": row.value for row in panel.rows} | {
        "missing": " ".join(row.name for row in missing if row.status == "not defined") if group else "keskar"
    }


def sharded_comparison(group, examples, how):
    """Two recipes of two seeds, sharded."""
    arms = {"a": [sharded_objective(group, examples, how, seed=s) for s in (1, 2)]}
    arms["b"] = [sharded_objective(group, examples, how, seed=s) for s in (3, 4)]
    found = ls.compare(arms, scores=["trace", "adaptive-average"], waive=list(GATES), audit=False)
    return {"values": found.values, "errors": found.standard_errors}


def comparison(group, examples):
    """Two recipes of two seeds."""
    arms = {
        "a": [digits(examples, seed=s, group=group) for s in (1, 2)],
        "b": [digits(examples, seed=s, group=group) for s in (3, 4)],
    }
    waived = [gate for gate in GATES if gate != "inputs"]
    found = ls.compare(arms, scores=["trace", "gradient-norm"], waive=waived, audit=False)
    gates = np.array([gate.value for gate in found.gates])
    return {"values": found.values, "errors": found.standard_errors, "gates": gates, **found.metrics}


def transformer(seed=0):
    """Return a network whose layers go well on a mesh: no first dimension is divided evenly by two and three."""
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Linear(64, 7), nn.Tanh(), nn.LayerNorm(7), nn.Linear(7, 12, bias=False), nn.GELU(), nn.Linear(12, 10)
    )


def cut(model, how):
    """Shard a network over all processes."""
    mesh = whole_mesh = init_device_mesh("cpu", (dist.get_world_size(),))
    if how in ("fsdp × tensor-parallel", "hybrid"):
        whole_mesh = init_device_mesh("cpu", (2, dist.get_world_size() // 2), mesh_dim_names=("data", "model"))
        mesh = whole_mesh["model"]
    if how.endswith("tensor-parallel"):
        plan = {"0": ColwiseParallel(output_layouts=Replicate()), "3": ColwiseParallel(), "5": RowwiseParallel()}
        parallelize_module(model, mesh, plan)
    if how.startswith("fsdp") or how == "hybrid":
        for layer in (model[0], model[3], model):
            fully_shard(layer, mesh=whole_mesh["data"] if "×" in how else whole_mesh)
    if how == "fully":
        for module in model.modules():
            for key, tensor in module._parameters.items():
                if tensor is not None:
                    module._parameters[key] = nn.Parameter(distribute_tensor(tensor.detach(), mesh, [Shard(0)]))
    return model


def sharded_objective(group, examples, how, seed=0):
    """Return the loss of a network that is fully sharded, also by FSDP2, or tensor-parallel."""
    model = transformer(seed).double()
    data = (part[:examples] for part in whole())
    size = 8 if examples < 100 else 512
    return ls.Objective(model if group is None else cut(model, how), tuple(data), "cross_entropy", batch_size=size)


def sharded_products(group, examples, how):
    """Losses, gradients and products."""
    L = sharded_objective(group, examples, how)
    all_of = L.world.whole
    v = L.world.part(torch.randn(2, L.size, generator=torch.Generator().manual_seed(3), dtype=L.dtype)).T
    found = {
        "loss": L.loss(),
        "gradient": all_of(L.gradient()),
        "P": L.size,
        "weights": L.provenance()["weights_sha256"],
    }
    operators = {
        name: make(L) for name, make in OPERATORS.items() if name != "Fisher sampled" or how == "tensor-parallel"
    }
    return found | {name: all_of((op @ v).T) for name, op in operators.items()}


def sharded(group, examples, how):
    """Spectra and slices."""
    L = sharded_objective(group, examples, how)
    H = ls.Hessian(L)
    H.check()
    pairs = ls.top_eigenpairs(H, k=3, tol=1e-7, method="block", block_size=2)
    d = ls.random_directions(L, n=2)
    return {
        "top": pairs.values,
        "vectors": np.abs(pairs.vectors),
        "density": ls.spectral_density(H, probes=1, steps=8).nodes,
        "trace": ls.trace(H, matvecs=10).value,
        "diagonal": ls.diagonal(H, matvecs=10).values,
        "directions": d.vectors,
        **{f"plane {name}": value for name, value in ls.plane(L, d, points=3).values.items()},
        **{row.name: row.value for row in ls.sharpness(L, ["loss", "accuracy", "trace", "lambda-max"]).rows},
        "moved": L.at(L.theta * 1.1).loss(),
    }


WIDE = (512, 4096, 10)
"""A network of 8.6 MB in float32."""


def saved(group, folder):
    """Write a checkpoint of a fully sharded network, or of a whole one."""
    model = ls.models.mlp(WIDE, seed=5)
    dcp.save({"model": (cut(model, "fully") if group else model).state_dict()}, checkpoint_id=folder, no_dist=not group)
    return {}


def bytes_read():
    """Return the bytes that this process has read from files so far."""
    return int(Path("/proc/self/io").read_text().split("rchar: ")[1].split()[0])


def restored(group, folder):
    """Read it into a fully sharded network of other weights, and say what was read and what is there then."""
    model = cut(ls.models.mlp(WIDE, seed=6), "fully") if group else ls.models.mlp(WIDE, seed=6)
    data = (torch.ones(6, 512), torch.arange(6))
    before = bytes_read()
    checkpoint = ls.Checkpoint(model, folder, loss="cross_entropy", train=data)
    read = bytes_read() - before
    L = checkpoint.objective()
    held = sum(tensor.to_local().numel() if group else tensor.numel() for tensor in checkpoint.weights.values())
    expected = ls.Objective(ls.models.mlp(WIDE, seed=5), data, "cross_entropy", weights=None)
    whole = torch.equal(L.world.whole(L.theta), expected.theta)
    narrow = ls.models.mlp((512, 1024, 10))
    narrow = cut(narrow, "fully") if group else narrow
    other = message(lambda: ls.Checkpoint(narrow, folder, loss="cross_entropy", train=data))
    return {"read": read, "held": 4 * held, "whole": whole, "other": other}


def message(make):
    """Return what is raised, in words."""
    try:
        make()
    except ls.LandscapeError as error:
        return f"{type(error).__name__}: {error}"
    return "nothing"


def refusals(group, examples):
    """What is wrong in one process is said by all."""
    if group is None:
        return {}
    rank = dist.get_rank()

    L = digits(examples, group=group)
    X, y = (part[:10] for part in whole())
    own = ls.Objective(ls.models.mlp((64, 10)), (X[: 4 + rank], y[: 4 + rank]), "cross_entropy", group=group)
    return {
        "models": message(lambda: digits(examples, seed=rank, group=group)),
        "architectures": message(
            lambda: ls.Objective(ls.models.mlp((64, 3 + rank, 10)), (X, y), "cross_entropy", group=group)
        ),
        "seeds": message(lambda: ls.trace(ls.Hessian(L), matvecs=4, seed=rank)),
        "few": message(lambda: ls.Objective(ls.models.mlp((64, 10)), (X[:1], y[:1]), "cross_entropy", group=group)),
        "labels": message(
            lambda: ls.Objective(ls.models.mlp((64, 10)), (X, y + 100 * rank), "cross_entropy", group=group)
        ),
        "group": message(lambda: digits(examples, group="everyone")),
        "own data": str(own.n),
    }


def sharded_refusals(group, examples):
    """What cannot be done with shards is said in one line."""
    if group is None:
        return {}

    X, y = (part[:40] for part in whole())
    rank, model = dist.get_rank(), cut(transformer(), "fully")
    mixed = cut(transformer().double() if rank else transformer(), "fully")
    L = ls.Objective(model, (X, y), "cross_entropy")
    flat = type("FullyShardedDataParallel", (nn.Linear,), {})(64, 10)  # a stand-in: PyTorch's own wants an accelerator
    return {
        "batches": message(
            lambda: ls.Objective(model, (X[: 20 + 9 * rank], y[: 20 + 9 * rank]), "cross_entropy", batch_size=9)
        ),
        "single": message(lambda: ls.Objective(model, (X[:3], y[:3]), "cross_entropy")),
        "types": message(lambda: ls.Objective(mixed, (X, y), "cross_entropy")),
        "no mesh": message(lambda: ls.Objective(flat, (X, y), "cross_entropy")),
        "score": message(lambda: ls.sharpness(L, ["keskar"])),
        "block": message(lambda: ls.Hessian(L).block("0.*")),
        "dense": message(lambda: ls.Hessian(L).dense()),
    }


def loss_of_life(group, examples):
    """A process that ends, or that hangs, is named by the others in one line."""
    rank, found = dist.get_rank(), {}
    L = digits(examples, group=group)
    hanging = dist.new_group(timeout=timedelta(seconds=4))
    other = digits(examples, group=hanging)
    if rank == 1:
        time.sleep(12)
        os._exit(9)
    for name, objective in (("hangs", other), ("ends", L)):
        found[name] = message(objective.loss)
        time.sleep(9)
    return found


def run(name, group, arguments):
    """Return what a function of this module finds, as arrays."""
    with ls.progress(False):
        found = globals()[name](group, *arguments)
    return {key: value if isinstance(value, str) else np.asarray(value) for key, value in found.items()}


def process(rank, count, port, wanted, results):
    """Be one of several processes."""
    try:
        if count > 1:
            os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), RANK=str(rank), WORLD_SIZE=str(count))
            dist.init_process_group("gloo", rank=rank, world_size=count)
        results.put(
            (
                rank,
                {
                    " ".join([name, *arguments[1:]]): run(name, count > 1 or None, arguments)
                    for name, *arguments in wanted
                },
            )
        )
        if count > 1 and not any(name == "loss_of_life" for name, *_ in wanted):
            dist.barrier()
            dist.destroy_process_group()
    except BaseException:
        results.put((rank, traceback.format_exc()))


def together(count, port, wanted):
    """Return what each of several processes finds."""
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    started = [context.Process(target=process, args=(rank, count, port, wanted, results)) for rank in range(count)]
    for one in started:
        one.start()
    found = {}
    while len(found) < sum(one.exitcode != 9 for one in started):
        with suppress(queue.Empty):
            found.update([results.get(timeout=1)])
    for one in started:
        one.join(30)
    return [found.get(rank) for rank in range(count)]


if __name__ == "__main__":
    place, counts, wanted = pickle.loads(bytes.fromhex(sys.argv[1]))
    torch.set_num_threads(1)
    port = 20000 + os.getpid() % 20000
    Path(place).write_bytes(pickle.dumps({count: together(count, port + count, wanted) for count in counts}))
