"""The assignment of a state's entries to parameters, against all assignments tried one by one."""

import re
from itertools import permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from process import at_most

from scalecheck.checkpoint.states.parameter_order import certain, reachable

A, B = (2,), (3, 2)
NAMES = ("h.0.a", "h.1.a", "h.2.a", "h.10.a", "h.0.b", "h.1.b", "a", "b", "z.0", "z.00", "²")


def is_in_line(assigned, line):
    places = [line.index(name) for name in assigned]
    return places == sorted(places)


def index_decides(one, other):
    """-1 or 1 where the first parts that differ are two numbers, 0 where they are not."""
    for a, b in zip(one.split("."), other.split("."), strict=False):
        if a != b:
            numbers = re.fullmatch("[0-9]+", a) and re.fullmatch("[0-9]+", b)
            return (int(a) > int(b)) - (int(a) < int(b)) if numbers else 0
    return 0


def is_by_index(assigned, shapes, parameters):
    """Whether no two entries of one known shape stand against their indices, in a shape whose
    parameters are all told apart by an index."""
    for i, one in enumerate(assigned):
        for j, other in enumerate(assigned[:i]):
            if shapes[i] is None or shapes[j] is None or parameters[one] != parameters[other]:
                continue
            alike = [name for name in parameters if parameters[name] == parameters[one]]
            ordered = all(index_decides(a, b) for a, b in permutations(alike, 2))
            if ordered and index_decides(other, one) > 0:
                return False
    return True


def assignments(group, parameters, in_order):
    """Every one of a group, in the order of its entries, by trying all."""
    shapes = [*group.values()]
    by_size = sorted(parameters, key=lambda name: parameters[name], reverse=True)
    lines = [sorted(parameters), *([[*parameters], by_size] if in_order else [])]
    return [
        assigned
        for assigned in permutations(parameters, len(shapes))
        if all(
            shape in (None, parameters[name]) for shape, name in zip(shapes, assigned, strict=True)
        )
        and (
            any(is_in_line(assigned, line) for line in lines)
            or (not in_order and is_by_index(assigned, shapes, parameters))
        )
    ]


def agreed(group, every):
    """What all assignments say of an entry."""
    return {
        entry: names[0]
        for entry, names in zip(group, zip(*every, strict=True), strict=True)
        if len({*names}) == 1
    }


@st.composite
def models(draw):
    names = draw(st.lists(st.sampled_from(NAMES), min_size=1, max_size=6, unique=True))
    return {name: draw(st.sampled_from([A, B])) for name in names}


@st.composite
def groups_of(draw, parameters, count):
    """Groups of a model: some of its parameters in some order, or shapes out of the blue."""
    names = draw(st.permutations([*parameters]))[: draw(st.integers(1, 5))]
    order = draw(st.sampled_from(["drawn", "module", "name"]))
    if order != "drawn":
        names = [name for name in sorted(parameters) if name in names]
    if order == "module":
        names = [name for name in parameters if name in names]
    shapes = [parameters[name] for name in names]
    shapes += draw(st.lists(st.sampled_from([A, B]), max_size=1))
    groups = [{} for _ in range(count)]
    for entry, shape in enumerate(shapes):
        group = groups[draw(st.integers(0, count - 1))]
        group[entry] = draw(st.sampled_from([shape, shape, shape, None]))
    return groups


@settings(max_examples=400)
@given(data=st.data(), parameters=models(), in_order=st.booleans())
def test_one_group_is_named_exactly_as_all_its_assignments_agree(data, parameters, in_order):
    """By index an entry of unknown shape is left out, though its name may be certain."""
    (group,) = data.draw(groups_of(parameters, 1))
    every = assignments(group, parameters, in_order)
    found = certain([group], parameters, in_order=in_order)
    if not every:
        assert found is None
        return
    truth = agreed(group, every)
    if not in_order:
        assert found.items() <= truth.items()
        truth = {entry: name for entry, name in truth.items() if group[entry] is not None}
    assert {entry: name for entry, name in found.items() if entry in truth} == truth
    assert not in_order or found == truth


