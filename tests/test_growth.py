"""Cost grows with the size of a file, and not with its square: the processor's time and the memory
that each kind of file takes whose cost could grow faster."""

import pytest
from growth import KINDS, MEMORY, arguments, metadata_nbytes
from process import cost_of

TIMES = {2: 2.6, 4: 6.0}  # the time that a file of so many times the size takes at most


@pytest.mark.parametrize("name", KINDS)
def test_a_larger_file_costs_in_proportion(tmp_path, name):
    kind = KINDS[name]
    first = None
    for times in (1, *TIMES):
        path = kind.write(tmp_path, times * kind.parts)
        done, seconds, peak = cost_of(*arguments(kind, path))
        assert done.code in (0, 1), done.err
        assert peak <= MEMORY + 3 * metadata_nbytes(path)
        first = first or seconds
        assert seconds <= TIMES.get(times, 1) * first
