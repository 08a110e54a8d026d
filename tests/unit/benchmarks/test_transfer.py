"""What the transfer benchmark samples, teaches and joins, and the data it makes."""

from __future__ import annotations

import gzip
from pathlib import Path

from benchmarks.transfer import joined, sampled, taught
from benchmarks.transfer_data import bought, described
from training.search.data import NOT_WRONG

JUDGED = {f"q{n}": {f"{n}-{i}": 3.0 for i in range(3)} | {"shared": 2.5} for n in range(5)}


def test_a_sample_holds_whole_queries(tmp_path: Path) -> None:
    """Every product that was judged for a query of the sample is in it, and it is as large as asked for."""
    path = tmp_path / "p.csv"
    ids = sorted({product_id for judged in JUDGED.values() for product_id in judged} | {f"x{n}" for n in range(9)})
    path.write_text("\n".join(["id,title", *(f"{product_id},thing" for product_id in ids)]))
    domain = sampled(path, "", JUDGED, 12, seed=0)
    kept = {product.id for product in domain.products}
    assert len(kept) == len(domain.products) == 12
    assert len(domain.judgements) == 3
    assert all(judged.keys() <= kept for judged in domain.judgements.values())


def test_fewer_right_answers_are_taught() -> None:
    """What is beyond the number of pairs stays unwrong; fewer queries are some of the more."""
    few = taught(JUDGED, 2, 4, seed=1)
    more = taught(JUDGED, 3, 100, seed=1)
    values = [relevance for judged in few.values() for relevance in judged.values()]
    assert (len(few), sum(value > NOT_WRONG for value in values), values.count(NOT_WRONG)) == (2, 4, 4)
    assert few.keys() <= more.keys()
    assert {query: JUDGED[query] for query in more} == more


def test_two_rankings_become_one() -> None:
    """What both put high comes first; nothing is lost."""
    assert joined(["a", "b", "c"], ["b", "d"])[0] == "b"
    assert sorted(joined(["a", "b"], ["d"])) == ["a", "b", "d"]


def test_purchases_become_judgements(tmp_path: Path) -> None:
    """Items of one text are one product; a query's line number leads to its text, whoever asked."""
    items = 'asin\tbrand\tcategories\nA\tAcme "X"\tPhones | Cases\nB\tAcme "X"\tPhones | Cases\nC\t\tPhones\n'
    (tmp_path / "items.tsv.gz").write_bytes(gzip.compress(items.encode()))
    (tmp_path / "query_text.txt.gz").write_bytes(gzip.compress(b"phone\nphone case\n"))
    (tmp_path / "train.qrels.gz").write_bytes(gzip.compress(b"U_1_1 0 B 1 \nU_2_0 0 C 1 \n"))
    (tmp_path / "test.qrels.gz").write_bytes(gzip.compress(b"U_3_1 0 A 1 \n\n"))
    products, judged = bought(tmp_path)
    assert sorted(products) == [("A", 'Acme "X" Phones Cases'), ("C", "Phones")]
    assert judged == [("phone", "C", "3"), ("phone case", "A", "3")]


def test_descriptions_look_for_products(tmp_path: Path) -> None:
    """Words of a description in their order; products without one are in the catalogue, not asked for."""
    description = "compatible with most later portable players and their cables"
    path = tmp_path / "p.csv.gz"
    rows = ["upc,name,manufacturer,short_description", f"1,Cable,Acme,{description}", "2,Film,,"]
    path.write_bytes(gzip.compress("\n".join(rows).encode()))
    products, judged = described(path, 10, seed=0)
    assert products == [("1", "Cable Acme"), ("2", "Film")]
    ((query, upc, _),) = judged
    assert upc == "1"
    places = [description.split().index(word) for word in query.split()]
    assert 4 <= len(places) <= 6
    assert places == sorted(places)
