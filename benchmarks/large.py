"""Memory of exact products with the Hessian of a GPT of 124 M weights on CPUs: in one process, and sharded over two.

    python benchmarks/large.py            # writes results/large.md; an hour on two cores, 11 GB
    python benchmarks/large.py --layers 2 --width 96 --vocabulary 5000   # a small one

12 layers, width 768, a vocabulary of 50,257, random weights, 2 × 64 tokens, float32. Peaks are those of the resident memory
(VmHWM) above what the interpreter has with everything imported; the parts of a sharded run are each process's own. What products
take for activations is measured by a run on 2 × 64 tokens less one on 2 × 1.
"""

import argparse
import json
import multiprocessing
import os
import time
from pathlib import Path

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import nn

import landscape as ls

RESULTS = Path(__file__).with_name("results") / "large.md"


class Block(nn.Module):
    """Attention and a network of two layers, each beside the way."""

    def __init__(self, width, heads=12):
        super().__init__()
        self.heads = heads
        self.first, self.second = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attend, self.project = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x):
        n, t, width = x.shape
        q, k, v = self.attend(self.first(x)).view(n, t, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        x = x + self.project(
            F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).reshape(n, t, width)
        )
        return x + self.down(F.gelu(self.up(self.second(x)), approximate="tanh"))


class GPT(nn.Module):
    """GPT-2, its head tied to its embedding."""

    def __init__(self, layers, width, vocabulary):
        super().__init__()
        self.tokens, self.places = nn.Embedding(vocabulary, width), nn.Embedding(1024, width)
        self.blocks, self.norm = nn.Sequential(*(Block(width) for _ in range(layers))), nn.LayerNorm(width)
        for parameter in self.parameters():
            if parameter.ndim > 1:
                nn.init.normal_(parameter, std=0.02)

    def forward(self, tokens):
        x = self.tokens(tokens) + self.places.weight[: tokens.shape[1]]
        return F.linear(self.norm(self.blocks(x)), self.tokens.weight)


def memory(key="VmHWM"):
    """Return resident memory in GB: its peak, or VmRSS as it is."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(lines[key].split()[0]) / 2**20


def measure(arguments, tokens, rank, count, port, results):
    """Two products, then Lanczos of four steps."""
    if count > 1:
        os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
        dist.init_process_group("gloo", rank=rank, world_size=count)
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import fully_shard
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins here
    begin, found = memory("VmRSS"), {}
    torch.manual_seed(0)
    model = GPT(arguments.layers, arguments.width, arguments.vocabulary)
    if count > 1:
        fully_shard(model, mesh=init_device_mesh("cpu", (count,)))
    generator = torch.Generator().manual_seed(1)
    X, y = torch.randint(arguments.vocabulary, (2, 2, tokens), generator=generator)
    L = ls.Objective(model, (X, y), "cross_entropy", batch_size=1 if count > 1 else 2)
    found["weights"], found["objective"] = L.size, memory() - begin
    H = ls.Hessian(L, program="kept")
    start = time.process_time()
    for seed in (0, 1):
        v = L.world.part(torch.randn(L.size, generator=torch.Generator().manual_seed(seed)))
        v = H @ v
        found[f"norm {seed}"] = float(L.world.norm(v.double()))
    del v
    found["products"], found["seconds"] = memory() - begin, (time.process_time() - start) / 2
    with ls.progress(False):
        found["top"] = float(ls.spectral_density(H, probes=1, steps=4).nodes.max())
    found["lanczos"] = memory() - begin
    results.put((rank, found))
    if count > 1:
        dist.barrier()


def together(arguments, tokens, count):
    """Return what each process measures; forked before autograd has run."""
    context = multiprocessing.get_context("fork")
    results, port = context.Queue(), 20000 + os.getpid() % 20000 + count
    processes = [
        context.Process(target=measure, args=(arguments, tokens, rank, count, port, results)) for rank in range(count)
    ]
    for process in processes:
        process.start()
    found = dict(results.get(timeout=3000) for _ in processes)
    for process in processes:
        process.join()
    return [found[rank] for rank in range(count)]


def main():
    """Measure and write the table."""
    parser = argparse.ArgumentParser()
    for name, default in (("layers", 12), ("width", 768), ("vocabulary", 50257), ("tokens", 64)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    ls.Hessian, ls.spectral_density, ls.models.mlp  # noqa: B018 - imported before the processes are forked
    found = {
        (count, tokens): together(arguments, tokens, count) for tokens in (arguments.tokens, 1) for count in (1, 2)
    }
    print(json.dumps([[*key, *every] for key, every in found.items()]))
    (one,), two = found[1, arguments.tokens], found[2, arguments.tokens]
    lines = [
        "# Products of a GPT of 124 M weights",
        "",
        f"GPT of {one['weights'] / 1e6:.1f} M weights ({arguments.layers} layers, width {arguments.width}, vocabulary "
        f"{arguments.vocabulary:,}), 2 × {arguments.tokens} tokens, float32, one thread per process. "
        f"`python benchmarks/large.py`, {time.strftime('%d %B %Y')}, PyTorch {torch.__version__}.",
        "",
        "| peak of resident memory, GB | one process | each of two | 2 × 1 tokens: one | each of two | ratio above activations |",
        "|---|---|---|---|---|---|",
    ]
    for key, what in (
        ("objective", "objective made"),
        ("products", "two Hessian products"),
        ("lanczos", "and Lanczos, 4 steps"),
    ):
        small, halves = found[1, 1][0][key], max(part[key] for part in found[2, 1])
        each = max(part[key] for part in two)
        lines.append(f"| {what} | {one[key]:.2f} | {each:.2f} | {small:.2f} | {halves:.2f} | {halves / small:.2f} |")
    lines += [
        "",
        f"A product took {one['seconds']:.0f} s of processor time in one process, {two[0]['seconds']:.0f} s in each of two. "
        f"‖Hv‖ agree to {abs(one['norm 0'] / two[0]['norm 0'] - 1):.0e} (float32), the largest Ritz values to "
        f"{abs(one['top'] / two[0]['top'] - 1):.0e}.",
    ]
    arguments.out.write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
