"""Optimizer states that are damaged, contradict themselves, or want to fill the memory: each gives
one line, and nothing of the file is run."""

import os
import struct
from functools import partial

import pytest
import torch
from hostile import LOUD, TENSOR
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opcodes import Runs, doubled, nested, text, torch_zip
from process import bounded, problem_of
from states import find_state, open_state

from scalecheck.checkpoint.open import open_checkpoint
from scalecheck.checkpoint.pickle.tree import MAX_DEPTH
from scalecheck.checkpoint.states.state_entries import MAX_ENTRIES
from scalecheck.checkpoint.states.state_names import named
from scalecheck.errors import CheckpointError

problem = partial(problem_of, open_state)


def saved(tmp_path, obj, name="optimizer.pt"):
    torch.save(obj, tmp_path / name)
    return tmp_path / name


def adam(**entries):
    average = {"exp_avg": torch.ones(2, 3), "exp_avg_sq": torch.ones(2, 3)}
    return {
        "state": {0: {"step": torch.tensor(3.0), **average, **entries}},
        "param_groups": [{"lr": 0.1, "params": [0]}],
    }


def with_groups(*groups):
    return {"state": {}, "param_groups": [*groups]}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (with_groups({"params": [], LOUD: torch.tensor(1j)}), "param_groups.0.\\x1b[31mred…"),
        ({"a": 1}, "has no optimizer state and holds no tensor: a dict of 1 entry (a)"),
        ({"w": torch.ones(2)}, "has no optimizer state and holds 1 tensors"),
        (
            {"optimizer": {"0": {"exp_avg": torch.ones(2)}}},
            "has no optimizer state and holds 1 tensors, some under an optimizer's name without"
            " param_groups",
        ),
        (
            [adam(), {"b": adam()}],
            "holds 2 optimizer states that may train the same tensors: [0] (1 state), [1].b (1…",
        ),
        (
            [adam() for _ in range(9)],
            "holds 9 optimizer states that may train the same tensors: [0] (1 state), [1] (1…",
        ),
        (
            {LOUD: with_groups()},
            "\\x1b[31mred\\x1b[0m\\x07\\x9b2J\\u202e\\r\\n: param_groups is no…",
        ),
        ({"state": {}, "param_groups": {}}, "param_groups is no list of groups"),
        ({"state": {}, "param_groups": torch.ones(2)}, "param_groups is no list of groups"),
        ({"state": [], "param_groups": [{"params": []}]}, "state is no dict"),
        (with_groups(None), "param_groups.0 is no dict of settings"),
        (with_groups({"params": [0]}, [1]), "param_groups.1 is no dict of settings"),
        (with_groups({"lr": 1}), "param_groups.0 has no list of params"),
        (with_groups({"params": {0: 1}}), "param_groups.0 has no list of params"),
        (
            with_groups({"params": [torch.ones(2)]}),
            "is a whole optimizer and not its state_dict(), of other parameters than the model's;"
            " save optimizer.state_dict()",
        ),
        *(
            (with_groups({"params": [key]}), f"param_groups.0 has a parameter by {words}, neither…")
            for key, words in [
                (True, "True"),
                (1.5, "1.5"),
                (None, "a NoneType"),
                ((0,), "a tuple"),
                (1 << 70, "an integer of 71 bits"),
                ("n" * 2000, "n" * 40 + "…"),
                ("\ud800", "\\ud800"),
            ]
        ),
        (with_groups({"params": [0, 1, 0]}), "param_groups have parameter 0 more than once"),
        (
            with_groups({"params": [0]}, {"params": ["a", 0]}),
            "param_groups have parameter 0 more than once",
        ),
        *(
            (
                with_groups({"params": [0, 1], "param_names": names}),
                "param_groups.0 has param_names that are not a name for each of its 2 params",
            )
            for names in (["a"], "ab", ["a", 1], ["a", 1, "b"], ["a", "b" * 2000], {0: "a", 1: "b"})
        ),
        ({"state": {0: [1]}, "param_groups": [{"params": [0]}]}, "state.0 is no dict"),
        (
            adam(exp_avg=torch.ones(3, 2)),
            "state.0: exp_avg_sq is of a parameter of shape [2, 3], exp_avg of [3, 2]",
        ),
        (
            adam(row_var=torch.ones(5, 1), col_var=torch.ones(1, 3)),
            "state.0: row_var is of a parameter of shape [5, 3], exp_avg of [2, 3]",
        ),
        (adam(step=-1), "state.0.step: is -1, no count of steps up to 1000000000000"),
        (adam(step=2.5), "state.0.step: is 2.5, no count of steps up to 1000000000000"),
        (adam(step=float("nan")), "state.0.step: is nan, no count of steps up to 1000000000000"),
        (adam(step=1 << 62), f"state.0.step: is {1 << 62}, no count of steps up to 1000000000000"),
        (
            adam(step=torch.tensor(float("inf"))),
            "state.0.step: is inf, no count of steps up to 1000000000000",
        ),
        (adam(step=torch.ones(2)), "state.0.step: has 2 elements, a count of steps has 1"),
        (adam(step="3"), "state.0.step: is a str, no count of steps"),
        (adam(step=True), "state.0.step: is a bool, no count of steps"),
        (adam(step=torch.tensor(3j)), "state.0.step: complex numbers have no single scale"),
        (
            {"optimizer": adam(step=-1)},
            "optimizer.state.0.step: is -1, no count of steps up to 1000000000000",
        ),
    ],
)
def test_a_state_that_makes_no_sense_is_refused_with_the_place(tmp_path, content, said):
    refusal = problem(saved(tmp_path, content))
    assert refusal.startswith(said[:-1]) if said.endswith("…") else refusal == said


