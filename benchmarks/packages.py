"""Networks of real packages, as a new user would bring them: objective, top-2 eigenpairs, a line, a panel, a comparison of two.

Run ``python benchmarks/packages.py`` in an environment with transformers, peft, timm, lightning and torch-geometric, which are
not needed otherwise; what is missing is left out and said. Weights are random and networks small; nothing is downloaded. The
table goes to ``benchmarks/results/packages.md``. The oracle of the products is plain double backward of the same loss in
float64 with attention as matrix products; it does not use the package.
"""

from __future__ import annotations

import argparse
import copy
import importlib
import importlib.util
import os
import re
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

os.environ.setdefault("LANDSCAPE_PROGRESS", "0")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import landscape as ls
from landscape.tables import format_table

RESULTS = Path(__file__).parent / "results"
WAIVED = ["seeds", "train accuracy"]  # one network of each, and untrained
SCORES = ["lambda-max", "trace", "adaptive-worst-symmetric", "gradient-norm"]


class Case(NamedTuple):
    """What a user of a package has.

    Attributes:
        model: the network, in float64.
        data: the data.
        loss: the loss as the package takes it.
        plain: the same loss of all the data, as a function of the network.
        options: further arguments of the objective.
        weights: a file to be read instead of the network's own weights.
    """

    model: nn.Module
    data: Any
    loss: Any
    plain: Callable[[Any], Tensor]
    options: Mapping[str, Any] = MappingProxyType({})
    weights: str | None = None


def bert() -> Case:
    """Return Hugging Face's classifier, batches as its collator makes them."""
    tr = importlib.import_module("transformers")
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    model = tr.BertForSequenceClassification(tr.BertConfig(vocab_size=50, num_labels=3, **sizes)).double()
    tokens, y = torch.randint(1, 50, (12, 9)), torch.arange(12) % 3
    mask = (torch.arange(9) < 9 - torch.arange(12)[:, None] % 4).long()
    batches = [
        tr.BatchEncoding({"input_ids": tokens[i], "attention_mask": mask[i], "labels": y[i]})
        for i in torch.arange(12).split(5)
    ]
    plain = lambda m: F.cross_entropy(m(input_ids=tokens, attention_mask=mask).logits, y)  # noqa: E731
    return Case(model, batches, "cross_entropy", plain)


def language(lora: bool = False) -> Case:
    """Return a causal language model that computes its own loss; with an adapter, θ is the adapter."""
    tr = importlib.import_module("transformers")
    config = tr.GPT2Config(
        vocab_size=40, n_positions=12, n_embd=16, n_layer=2, n_head=2, bos_token_id=0, eos_token_id=0
    )
    model = tr.GPT2LMHeadModel(config).double()
    if lora:
        peft = importlib.import_module("peft")
        adapter = peft.LoraConfig(r=2, target_modules=["c_attn"], fan_in_fan_out=True, init_lora_weights=False)
        model = peft.get_peft_model(model, adapter).double()
    tokens = torch.randint(0, 40, (8, 10))
    return Case(
        model, {"input_ids": tokens, "labels": tokens}, "model", lambda m: m(input_ids=tokens, labels=tokens).loss
    )


def _name_compiled_operations() -> None:
    """Let torchvision be imported beside another PyTorch than it was compiled for: its own operations exist by name alone."""
    found = importlib.util.find_spec("torchvision")
    if found is None or not found.submodule_search_locations or "torchvision" in sys.modules:
        return
    source = Path(found.submodule_search_locations[0], "_meta_registrations.py").read_text()
    library = torch.library.Library("torchvision", "FRAGMENT")
    for operation in sorted({*re.findall(r'register_meta\("(\w+)"\)', source), "nms", "qnms"}):
        library.define(f"{operation}(Tensor x) -> Tensor")
    _KEPT.append(library)


_KEPT: list[Any] = []  # definitions go with the library object


def vision(name: str, size: int, **sizes: Any) -> Case:
    """Return one of timm's networks."""
    timm = importlib.import_module("timm")
    model = timm.create_model(name, num_classes=3, **sizes).double()
    X, y = torch.randn(8, 3, size, size, dtype=torch.float64), torch.arange(8) % 3
    return Case(model, (X, y), "cross_entropy", lambda m: F.cross_entropy(m(X), y))


