import math

import torch

from fx_monai.losses.cross_entropy import masked_cross_entropy
from fx_monai.losses.masked_bce import masked_bce

NAN = float("nan")


def test_bce_by_hand():
    # log(1 + e^-2) for the first, log 2 for the third; the second is unknown
    loss = masked_bce(torch.tensor([[2.0, 5.0, 0.0]]), torch.tensor([[1.0, NAN, 0.0]]))
    assert math.isclose(loss.item(), (math.log1p(math.exp(-2)) + math.log(2)) / 2, rel_tol=1e-6)


def test_unknown_labels_have_exactly_no_gradient():
    logits = torch.randn(2, 3, requires_grad=True)
    masked_bce(logits, torch.tensor([[1.0, NAN, 0.0], [NAN, NAN, 1.0]])).backward()
    assert torch.equal(logits.grad != 0, torch.tensor([[True, False, True], [False, False, True]]))


def test_nothing_known_is_zero_with_a_gradient_of_zeros():
    logits = torch.randn(2, 3, requires_grad=True)
    for loss in (masked_bce(logits, torch.full((2, 3), NAN)), masked_cross_entropy(logits, torch.full((2, 3), NAN))):
        assert loss.item() == 0
        (gradient,) = torch.autograd.grad(loss, logits)
        assert torch.equal(gradient, torch.zeros(2, 3))


def test_cross_entropy_by_hand():
    logits = torch.tensor([[1.0, 0.0], [0.0, 0.0], [9.0, 9.0]])
    labels = torch.tensor([[1.0, 0.0], [0.0, 1.0], [NAN, 1.0]])
    expected = (math.log1p(math.exp(-1)) + math.log(2)) / 2
    assert math.isclose(masked_cross_entropy(logits, labels).item(), expected, rel_tol=1e-6)
