import pytest

from fx_monai.data.catalog import CATALOG, READERS, find_dataset
from fx_monai.errors import ConfigError
from fx_monai.types import Kind


def test_every_dataset_has_a_reader_that_takes_its_options():
    for name, spec in CATALOG.items():
        assert spec.name == name
        assert spec in READERS[name].SPECS
        assert {key for key, _ in spec.options} <= set(READERS[name].OPTIONS)


def test_known_classes_and_kinds_agree():
    for spec in CATALOG.values():
        if spec.classes.labels or spec.classes.boxes or spec.classes.masks:
            annotated = {
                Kind.CLASSIFICATION: spec.classes.labels,
                Kind.LOCALIZATION: spec.classes.boxes,
                Kind.SEGMENTATION: spec.classes.masks,
            }
            assert {kind for kind, names in annotated.items() if names} == set(spec.kinds)


def test_class_lists_are_those_of_the_papers():
    nih = find_dataset("nih_chestxray14").classes
    assert len(nih.labels) == 14
    assert (nih.labels[0], nih.labels[12], nih.labels[13]) == ("Atelectasis", "Pleural_Thickening", "Hernia")
    assert len(nih.boxes) == 8
    assert find_dataset("rsna_pneumonia").classes.labels == ("Normal", "No Lung Opacity / Not Normal", "Lung Opacity")
    assert len(find_dataset("chestx_det").classes.masks) == 13


def test_lungs_with_sides_swap_when_mirrored():
    assert find_dataset("montgomery").laterality == (("left lung", "right lung"),)
    assert find_dataset("jsrt").laterality == (("left lung", "right lung"), ("left clavicle", "right clavicle"))
    assert find_dataset("generalblockchain_lungs").laterality == (("Left Lung", "Right Lung"),)


def test_unknown_dataset_gets_the_closest_name():
    with pytest.raises(ConfigError, match="Did you mean 'chestx_det'"):
        find_dataset("chestxdet")
