"""Damaged and hostile DeepSpeed checkpoints: one line that says what is wrong, in bounded time."""

import os

import numpy as np
import pytest
import torch
from command import scalecheck
from process import at_most
from zero_files import Zero

import scalecheck as api
from scalecheck.checkpoint.open import open_checkpoint
from scalecheck.checkpoint.zero.patterns import matches, parsed

RANK = "bf16_zero_pp_rank_{}_mp_rank_00_optim_states.pt"
MODEL = "mp_rank_00_model_states.pt"
ENDLESS = 1 << 62


def model(do):
    """A change of the tables of model_states files."""

    def change(name, tables):
        if name.endswith("model_states.pt"):
            do(tables)

    return change


def ranks(do, *only):
    """A change of what the optimizer of ranks holds."""

    def change(name, tables):
        if name.endswith("optim_states.pt") and (not only or f"pp_rank_{only[0]}_" in name):
            do(tables["optimizer_state_dict"])

    return change


def shape(*sizes):
    return model(lambda tables: tables["param_shapes"][0].update({"emb.weight": sizes}))


def put(key, value, *only):
    return ranks(lambda held: held.update({key: value}), *only)


def vectors(do, *only):
    return ranks(lambda held: do(held["single_partition_of_fp32_groups"]), *only)


def renamed(tables):
    tables["param_shapes"][1]["emb.weight"] = tables["param_shapes"][1].pop("norm.weight")


def narrowed(tables):
    tables["module"]["emb.weight"] = tables["module"]["emb.weight"][:5]


