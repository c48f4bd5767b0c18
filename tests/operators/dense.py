"""Dense float64 matrices straight from their definitions, on the whole data at once: nothing of the package's products."""

import torch
from torch.func import functional_call


def flat(model):
    return torch.cat([p.detach().reshape(-1) for p in model.parameters() if p.requires_grad]).double()


def outputs(model, theta, inputs):
    pieces, start = {}, 0
    for name, p in model.named_parameters():
        if p.requires_grad:
            pieces[name] = theta[start : start + p.numel()].view(p.shape)
            start += p.numel()
    result = functional_call(model, pieces, inputs if isinstance(inputs, tuple) else (inputs,), tie_weights=True)
    return result[0] if isinstance(result, tuple) else result


def one(inputs, i):
    return tuple(x[i : i + 1] for x in inputs) if isinstance(inputs, tuple) else inputs[i : i + 1]


def rows(function, theta):
    """The Jacobian of a vector function, one backward pass a row."""
    theta = theta.clone().requires_grad_()
    values = function(theta)
    shape = values.shape
    grads = [
        torch.autograd.grad(value, theta, retain_graph=True, materialize_grads=True)[0] for value in values.flatten()
    ]
    return torch.stack(grads).reshape(*shape, -1)


def hessian(function, theta):
    theta = theta.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(function(theta), theta, create_graph=True, materialize_grads=True)
    if not gradient.requires_grad:
        return torch.zeros(len(theta), len(theta), dtype=theta.dtype)
    return torch.stack(
        [torch.autograd.grad(g, theta, retain_graph=True, materialize_grads=True)[0] for g in gradient.flatten()]
    )


class Dense:
    """All five matrices of ``criterion(model(inputs), target)`` at the model's weights.

    Args:
        weights: of the examples or positions, (n, …), as in L = Σ w ℓ.
        family: the likelihood.
    """

    def __init__(self, model, inputs, target, criterion, weights, single, family="categorical"):
        self.model, self.inputs, self.target = model, inputs, target
        self.criterion, self.weights, self.single, self.family = criterion, weights, single, family
        self.theta = flat(model)

    def f(self, theta):
        return outputs(self.model, theta, self.inputs)

    def hessian(self):
        return hessian(lambda t: self.criterion(self.f(t), self.target), self.theta)

    def gauss_newton(self):
        J = rows(self.f, self.theta).flatten(0, -2)
        f = self.f(self.theta).detach()
        middle = hessian(lambda z: self.criterion(z.view(f.shape), self.target), f.flatten())
        return J.T @ middle @ J

    def fisher(self):
        """Class by class for categorical targets; both outcomes for binary ones; the Gaussian's own moment."""
        J, f = rows(self.f, self.theta), self.f(self.theta).detach()
        total = torch.zeros(len(self.theta), len(self.theta), dtype=f.dtype)
        if self.family == "categorical":
            J, f = J.movedim(1, -2).flatten(0, -3), f.movedim(1, -1).flatten(0, -2)
            for j, z, w in zip(J, f, self.weights.flatten(), strict=True):
                for c in range(len(z)):
                    score = (z.softmax(0) - torch.eye(len(z))[c].to(z)) @ j
                    total += w * z.softmax(0)[c] * torch.outer(score, score)
            return total
        for j, z, w in zip(J.flatten(0, -2), f.flatten(), self.weights.flatten(), strict=True):
            if self.family == "gaussian":
                total += 2 * w * torch.outer(j, j)
            else:
                for y, p in ((1, z.sigmoid()), (0, 1 - z.sigmoid())):
                    total += w * p * (z.sigmoid() - y) ** 2 * torch.outer(j, j)
        return total

    def gradients(self):
        def losses(theta):
            return torch.stack(
                [
                    self.single(outputs(self.model, theta, one(self.inputs, i)), self.target[i : i + 1])
                    for i in range(len(self.target))
                ]
            )

        return rows(losses, self.theta), self.weights.flatten(1).sum(1) if self.weights.ndim > 1 else self.weights

    def empirical_fisher(self):
        g, w = self.gradients()
        return (g * w[:, None]).T @ g

    def covariance(self):
        g, w = self.gradients()
        centred = g - (w[:, None] * g).sum(0) / w.sum()
        return (centred * w[:, None]).T @ centred
