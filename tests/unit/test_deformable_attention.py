import pytest
import torch

from fx_monai.models.deformable_attention import DeformableAttention
from fx_monai.models.deformable_sampling import sample_planes, sample_rows

SHAPES = [(4, 3), (2, 5), (1, 1)]
WAYS = {"planes": sample_planes, "rows": sample_rows}


def inputs(dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    value = torch.randn(2, 23, 2, 3, generator=generator, dtype=dtype)
    # one in five points lies outside; none on the line where the slope changes
    points = torch.rand(2, 4, 2, 3, 2, 2, generator=generator, dtype=dtype) * 1.2 - 0.1
    weights = torch.rand(2, 4, 2, 6, generator=generator, dtype=dtype)
    return [tensor.requires_grad_() for tensor in (value, points, weights)]


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


def test_equals_the_reference_implementation_around_points():
    """As in the encoder: offsets count in tokens."""
    hf = pytest.importorskip("transformers.models.deformable_detr.modeling_deformable_detr")
    torch.manual_seed(2)
    attention = DeformableAttention(width=8, heads=2, levels=3, points=3)
    torch.nn.init.normal_(attention.offsets.weight)
    queries, memory, references = torch.randn(2, 5, 8), torch.randn(2, 23, 8), torch.rand(2, 5, 2)
    offsets = attention.offsets(queries).view(2, 5, 2, 3, 3, 2)
    size = torch.tensor([[w, h] for h, w in SHAPES])
    locations = references[:, :, None, None, None] + offsets / size[:, None]
    weights = attention.weights(queries).view(2, 5, 2, -1).softmax(-1).view(2, 5, 2, 3, 3)
    value = attention.value(memory).view(2, 23, 2, 4)
    start = torch.tensor([0, 12, 22])
    expected = hf.MultiScaleDeformableAttention()(value, torch.tensor(SHAPES), SHAPES, start, locations, weights, 64)
    torch.testing.assert_close(attention(queries, references, memory, SHAPES), attention.out(expected))


@pytest.mark.parametrize("way", WAYS)
def test_gradients_are_the_slopes(way):
    assert torch.autograd.gradcheck(lambda *x: WAYS[way](*x, SHAPES), inputs())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_rows_and_planes_give_the_same_values_and_gradients(dtype):
    """Places lie inside, on the border, between levels' first and last tokens, and far outside."""
    leaves = inputs(dtype)
    with torch.no_grad():
        for query, place in enumerate((0, 1, 5)):
            leaves[1][0, query] = place
    results = [way(*leaves, SHAPES) for way in WAYS.values()]
    torch.testing.assert_close(*results)
    pull = torch.randn_like(results[0])
    gradients = [torch.autograd.grad((result * pull).sum(), leaves) for result in results]
    for planes, rows in zip(*gradients, strict=True):
        torch.testing.assert_close(rows, planes)


def test_half_precision_is_sampled_in_full():
    """As under autocast: the memory is bfloat16, places and weights are not."""
    value, points, weights = inputs(torch.float32)
    half = value.detach().to(torch.bfloat16)
    expected = sample_rows(half.float(), points, weights, SHAPES)
    torch.testing.assert_close(sample_rows(half, points, weights, SHAPES), expected)


def test_points_far_outside_sample_nothing():
    value, _, weights = inputs()
    points = torch.full((2, 4, 2, 3, 2, 2), 1e12, dtype=torch.float64)
    points[:, ::2] *= -1
    for way in WAYS.values():
        assert not way(value, points, weights, SHAPES).any()


def test_memory_without_gradient_as_in_lock():
    value, points, weights = inputs()
    sample_rows(value.detach(), points, weights, SHAPES).sum().backward()
    assert value.grad is None
    assert points.grad.any()
    assert weights.grad.any()


def test_exported_module_gives_the_same():
    torch.manual_seed(0)
    attention = DeformableAttention(width=8, heads=2, levels=3, points=2).eval()
    arguments = torch.randn(2, 5, 8), torch.rand(2, 5, 4), torch.randn(2, 23, 8)

    class Bound(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.attention = attention

        def forward(self, queries, references, memory):
            return self.attention(queries, references, memory, SHAPES)

    exported = torch.export.export(Bound(), arguments).module()
    with torch.no_grad():
        torch.testing.assert_close(exported(*arguments), Bound()(*arguments), rtol=1e-4, atol=1e-5)
