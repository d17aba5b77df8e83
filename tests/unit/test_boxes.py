import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from fx_monai.ops.boxes import clip_boxes_xyxy, cxcywh_norm_to_xyxy, map_boxes_xyxy, xyxy_to_cxcywh_norm


def test_formats_by_hand():
    xyxy = torch.tensor([[10.0, 20.0, 30.0, 60.0]])
    assert torch.equal(xyxy_to_cxcywh_norm(xyxy, 100), torch.tensor([[0.2, 0.4, 0.2, 0.4]]))
    torch.testing.assert_close(cxcywh_norm_to_xyxy(xyxy_to_cxcywh_norm(xyxy, 100), 100), xyxy)
    assert xyxy_to_cxcywh_norm(torch.zeros(0, 4), 10).shape == (0, 4)


@given(st.floats(0.2, 3), st.floats(-20, 20), st.floats(-20, 20))
def test_scale_and_shift_are_exact(scale, dx, dy):
    box = np.array([[1.0, 2.0, 5.0, 9.0]], np.float32)
    mapped = map_boxes_xyxy(box, np.array([[scale, 0, dx], [0, scale, dy]]))
    np.testing.assert_allclose(mapped, box * scale + [dx, dy, dx, dy], rtol=1e-5, atol=1e-4)


def test_mirror_and_quarter_turn_are_exact():
    box = np.array([[1.0, 2.0, 5.0, 9.0]], np.float32)
    np.testing.assert_allclose(map_boxes_xyxy(box, np.array([[-1, 0, 10], [0, 1, 0]])), [[5, 2, 9, 9]], atol=1e-5)
    np.testing.assert_allclose(map_boxes_xyxy(box, np.array([[0, -1, 10], [1, 0, 0]])), [[1, 1, 8, 5]], atol=1e-5)


def test_rotated_circle_keeps_its_box():
    turn = np.deg2rad(45)
    matrix = np.array([[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0]])
    np.testing.assert_allclose(
        map_boxes_xyxy(np.array([[-3, -3, 3, 3]], np.float32), matrix), [[-3, -3, 3, 3]], atol=1e-5
    )


def test_boxes_that_leave_the_image_are_gone():
    boxes = np.array([[-8, 0, 2, 10], [-2, 0, 8, 10], [3, 3, 3.5, 9], [20, 20, 30, 30]], np.float32)
    clipped, inside = clip_boxes_xyxy(boxes, 10)
    assert inside.tolist() == [False, True, False, False]
    assert clipped[1].tolist() == [0, 0, 8, 10]
    assert map_boxes_xyxy(np.zeros((0, 4), np.float32), np.eye(2, 3)).shape == (0, 4)
