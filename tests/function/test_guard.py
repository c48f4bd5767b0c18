"""Settings for second derivatives: one place chooses the kernels, and puts back what was there."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import nn

import landscape as ls
from landscape.function.guard import second_order

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.mark.parametrize("device", [CPU, CUDA])
def test_recurrent_layers_run_without_cudnn_and_onednn(device, settings):
    before = settings()
    with second_order(nn.Sequential(nn.LSTM(2, 2)), device):
        inside = settings()
    assert not any(inside[key] for key in ("cudnn", "mkldnn", "cudnn tf32", "flash"))
    assert inside["math"]
    assert settings() == before


def test_other_networks_keep_cudnn_and_what_the_user_chose_for_it(monkeypatch, settings):
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", True)
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", True)
    before = settings()
    with second_order(nn.Linear(2, 2), CUDA):
        assert settings() == {
            **before,
            "cudnn tf32": False,
            "matmul tf32": False,
            "flash": False,
            "efficient": False,
        }
    assert settings() == before
    with second_order(nn.Linear(2, 2), CUDA, tf32=True):
        assert settings()["matmul tf32"]
        assert settings()["cudnn tf32"]
    assert settings() == before


def test_settings_are_put_back_after_an_exception(settings):
    before = settings()
    with pytest.raises(KeyError), second_order(nn.GRU(2, 2), CUDA, tf32=True):
        raise KeyError
    assert settings() == before


class Encoder(nn.Module):
    """Pools over all tokens, the padded ones too: PyTorch's fused inference path puts zeros in their places."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        layer = nn.TransformerEncoderLayer(4, 2, 6, batch_first=True)
        self.body, self.head = nn.TransformerEncoder(layer, 2), nn.Linear(4, 3)

    def forward(self, x, padding):
        return self.head(self.body(x, src_key_padding_mask=padding).mean(1))


def test_the_loss_of_a_transformer_with_padding_is_the_one_that_is_differentiated(settings):
    generator = torch.Generator().manual_seed(1)
    X, lengths = torch.randn(8, 5, 4, generator=generator), torch.arange(8) % 4 + 2
    batches = [((X, torch.arange(5) >= lengths[:, None]), torch.arange(8) % 3)]
    objective = ls.Objective(Encoder(), batches, "cross_entropy", dtype=torch.float64)
    before = settings()
    value, gradient = objective.value_and_gradient()
    assert objective.loss() == pytest.approx(value, rel=1e-12)
    step = 1e-5 * gradient / gradient.norm()
    slope = (objective.loss(objective.theta + step) - objective.loss(objective.theta - step)) / 2e-5
    assert slope == pytest.approx(float(gradient.norm()), rel=1e-6)
    v = torch.randn(objective.size, generator=generator, dtype=torch.float64)
    differences = ls.operators.FiniteDifferenceHessian(objective) @ v
    for program in ("kept", "split", "recompute"):  # attention with a mask has kernels of its own
        product = ls.Hessian(objective, program=program) @ v
        assert float((product - differences).norm() / product.norm()) < 1e-7
    assert settings() == before


@pytest.mark.parametrize("layer", [nn.LSTM, nn.GRU, nn.RNN])
def test_the_objectives_own_guard_gives_recurrent_layers_a_second_derivative(layer):
    class Last(nn.Module):
        def __init__(self):
            super().__init__()
            self.body, self.head = layer(3, 4, batch_first=True), nn.Linear(4, 2)

        def forward(self, x):
            return self.head(self.body(x)[0][:, -1])

    torch.manual_seed(0)
    objective = ls.Objective(Last(), (torch.randn(5, 6, 3), torch.tensor([0, 1, 0, 1, 1])), "cross_entropy")
    v = torch.randn(objective.size, generator=torch.Generator().manual_seed(0))

    def loss(theta):
        return objective.batch_loss(theta, objective.batches[0])

    with objective.guard(second=True):
        product = torch.func.jvp(torch.func.grad(loss), (objective.theta,), (v,))[1]
    torch.testing.assert_close(product, ls.Hessian(objective) @ v, rtol=1e-4, atol=1e-6)


def test_threads_that_share_a_network_wait_for_one_another(settings):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(3, 64), nn.Tanh(), nn.Linear(64, 1))
    X = torch.randn(200, 3)
    objectives = [ls.Objective(network, (X, X[:, :1]), "mse_loss").at(torch.full((321,), 0.1 * k)) for k in range(4)]
    alone = [objective.gradient() for objective in objectives]
    before, state = settings(), torch.get_rng_state()
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda k: [objectives[k].gradient() for _ in range(20)], range(4)))
    for gradient, several in zip(alone, found, strict=True):
        assert all(torch.equal(gradient, one) for one in several)
    assert network.training
    assert settings() == before
    assert torch.equal(torch.get_rng_state(), state)


class Tokens(nn.Module):
    def __init__(self, **options):
        super().__init__()
        torch.manual_seed(2)
        self.embed, self.head = nn.Embedding(9, 3, **options), nn.Linear(3, 2)
        with torch.no_grad():
            self.embed.weight[0] = 0.5

    def forward(self, tokens):
        return self.head(self.embed(input=tokens).tanh().mean(1))


TOKENS = torch.randint(0, 9, (12, 4), generator=torch.Generator().manual_seed(3)), torch.arange(12) % 2


@pytest.mark.parametrize("options", [{"sparse": True}, {"scale_grad_by_freq": True}, {"padding_idx": 0}], ids=str)
def test_embeddings_have_the_derivatives_of_the_loss(options):
    plain = ls.Objective(Tokens(), TOKENS, "cross_entropy", dtype=torch.float64)
    model = Tokens(**options)
    objective = ls.Objective(model, TOKENS, "cross_entropy", dtype=torch.float64)
    moves = torch.ones(plain.size, dtype=torch.float64)
    moves[:3] = 0.0 if "padding_idx" in options else 1.0  # the vector of the padding token is a constant
    assert objective.loss() == plain.loss()
    torch.testing.assert_close(objective.gradient(), plain.gradient() * moves)
    expected = moves[:, None] * ls.Hessian(plain).dense() * moves
    for program in ("kept", "recompute"):
        torch.testing.assert_close(ls.Hessian(objective, program=program).dense(), expected)
    expected = moves[:, None] * ls.GaussNewton(plain).dense() * moves
    torch.testing.assert_close(ls.GaussNewton(objective, program="recompute").dense(), expected)
    kept = {key: getattr(model.embed, key) for key in ("padding_idx", "sparse", "scale_grad_by_freq")}
    assert kept == {"padding_idx": None, "sparse": False, "scale_grad_by_freq": False, **options}
    assert not model.embed._forward_hooks


def test_an_embedding_that_changes_its_weights_is_refused():
    with pytest.raises(ls.LandscapeError, match=r"'embed' has max_norm, .* set max_norm = None"):
        ls.Objective(Tokens(max_norm=1.0), TOKENS, "cross_entropy")


def test_inference_mode_is_refused_in_one_line():
    objective = ls.Objective(nn.Linear(3, 2), (torch.ones(8, 3), torch.arange(8) % 2), "cross_entropy")
    with (
        torch.inference_mode(),
        pytest.raises(ls.LandscapeError, match=r"under torch\.inference_mode\(\); use torch\.no_grad"),
    ):
        objective.gradient()
