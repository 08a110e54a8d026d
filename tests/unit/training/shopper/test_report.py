"""The report of a version."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from services.ranker.domain.weights import Weights
from tests.unit.training.shopper.shop import QUICK, catalogue, cyclic_log, trained
from training.shopper.assessment import Assessment, assess
from training.shopper.lists import validation_lists
from training.shopper.report import document, write_report
from training.shopper.train import Trained

DEFAULT = Weights(query=1.0, history=0.8, price=0.1, popularity=0.1, availability=0.5)


def assessed(found: Trained) -> Assessment:
    lists = validation_lists(found.validated, found.log, catalogue(), found.validation)
    return assess(found, catalogue(), lists, DEFAULT)


@pytest.fixture(scope="module")
def version(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the report only."""
    folder = tmp_path_factory.mktemp("version")
    found = trained(tmp_path_factory.mktemp("fit"), cyclic_log(400))
    write_report(folder, document(found, assessed(found), catalogue(), QUICK) | {"note": "<b>"})
    return folder


def test_figures_of_all_methods(version: Path) -> None:
    """The network and the fitted weights are beside their baselines, each with intervals around its figure."""
    report = json.loads((version / "report.json").read_text())
    methods = report["validation"]
    assert list(methods) == [
        "popularity", "neighbours", "network", "weighted sum, default weights", "weighted sum, fitted weights"
    ]  # fmt: skip
    assert methods["network"]["ndcg"] > methods["popularity"]["ndcg"]
    for own in methods.values():
        assert own["ndcg_interval"][0] <= own["ndcg"] <= own["ndcg_interval"][1]
    assert report["weights"]["fitted_on"]["lists"] <= 400
    assert report["data"]["persons"] == 400


def test_the_page_needs_no_other_file(version: Path) -> None:
    """Plots are in the page, nothing is loaded, and texts are escaped."""
    page = (version / "report.html").read_text()
    assert page.count("<svg") == 2
    assert not re.search(r'(src|href)="(?!#)', page.replace('xlink:href="#', 'href="#'))
    assert "&lt;b&gt;" in page


def test_curves(version: Path) -> None:
    """TensorBoard finds the curves."""
    assert list((version / "curves").glob("events.*"))


def test_few_persons(tmp_path: Path) -> None:
    """With ten persons there are figures but no fitted weights."""
    found = trained(tmp_path, cyclic_log(10))
    assessment = assessed(found)
    assert assessment.weights is None
    assert "weighted sum, fitted weights" not in assessment.methods
    write_report(tmp_path, document(found, assessment, catalogue(), QUICK))