def lightning() -> Case:
    """Return a module's checkpoint as its trainer wrote it, read into the plain network inside."""
    pl = importlib.import_module("lightning")
    X, y = torch.randn(24, 6, dtype=torch.float64), torch.arange(24) % 3

    class Lit(pl.LightningModule):  # type: ignore[misc,name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.model = ls.models.mlp((6, 8, 3)).double()

        def training_step(self, batch: Any, index: int) -> Tensor:
            return F.cross_entropy(self.model(batch[0]), batch[1])

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=0.1)

    module, folder = Lit(), tempfile.mkdtemp()
    silent = {
        "logger": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "enable_checkpointing": False,
    }
    trainer = pl.Trainer(max_epochs=2, accelerator="cpu", default_root_dir=folder, **silent)
    trainer.fit(module, torch.utils.data.DataLoader(torch.utils.data.TensorDataset(X, y), batch_size=8))
    trainer.save_checkpoint(f"{folder}/last.ckpt")
    fresh, trained = ls.models.mlp((6, 8, 3), seed=1).double(), module.model
    return Case(fresh, (X, y), "cross_entropy", lambda m: F.cross_entropy(trained(X), y), weights=f"{folder}/last.ckpt")


def nodes() -> Case:
    """Return torch-geometric's GCN on one graph with a mask."""
    data_, conv = importlib.import_module("torch_geometric.data"), importlib.import_module("torch_geometric.nn")
    graph = data_.Data(
        x=torch.randn(20, 5, dtype=torch.float64), edge_index=torch.randint(0, 20, (2, 60)), y=torch.arange(20) % 3,
        train_mask=torch.arange(20) < 14,
    )  # fmt: skip

    def masked(m: Any, g: Any) -> Tensor:
        return F.cross_entropy(m(g.x, g.edge_index)[g.train_mask], g.y[g.train_mask])

    return Case(
        conv.GCN(5, 8, 2, 3).double(), [graph], ls.BatchLoss(masked), lambda m: masked(m, graph), {"examples": 14}
    )


