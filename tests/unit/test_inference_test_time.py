"""Mirror images and several views: sides change places, boxes are fused, probabilities are means."""

import numpy as np
import pytest
import torch

from fx_monai.inference.predictor import Predictor
from fx_monai.inference.test_time import combine_views, fuse_boxes
from tests.inference_builders import by_hand, network


@pytest.fixture(scope="module")
def predictor():
    return Predictor(network(), flips=True, threshold=0.0)


def found(boxes, scores, labels):
    return {
        "boxes_xyxy": torch.tensor(boxes).reshape(-1, 4).float(),
        "scores": torch.tensor(scores).float(),
        "labels": torch.tensor(labels).long(),
    }


def test_boxes_of_both_passes_become_their_weighted_mean_and_single_ones_keep_half_their_score():
    first = found([[0, 0, 10, 10], [50, 50, 60, 60]], [0.9, 0.4], [0, 0])
    second = found([[2, 0, 12, 10], [0, 0, 10, 10]], [0.3, 0.8], [0, 1])
    fused = fuse_boxes([first, second])
    assert fused["scores"].tolist() == pytest.approx([0.6, 0.4, 0.2])
    assert fused["labels"].tolist() == [0, 1, 0]
    assert fused["boxes_xyxy"][0].tolist() == pytest.approx([0.5, 0, 10.5, 10])
    assert fused["boxes_xyxy"][1].tolist() == [0, 0, 10, 10]


def test_no_box_stays_no_box():
    none = found([], [], [])
    assert fuse_boxes([none, none])["scores"].tolist() == []


def test_the_mirror_image_gives_the_mirrored_result(predictor):
    image = np.random.default_rng(0).integers(0, 255, (64, 64), dtype=np.uint8)
    straight, mirrored = (predictor.predict(pixels, any_image=True) for pixels in (image, image[:, ::-1].copy()))
    assert [f.probability for f in straight.findings] == pytest.approx(
        [f.probability for f in mirrored.findings], abs=1e-4
    )
    left, right = straight.masks
    other_left, other_right = mirrored.masks
    assert left.label == "left lung"
    for own, other in ((left, other_right), (right, other_left)):
        assert np.mean(own.mask != other.mask[:, ::-1]) < 0.002
    ours = sorted((round(b.x1, 1), round(b.y1, 1), round(b.score, 3)) for b in straight.boxes)
    theirs = sorted((round(64 - b.x2, 1), round(b.y1, 1), round(b.score, 3)) for b in mirrored.boxes)
    np.testing.assert_allclose(np.array(ours), np.array(theirs), atol=0.3)


def test_flips_are_told_and_nothing_counts_as_calibrated(predictor):
    prediction = predictor.predict(np.full((64, 64), 7, np.uint8), any_image=True)
    assert any("mirror image" in warning for warning in prediction.warnings)
    assert not any(finding.calibrated for finding in prediction.findings)


def test_views_are_averaged_and_not_calibrated():
    from dataclasses import replace

    first = by_hand()
    second = replace(first, findings=tuple(replace(f, probability=f.probability + 0.2) for f in first.findings))
    combined = combine_views([first, second])
    assert [f.probability for f in combined] == pytest.approx([0.35, 0.6])
    assert combined[0].threshold == 0.2
    assert not combined[0].calibrated
