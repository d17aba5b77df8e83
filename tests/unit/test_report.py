"""The report: one page that asks nothing of the network, shows every section, and lets no name become markup."""

import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from fx_monai.apps.cases import Case, write_cases
from fx_monai.apps.evaluation import Evaluation, write_evaluation
from fx_monai.apps.report.focus import focus_points
from fx_monai.apps.report.learning import phase_spans
from fx_monai.apps.report.page import SECTIONS, write_report
from fx_monai.apps.report.score_tables import cell_of
from fx_monai.apps.score_rows import all_rows
from fx_monai.apps.tables import write_csv
from fx_monai.cli import main
from fx_monai.errors import DataError
from fx_monai.metrics.box_matching import ImageBoxes
from fx_monai.metrics.classification import ClassificationScores
from fx_monai.metrics.localization import LocalizationScores
from fx_monai.metrics.segmentation import SegmentationScores
from fx_monai.models.card import Calibration
from fx_monai.types import Kind, Mode, Task, TaskSpec
from tests.builders import tiny_manifest

HOSTILE = '"><script src="https://evil.example/x.js">$\\frac$</script>'
DATASET = "<img src=x onerror=alert(1)>"
# elements that have no end tag, and those of SVG that are closed at once
VOID = {"meta", "link", "br", "img", "input", "path", "use", "rect", "line", "circle", "ellipse", "polygon"}


class Page(HTMLParser):
    """Ids, addresses and element names of a page; the elements must be nested properly."""

    def __init__(self, text):
        super().__init__()
        self.open, self.ids, self.addresses, self.elements, self.text = [], [], [], [], []
        self.attributes = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.elements.append(tag)
        self.attributes += [(tag, *pair) for pair in attributes]
        own = dict(attributes)
        self.ids += [own["id"]] if "id" in own else []
        self.addresses += [own[name] for name in ("src", "href", "action", "srcset", "xlink:href") if name in own]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def scores(kind, generator, count=12):
    spec = TaskSpec(Task(DATASET, kind), (HOSTILE, "b"))
    rows = np.arange(count)
    labels = np.stack([rows % 2, np.where(rows % 3, rows % 2, np.nan)], axis=1).astype(float)
    if kind is Kind.CLASSIFICATION:
        logits = labels.copy() + generator.normal(size=labels.shape)
        return ClassificationScores(spec, rows, np.nan_to_num(logits), labels, Calibration((2.0, None), (0.5, None), 9))
    if kind is Kind.SEGMENTATION:
        return SegmentationScores(
            spec, rows, generator.uniform(size=(count, 2)), labels == 1, ~np.isnan(labels), np.ones((count, 2))
        )
    found, truth = [], []
    for number in range(count):
        corners = generator.uniform(0, 30, (3, 2))
        boxes = np.concatenate([corners, corners + 20], axis=1)
        found.append(ImageBoxes(boxes, np.array([0, 1, 0]), generator.uniform(size=3)))
        truth.append(ImageBoxes(boxes[: number % 3] + 1, np.array([0, 1])[: number % 3]))
    return LocalizationScores(spec, rows, found, truth)


def case(kind):
    mask = np.zeros((32, 32))
    mask[4:9, 5:20] = 1
    shown = {
        Kind.CLASSIFICATION: {"findings": [(HOSTILE, 0.9, 1), ("b", 0.2, None)]},
        Kind.LOCALIZATION: {"boxes": [(HOSTILE, 0.8, (1, 2, 9, 12))], "truth_boxes": [("b", (2, 2, 8, 11))]},
        Kind.SEGMENTATION: {"masks": [(HOSTILE, mask)], "truth_masks": [("b", mask)]},
    }
    return Case(Task(DATASET, kind), "best", "0123abcd", 0.75, HOSTILE, np.full((32, 32), 90, np.uint8), **shown[kind])