def graphs() -> Case:
    """Return a classifier of graphs, with torch-geometric's own loader."""
    data_, conv = importlib.import_module("torch_geometric.data"), importlib.import_module("torch_geometric.nn")
    loader = importlib.import_module("torch_geometric.loader").DataLoader

    class Classifier(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.head = conv.GIN(5, 8, 2), nn.Linear(8, 3)

        def forward(self, batch: Any) -> Tensor:
            return self.head(conv.global_mean_pool(self.body(batch.x, batch.edge_index), batch.batch))

    many = [
        data_.Data(
            x=torch.randn(n, 5, dtype=torch.float64),
            edge_index=torch.randint(0, n, (2, 3 * n)),
            y=torch.tensor([n % 3]),
        )
        for n in range(5, 17)
    ]
    whole = next(iter(loader(many, batch_size=12)))
    return Case(
        Classifier().double(), loader(many, batch_size=5), "cross_entropy", lambda m: F.cross_entropy(m(whole), whole.y)
    )


CASES: dict[str, tuple[str, Callable[[], Case]]] = {
    "BERT classifier": ("transformers", bert),
    "GPT-2, its own loss": ("transformers", language),
    "the same with LoRA": ("peft", lambda: language(lora=True)),
    "ViT": ("timm", lambda: vision("vit_tiny_patch16_224", 32, img_size=32, embed_dim=24, depth=2, num_heads=2)),
    "ResNet-18, an eighth as wide": (
        "timm",
        lambda: vision("resnet18", 32, channels=(8, 16, 32, 64), stem_width=8),
    ),
    "a Lightning checkpoint": ("lightning", lightning),
    "GCN on one graph": ("torch_geometric", nodes),
    "graph classifier": ("torch_geometric", graphs),
}


def error(objective: Any, model: nn.Module, plain: Callable[[Any], Tensor], weights: str | None) -> float:
    """Return the relative error of a product against plain double backward."""
    v = torch.randn(objective.size, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    network = copy.deepcopy(model).eval()
    math = torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH)
    with math, torch.enable_grad():
        value = plain(network)
        held = {id(p) for p in network.parameters()}
        leaves = [p for p in network.parameters() if p.requires_grad] if weights is None else None
        if leaves is None:  # the oracle has the trained network in its closure
            leaves = [
                p for cell in plain.__closure__ or () for p in _parameters(cell.cell_contents) if id(p) not in held
            ]
        gradient = torch.autograd.grad(value, leaves, create_graph=True)
        dot = torch.cat([g.flatten() for g in gradient]) @ v
        exact = torch.cat([g.flatten() for g in torch.autograd.grad(dot, leaves)])
    return float((ls.Hessian(objective) @ v - exact).norm() / exact.norm())


def _parameters(value: Any) -> list[Tensor]:
    return list(value.parameters()) if isinstance(value, nn.Module) else []


def moved(case: Case) -> nn.Module:
    """Return the network a little further on, to be compared with."""
    other = copy.deepcopy(case.model)
    with torch.no_grad():
        for p in other.parameters():
            if p.requires_grad and p.is_floating_point():
                p.add_(1e-3 * torch.randn_like(p))  # so little that accuracies agree
    return other


def row(name: str, package: str, make: Callable[[], Case]) -> tuple[str, ...]:
    """Try everything and return a line of the table."""
    torch.manual_seed(0)
    try:
        case, release = make(), version(package)
    except ImportError as missing:
        return (name, package, "–", f"not installed: {missing.name}", *[""] * 7)
    seconds: list[str] = []

    def timed(what: Callable[[], Any]) -> Any:
        start = time.process_time()
        found = what()
        seconds.append(f"{time.process_time() - start:.1f}")
        return found

    # what a user writes
    checkpoint = ls.Checkpoint(case.model, case.weights, loss=case.loss, train=case.data, **case.options)
    objective = checkpoint.objective(recalibrated=False)
    pairs = timed(lambda: ls.top_eigenpairs(ls.Hessian(objective), k=2))
    timed(lambda: ls.line(objective, ls.random_directions(objective, n=1), points=9))
    panel = timed(lambda: ls.sharpness(objective, SCORES))
    other = ls.Checkpoint(moved(case), loss=case.loss, train=case.data, **case.options)
    arms = {"one": [checkpoint], "other": [other]}
    timed(lambda: ls.compare(arms, scores=SCORES, waive=WAIVED, audit=False))
    found = timed(lambda: ls.compare(arms, scores=SCORES, waive=WAIVED))

    off = error(objective, case.model, case.plain, case.weights)
    states = [r.status for r in panel.rows]
    done = f"{states.count('ok')} of {len(states)}, {found.verdicts[0].verdict}"
    tops = ", ".join(f"{value:.3g}" for value in pairs.values)
    return (name, f"{package} {release}", f"{objective.size:,}", f"{off:.0e}", tops, done, *seconds)


def main() -> None:
    """Try every package and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", default="")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    _name_compiled_operations()
    rows = []
    for name, (package, make) in CASES.items():
        if arguments.only in name:
            rows.append(row(name, package, make))
            print(*rows[-1], sep=" | ", flush=True)
    numbers = [f"{what} (s)" for what in ("pairs", "line", "panel", "comparison", "audited")]
    header = ("network", "package", "P", "error of H v", "top 2", "panel, comparison", *numbers)
    if not arguments.only:
        about = f"`python benchmarks/packages.py`, PyTorch {torch.__version__}, one thread, seconds of the processor. "
        about += (
            "Of a comparison most of the time is its audit, which measures every deciding score again under each transformation; "
            "`audit=False` leaves it out. Torchvision's compiled operations, which timm imports and these networks do not call, "
            "exist by name alone."
        )
        page = f"# Networks of real packages\n\n{about}\n\n{format_table(header, rows, 'markdown')}\n"
        (RESULTS / "packages.md").write_text(page)


if __name__ == "__main__":
    main()
