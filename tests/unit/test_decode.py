import torch

from fx_monai.models.decode import decode_boxes

PREDICTION = {
    "scores": torch.tensor([[[0.9, 0.2], [0.8, 0.1], [0.3, 0.7]]]),
    "boxes_xyxy": torch.tensor([[[0.0, 0.0, 10.0, 10.0], [0.0, 0.0, 10.0, 9.0], [20.0, 20.0, 30.0, 30.0]]]),
}


def test_pairs_of_query_and_class_come_best_first():
    (found,) = decode_boxes(PREDICTION, top=3, nms_iou=None)
    torch.testing.assert_close(found["scores"], torch.tensor([0.9, 0.8, 0.7]))
    assert found["labels"].tolist() == [0, 0, 1]
    assert found["boxes_xyxy"][2].tolist() == [20, 20, 30, 30]


def test_suppression_is_per_class():
    (found,) = decode_boxes(PREDICTION, nms_iou=0.6)
    torch.testing.assert_close(found["scores"], torch.tensor([0.9, 0.7, 0.3, 0.2]))
    assert found["labels"].tolist() == [0, 1, 0, 1]


def test_thousands_of_pairs_give_the_best_that_differ():
    generator = torch.Generator().manual_seed(0)
    corners = torch.rand(1, 900, 2, generator=generator) * 200
    scores = torch.rand(1, 900, 14, generator=generator)
    (found,) = decode_boxes({"scores": scores, "boxes_xyxy": torch.cat((corners, corners + 20), -1)}, top=5)
    assert found["scores"].tolist() == sorted(found["scores"].tolist(), reverse=True)
    assert found["scores"][0] == scores.max()
    assert len(found["scores"]) == 5
