import pytest
import torch

from fx_monai.losses.consistency import consistency_loss


def features():
    return {"backbone": torch.randn(2, 6), "loc_memory": torch.randn(2, 5, 6), "seg_fused": torch.randn(2, 6, 3, 3)}


def test_same_features_cost_nothing_whatever_their_length():
    student = features()
    assert consistency_loss(student, {k: 3 * v for k, v in student.items()}).item() == pytest.approx(0, abs=1e-6)


def test_by_hand():
    student = {"backbone": torch.tensor([[3.0, 0.0]]), "seg_fused": torch.tensor([1.0, 0.0]).view(1, 2, 1, 1)}
    teacher = {"backbone": torch.tensor([[0.0, 5.0]]), "seg_fused": torch.tensor([-2.0, 0.0]).view(1, 2, 1, 1)}
    # 2 for the orthogonal pair, 4 for the opposite one
    assert consistency_loss(student, teacher).item() == pytest.approx(3.0)


def test_gradient_reaches_every_student_feature_and_no_teacher_feature():
    student = {k: v.requires_grad_() for k, v in features().items()}
    teacher = {k: v.requires_grad_() for k, v in features().items()}
    consistency_loss(student, teacher).backward()
    assert all(v.grad.abs().sum() > 0 for v in student.values())
    assert all(v.grad is None for v in teacher.values())
