"""Reading a study: mistakes are one clear line, precedence of settings, and the built-in rows can be built."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from gpt_classifier.errors import InputError
from gpt_classifier.experiments.study.plan import FRACTION, Row, Run, Study, read_study
from gpt_classifier.training.overrides import build, overrides

STUDIES = Path(__file__).parents[2] / "configs" / "study"
BASE = "seed_everything: 7\nmodel: {learning_rate: 1.0e-3, gpt: {n_layer: 2, dropout: 0.2}}\n"
MINIMAL = {"base": "base.yaml", "rows": [{"name": "a", "title": "the first"}]}


@pytest.fixture
def study_file(tmp_path):
    """Writes a study beside its base, MINIMAL with changes."""

    def write(content=None, **changes):
        (tmp_path / "base.yaml").write_text(BASE)
        path = tmp_path / "study.yaml"
        path.write_text(content if content is not None else yaml.safe_dump(MINIMAL | changes))
        return path

    return write


def rows(*changes):
    return [{"name": f"row {n}", "title": "a title"} | change for n, change in enumerate(changes)]


# ---------------------------------------------------------------- mistakes


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"rows": []}, "one or more"),
        ({"rows": None}, "a list of rows"),
        ({"rows": ["first"]}, "is not a study"),
        ({"rows": [{"title": "without a name"}]}, r"rows\[0\].name is missing"),
        ({"rows": rows({"setings": {}})}, "setings"),
        ({"rows": rows({"name": "same"}, {"name": "same"})}, "same, same"),
        ({"rows": rows({"settings": ["model.pooling"]})}, r"rows\[0\].settings is .*, expected a mapping"),
        ({"rows": rows({"settings": "model.pooling"})}, r"rows\[0\].settings is .*, expected a mapping"),
        ({"rows": rows({"smoke": [1]})}, r"rows\[0\].smoke is \[1\], expected a mapping"),
        ({"rows": rows({"question": ["q"]})}, r"rows\[0\].question is"),
        ({"rows": rows({"classical": ["x"]})}, r"rows\[0\].classical is"),
        (
            {"rows": rows({"published": {"test": "95 %"}})},
            r"rows\[0\].published\[.test.\] is .95 %., expected a finite number",
        ),
        (
            {"rows": rows({"settings": {"model.poling": "mean"}})},
            "settings of row row 0 .*no setting model.poling: did you mean model.pooling",
        ),
        ({"rows": rows({"settings": {"pooling": "mean"}})}, "there is no setting pooling"),
        ({"rows": rows({"question": "why"})}, "'why', expected one of its questions"),
        ({"rows": rows({"classical": "perceptron"})}, "tfidf_logistic_regression"),
        ({"settings": ["data.split"]}, "settings is .*, expected a mapping"),
        ({"smoke": None}, "smoke is None, expected a mapping"),
        ({"questions": ["layers"]}, "questions is .*, expected a mapping"),
        ({"questions": {"why": {"aks": "Why?"}}}, "has the key .aks., expected ask, about, first"),
        ({"questions": {"why": {"first": "lstm"}}}, "'lstm', expected gpt, encoder, decoder, classical"),
        ({"questions": {"why": {"about": "model.poling"}}}, "about model.poling, but none of its rows sets it"),
        ({"rows": rows({"published": {"train": 1}})}, "published scores of row row 0"),
        ({"rows": rows({"published": 95})}, r"rows\[0\].published is 95"),
        ({"rows": rows({"against": "row 0"})}, "row row 0 .* is compared with 'row 0', expected a row above it"),
        ({"rows": rows({"seeds": 0})}, "seeds of row row 0 .* are 0, expected a number from 1 on"),
        ({"rows": rows({"seeds": True})}, r"rows\[0\].seeds is True, expected"),
        ({"weights": "worst"}, "'worst', expected last or best"),
        ({"base": "none.yaml"}, "none.yaml"),
        ({"base": 3}, "base is 3, expected a text"),
        ({"sample": True}, "sample"),
    ],
    ids=str,
)
def test_a_mistake_in_a_study_is_one_clear_line(study_file, changes, said):
    with pytest.raises(InputError, match=said) as error:
        read_study(study_file(**changes))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("content", ["", "rows", "[1, 2]", "rows: [", "base: base.yaml", "\0", "missing", "folder"])
def test_what_is_not_a_study_is_one_clear_line(study_file, tmp_path, content):
    places = {"missing": tmp_path / "study.yaml", "folder": tmp_path}
    path = places.get(content) or study_file(content)
    with pytest.raises(InputError, match=str(path)) as error:
        read_study(path)
    assert "\n" not in str(error.value)


def test_numbers_are_names_titles_and_keys(study_file):
    asked = {1: {"ask": "How long?", "about": "data.max_length"}}
    changed = {"name": 2, "title": 512, "question": 1, "against": 1, "settings": {"data.max_length": 512}}
    study, _ = read_study(study_file(rows=[{"name": 1}, changed], questions=asked))
    row = study.rows[1]
    assert (row.name, row.title, row.question, row.against) == ("2", "512", "1", "1")
    assert list(study.questions) == ["1"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("data: [1]", r"data of .*base.yaml is \[1\], expected keys with settings"),
        ("seed_everything: abc", "seed_everything of .*base.yaml is 'abc', expected a whole number"),
        ("seed_everything: null", "seed_everything of .*base.yaml is None, expected a whole number"),
        ("", "has no keys"),
        ("- 1", "has no keys"),
        ("gpt2", "has no keys"),
    ],
)
def test_a_base_that_is_no_configuration_is_one_clear_line(study_file, content, said):
    path = study_file()
    (path.parent / "base.yaml").write_text(content)
    with pytest.raises(InputError, match=said):
        read_study(path)


def test_a_row_that_is_not_there_is_named_with_those_that_are(study_file):
    study, _ = read_study(study_file(rows=rows({}, {})))
    with pytest.raises(InputError, match="row 7, expected some of row 0, row 1"):
        study.choose_rows(["row 1", "row 7"])
    assert [row.name for row in study.choose_rows(["row 1"])] == ["row 1"]
    assert len(study.choose_rows(None)) == 2


# ---------------------------------------------------------------- fractions of the training rows


def test_a_study_without_fractions_is_the_last_point_of_its_learning_curve():
    study = Study("base.yaml", [Row("a"), Row("b", classical="character_svm")])
    arguments = (study.rows, BASE, 2, 2, {"model.pooling": "mean"}, False)
    before = study.plan_runs(*arguments)
    curve = study.plan_runs(*arguments, [0.1, 0.5, 1.0])
    assert [run for run in curve if run.fraction == 1] == before
    assert len({run.key for run in curve}) == len(curve) == 3 * len(before)
    assert [run.settings.get(FRACTION) for run in curve[:12:4]] == [0.1, 0.5, None]


@pytest.mark.parametrize("where", ["base", "study", "row", "given"])
def test_a_fraction_set_twice_is_one_clear_line(where):
    half = {name: {FRACTION: 0.5} if name == where else {} for name in ("study", "row", "given")}
    base = BASE + ("data: {splitting: {train_fraction: 0.5}}\n" if where == "base" else "")
    study = Study("base.yaml", [Row("a", settings=half["row"])], settings=half["study"])
    with pytest.raises(InputError, match=r"--fractions sets .* and so does row a: leave out one"):
        study.plan_runs(study.rows, base, 1, 0, half["given"], False, [0.1, 1.0])
    (run,) = study.plan_runs(study.rows, base, 1, 0, half["given"], False)
    assert run.fraction == 1


def test_file_names_of_runs_are_safe_and_differ():
    names = ["two blocks", "two_blocks", "a/b", "a\\b", "../c", "größe: 1?", "a+b", "a b"]
    files = [Run(name, 1, None, "", {}, None, "best", fraction=0.05).file_name for name in names]
    assert len(set(files)) == len(names)
    assert all(re.fullmatch(r"[\w.%+-]+", name, re.ASCII) for name in files)
    assert files[0] == "two+blocks-fraction0.05-seed1"


# ---------------------------------------------------------------- settings


def test_precedence_is_base_study_command_line_row_smoke_test():
    everywhere = ["study", "given", "row", "smoke", "row's smoke"]
    study = Study(
        base="",
        rows=[],
        settings=dict.fromkeys((f"model.{name}" for name in everywhere), "study"),
        smoke=dict.fromkeys(("model.smoke", "model.row's smoke"), "smoke"),
    )
    row = Row(
        "a",
        "a title",
        settings=dict.fromkeys(("model.row", "model.smoke", "model.row's smoke"), "row"),
        smoke={"model.row's smoke": "row's smoke"},
    )
    given = dict.fromkeys(("model.given", "model.row", "model.smoke", "model.row's smoke"), "given")
    (run,) = study.plan_runs([row], BASE, 1, 0, given, smoke=True)
    assert run.settings == {f"model.{name}": name for name in everywhere}
    assert overrides(BASE, {"model.learning_rate": 0.1}) == {"model": {"learning_rate": 0.1}}

    (run,) = study.plan_runs([row], BASE, 1, 0, given, smoke=False)
    assert run.settings["model.smoke"] == run.settings["model.row's smoke"] == "row"


# ---------------------------------------------------------------- runs


def test_runs_of_all_seeds_and_folds_follow_the_seed_of_the_base():
    study = Study(base="", rows=[])
    network, classical = Row("a", "a title"), Row("b", "a title", classical="character_svm")
    runs = study.plan_runs([network, classical], BASE, 2, 3, {}, smoke=False)
    assert [(run.row, run.fold, run.seed) for run in runs] == [
        *(("a", fold, seed) for fold in range(3) for seed in (7, 8)),
        *(("b", fold, 7) for fold in range(3)),  # nothing is random in it
    ]
    assert {run.settings["data.splitting.folds"] for run in runs} == {3}
    assert [run.settings["data.splitting.fold"] for run in runs[:6]] == [0, 0, 1, 1, 2, 2]
    assert study.plan_runs([network], BASE, 1, 0, {}, smoke=False)[0].settings == {}


def test_keys_of_runs_differ_whenever_anything_differs_that_matters():
    run = Run("a", 1, None, BASE, {"model.pooling": "mean"}, None, "best")
    others = [
        replace(run, row="b"),
        replace(run, seed=2),
        replace(run, fold=0),
        replace(run, base=BASE + "data: {batch_size: 2}\n"),
        replace(run, settings={"model.pooling": "last_token"}),
        replace(run, settings={"model.pooling": "mean", "model.trainable": 1}),
        replace(run, settings={"model.pooling": "mean", "model.trainable": "1"}),
        replace(run, settings={}),
        replace(run, classical="character_svm"),
        replace(run, weights="last"),
        replace(run, smoke=True),
    ]
    assert len({each.key for each in [run, *others]}) == len(others) + 1
    ordered = {"model.a": 1, "model.b": 2}
    assert replace(run, settings=ordered).key == replace(run, settings=dict(reversed(ordered.items()))).key


# ---------------------------------------------------------------- built-in studies


PUBLISHED = {  # train, val and test accuracy in percent, minutes: the 19 rows of the companion repository's table
    1: (96.63, 99.33, 95.00, 0.28),
    2: (78.46, 80.54, 75.00, 0.28),
    3: (78.65, 79.87, 72.00, 0.25),
    4: (98.85, 98.66, 98.33, 0.33),
    5: (99.62, 96.64, 96.67, 0.69),
    6: (87.50, 91.28, 84.67, 0.75),
    7: (99.52, 98.66, 96.67, 1.50),
    8: (99.81, 99.81, 98.33, 2.83),
    9: (100, 98.66, 98.67, 8.12),
    10: (100, 96.64, 93.67, 0.69),
    11: (100, 97.32, 96.67, 0.75),
    12: (100, 98.66, 98.33, 5.79),
    13: (83.08, 87.92, 78.33, 2.46),
    14: (100, 98.66, 98.00, 1.75),
    15: (99.33, 98.66, 98.33, 1.70),
    16: (99.42, 98.66, 98.33, 0.30),
    17: (99.23, 98.66, 95.33, 0.29),
    18: (96.63, 99.33, 95.00, 0.28),
    19: (97.79, 99.33, 96.33, 0.32),
}


def test_the_article_has_nineteen_rows_with_its_published_scores():
    study, _ = read_study(STUDIES / "article.yaml")
    published = {int(r.name): tuple(r.published[k] for k in ("train", "val", "test", "minutes")) for r in study.rows}
    assert list(published) == list(range(1, 20))
    assert published == PUBLISHED
    assert all(len(row.published) == 4 for row in study.rows)


def test_every_question_of_a_built_in_study_has_a_row():
    for path in STUDIES.glob("*.yaml"):
        study, _ = read_study(path)
        assert {row.question for row in study.rows[1:]} - {None} == set(study.questions)
        assert study.rows[0].question is None


def built_in_runs():
    """The first row of each study, and nightly all rows."""
    for path in sorted(STUDIES.glob("*.yaml")):
        study, base = read_study(path)
        for row in study.rows:
            for smoke in (False, True):
                (run,) = study.plan_runs([row], base, 1, 0, {}, smoke)
                marks = [] if row is study.rows[0] else [pytest.mark.nightly, pytest.mark.ci]
                yield pytest.param(run, id=f"{path.stem}-{row.name}{'-smoke' if smoke else ''}", marks=marks)


@pytest.mark.parametrize("run", list(built_in_runs()))
def test_a_row_of_a_built_in_study_builds(run, tmp_path):
    cli = build(run.base, run.settings, tmp_path)
    for key, value in run.settings.items():
        section, name = key.split(".", 1)
        place, *within = name.split(".")
        found = cli.config[section][place]
        assert (found[within[0]] if within else found) == value
    assert cli.trainer.accumulate_grad_batches == run.settings.get("trainer.accumulate_grad_batches", 1)
    assert cli.model.hparams["pooling"] == cli.config.model.pooling
    assert cli.datamodule.source == cli.config.data.source