DAMAGES = {
    "more elements than the vectors": (
        shape(1000, 7),
        "param_shapes has 7070 elements in group 0, the vectors of 2 ranks 147",
    ),
    "fewer elements than the vectors": (
        shape(2, 7),
        "param_shapes has 84 elements in group 0, the vectors of 2 ranks 147",
    ),
    "a negative size": (shape(-11, -7), "has a size that is negative, too large or no integer"),
    "a huge size": (shape(ENDLESS), "has a size that is negative, too large or no integer"),
    "huge sizes": (shape(1 << 40, 1 << 40), "has more than 1152921504606846976 elements"),
    "a size that is no integer": (shape(11.0, 7), "no integer"),
    "no shape": (
        model(lambda t: t["param_shapes"][0].update({"emb.weight": None})),
        "emb.weight: has no shape",
    ),
    "a name twice": (model(renamed), "param_shapes has two parameters named emb.weight"),
    "a long name": (
        model(lambda t: t["param_shapes"][0].update({"n" * 5000: (1,)})),
        "a name of 5000 characters",
    ),
    "no names": (model(lambda t: t.pop("param_shapes")), "has no param_shapes"),
    "one group of names": (
        model(lambda t: t["param_shapes"].pop()),
        "param_shapes has 1 group, the ranks 2 vectors",
    ),
    "no module": (model(lambda t: t.pop("module")), "it has no module"),
    "another shape in the module": (
        model(narrowed),
        "emb.weight: has shape [5, 7] in the module and [11, 7] in param_shapes",
    ),
    "vectors of different length": (
        vectors(lambda own: own.__setitem__(0, own[0][:-1]), 0),
        "param_shapes has 147 elements in group 0, the vectors of 2 ranks 146",
    ),
    "vectors of different types": (
        vectors(lambda own: own.__setitem__(0, own[0].bfloat16()), 1),
        "the vectors of ranks are F32 and BF16",
    ),
    "different numbers of vectors": (
        vectors(lambda own: own.append(torch.ones(4)), 1),
        "its groups have 2 vectors, it holds 3",
    ),
    "a vector that is a matrix": (
        vectors(lambda own: own.__setitem__(0, own[0][None])),
        "where a flat vector should be",
    ),
    "a vector that is none": (
        vectors(lambda own: own.__setitem__(0, "w")),
        "single_partition_of_fp32_groups[0] is no tensor",
    ),
    "no vectors": (
        ranks(lambda held: held.pop("single_partition_of_fp32_groups")),
        "has no flat fp32 weights of ZeRO",
    ),
    "vectors that are no list": (put("single_partition_of_fp32_groups", 3), "is no list"),
    "too few ranks": (
        put("partition_count", [1, 1]),
        "has a file of rank 1, and says that it has 1",
    ),
    "too many ranks": (put("partition_count", [ENDLESS >> 3] * 2), "says that it has"),
    "ranks of two worlds": (
        put("partition_count", [3, 3], 1),
        "rank 1 is one of 3 ranks, rank 0 one of 2",
    ),
    "experts among no rank": (put("partition_count", [2, 0]), "among 0 ranks of 2"),
    "negative padding": (put("group_paddings", [-1, 0]), "that is no count"),
    "negative gaps": (put("param_alignment_paddings", [[-5, 0, 0], [0, 0, 0]]), "is no count"),
    "large gaps": (
        put("param_alignment_paddings", [[1 << 50, 0, 0], [0, 0, 0]]),
        "param_shapes has 1125899906842771 elements in group 0",
    ),
    "a list for an optimizer": (
        put("base_optimizer_state", [{}] * 9),
        "its groups have 9 vectors, it holds 2",
    ),
    "groups of other vectors": (
        ranks(lambda h: h["base_optimizer_state"]["param_groups"][0].update(params=[0] * 5)),
        "its groups have 6 vectors, it holds 2",
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_does_not_fit_is_one_line(damage, tmp_path):
    change, words = DAMAGES[damage]
    done = scalecheck("inspect", Zero(2, change=change).save(tmp_path / "run"))
    assert done.code == 3
    assert done.out == ""
    assert words in done.err
    assert len(done.err.splitlines()) == 1


STAGE_3 = {
    "more elements than the vectors": (
        shape(1000, 7),
        "param_shapes has 3544 elements a rank of 2, the vectors 83",
    ),
    "vectors of different length": (
        ranks(lambda h: h["fp32_flat_groups"].__setitem__(0, torch.ones(7)), 1),
        "rank 1 has vectors of [7, ",
    ),
    "a frozen part of another length": (
        model(lambda t: t["frozen_param_fragments"].update({"first.weight": torch.ones(3)})),
        "rank 0 has 3 elements of first.weight, of [3, 5] it should have 8",
    ),
    "no frozen part": (
        model(lambda t: t["frozen_param_fragments"].clear()),
        "first.weight: is in no rank's frozen_param_fragments",
    ),
}


@pytest.mark.parametrize("damage", STAGE_3)
def test_what_does_not_fit_stage_3_is_one_line(damage, tmp_path):
    change, words = STAGE_3[damage]
    zero = Zero(3, frozen={"first.weight": (3, 5)}, change=change)
    done = scalecheck("inspect", zero.save(tmp_path / "run"))
    assert (done.code, done.out) == (3, "")
    assert words in done.err


def step(run):
    return run / "global_step12"


def no_model(run):
    (step(run) / MODEL).unlink()


def no_ranks(run):
    for rank in range(2):
        (step(run) / RANK.format(rank)).unlink()
    (step(run) / MODEL).rename(step(run) / "zero_pp_rank_0_mp_rank_00_model_states.pt")


def twice(run):
    content = (step(run) / RANK.format(0)).read_bytes()
    (step(run) / RANK.format(0).removeprefix("bf16_")).write_bytes(content)


def cut_short(run):
    os.truncate(step(run) / RANK.format(1), 3000)


def other_part(run):
    (step(run) / RANK.format(1)).rename(
        step(run) / RANK.format(1).replace("mp_rank_00", "mp_rank_01")
    )


FOLDERS = {
    "no_model": (no_model, "has no *_model_states.pt, which holds the names and shapes"),
    "no_ranks": (no_ranks, "has no *_optim_states.pt, which hold the fp32 weights"),
    "twice": (twice, "holds two files of rank 0"),
    "cut_short": (cut_short, RANK.format(1)),
    "other_part": (other_part, "has no *mp_rank_01_model_states.pt"),
}


@pytest.mark.parametrize("damage", FOLDERS)
def test_a_folder_that_lacks_a_file_is_one_line(damage, tmp_path):
    run = Zero(2).save(tmp_path / "run")
    do, words = FOLDERS[damage]
    do(run)
    done = scalecheck("inspect", run)
    assert (done.code, done.out) == (3, "")
    assert words in done.err


LATEST = {
    "global_step99": "names global_step99, which is not there",
    "": "names nothing, which is no folder beside it",
    "..": "names .., which is no folder beside it",
    "../other": "names ../other, which is no folder beside it",
    "/etc": "names /etc, which is no folder beside it",
    "latest": "names latest, which is no folder beside it",
    "link": "names link, which is no folder beside it",
    "loop": "names loop, which is not there",
    "x" * 5000: "which is no folder beside it",
    "a\0b": "which is no folder beside it",
    "\x1b[31mred": r"names \x1b[31mred, which is not there",
}


@pytest.mark.parametrize("tag", LATEST)
def test_latest_that_names_no_folder_inside_is_refused(tag, tmp_path):
    run = Zero(2).save(tmp_path / "run")
    Zero(2).save(tmp_path / "other")
    (run / "link").symlink_to(tmp_path / "other" / "global_step12")
    (run / "loop").symlink_to("loop")
    (run / "latest").write_bytes(tag.encode())
    done = scalecheck("inspect", run)
    assert (done.code, done.out) == (3, "")
    assert f"{run}/latest: " in done.err
    assert LATEST[tag] in done.err


def test_a_rank_that_says_it_is_one_of_many_costs_no_more(tmp_path):
    zero = Zero(2, groups=({"w": (4, 4)},), change=put("partition_count", [1 << 19]))
    run = zero.save(tmp_path / "run")
    with at_most(5):
        done = scalecheck("inspect", run)
    assert "524,286 ranks of 524288 missing: 2, 3, 4" in done.out


def test_vectors_that_are_one_stretch_of_a_file_are_read_only_so_often(tmp_path):
    def do(own):
        whole = torch.ones(1 << 12)
        own[:] = [whole for _ in range(200)]

    def more(tables):
        tables["param_shapes"] = [{f"w{n}": (2 << 12,)} for n in range(200)]

    def change(name, tables):
        vectors(do)(name, tables)
        model(more)(name, tables)
        ranks(lambda h: h["base_optimizer_state"].update(state={}, param_groups=[]))(name, tables)
        put("partition_count", [2] * 200)(name, tables)

    done = scalecheck("inspect", Zero(2, change=change).save(tmp_path / "run"))
    assert done.code == 3
    assert "tensors that step over" in done.err


def test_an_expanded_vector_is_not_read(tmp_path):
    change = vectors(lambda own: own.__setitem__(0, torch.ones(1).expand(len(own[0]))), 0)
    masters = open_checkpoint(Zero(2, change=change).save(tmp_path / "run")).masters
    assert "an expanded view" in str(masters["emb.weight"].unmeasured)


def test_names_that_move_the_terminal_are_printed_plain(tmp_path):
    def change(name, tables):
        if name == MODEL:
            tables["param_shapes"][0] = {"\x1b[2Jemb": (11, 7)} | tables["param_shapes"][0]

    done = scalecheck("inspect", Zero(2, change=change).save(tmp_path / "run"))
    assert "\x1b" not in done.out + done.err


UNIVERSAL = {
    "another shape": ("norm.weight/exp_avg.pt", torch.ones(3), "has shape [3], its parameter [7]"),
    "no tensor": ("norm.weight/fp32.pt", {"cat_dim": 0}, "holds no tensor and no number"),
    "a list": ("norm.weight/step.pt", [1, 2], "holds no tensor and no number"),
}


@pytest.mark.parametrize("damage", UNIVERSAL)
def test_a_universal_checkpoint_that_does_not_fit_is_one_line(damage, tmp_path):
    path = Zero(1).save_universal(tmp_path / "universal")
    file, content, words = UNIVERSAL[damage]
    torch.save(content, path / "zero" / file)
    done = scalecheck("inspect", path)
    assert (done.code, done.out) == (3, "")
    assert done.err.startswith(f"scalecheck: {path / 'zero' / file}: ")
    assert words in done.err


def test_patterns_of_a_file_match_as_in_python_and_in_bounded_time():
    import re

    patterns = [r"\d+.norm.weight", r".*attn\.o\.weight$", r"^a+b*c?d$", "x[0-9]+y", "a.b"]
    names = ["12.norm.weight.x", "m.attn.o.weight", "aabbd", "acd", "ad", "x12y", "xy", "axb", "1"]
    for pattern in patterns:
        for name in names:
            assert matches(parsed(pattern), name) == bool(re.match(pattern, name)), (pattern, name)
    assert parsed("(a+)+$") is None
    with at_most(1):
        assert not matches(parsed("a*" * 250 + "b"), "a" * 1000)


def test_numbers_inside_a_setting_are_named_and_hinder_nothing(tmp_path):
    kept = torch.ones(3)

    def change(name, tables):
        if "optim_states" in name:
            held = tables["optimizer_state_dict"]["base_optimizer_state"]
            for group in held["param_groups"]:
                group["extra"] = {"array": np.arange(600.0), "keyed": {kept: 1}}

    report = api.check(Zero(2, 2, change=change).save(tmp_path))
    reasons = {one["name"]: one["reason"] for one in report.skipped}
    why = "a numpy array in the pickle: save it as a tensor"
    assert reasons["optimizer.param_groups.0.extra.array"] == why