@settings(max_examples=400)
@given(data=st.data(), parameters=models(), in_order=st.booleans(), count=st.integers(1, 2))
def test_what_entries_reach_is_what_they_have_in_any_assignment(data, parameters, in_order, count):
    """By index a whole shape is reached where one entry is asked about."""
    groups = data.draw(groups_of(parameters, count))
    asked = data.draw(st.sets(st.sampled_from([entry for group in groups for entry in group])))
    every = [assignments(group, parameters, in_order) for group in groups]
    found = reachable(groups, parameters, asked, in_order=in_order)
    if not all(every):
        assert found is None
        return
    truth = {
        name
        for group, several in zip(groups, every, strict=True)
        for assigned in several
        for entry, name in zip(group, assigned, strict=True)
        if entry in asked
    }
    assert found == truth if in_order else found >= truth


@settings(max_examples=200)
@given(data=st.data(), parameters=models(), in_order=st.booleans())
def test_of_several_groups_nothing_is_named_that_an_assignment_of_all_denies(
    data, parameters, in_order
):
    one, two = data.draw(groups_of(parameters, 2))
    both = [
        (*first, *second)
        for first in assignments(one, parameters, in_order)
        for second in assignments(two, parameters, in_order)
        if not {*first} & {*second}
    ]
    found = certain([one, two], parameters, in_order=in_order)
    if both and found:
        assert found.items() <= agreed({**one, **two}, both).items()
    assert found is not None or not both


def numbered(shapes, first=0):
    return dict(enumerate(shapes, first))


def test_every_entry_of_a_whole_model_in_its_order_is_named():
    parameters = {"z.weight": B, "z.bias": A, "a.weight": B, "a.bias": A}
    found = certain([numbered(parameters.values())], parameters, in_order=True)
    assert found == dict(enumerate(parameters))


def test_a_parameter_too_many_leaves_its_like_unnamed():
    parameters = {"z": A, "y": A, "x": B}
    assert certain([numbered([A, B])], parameters, in_order=True) == {1: "x"}


def test_two_orders_that_fit_name_nothing_on_which_they_differ():
    parameters = {"b": A, "a": A, "c": B}
    assert certain([numbered([A, A, B])], parameters, in_order=True) == {2: "c"}


def test_a_list_of_modules_goes_by_index_where_the_order_of_the_module_is_lost():
    parameters = {f"h.{i}.w": B for i in (0, 1, 2)} | {"norm.a": A, "norm.b": A}
    found = certain([numbered([B, B, B, A, A])], parameters, in_order=False)
    assert found == {0: "h.0.w", 1: "h.1.w", 2: "h.2.w"}


def test_indices_past_nine_name_nothing_where_the_order_by_name_fits_too():
    parameters = {f"h.{i}.w": B for i in range(11)}
    found = certain([numbered([B] * 11)], parameters, in_order=False)
    assert found == {0: "h.0.w", 1: "h.1.w"}


def test_groups_that_must_have_one_parameter_fit_no_model():
    assert certain([{0: A}, {1: A}], {"w": A, "v": B}, in_order=True) is None


@pytest.mark.parametrize(
    ("group", "parameters", "found"),
    [
        ({}, {}, {}),
        ({}, {"w": A}, {}),
        ({0: None}, {"w": A}, {0: "w"}),
        ({0: None}, {}, None),
        ({0: A}, {}, None),
        ({0: ()}, {"w": ()}, {0: "w"}),
    ],
)
def test_the_smallest_models_are_named(group, parameters, found):
    assert certain([group], parameters, in_order=True) == found


@pytest.mark.parametrize("in_order", [True, False])
def test_a_hundred_thousand_groups_take_seconds(in_order):
    """A file can have a group for each parameter; each is not compared with each parameter."""
    parameters = {f"h.{i}.w": (i % 7,) for i in range(100_000)}
    groups = [{i: (i % 7,)} for i in range(100_000)]
    with at_most(20):
        assert certain(groups, parameters, in_order=in_order) == {}
        asked = range(0, 100_000, 7)
        shaped = {name for name, shape in parameters.items() if shape == (0,)}
        assert reachable(groups, parameters, asked, in_order=in_order) == shaped