def test_a_whole_optimizer_that_was_pickled_is_refused_by_that_name(tmp_path):
    layer = torch.nn.Linear(2, 2)
    path = saved(tmp_path, {"optimizer": torch.optim.Adam(layer.parameters())})
    assert problem(path) == (
        "optimizer: is a whole optimizer and not its state_dict(), of other parameters than the"
        " model's; save optimizer.state_dict()"
    )


@pytest.mark.parametrize(
    ("key", "words"),
    [
        (7, "7"),
        (-1, "-1"),
        (1 << 70, "an integer of 71 bits"),
        (None, "a NoneType"),
        ("ema", "ema"),
        (LOUD, "\\x1b[31mred\\x1b[0m\\x07\\x9b2J\\u202e\\r\\n"),
        ("\ud800", "\\ud800"),
    ],
)
@pytest.mark.parametrize("kept", [{}, {"loss": 1.0}, torch.ones(2), None, [1]])
def test_what_a_state_holds_beside_its_parameters_is_left_out(tmp_path, key, words, kept):
    content = adam()
    content["state"][key] = kept
    (one,) = (state := open_state(saved(tmp_path, content))).states
    assert (one.key, one.step, one.shape) == (0, 3.0, (2, 3))
    assert state.notes == (f"left out of the optimizer state, as no parameter's: state.{words}",)


def test_no_call_in_a_state_is_made(tmp_path):
    touched = tmp_path / "touched"
    call = Runs(os.system, f"touch {touched}")
    content = adam(hook=call)
    content["param_groups"][0] |= {"warmup": call, "betas": (0.9, call)}
    state = open_state(saved(tmp_path, content))
    assert state.groups[0].settings == {"lr": 0.1}
    assert state.notes == (
        "left out of the optimizer state: param_groups.0.warmup, param_groups.0.betas, state.hook",
    )
    assert not touched.exists()


def test_names_that_write_to_the_terminal_are_escaped_in_notes(tmp_path):
    content = adam(**{LOUD: [1]})
    content["param_groups"][0][LOUD] = {}
    (note,) = open_state(saved(tmp_path, content)).notes
    assert note.isprintable()


