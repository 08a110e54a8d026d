"""The `kairos` command, with output for scripts and for persons."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from google.protobuf.json_format import ParseDict
from typer.testing import CliRunner, Result

from cli.main import app
from cli.render import money_text, shortened
from kairos.common.v1 import common_pb2, event_pb2, product_pb2
from kairos.gateway.v1 import gateway_pb2
from tests.unit.conftest import FakeGateway


def kairos(gateway: FakeGateway, *arguments: str) -> Result:
    return CliRunner().invoke(app, ["--target", gateway.target, *arguments], env={"COLUMNS": "200"})


def test_json_is_one_document(gateway: FakeGateway) -> None:
    """With --json, standard output is one JSON document with the field names of the proto, and nothing else."""
    result = kairos(gateway, "search", "shoes", "--json")
    assert result.exit_code == 0
    answer = ParseDict(json.loads(result.stdout), gateway_pb2.SearchResponse())
    assert answer.request_id == "shoes"
    assert answer.results[0].product.title == "跑步鞋 [/b]"
    assert "next_page_token" in json.loads(result.stdout)
    assert "跑步鞋" in result.stdout


def test_a_table_for_a_person(gateway: FakeGateway) -> None:
    """Without --json, the output has the title unchanged, both prices, degradations and the token of the next page."""
    result = kairos(gateway, "search", "shoes", "--explain")
    assert result.exit_code == 0
    for part in (
        "跑步鞋 [/b]", "USD 90.00", "USD 100.00", "degraded: ranker (late), fallback: retrieval order", "5.0 ms of 20",
        f"--page-token {'t' * 150}\n",
    ):  # fmt: skip
        assert part in result.stdout


def test_suggestions(gateway: FakeGateway) -> None:
    """Each suggestion is a line with its kind and whether the spelling was corrected; markup is printed as text."""
    result = kairos(gateway, "suggest", "so")
    assert result.exit_code == 0
    assert result.stdout.strip() == "so[/x]  brand · spelling corrected"


def test_ids_are_no_markup(gateway: FakeGateway) -> None:
    """An id that looks like markup is printed unchanged."""
    result = kairos(gateway, "price", "[red]", "[/x]")
    assert result.exit_code == 0
    assert "unknown: [red], [/x]" in result.stdout


def test_declared_attributes(gateway: FakeGateway) -> None:
    """Texts, sets, numbers and removals are sent as such; a value that is none of them names the remedy."""
    result = kairos(gateway, "user", "set", "v", "size=M", "size=L", "spend:=3.5", "region=", "--visitor", "--json")
    sent = json.loads(result.stdout)
    assert sent["attributes"] == [
        {"name": "size", "texts": ["M", "L"]}, {"name": "spend", "number": 3.5}, {"name": "region"},
    ]  # fmt: skip
    assert sent["request_id"] == "v"
    assert "size: M, L" in kairos(gateway, "user", "set", "u", "size=M", "size=L").stdout
    for wrong in ("size", "spend:=much"):
        result = kairos(gateway, "user", "set", "u", wrong)
        assert result.exit_code == 2
        assert "Write" in result.stderr


def test_fairness_attributes_are_exported(gateway: FakeGateway) -> None:
    """Every page, one JSON document a line, or one array."""
    lines = [json.loads(line) for line in kairos(gateway, "user", "fairness").stdout.splitlines()]
    assert [(each["user_id"], each["attribute"]["number"]) for each in lines] == [("u0", 1970), ("u1", 1971)]
    assert json.loads(kairos(gateway, "user", "fairness", "--json").stdout) == lines


def test_a_user_for_a_person(gateway: FakeGateway) -> None:
    """A profile has interests, usual prices, purchases and interactions, with ids unchanged; an unknown user is
    reported.
    """
    result = kairos(gateway, "user", "show", "u")
    assert result.exit_code == 0
    for part in (
        "75%",
        "[/x], 2",
        "59.50 in Shoes",
        "bought 2 on 1 days, recently purchased, not recommended",
        "purchase",
    ):
        assert part in result.stdout
    assert kairos(gateway, "user", "show", "v", "--visitor").stdout == result.stdout
    assert "nothing is stored" in kairos(gateway, "user", "show", "stranger").stdout


def test_an_export_is_json_lines(gateway: FakeGateway, tmp_path: Path) -> None:
    """An export has all pages, one record a line with its kind, on standard output and in a file."""
    result = kairos(gateway, "user", "export", "u")
    records = [json.loads(line) for line in result.stdout.splitlines()]
    assert [record["record"] for record in records] == ["profile", "event", "event", "impressions", "ranking"]
    assert records[1]["query"] == "鞋"
    assert kairos(gateway, "user", "export", "u", "--out", str(tmp_path / "u.jsonl")).exit_code == 0
    assert (tmp_path / "u.jsonl").read_text() == result.stdout


def test_a_deletion_needs_confirmation(gateway: FakeGateway) -> None:
    """Without --yes nothing is deleted before the person confirms."""
    assert kairos(gateway, "user", "delete", "u").exit_code == 1
    assert gateway.deleted == []
    result = kairos(gateway, "user", "delete", "u", "--yes")
    assert "deleted 3 events, 2 shown pages, 1 rankings" in result.stdout
    kairos(gateway, "user", "delete", "v", "--visitor", "--yes")
    assert gateway.deleted == ["u", "visitor v"]


def test_a_visitor(gateway: FakeGateway) -> None:
    """A visitor searches, acts, and is merged into a user."""
    kairos(gateway, "search", "shoes", "--visitor", "v")
    assert (gateway.searches[-1].visitor_id, gateway.searches[-1].user_id) == ("v", "")
    assert kairos(gateway, "events", "record", "--visitor", "v", "--item", "1").exit_code == 0
    assert [(event.visitor_id, event.user_id) for event in gateway.events.values()] == [("v", "")]
    result = kairos(gateway, "user", "merge", "v", "u")
    assert "moved 4 events, 1 shown pages" in result.stdout
    assert gateway.merged == [("v", "u")]


def test_a_refusal_keeps_its_field_path(gateway: FakeGateway, tmp_path: Path) -> None:
    """A refusal of the gateway is printed with the whole path of the field, and the exit code is 1."""
    path = tmp_path / "p.csv"
    path.write_text("id,title\n1,fall over\n")
    result = kairos(gateway, "catalog", "import", str(path))
    assert result.exit_code == 1
    assert "products[3].attributes[colour].values: [/] is too much" in result.stderr
    assert "0 rows were acknowledged" in result.stderr


def test_the_summary_of_an_import(gateway: FakeGateway, tmp_path: Path) -> None:
    """--json prints the summary as numbers and the name of the rejects file; with --strict a rejected row is exit code
    1.
    """
    path, rejects = tmp_path / "p.csv", tmp_path / "bad.jsonl"
    path.write_text("id,title,price\n1,Shoe,5\n2,,5\n")
    arguments = ("catalog", "import", str(path), "--rejects", str(rejects), "--json")
    result = kairos(gateway, *arguments)
    summary = json.loads(result.stdout)
    assert (result.exit_code, summary["read"], summary["imported"], summary["rejected"]) == (0, 2, 1, 1)
    assert str(rejects) in result.stderr
    assert json.loads(rejects.read_text())["line"] == 3
    assert kairos(gateway, *arguments, "--strict").exit_code == 1


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("p.csv", b"sku,title\n1,x\n", "no column for 'id'"),
        ("p.csv.gz", b"no gzip", "is damaged or not a gzip file"),
        ("p[b].jsonl.gz", b"no gzip", "p[b].jsonl.gz is damaged or not a gzip file"),
        ("p.parquet", b"no parquet", "is not a Parquet file"),
        ("p.doc", b"", "unknown kind of file"),
    ],
)
def test_a_file_that_cannot_be_read(gateway: FakeGateway, tmp_path: Path, name: str, content: bytes, said: str) -> None:
    """A file that cannot be read at all gives one sentence and exit code 2, and nothing is sent."""
    path = tmp_path / name
    path.write_bytes(content)
    result = kairos(gateway, "catalog", "import", str(path), "--rejects", str(tmp_path / "r"))
    assert result.exit_code == 2
    assert said in result.stderr
    assert "Traceback" not in result.output
    assert not gateway.products


def test_no_gateway() -> None:
    """Without a gateway the command prints one line and ends with exit code 1."""
    result = CliRunner().invoke(app, ["--target", "127.0.0.1:1", "search", "shoes"])
    assert result.exit_code == 1
    assert result.stderr.startswith("UNAVAILABLE")


def test_one_event(gateway: FakeGateway) -> None:
    """One event is recorded with the options that the other commands have; a wrong one names its option."""
    result = kairos(gateway, "events", "record", "--user", "u", "--item", "1", "--type", "EVENT_TYPE_CART", "--json")
    assert json.loads(result.stdout)["recorded_count"] == 1
    (event,) = gateway.events.values()
    assert (event.user_id, event.item_id, event.type) == ("u", "1", event_pb2.EVENT_TYPE_CART)
    assert kairos(gateway, "events", "record", "--user", "u", "--type", "search", "--query", "red").exit_code == 0
    bought = ("--user", "u", "--item", "1", "--type", "purchase", "--price")
    assert kairos(gateway, "events", "record", *bought, "59.00 USD").exit_code == 0
    assert [event.price.units for event in gateway.events.values()] == [0, 0, 59]
    for arguments, said in (
        (("--item", "1"), "--user"), (("--user", "u"), "--item"), (("--type", "wink"), "--type"),
        ((*bought, "a lot"), "--price"),
    ):  # fmt: skip
        result = kairos(gateway, "events", "record", *arguments)
        assert (result.exit_code, result.stderr.split(":")[0]) == (2, said)


def test_ids_and_cut_titles(gateway: FakeGateway) -> None:
    """The whole id of each result is printed, also on a narrow terminal; a title that is cut ends with an ellipsis."""
    gateway.shown = product_pb2.Product(id="sku-" + "9" * 30, title="Long title " * 20)
    result = CliRunner().invoke(app, ["--target", gateway.target, "search", "x"], env={"COLUMNS": "80"})
    assert gateway.shown.id in result.stdout
    assert "…" in result.stdout
    assert shortened("abc", 3) == "abc"
    assert shortened("ab cd", 4) == "ab…"


def test_amounts_have_the_decimals_of_their_currency() -> None:
    """Amounts are printed in the minor unit of their currency; an absent one is a dash."""
    texts = [money_text(common_pb2.Money(currency_code=code, units=1999)) for code in ("JPY", "USD", "KWD")]
    assert texts == ["JPY 1,999", "USD 1,999.00", "KWD 1,999.000"]
    assert money_text(common_pb2.Money()) == "–"


def test_the_mapping_is_shown(gateway: FakeGateway, tmp_path: Path) -> None:
    """An import prints which column becomes which field, and which are not used; --map names only what differs."""
    path = tmp_path / "p.csv"
    path.write_text("sku;Title;Price;stock level;colour\n1;Shoe;19,99;5;red\n2;Boot;1.299;;blue\n")
    result = kairos(gateway, "catalog", "import", str(path), "--map", "id=sku,attributes.colour=COLOUR", "--json")
    assert (result.exit_code, json.loads(result.stdout)["imported"]) == (0, 2)
    for part in ("id ← sku", "title ← Title", "price ← Price", "attributes.colour ← colour", "not used: stock level"):
        assert part in result.stderr
    assert "decimal comma" in result.stderr
    assert (gateway.products["2"].price.units, gateway.products["1"].price.nanos) == (1299, 990_000_000)


def test_options_that_read_a_file(gateway: FakeGateway, tmp_path: Path) -> None:
    """The mark before decimals, the currency and the separators can be named."""
    path = tmp_path / "p.csv"
    path.write_text("id,title,price,category,attributes.colour\n1,Shoe,1.299,a/b,red;blue\n")
    options = ("--decimal-mark", "comma", "--currency", "eur", "--category-separator", "/", "--value-separator", ";")
    assert kairos(gateway, "catalog", "import", str(path), *options).exit_code == 0
    made = gateway.products["1"]
    assert (made.price.currency_code, made.price.units) == ("EUR", 1299)
    assert (list(made.category_path), list(made.attributes["colour"].values)) == (["a", "b"], ["red", "blue"])
    for wrong in (("--decimal-mark", "dot"), ("--currency", "coins")):
        result = kairos(gateway, "catalog", "import", str(path), *wrong)
        assert (result.exit_code, wrong[0] in result.stderr) == (2, True)


def test_an_import_that_accepts_nothing(gateway: FakeGateway, tmp_path: Path) -> None:
    """If every row was rejected, the exit code is 1; if one was accepted, it is 0."""
    path, rejects = tmp_path / "p.csv", str(tmp_path / "r")
    path.write_text("id,title,price\n1,,5\n")
    result = kairos(gateway, "catalog", "import", str(path), "--rejects", rejects)
    assert (result.exit_code, "no row was accepted" in result.stderr) == (1, True)
    path.write_text("id,title,price\n1,,5\n2,Boot,5\n")
    assert kairos(gateway, "catalog", "import", str(path), "--rejects", rejects).exit_code == 0


def test_an_export_as_one_document(gateway: FakeGateway, tmp_path: Path) -> None:
    """With --json an export is one array, which can be imported as the JSON lines can."""
    result = kairos(gateway, "user", "export", "u", "--json")
    assert [record["record"] for record in json.loads(result.stdout)] == [
        "profile", "event", "event", "impressions", "ranking",
    ]  # fmt: skip


def test_search_by_image(gateway: FakeGateway, tmp_path: Path) -> None:
    """--image sends the bytes of the file, --similar-to the id; a missing file is an error of the option."""
    (tmp_path / "shoe.jpg").write_bytes(b"an image")
    assert kairos(gateway, "search", "--image", str(tmp_path / "shoe.jpg")).exit_code == 0
    assert kairos(gateway, "search", "red", "--similar-to", "p1").exit_code == 0
    by_image, similar = gateway.searches
    assert (by_image.image, by_image.query) == (b"an image", "")
    assert (similar.similar_to_id, similar.query, similar.image) == ("p1", "red", b"")
    missing = kairos(gateway, "search", "--image", str(tmp_path / "none.jpg"))
    assert missing.exit_code == 2
    assert "--image" in missing.stderr


def test_import_with_images(gateway: FakeGateway, tmp_path: Path) -> None:
    """--images sends the image of each product and counts missing ones; without it no image is sent."""
    file, images = tmp_path / "p.csv", tmp_path / "images"
    images.mkdir()
    (images / "1.png").write_bytes(b"one")
    file.write_text("id,title,image_uri\n1,a,1.png\n2,b,2.png\n3,c,\n")
    with_images = kairos(gateway, "catalog", "import", str(file), "--images", str(images))
    assert with_images.exit_code == 0
    assert gateway.images == {"1": b"one", "2": b"", "3": b""}
    assert "1 products have an image_uri that is not in" in with_images.stderr
    gateway.images.clear()
    assert kairos(gateway, "catalog", "import", str(file)).exit_code == 0
    assert not gateway.images
