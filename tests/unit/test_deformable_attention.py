import pytest
import torch

from fx_monai.models.deformable_attention import DeformableAttention, sample_planes, sample_rows


def test_equals_attention_by_hand_at_token_centres():
    """Points on token centres sample exactly these tokens, so the result is a weighted sum of values."""
    torch.manual_seed(0)
    attention = DeformableAttention(width=4, heads=1, levels=1, points=2)
    memory = torch.randn(1, 16, 4)
    with torch.no_grad():
        # a box of a quarter of the image: offset 2 with 2 points is half a box, so one token of a 4 x 4 grid is 4
        attention.offsets.bias.copy_(torch.tensor([0.0, 0.0, 4.0, 0.0]))
        attention.weights.bias.copy_(torch.tensor([0.25, 0.75]).log())
    reference = torch.tensor([[[0.375, 0.625, 0.25, 0.25]]])  # column 1, row 2
    result = attention(torch.zeros(1, 1, 4), reference, memory, [(4, 4)])
    values = attention.value(memory)[0]
    expected = attention.out(0.25 * values[2 * 4 + 1] + 0.75 * values[2 * 4 + 2])
    torch.testing.assert_close(result[0, 0], expected)


def test_equals_the_reference_implementation():
    """Against Hugging Face's pure-PyTorch function where that is installed."""
    hf = pytest.importorskip("transformers.models.deformable_detr.modeling_deformable_detr")
    torch.manual_seed(1)
    heads, levels, points, width, shapes = 2, 2, 3, 8, [(4, 4), (2, 2)]
    attention = DeformableAttention(width, heads, levels, points)
    torch.nn.init.normal_(attention.offsets.weight)
    torch.nn.init.normal_(attention.weights.weight)
    queries, memory, references = torch.randn(2, 5, width), torch.randn(2, 20, width), torch.rand(2, 5, 4)
    offsets = attention.offsets(queries).view(2, 5, heads, levels, points, 2)
    place = references[:, :, None, None, None]
    locations = place[..., :2] + offsets / points * place[..., 2:] * 0.5
    weights = attention.weights(queries).view(2, 5, heads, -1).softmax(-1).view(2, 5, heads, levels, points)
    value = attention.value(memory).view(2, 20, heads, width // heads)
    expected = hf.MultiScaleDeformableAttention()(
        value, torch.tensor(shapes), shapes, torch.tensor([0, 16]), locations, weights, 64
    )
    torch.testing.assert_close(attention(queries, references, memory, shapes), attention.out(expected))


def test_rows_and_planes_give_the_same_values_and_gradients():
    """Places lie inside, on the border, between levels' first and last tokens, and far outside."""
    torch.manual_seed(2)
    batch, queries, heads, points, shapes = 2, 7, 3, 2, [(5, 4), (2, 3)]
    value = torch.randn(batch, 26, heads, 4, dtype=torch.float64)
    places = torch.rand(batch, queries, heads, len(shapes), points, 2, dtype=torch.float64) * 1.6 - 0.3
    places[0, 0] = 0
    places[0, 1] = 1
    places[0, 2] = 5
    weights = torch.rand(batch, queries, heads, len(shapes) * points, dtype=torch.float64)
    inputs = [tensor.requires_grad_() for tensor in (value, places, weights)]
    results = [sample(*inputs, shapes) for sample in (sample_rows, sample_planes)]
    torch.testing.assert_close(*results)
    pull = torch.randn_like(results[0])
    gradients = [torch.autograd.grad((result * pull).sum(), inputs) for result in results]
    for rows, planes in zip(*gradients, strict=True):
        torch.testing.assert_close(rows, planes)