def test_a_saved_name_that_writes_to_the_terminal_is_escaped(tmp_path):
    content = adam()
    content["param_groups"][0]["param_names"] = [LOUD]
    path = saved(tmp_path, {"model": {LOUD: torch.ones(3)}, "optimizer": content})
    with pytest.raises(CheckpointError) as raised:
        named(open_state(path), open_checkpoint(path))
    assert raised.value.problem.isprintable()


# Large things, made small by sharing.


def cheaply(path, nbytes=64 << 20):
    """The line that refuses a path, within bounds of memory and time."""
    with bounded(nbytes):
        return problem(path)


def of_opcodes(tmp_path, opcodes):
    return torch_zip(tmp_path / "optimizer.pt", b"\x80\x02" + opcodes + b".")


LIMIT = f"its groups and states have more than {MAX_ENTRIES} entries"
MANY = 20_000  # of one object: squared, more than any limit


def pairs(start, stop, shared):
    return b"".join(b"J" + struct.pack("<i", n) + shared for n in range(start, stop))


def test_a_group_that_is_there_too_often_is_refused_before_it_is_read(tmp_path):
    group = b"}" + text("params") + b"](" + pairs(0, MANY, b"") + b"esq\x00"
    groups = b"](" + group + b"h\x00" * MANY + b"e"
    content = b"}(" + text("state") + b"}" + text("param_groups") + groups + b"u"
    assert cheaply(of_opcodes(tmp_path, content)) == LIMIT


def test_a_state_that_is_there_too_often_is_refused_before_it_is_read(tmp_path):
    one = b"K\x00}(" + pairs(0, MANY, b"N") + b"uq\x00"
    state = b"}(" + one + pairs(1, MANY, b"h\x00") + b"u"
    groups = b"]}" + text("params") + b"](" + pairs(0, MANY, b"") + b"esa"
    content = b"}(" + text("state") + state + text("param_groups") + groups + b"u"
    assert cheaply(of_opcodes(tmp_path, content)) == LIMIT


EMPTY = b"}(" + text("state") + b"}" + text("param_groups") + b"]}" + text("params") + b"]sau"


def test_a_state_that_is_shared_a_billion_times_is_found_once(tmp_path):
    assert open_state(of_opcodes(tmp_path, doubled(30, EMPTY))).states == ()


def test_a_state_in_a_circle_is_found_once(tmp_path):
    """A list that holds itself and the state."""
    assert open_state(of_opcodes(tmp_path, b"]q\x00(h\x00" + EMPTY + b"e")).states == ()


def test_a_state_is_found_down_to_the_deepest_that_is_read(tmp_path):
    assert open_state(of_opcodes(tmp_path, nested(MAX_DEPTH, EMPTY))).states == ()
    said = problem(of_opcodes(tmp_path, nested(MAX_DEPTH + 1, EMPTY)))
    assert said == "has no optimizer state and holds no tensor: a list of 1 entry"


def test_no_depth_overflows_the_stack(tmp_path):
    said = cheaply(of_opcodes(tmp_path, nested(50_000, EMPTY)))
    assert said == "nests its contents deeper than 10000"


def test_a_state_that_is_its_own_group_is_refused(tmp_path):
    circle = b"}q\x00(" + text("state") + b"h\x00" + text("param_groups") + b"](h\x00eu"
    assert cheaply(of_opcodes(tmp_path, circle)) == "param_groups.0 has no list of params"


def test_a_tensor_larger_than_its_file_is_refused_and_not_allocated(tmp_path):
    huge = TENSOR.replace(b"(I4\nt", b"(I%d\nt" % (1 << 40))
    state = b"}K\x00}" + text("exp_avg") + huge + b"ss"
    groups = b"]}" + text("params") + b"]K\x00asa"
    content = b"\x80\x02}(" + text("state") + state + text("param_groups") + groups + b"u."
    path = torch_zip(tmp_path / "optimizer.pt", content, k=bytes(16))
    said = f"state.0.exp_avg: elements 0..{1 << 40} past the end of its storage (4 elements)"
    assert cheaply(path, 1 << 20) == said


# Damage.


