"""A column knows how to read an item, whatever holds it; renderers read items by columns alone."""

from dataclasses import asdict, dataclass

import pytest

from scalecheck.report.cells import cells
from scalecheck.report.report import Column, Report, Table


@dataclass(frozen=True)
class Layer:
    name: str
    rms: float
    shape: list[int]


LAYERS = (Layer("a", 0.5, [4, 3]), Layer("=b", 2.0, [7]), Layer("c", 2.0, []))
RMS = Column("rms", "rms", "number", "its scale")
COLUMNS = (
    Column("name", "name", "text", "its name"),
    RMS,
    Column("shape", "shape", "shape", "its sizes"),
)


def report(rows, columns=COLUMNS):
    return Report("test", [Table("rows", columns, columns, rows)], {"path": "a.pt"}, {})


def test_a_column_reads_an_entry_or_an_attribute_of_its_name():
    for rows in (LAYERS, [*map(asdict, LAYERS)]):
        assert [*map(RMS.reader(rows), rows)] == [0.5, 2.0, 2.0]


@pytest.mark.parametrize(("item", "error"), [({}, KeyError), (object(), AttributeError)])
def test_a_field_that_is_not_there_is_an_error_and_not_empty(item, error):
    with pytest.raises(error):
        RMS.reader([item])(item)


def test_a_column_with_get_reads_by_it_and_one_with_cell_is_shown_by_it():
    column = Column("size", "", "count", "", get=lambda x: len(x.shape), cell=lambda x: x.shape[0])
    assert [*map(column.read, LAYERS[:2])] == [2, 1]
    assert cells(report(LAYERS[:2]).tables[0], [column]) == [["4"], ["7"]]


def test_a_group_has_the_value_that_its_items_share_or_what_merge_makes_of_them():
    assert RMS.merged(LAYERS[1:]) == 2.0
    assert RMS.merged(LAYERS) is None
    assert RMS.merged([]) is None
    largest = Column("rms", "", "number", "", merge=lambda items: max(x.rms for x in items))
    assert largest.merged(LAYERS) == 2.0


@pytest.mark.parametrize("format", ["json", "csv", "table", "markdown"])
def test_rows_that_are_objects_are_rendered_as_mappings_are(format):
    assert report(LAYERS).rendered(format) == report([*map(asdict, LAYERS)]).rendered(format)


@pytest.mark.parametrize("format", ["json", "csv", "table", "markdown"])
def test_every_renderer_shows_what_a_column_gets(format):
    column = Column("doubled", "doubled", "number", "twice its scale", get=lambda x: 2 * x.rms)
    assert "1.0" in report(LAYERS[:1], [column]).rendered(format)
