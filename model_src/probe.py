"""The head's starting point: a linear classifier on the frozen ImageNet features."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

SHRINKAGE = 1.0  # on standardized features; anything from 0.01 to 1 does about as well
ITERATIONS = 60


def fit(features: Tensor, labels: Tensor, classes: int) -> tuple[Tensor, Tensor]:
    """Fit multinomial logistic regression with an L2 penalty.

    Fine-tuning from a random head first distorts good features while the head is still wrong; starting at the best
    linear head avoids that (Kumar et al. 2022, "Fine-Tuning can Distort Pretrained Features and Underperform
    Out-of-Distribution").

    Args:
        features: [N, F].
        labels: [N], whole numbers below `classes`.
        classes: K.

    Returns:
        Weights [K, F] and biases [K] for features that are not standardized.
    """
    mean, deviation = features.mean(0), features.std(0) + 1e-3
    inputs = ((features - mean) / deviation).double()
    weight = torch.zeros(classes, inputs.shape[1], dtype=torch.float64, requires_grad=True)
    bias = torch.zeros(classes, dtype=torch.float64, requires_grad=True)
    solver = torch.optim.LBFGS([weight, bias], max_iter=ITERATIONS, line_search_fn="strong_wolfe")

    def penalized_loss() -> Tensor:
        solver.zero_grad()
        loss = functional.cross_entropy(functional.linear(inputs, weight, bias), labels)
        loss = loss + SHRINKAGE * weight.square().sum() / 2
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    solver.step(penalized_loss)  # type: ignore[no-untyped-call]
    weight = (weight.detach() / deviation).float()
    return weight, bias.detach().float() - weight @ mean