def small():
    layer = torch.nn.Linear(2, 3)
    trained = torch.optim.Adam(layer.named_parameters())
    for parameter in layer.parameters():
        parameter.grad = torch.ones_like(parameter)
    trained.step()
    return {"model": layer.state_dict(), "optimizer": trained.state_dict()}


@pytest.mark.parametrize("zipped", [True, False])
def test_a_file_truncated_at_any_byte_is_refused(tmp_path, zipped):
    path = tmp_path / "optimizer.pt"
    torch.save(small(), path, _use_new_zipfile_serialization=zipped)
    assert len(open_state(path).states) == 2
    for nbytes in reversed(range(path.stat().st_size)):
        os.truncate(path, nbytes)
        assert problem(path)


def read_or_refused(path):
    """Reads all that can be read of a state, unless it is refused in one line."""
    try:
        state = open_state(path)
        for one in state.states:
            assert one.label
            for tensor in one.tensors.values():
                if tensor.unmeasured is None:
                    tensor.words()
        checkpoint = open_checkpoint(path)
        named(find_state(checkpoint), checkpoint)
    except CheckpointError as error:
        said = error.problem
    else:
        return
    assert said.isprintable()


TENSORS = [torch.ones(shape) for shape in [(), (0,), (2,), (2, 1), (1, 2)]]
SCALARS = [None, True, 0, 1, -1, 1 << 70, 0.5, float("nan"), "a", "", "\ud800", b"b", 1j]
LEAVES = st.sampled_from([*SCALARS, *TENSORS, torch.ones(2).to_sparse()])
WORDS = ["state", "param_groups", "params", "param_names", "step", "exp_avg", "row_var", "col_var"]
NAMES = st.sampled_from([*WORDS, 0, 1, None, (0,)])
TREES = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner, inner)
        | st.dictionaries(NAMES, inner, max_size=4)
    ),
    max_leaves=12,
)


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    max_examples=300,
)
@given(state=TREES, groups=TREES, entry=TREES, setting=TREES)
def test_any_content_is_refused_or_read(tmp_path, state, groups, entry, setting):
    """Anything in place of the state, of its groups, of what is kept and of a setting."""
    for content in (
        {"state": state, "param_groups": groups},
        {"state": state, "param_groups": [{"params": [0, 1], "lr": setting}]},
        {"state": {0: {"exp_avg": entry, "step": setting}}, "param_groups": [{"params": [0]}]},
    ):
        read_or_refused(saved(tmp_path, {"model": {"w": torch.ones(2)}, "optimizer": content}))


# Directories.


def test_a_directory_of_two_states_is_refused(tmp_path):
    saved(tmp_path, adam(), "optimizer.pt")
    saved(tmp_path, adam(), "optimizer.bin")
    assert problem(tmp_path) == "holds 2 optimizer states, name one: optimizer.pt, optimizer.bin"


def test_a_directory_in_place_of_a_state_is_refused(tmp_path):
    (tmp_path / "optimizer.pt").mkdir()
    assert problem(tmp_path) == "is a directory, where an optimizer state should be"


def test_a_link_to_nothing_in_place_of_a_state_is_refused(tmp_path):
    (tmp_path / "optimizer.pt").symlink_to("../blobs/4d7a")
    assert problem(tmp_path) == "is a link to ../blobs/4d7a, which does not exist"


def test_a_pipe_in_place_of_a_state_is_refused(tmp_path):
    os.mkfifo(tmp_path / "optimizer.pt")
    assert problem(tmp_path) == "is neither a file nor a directory"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty (0 bytes)"),
        (b"version https://git-lfs.github.com/spec/v1\n", "is a Git LFS pointer, not the file"),
        (b"what?", "is text, not a checkpoint: it starts with 'what?'"),
    ],
)
def test_another_file_in_place_of_a_state_is_refused(tmp_path, content, said):
    (tmp_path / "optimizer.pt").write_bytes(content)
    assert problem(tmp_path).startswith(said)


@pytest.mark.parametrize("name", ["none", "no\0name"])
def test_a_path_to_nothing_is_refused(tmp_path, name):
    assert problem(tmp_path / name)
