from functools import partial

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from landscape.errors import LandscapeError
from landscape.models import MODELS, char_transformer, mlp, resnet, small_cnn, transformer

IMAGES = {
    "mlp": mlp,
    "mlp-gelu": partial(mlp, (64, 12, 10), activation="gelu"),
    "cnn": small_cnn,
    "cnn-no-norm": partial(small_cnn, norm="none", activation="tanh"),
    "resnet": partial(resnet, 8, in_channels=1, width=4),
    "resnet-no-skip": partial(resnet, 8, in_channels=1, width=4, skip=False),
    "resnet-no-norm": partial(resnet, 8, in_channels=1, width=4, norm="none"),
    "resnet-standardised": partial(resnet, 8, in_channels=1, width=4, norm="none", standardise=True),
    "resnet-group": partial(resnet, 8, in_channels=1, width=8, norm="group"),
    "transformer": partial(transformer, width=16, heads=2),
    "transformer-dropout": partial(transformer, width=16, heads=2, dropout=0.1),
}


def parameters(module):
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.fixture(params=IMAGES.values(), ids=IMAGES)
def factory(request):
    return request.param


def test_logits_are_finite_and_every_parameter_gets_a_gradient(factory):
    module = factory(seed=1)
    X = torch.randn(6, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.random.fork_rng():
        logits = module(X)
        F.cross_entropy(logits, torch.arange(6)).backward()
    assert logits.shape == (6, 10)
    assert logits.isfinite().all()
    assert all(parameter.grad is not None for parameter in module.parameters())


def test_initialisation_follows_the_seed_and_leaves_the_global_state(factory):
    before = torch.get_rng_state()
    first, again, other = (factory(seed=seed).state_dict() for seed in (5, 5, 6))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_initialisation_ignores_the_default_device():
    with torch.device("meta"):
        assert {parameter.device.type for parameter in mlp().parameters()} == {"cpu"}


@pytest.mark.parametrize(
    ("sizes", "count"),
    [((2352, 512, 10), 1_209_866), ((2352, 512, 512, 512, 10), 1_735_178), ((64, 256, 256, 10), 85_002)],
)
def test_mlp_has_the_published_number_of_parameters(sizes, count):
    assert parameters(mlp(sizes)) == count


@pytest.mark.parametrize(("depth", "count"), [(20, 269_722), (32, 464_154), (56, 853_018)])
def test_resnet_has_the_published_number_of_parameters(depth, count):
    assert parameters(resnet(depth)) == count


def test_skip_connections_carry_no_parameters_but_change_the_function():
    with_skip, without = (resnet(8, width=4, skip=skip).eval() for skip in (True, False))
    assert with_skip.state_dict().keys() == without.state_dict().keys()
    X = torch.ones(2, 3, 8, 8)
    assert not torch.allclose(with_skip(X), without(X))


def test_a_block_whose_last_norm_is_zero_is_its_shortcut():
    block = resnet(8, width=4).eval().stages[1][0]
    nn.init.zeros_(block.norm2.weight)
    X = torch.rand(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    expected = torch.zeros(2, 8, 4, 4)
    expected[:, 2:6] = X[:, :, ::2, ::2]
    assert torch.equal(block(X), expected)


def test_norm_switch_removes_every_norm_layer_and_keeps_deep_activations_in_range():
    module = resnet(56, norm="none")
    assert not [layer for layer in module.modules() if isinstance(layer, nn.BatchNorm2d | nn.GroupNorm)]
    X = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    assert 1e-2 < module(X).std().item() < 1e2


def test_the_small_cnn_takes_other_image_sizes():
    assert small_cnn((3, 28, 20), classes=7)(torch.zeros(2, 3, 28, 20)).shape == (2, 7)


def test_attention_is_softmax_of_scaled_products():
    module = transformer(width=8, heads=2, layers=1)
    attention = module.blocks[0].attention
    x = torch.randn(3, 5, 8, generator=torch.Generator().manual_seed(0))
    q, k, v = (part.view(3, 5, 2, 4).transpose(1, 2) for part in attention.query_key_value(x).split(8, -1))
    mixed = (q @ k.mT / 2).softmax(-1) @ v
    torch.testing.assert_close(attention(x), attention.output(mixed.transpose(1, 2).reshape(3, 5, 8)))


def test_patches_tile_the_image_in_reading_order():
    module = transformer(width=8, heads=2, layers=0)
    nn.init.zeros_(module.embedding.bias)
    nn.init.zeros_(module.position)
    seen = []
    module.norm.register_forward_hook(lambda layer, inputs, output: seen.append(inputs[0]))
    X = torch.zeros(1, 1, 8, 8)
    X[0, 0, 2:4, 6:8] = 1
    module(X)
    assert seen[0].abs().sum(-1).nonzero().tolist() == [[0, 1 * 4 + 3]]


def test_characters_do_not_see_their_future():
    module = char_transformer(11, context=9, width=8, heads=2).eval()
    x = torch.arange(9)[None]
    y = x.clone()
    y[0, 6] = 10
    difference = (module(x) - module(y)).abs().sum(1)[0]
    assert difference[:6].max() < 1e-6
    assert difference[6:].min() > 1e-6


def test_tied_embedding_is_one_parameter():
    tied, untied = (char_transformer(11, width=8, heads=2, tied=tied) for tied in (True, False))
    assert tied.linear.weight is tied.embedding.weight
    assert parameters(untied) - parameters(tied) == 11 * 8


def test_registry_builds_every_network_by_slug():
    assert {name: build.__name__.replace("_", "-") for name, build in MODELS.items()} == {name: name for name in MODELS}


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: mlp((64,)), "at least inputs and outputs"),
        (lambda: mlp(activation="rleu"), "activation='rleu' is not known; expected one of relu, gelu"),
        (lambda: small_cnn(channels=(4, 4, 4, 4)), "to nothing"),
        (lambda: small_cnn(norm="layer"), "norm='layer'"),
        (lambda: resnet(19), "expected 6n"),
        (lambda: resnet(norm="layer"), "norm='layer'"),
        (lambda: transformer(patch=3), "does not tile"),
        (lambda: transformer(heads=5), "not a multiple"),
        (lambda: char_transformer(5, heads=5), "not a multiple"),
        (lambda: char_transformer(5, context=4)(torch.zeros(1, 5, dtype=torch.long)), "at most context=4"),
    ],
)
def test_wrong_arguments_are_explained(build, message):
    with pytest.raises(LandscapeError, match=message):
        build()


def test_standardised_filters_do_not_see_shifts_and_scales_of_their_weights():
    module = resnet(8, in_channels=1, width=4, norm="none", standardise=True).double()
    X = torch.randn(3, 1, 8, 8, generator=torch.Generator().manual_seed(0)).double()
    before = module(X)
    with torch.no_grad():
        for weight in module.parameters():
            if weight.ndim == 4:
                weight.mul_(3.0).add_(0.5)
    torch.testing.assert_close(module(X), before)
    assert not any(isinstance(layer, nn.Conv2d) for layer in module.modules())


def test_second_convolutions_start_small_without_norms_only():
    plain, skipless = (resnet(14, norm="none", standardise=True, skip=skip) for skip in (True, False))
    gains = {name: gain.mean().item() for name, gain in plain.named_parameters() if name.endswith("gain")}
    first, second = gains["stages.0.0.conv1.gain"], gains["stages.0.0.conv2.gain"]
    assert first / second == pytest.approx(6**0.5)
    assert dict(skipless.named_parameters())["stages.0.0.conv2.gain"].mean().item() == pytest.approx(first)