def data():
    counts = {"present": 3, "absent": 4, "uncertain": 0, "not_annotated": 1}
    own = {"images": 8, "patients": None, "classes": {"classification": {HOSTILE: counts}}}
    about = {"title": HOSTILE, "licence": "free", "url": "", "citation": "", "left_out": 2}
    conflict = {"finding": None, "present_dataset": DATASET, "present_label": HOSTILE, "absent_dataset": "b"}
    return {
        "fingerprint": "f",
        "datasets": {DATASET: {**about, "splits": dict.fromkeys(("train", "val", "test"), own)}},
        "label_conflicts": [{**conflict, "absent_label": "x", "pictures": 3, "both_present": 1}],
    }


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Write what a training leaves, with names that try to break out, and its report."""
    tmp_path = tmp_path_factory.mktemp("report")
    folder = tmp_path / "run <b>"
    manifest = tiny_manifest(tmp_path / "data", name=DATASET)
    generator = np.random.default_rng(0)
    own = {(Task(DATASET, kind), model): scores(kind, generator) for kind in Kind for model in ("student", "selected")}
    rows = all_rows(own, {DATASET: manifest}, split="test", resamples=20)
    about = {
        "recipe": {"name": HOSTILE, "description": HOSTILE},
        "seed": 3,
        "fx_monai": "1",
        "torch": "2",
        "training_seconds": 4000.0,
        "selected": {"model": "student", "cycle": 2, "validation_mean": 0.5, "note": f"trained on phantoms; {HOSTILE}"},
    }
    evaluation = Evaluation("test", rows, [], {}, own, {DATASET: manifest})
    write_evaluation(evaluation, folder, stem="results", about=about)
    phases, validation = [], []
    for cycle in (1, 2):
        for number, kind in enumerate(Kind):
            at = (cycle - 1) * 3 + number
            phase = {"cycle": cycle, "phase_number": at, "dataset": DATASET, "kind": kind.value, "mode": "release"}
            phases.append({**phase, "step": 10 * (at + 1), "steps": 10, "seconds": 1, "task_loss": 1 / cycle})
        for task, model in own:
            metric = {"classification": "auc_macro", "localization": "ap40", "segmentation": "dice_positive"}
            score = {"cycle": cycle, "step": 30 * cycle, "dataset": DATASET, "kind": task.kind.value, "split": "val"}
            validation.append({**score, "model": model, "metric": metric[task.kind.value], "value": cycle / 4})
    write_csv(phases, folder / "phases.csv")
    write_csv(validation, folder / "validation.csv")
    after = [{**row, "step": row["step"] - 15, "after": f"{DATASET}/{row['kind']}"} for row in validation]
    write_csv(after, folder / "after_task.csv")
    write_cases([case(kind) for kind in Kind], folder / "cases" / "test")
    (folder / "data.json").write_text(json.dumps(data()))
    write_report(folder)
    return folder


@pytest.fixture
def page(finished):
    return Page((finished / "report.html").read_text())


@pytest.fixture
def copied(finished, tmp_path):
    return Path(shutil.copytree(finished, tmp_path / "run"))


def test_the_page_holds_every_section_and_asks_nothing_of_the_network(finished, page):
    text = (finished / "report.html").read_text()
    for section in SECTIONS:
        assert section in page.ids
        assert f"#{section}" in page.addresses
    assert len(page.ids) == len(set(page.ids))
    assert all(address.startswith(("#", "data:")) for address in page.addresses)
    assert not {"script", "iframe", "object", "embed", "form"} & set(page.elements)
    assert "url(http" not in text
    assert re.findall(r"https?://[^\"' <]*", re.sub(re.escape("https://evil.example/x.js"), "", text)) == []
    references = re.findall(r"url\(#([^)]*)\)", text) + [own[1:] for own in page.addresses if own.startswith("#")]
    assert set(references) <= set(page.ids)
    assert "default-src 'none'" in text
    shown = "".join(page.text)
    assert "research use only" in shown
    assert "trained on phantoms" in shown
    assert "1 h 07 min" in shown
    assert "Not in this run" not in shown
    assert "75 %" in shown


def test_names_stay_text(page):
    # the three cases, and none that a name has made
    assert [own[2] for own in page.attributes if own[:2] == ("img", "alt")] == [""] * 3
    assert not [own for own in page.attributes if own[1].startswith("on")]
    shown = "".join(page.text)
    assert HOSTILE in shown
    assert DATASET in shown


def test_pictures_tell_what_they_show_and_tables_have_heads(page):
    plots = [own for own in page.attributes if own[:2] == ("svg", "aria-label")]
    # the marks of a case are told by the label of the whole picture
    hidden = [own for own in page.attributes if own == ("svg", "aria-hidden", "true")]
    assert page.elements.count("svg") == len(plots) + len(hidden)
    assert len(plots) > 8
    assert all(len(label) > 20 for _, _, label in plots)
    assert page.elements.count("table") == page.elements.count("caption") == page.elements.count("thead")


def test_what_is_missing_is_said(copied):
    for name in ("phases.csv", "validation.csv", "after_task.csv", "data.json"):
        (copied / name).unlink()
    for name in ("predictions", "cases"):
        shutil.rmtree(copied / name)
    shown = "".join(Page(write_report(copied).read_text()).text)
    assert shown.count("Not in this run.") == 6
    assert "fx-monai evaluate" in shown


def test_the_same_run_gives_the_same_page(finished, tmp_path):
    assert (finished / "report.html").read_text() == write_report(finished, tmp_path / "again.html").read_text()


def test_an_evaluation_has_a_report_too(copied, tmp_path):
    content = json.loads((copied / "results.json").read_text())
    (copied / "results.json").unlink()
    shutil.rmtree(copied / "predictions")
    content["recipe"] = "tiny"
    (copied / "results_val.json").write_text(json.dumps(content))
    assert main(["report", str(copied), "--out", str(tmp_path / "r.html")]) == 0
    assert "on the val split" in (tmp_path / "r.html").read_text()


@pytest.mark.parametrize(("content", "message"), [(None, "it holds no results"), ("{]", "the results can't be read")])
def test_a_folder_without_results_is_refused(tmp_path, capsys, content, message):
    if content:
        (tmp_path / "results.json").write_text(content)
    assert main(["report", str(tmp_path)]) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "report.html").exists()


def test_a_phase_begins_where_the_one_before_ends():
    rows = [
        {"phase_number": 0, "dataset": "a", "kind": "localization", "mode": "lock", "step": 4, "task_loss": 2.0},
        {"phase_number": 1, "dataset": "a", "kind": "localization", "mode": "release", "step": 12, "task_loss": 1.0},
        # a phase of two tasks has two rows
        {"phase_number": 2, "dataset": "a", "kind": "localization", "mode": "release", "step": 20, "task_loss": 1.0},
        {"phase_number": 2, "dataset": "b", "kind": "segmentation", "mode": "release", "step": 20, "task_loss": 1.0},
    ]
    spans = phase_spans(rows)
    assert [(s.start, s.end, s.mode) for s in spans[Task("a", Kind.LOCALIZATION)]] == [
        (0, 4, Mode.LOCK),
        (4, 12, Mode.RELEASE),
        (12, 20, Mode.RELEASE),
    ]
    assert [(s.start, s.end) for s in spans[Task("b", Kind.SEGMENTATION)]] == [(12, 20)]


def test_a_task_is_focused_where_it_was_trained_last():
    def row(kind, cycle, step, value, **more):
        own = {"dataset": "a", "kind": kind, "model": "student", "cycle": cycle, "step": step, "value": value}
        return {**own, "metric": "ap40" if kind == "localization" else "dice_positive", **more}

    phases = [{"cycle": 1, "dataset": "a", "kind": kind} for kind in ("localization", "segmentation")]
    after = [row("localization", 1, 4, 0.6, after="a/localization"), row("localization", 1, 6, 0.55, after="b/x")]
    ended = [row("localization", 1, 9, 0.5), row("segmentation", 1, 9, 0.7), row("localization", 1, 9, float("nan"))]
    points = [focus_points(Task("a", kind), ended, after, phases, model="student") for kind in list(Kind)[1:]]
    assert points[0] == ([(4, 0.6)], [(6, 0.55), (9, 0.5)])
    # the last task of the cycle is the one that was trained before the evaluation
    assert points[1] == ([(9, 0.7)], [])


def test_damaged_cases_are_refused(copied):
    (copied / "cases" / "test" / "cases.json").write_text('[{"dataset": "d", "kind": "x"}]')
    with pytest.raises(DataError, match="the cases can't be read"):
        write_report(copied)


def test_bars_stay_on_the_scale():
    row = {"value": 0.5, "low": -0.1, "high": 1.2}
    assert cell_of("auc_macro", row).bar == (0.0, 100.0, 50.0)
    assert cell_of("hd95_px_positive", {"value": 12.34, "low": 10.0, "high": 14.0}).interval == "10.0-14.0"
    assert cell_of("auc_macro", {"value": None, "low": None, "high": None}).text == "n/a"
    assert cell_of("auc_macro", None).text == "-"
