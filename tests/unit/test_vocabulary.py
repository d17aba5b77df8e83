"""The shipped tables are whole and sound; relations between findings, worked out by hand."""

import pytest
from pydicom.sr._concepts_dict import concepts

from fx_monai.data.catalog import CATALOG
from fx_monai.data.vocabulary import Finding, Label, Relation, Vocabulary, read_vocabulary, vocabulary
from fx_monai.errors import ConfigError, DataError
from fx_monai.types import Kind

C, L, S = Kind.CLASSIFICATION, Kind.LOCALIZATION, Kind.SEGMENTATION
SMALL = [Finding("opacity", (), "finding"), Finding("nodule", ("opacity",), "finding")]


def test_every_class_of_the_catalogue_has_a_row_for_its_kind():
    for name, spec in CATALOG.items():
        for kind, labels in ((C, spec.classes.labels), (L, spec.classes.boxes), (S, spec.classes.masks)):
            for label in labels:
                found = vocabulary().meaning(name, label)
                assert found is not None, (name, label)
                assert kind in found.kinds, (name, label, kind)


def test_a_label_names_a_finding_or_says_why_not():
    for item in vocabulary().labels:
        assert (item.finding == "") == (item.relation is Relation.NONE), item
        assert item.finding or item.note, item


def test_pairs_that_a_mirror_swaps_are_left_and_right_of_the_same_finding():
    words = vocabulary()
    for name, spec in CATALOG.items():
        for pair in spec.laterality:
            found = [words.meaning(name, label) for label in pair]
            assert {item.side for item in found} == {"left", "right"}
            assert len({item.finding for item in found}) == 1


def test_codes_are_in_the_dicom_dictionary():
    known = {f"{scheme} {code}" for scheme in ("SCT", "DCM") for codes in concepts[scheme].values() for code in codes}
    assert {finding.code for finding in vocabulary().findings.values()} - {""} <= known


def test_the_same_words_of_three_datasets_are_three_findings_under_one_umbrella():
    words = vocabulary()
    found = {name: words.finding_of(name, "Lung Opacity") for name in ("chexpert", "rsna_pneumonia", "vindr_cxr")}
    assert len(set(found.values())) == 3
    assert all(name == "lung_opacity" or "lung_opacity" in words.ancestors(name) for name in found.values())


@pytest.mark.parametrize(
    ("dataset", "label", "finding"),
    [
        ("nih_chestxray14", "Pleural_Thickening", "pleural_thickening"),
        ("nih_chestxray14", "pleural thickening", "pleural_thickening"),
        ("nih_chestxray14", "Infiltrate", "infiltration"),
        ("rsna_pneumonia", "No Lung Opacity/Not Normal", "abnormal_other"),
        ("v7_lungs", "Ignore", ""),
        ("our_hospital", "Effusion", ""),
    ],
)
def test_finding_of(dataset, label, finding):
    assert vocabulary().finding_of(dataset, label) == finding


def test_ancestors_descendants_and_carriers():
    words = vocabulary()
    assert words.ancestors("diffuse_nodule") == ("lung_lesion", "nodule_or_mass", "nodule")
    assert set(words.descendants("nodule_or_mass")) == {"nodule", "mass", "diffuse_nodule"}
    boxed = {(item.dataset, item.label) for item in words.labels_of("nodule_or_mass", kind=L)}
    assert ("vindr_cxr", "Nodule/Mass") in boxed
    assert ("chestx_det", "Diffuse Nodule") in boxed
    own = {item.dataset for item in words.labels_of("nodule_or_mass", with_children=False)}
    assert own == {"vindr_cxr", "vinbigdata", "nih_google"}
    # close is not the same
    assert all(item.label != "miliary opacities" for item in words.labels_of("diffuse_nodule"))


def test_an_unknown_finding_is_refused_with_the_closest():
    with pytest.raises(ConfigError, match="Did you mean 'pneumothorax'"):
        vocabulary().labels_of("pneumotorax")


@pytest.mark.parametrize(
    ("findings", "labels", "message"),
    [
        ([Finding("a", ("b",), "finding"), Finding("b", ("a",), "finding")], [], "circle"),
        ([Finding("a", ("b",), "finding")], [], "no finding 'b'"),
        ([*SMALL, SMALL[0]], [], "stands twice"),
        (SMALL, [Label("x", "Nodul", (C,), "nodul", Relation.SAME)], "Did you mean 'nodule'"),
        (SMALL, [Label("x", w, (C,), "nodule", Relation.SAME) for w in ("A_b", "a B")], "stands twice"),
    ],
)
def test_unsound_tables_are_refused(findings, labels, message):
    with pytest.raises(DataError, match=message):
        Vocabulary(findings, labels)


def test_a_wrong_value_names_file_and_line(tmp_path):
    header = "finding\tparents\tcategory\tcode\tnote\n"
    (tmp_path / "findings.tsv").write_text(header + "nodule\t\tthing\t\t\n")
    with pytest.raises(DataError, match=r"findings.tsv, line 2: 'thing'"):
        read_vocabulary(tmp_path)
    (tmp_path / "findings.tsv").write_text(header + "nodule\t\tfinding\n")
    with pytest.raises(DataError, match="another number of columns"):
        read_vocabulary(tmp_path)
