import subprocess
import sys
import time

import pytest

from fx_monai.cli import VERBS, main


def run(capsys, *words):
    code = main(list(words))
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["trian", "demo"], "unknown command 'trian'. Did you mean 'train'?"),
        (["train", "demo", "--data-rot", "x"], "unknown flag '--data-rot'. Did you mean 'data-root'?"),
        (["train"], "RECIPE is missing"),
        (["train", "demo", "extra"], "'extra' is one word too many"),
        (["train", "demo", "--seed"], "the flag '--seed' has no value"),
        (["train", "demo", "--seed", "x"], "--seed is 'x'. Expected a whole number"),
        (["train", "demo", "--data-root", "/nowhere/at/all", "--set", "demo_cohort=null"], "is not a folder"),
        # nothing is written: no demo cohort, no output folder
        (["train", "demo", "--data-root", "x", "--set", "model.image_size=64"], "100 queries, but the input has 84"),
        (["train", "real_small"], "the folder that holds nih_cxr14, covid_ccby. Give"),
        (["train", "dmeo", "--data-root", "."], "no shipped recipe is called 'dmeo'. Did you mean 'demo'?"),
        (["train", "demo", "--set", "schedule.cylces=1"], "unknown key 'schedule.cylces'. Did you mean 'cycles'"),
        (["train", "demo", "--set", "oops"], "'oops' has no '='"),
        (["train", "demo", "--set", "schedule.cycles=[1"], "the value of 'schedule.cycles' is '[1'"),
        (["train", "demo", "--seed", "-1"], "seed = -1"),
        (["train", "demo", "--data-root", ".", "--out", "/proc/no"], "the output folder can't be written"),
        (["demo", "/proc/no", "--images", "60"], "/proc"),
        (["demo", "x", "--images", "-5"], "demo cohort: -5 images. Expected at least 50"),
        (["predict", "no.pt", "x.png", "--threshold", "7"], "--threshold: 7.0"),
        (["train", "demo", "--device", "cuda:99", "--data-root", "."], "'cuda:99' can't be used"),
        (["index", "nih", ".", "o.parquet"], "there is no such dataset"),
        (["predict", "no.pt"], "no image is named"),
        (["embed", "no.pt"], "no image is named"),
        (["compare", "one"], "at least two"),
        (["predict", "no.pt", "also_no.png"], "no.pt: there is no such file"),
    ],
)
def test_mistakes_give_one_message_and_exit_code_1(capsys, tmp_path, monkeypatch, words, message):
    monkeypatch.chdir(tmp_path)
    code, out, err = run(capsys, *words)
    assert code == 1
    assert message in err
    assert "Traceback" not in err
    assert len(err.strip().splitlines()) == 1
    assert out == ""
    assert not (tmp_path / "x").exists()


def test_dates_stay_text_and_dashes_become_underscores(capsys, monkeypatch):
    seen = {}

    def verb(name: str, *, data_root: str = "", resume: bool = False, seed: "int" = 0) -> None:
        seen.update(name=name, data_root=data_root, resume=resume, seed=seed)

    monkeypatch.setitem(VERBS, "verb", verb)
    verb.__annotations__ = {
        k: str(v) if not isinstance(v, type) else v.__name__ for k, v in verb.__annotations__.items()
    }
    assert main(["verb", "2024_01_01", "--data-root", "1e5", "--resume", "--seed=3"]) == 0
    assert seen == {"name": "2024_01_01", "data_root": "1e5", "resume": True, "seed": 3}


def test_set_takes_lists_and_may_be_repeated(capsys, monkeypatch):
    from fx_monai.key_values import recipe_values

    assert recipe_values("a.b=[x,y],c=1,d={e: [1,2]}") == {"a.b": ["x", "y"], "c": 1, "d": {"e": [1, 2]}}
    seen = {}

    def verb(name: "str", *, set: "str" = "") -> None:
        seen.update(set=set)

    monkeypatch.setitem(VERBS, "verb", verb)
    main(["verb", "x", "--set", "a=1", "--set=b=2"])
    assert seen == {"set": "a=1,b=2"}


def test_internal_errors_give_code_2(capsys, monkeypatch):
    def broken(name: str) -> None:
        raise ZeroDivisionError("x")

    monkeypatch.setitem(VERBS, "broken", broken)
    code, _, err = run(capsys, "broken", "a")
    assert code == 2
    assert "internal error, ZeroDivisionError" in err


def test_every_verb_explains_itself(capsys):
    code, out, _ = run(capsys, "--help")
    assert code == 0
    for name in VERBS:
        assert name in out
        _, text, _ = run(capsys, name, "--help")
        assert "Example: fx-monai" in text
        assert "usage: fx-monai" in text


def test_help_imports_nothing_heavy():
    script = "import sys; from fx_monai.cli import main; main(['--help']); assert 'torch' not in sys.modules"
    started = time.monotonic()
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)
    assert time.monotonic() - started < 60  # only guards against a hang; the import check is the test


def test_one_dataset_tells_what_is_read_and_its_options(capsys):
    code, out, _ = run(capsys, "datasets", "chexmask")
    assert code == 0
    for words in ("CheXmask", "parent_root (folder of the parent set", "left and right are the patient's", "cite: Gag"):
        assert words in out
    code, _, err = run(capsys, "datasets", "chexmsk")
    assert (code, "Did you mean 'chexmask'" in err) == (1, True)


def test_datasets_as_json(capsys):
    import json

    _, out, _ = run(capsys, "datasets", "--json")
    assert {"nih_chestxray14", "coco", "csv"} <= {row["name"] for row in json.loads(out)}
