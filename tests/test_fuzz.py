"""Two thousand damaged files, the same in every run: each is read, or refused by a documented error
within bounds of time and memory; and five hundred of which the libraries that would load them read
the same. `tests/fuzz.py` and `tests/oracle.py` read as many as one likes."""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from mutations import mutated
from oracle import IN_TESTS, KINDS, Library, compared, damaged, difference, inputs, ours
from outcomes import SHARES, STEPS, outcome
from valid_files import VALID

import scalecheck
from scalecheck.errors import CheckpointError

SEED = 1
BY_COMMAND = 25  # every so many are read from the command line too
TRACED = 4  # of so many the bytes of one are counted


@pytest.mark.parametrize("kind", STEPS)
def test_a_damaged_file_is_read_or_refused_as_documented(kind, tmp_path):
    words = set()
    for number in range(SHARES[kind]):
        case = mutated(kind, SEED, number)
        by_command, traced = number % BY_COMMAND == 0, number % TRACED == 0
        one = outcome(case, tmp_path, by_command=by_command, traced=traced)
        assert one.is_documented, f"--kind {kind} --seed {SEED} --first {number}: {one}"
        words.add(one.word)
    assert len(words) > 1  # some are read, and some are not


@pytest.mark.parametrize("kind", STEPS)
def test_the_files_that_are_damaged_are_valid(kind, tmp_path):
    for valid in VALID[kind]():
        one = outcome(valid.case(kind), tmp_path, by_command=True, traced=True)
        assert (one.word, one.said) == ("result", "")


def test_two_thousand_files_of_every_kind_are_damaged():
    assert SHARES.keys() == VALID.keys()
    assert sum(SHARES.values()) == 2000


@pytest.mark.parametrize("kind", VALID)
def test_damage_is_the_same_for_the_same_seed_and_number(kind):
    cases = [mutated(kind, SEED, number) for number in range(20)]
    assert cases == [mutated(kind, SEED, number) for number in range(20)]
    assert len({bytes(str(case.files), "ascii") for case in cases}) == len(cases)
    assert cases != [mutated(kind, SEED + 1, number) for number in range(20)]


def test_the_script_reads_every_kind_and_counts_no_defect():
    script = Path(__file__).with_name("fuzz.py")
    command = [sys.executable, script, "--count", "200", "--seed", "9"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    rows = dict(line.split()[:2] for line in done.stdout.splitlines() if line)
    assert all(int(rows[kind]) > 1 for kind in STEPS)
    assert rows["all"] == "200"
    assert done.stdout.splitlines()[-1].startswith("0 defects; seed 9")


def test_what_is_read_of_five_hundred_damaged_files_is_what_the_libraries_read(tmp_path):
    words = Counter()
    with Library() as library:
        for kind, number in inputs([*KINDS], 0, IN_TESTS):
            word, said = compared(damaged(kind, SEED, number), tmp_path, library)
            assert word != "differs", f"--kind {kind} --seed {SEED} --first {number}: {said}"
            words[word] += 1
    assert words["same"] > 50
    assert words["theirs refuses"] > 20


def test_the_libraries_are_asked_again_after_a_file_that_ends_them(tmp_path):
    [valid] = VALID["safetensors"]()
    path = valid.case("safetensors").write(tmp_path)
    with Library() as library:
        library.process.kill()
        assert library.load(path) is None
        names = {one.name for one in library.load(path)}
    assert names == {one.name for one in ours(path)}


def test_a_tensor_that_a_library_reads_otherwise_is_told(tmp_path):
    """The elements of one tensor changed after we had read them."""
    [valid] = VALID["safetensors"]()
    path = valid.case("safetensors").write(tmp_path)
    here = ours(path)
    path.write_bytes(path.read_bytes()[:-1] + b"\x7f")
    assert difference(here, here) == ""
    with Library() as library:
        assert "scalar" in difference(here, library.load(path))


SCALARS = st.none() | st.booleans() | st.integers(-2, 2**65) | st.floats() | st.text(max_size=4)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=6,
)
COUNTS = st.lists(st.integers(0, 8), max_size=3)
DTYPES = st.sampled_from(["F32", "BF16", "F8_E5M2", "F4", "BOOL", "U64", "F6_E2M3", "C64", "F99"])
ENTRIES = st.fixed_dictionaries(
    {"dtype": DTYPES, "shape": COUNTS, "data_offsets": st.lists(st.integers(0, 8), min_size=2)}
)
LIKELY = st.fixed_dictionaries(
    {}, optional=dict.fromkeys(("a", "b", ""), ENTRIES) | {"__metadata__": VALUES}
)
HEADERS = LIKELY | st.dictionaries(st.text(max_size=3), ENTRIES | VALUES, max_size=3) | VALUES


@settings(
    max_examples=400,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(header=HEADERS, data=st.binary(max_size=8))
@example({"a": {"dtype": "U8", "shape": [3], "data_offsets": [0, 3]}}, b"abc")
def test_any_header_is_refused_or_says_where_every_byte_belongs(tmp_path, header, data):
    path = tmp_path / "model.safetensors"
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)
    try:
        checkpoint = scalecheck.open_checkpoint(path)
    except CheckpointError as error:
        said = error.problem
    else:
        said = ""
        ends = [0]
        for tensor in checkpoint.tensors:
            assert tensor.offset == 8 + len(text) + ends[-1]
            ends.append(ends[-1] + tensor.nbytes)
            if tensor.unmeasured is None:
                words = tensor.words()
                assert words.shape == tensor.shape if tensor.numel else not words.size
        assert ends[-1] == len(data)
        scalecheck.inspect(checkpoint, jobs=1).rendered("json")
    assert len(said.splitlines()) <= 1 or any(name in said for name in header)
