"""`scalecheck inspect` as a user meets it."""

import csv
import io
import json
import math
import os
import re
import subprocess
import sys
from pathlib import Path

import golden
import numpy as np
import pytest
from command import scalecheck
from process import on_terminal, shown
from safetensors.numpy import save_file

import scalecheck as api
from scalecheck.report.formatting import (
    bar,
    count,
    nbytes,
    number,
    percent,
    printable,
    shortened,
    spark,
)

SAMPLES = Path(__file__).parent.parent / "sample_ckpts"
TINY = SAMPLES / "tiny-gpt"
BROKEN = SAMPLES / "broken.safetensors"


pytestmark = pytest.mark.usefixtures("in_project_folder")


def rows(*arguments):
    """The rows of the JSON report by name."""
    done = scalecheck("inspect", *arguments, "--format", "json")
    assert done.code == 0, done.err
    return {row["name"]: row for row in json.loads(done.out)["rows"]}


@pytest.mark.parametrize(
    ("sample", "columns"),
    [
        ("broken.safetensors", 20),
        ("broken.safetensors", 160),
        *(("tiny-gpt", n) for n in (20, 80, 160)),
    ],
)
def test_table_is_as_reviewed(sample, columns):
    done = scalecheck("inspect", f"sample_ckpts/{sample}", columns=columns)
    assert (done.code, done.err) == (0, "")
    golden.check(f"inspect-{sample}-{columns}.txt", done.out)


@pytest.mark.parametrize("by", ["layer", "role"])  # by family: in docs/tutorial.md
def test_table_of_groups_is_as_reviewed(by):
    done = scalecheck("inspect", "sample_ckpts/tiny-gpt", "--by", by, columns=80)
    golden.check(f"inspect-by-{by}-80.txt", done.out)


@pytest.mark.parametrize("format", ["csv", "json", "markdown", "table"])
def test_every_format_is_as_reviewed(format):
    done = scalecheck(
        "inspect", "sample_ckpts/broken.safetensors", "--format", format, "--quantiles"
    )
    assert done.code == 0
    golden.check(f"inspect-broken.{format}", done.out)


@pytest.mark.parametrize("columns", [80, 100, 160])
@pytest.mark.parametrize("by", ["tensor", "family"])
def test_no_line_of_the_table_is_wider_than_the_terminal(columns, by):
    done = scalecheck("inspect", TINY, "--by", by, "--quiet", columns=columns)
    assert max(map(len, done.out.splitlines())) <= columns


def test_a_pipe_gets_every_column_and_whole_names(tmp_path):
    name = "a" * 300 + ".weight"
    save_file({name: np.ones((2, 3), np.float32)}, tmp_path / "m.safetensors")
    done = scalecheck("inspect", tmp_path / "m.safetensors")
    assert name in done.out
    assert "not shown" not in done.out


def test_block_characters_stay_out_of_a_stream_that_cannot_show_them():
    done = scalecheck("inspect", TINY, "--by", "family", encoding="latin-1")
    assert done.code == 0
    assert "over depth" not in done.out


def test_json_has_the_fields_of_the_contract():
    done = scalecheck("inspect", TINY, "--format", "json")
    report = json.loads(done.out, parse_constant=pytest.fail)
    assert report["schema"] == "scalecheck.inspect/1"
    assert report["version"] == api.__version__
    assert {"source", "settings", "rows", "findings", "skipped"} <= set(report)
    assert set(report["source"]) == {"path", "format", "tensors", "parameters", "nbytes"}
    fields = "name dtype shape role layer family numel rms std mean absmax min max zeros nan inf"
    assert all(set(fields.split()) <= set(row) for row in report["rows"])
    assert len(report["rows"]) == report["source"]["tensors"] == 52


def test_json_is_the_same_byte_for_byte_whatever_the_threads():
    texts = {
        scalecheck("inspect", TINY, "--format", "json", "--jobs", jobs).out for jobs in (1, 2, 3)
    }
    assert len(texts) == 1


def test_absent_figures_are_null_in_json_and_empty_in_csv():
    assert rows(BROKEN)["prefix_emb.weight"]["rms"] is None
    done = scalecheck("inspect", BROKEN, "--format", "csv")
    (empty,) = [row for row in csv.DictReader(io.StringIO(done.out)) if row["numel"] == "0"]
    assert empty["rms"] == empty["min"] == ""


def test_csv_gives_the_numbers_of_json_back():
    exact = rows(TINY)
    done = scalecheck("inspect", TINY, "--format", "csv")
    for row in csv.DictReader(io.StringIO(done.out)):
        assert float(row["rms"]) == exact[row["name"]]["rms"]
        assert row["shape"].split("x") == [str(n) for n in exact[row["name"]]["shape"]]


def test_markdown_keeps_a_row_whole_whatever_the_name(tmp_path):
    save_file({"a|b`c`\n*d*": np.ones(2, np.float32)}, tmp_path / "m.safetensors")
    done = scalecheck("inspect", tmp_path / "m.safetensors", "--format", "markdown")
    (row,) = [line for line in done.out.splitlines() if "a\\|b" in line]
    assert len(re.findall(r"(?<!\\)\|", row)) == done.out.partition("|--")[0].splitlines()[
        -1
    ].count("|")


def test_file_names_in_reasons_never_reach_markdown_raw(tmp_path):
    shard = "m\x1b[31m\n# x.safetensors"
    save_file({name: np.ones(2, np.float32) for name in "ab"}, tmp_path / shard)
    index = {"weight_map": {"a": shard}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    done = scalecheck("inspect", tmp_path, "--format", "markdown")
    assert "skipped: `b`: in m" in done.out
    assert all(line.isprintable() for line in done.out.splitlines())
    assert not any(line.startswith("# x") for line in done.out.splitlines())


def test_flags_name_every_planted_defect_and_nothing_else():
    flagged = {name: row["flags"] for name, row in rows(BROKEN).items() if row["flags"]}
    assert flagged == {
        "blocks.1.attn.q.weight": ["nan"],
        "blocks.3.mlp.up.weight": ["outlier"],
        "blocks.4.attn.out.weight": ["inf"],
        "blocks.5.mlp.down.weight": ["all_zero"],
        "prefix_emb.weight": ["empty"],
    }


def test_a_trained_model_has_no_flags():
    assert [name for name, row in rows(TINY).items() if row["flags"]] == []


def test_match_and_exclude_select_by_glob():
    done = rows(TINY, "--match", "blocks.[01].*.weight", "--match", "ln_f.*", "--exclude", "*mlp*")
    assert len(done) == 2 * 4 + 2
    assert not any("mlp" in name for name in done)


def test_numbers_sort_from_the_largest_and_words_from_a():
    rms = [row["rms"] for row in rows(BROKEN, "--sort", "rms").values()]
    assert rms[-1] is None
    assert rms[:-1] == sorted(rms[:-1], reverse=True)
    rms = [row["rms"] for row in rows(BROKEN, "--sort", "rms", "--reverse").values()]
    assert rms[-1] is None
    assert rms[:-1] == sorted(rms[:-1])
    names = list(rows(BROKEN, "--sort", "name"))
    assert names[0] == "blocks.0.mlp.up.weight"
    assert names == sorted(names)


def test_names_sort_by_the_value_of_their_numbers(tmp_path):
    names = [f"blocks.{i}.weight" for i in (0, 1, 10, 11, 2, 9)]
    save_file({name: np.ones(2, np.float32) for name in names}, tmp_path / "m.safetensors")
    listed = list(rows(tmp_path / "m.safetensors", "--sort", "name"))
    assert listed == [f"blocks.{i}.weight" for i in (0, 1, 2, 9, 10, 11)]


def test_top_keeps_the_first_rows_and_says_so():
    done = scalecheck("inspect", TINY, "--sort", "rms", "--top", 3)
    assert "3 of 52 rows shown" in done.out
    assert "ln_f.weight" in done.out
    assert "tok_emb.weight" not in done.out


def test_columns_are_the_ones_asked_for_in_every_format():
    (row, *_) = rows(TINY, "--columns", "rms, name").values()
    assert list(row) == ["rms", "name"]
    for format in ("csv", "table", "markdown"):
        done = scalecheck("inspect", TINY, "--columns", "name,rms", "--format", format, "--quiet")
        assert re.findall(r"\w+", done.out)[:2] == ["name", "rms"]
        assert "absmax" not in done.out


def test_every_column_can_be_shown_and_sorted_by_but_lists():
    some = rows(BROKEN, "--quantiles")
    for column in next(iter(some.values())):
        done = scalecheck("inspect", BROKEN, "--quantiles", "--columns", f"name,{column}")
        assert done.code == 0, done.err
        done = scalecheck("inspect", BROKEN, "--quantiles", "--sort", column)
        assert done.code == (2 if column == "quantiles" else 0), done.err


def test_quantiles_rise_and_lie_between_the_extremes():
    for row in rows(TINY, "--quantiles").values():
        values = list(row["quantiles"].values())
        assert values == sorted(values)
        assert row["min"] <= values[0]
        assert values[-1] <= row["max"]


@pytest.mark.parametrize("by", ["layer", "family", "role"])
def test_groups_merge_elements_not_averages(by):
    tensors = rows(TINY)
    for name, group in rows(TINY, "--by", by).items():
        members = [row for row in tensors.values() if row[by] == name]
        numel = sum(row["numel"] for row in members)
        square = math.fsum(row["numel"] * row["rms"] ** 2 for row in members)
        mean = math.fsum(row["numel"] * row["mean"] for row in members) / numel
        assert group["tensors"] == len(members)
        assert group["numel"] == numel
        assert group["rms"] == pytest.approx(math.sqrt(square / numel), rel=1e-12)
        assert group["mean"] == pytest.approx(mean, rel=1e-9, abs=1e-15)
        assert group["std"] ** 2 == pytest.approx(square / numel - mean**2, rel=1e-9)
        assert group["rms_min"] == min(row["rms"] for row in members)
        assert group["absmax"] == max(row["absmax"] for row in members)


def test_blocks_come_in_the_order_of_their_index(tmp_path):
    names = sorted(f"blocks.{i}.weight" for i in range(12))
    save_file({name: np.ones(2, np.float32) for name in names}, tmp_path / "m.safetensors")
    listed = list(rows(tmp_path / "m.safetensors", "--by", "layer"))
    assert listed == [f"blocks.{i}" for i in range(12)]


def test_an_index_and_its_directory_hold_what_one_file_holds():
    one = rows(SAMPLES / "tiny-gpt-bf16")
    assert rows(SAMPLES / "tiny-gpt-bf16" / "model.safetensors.index.json") == one
    assert {name: row["shape"] for name, row in one.items()} == {
        name: row["shape"] for name, row in rows(TINY).items()
    }
    for name, row in rows(TINY).items():
        assert one[name]["rms"] == pytest.approx(row["rms"], rel=2**-8)


def test_output_writes_the_same_text_to_a_file(tmp_path):
    file = tmp_path / "report.json"
    done = scalecheck("inspect", TINY, "--format", "json", "--output", file)
    assert (done.code, done.out, done.err) == (0, "", "")
    assert file.read_text() == scalecheck("inspect", TINY, "--format", "json").out
    assert os.listdir(tmp_path) == ["report.json"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--columns", "name,rsm"], "did you mean rms"),
        (["--columns", ""], "--columns"),
        (["--sort", "zzz"], "no such column"),
        (["--format", "jsno"], "did you mean json"),
        (["--by", "famly"], "did you mean family"),
        (["--exclude", "*"], "leave none of 52 tensors"),
        (["--columns", "quantiles"], "it takes --quantiles"),
        (["--match", "nothing*"], "matches none of 52 tensors"),
        (["--exclude", "nothing*"], "matches none of 52 tensors"),
        (["--top", "0"], "--top 0"),
        (["--jobs", "0"], "--jobs 0"),
        (["--jobs", "1000000"], "must be 1 to 256 threads"),
        (["--jobs", "many"], "--jobs"),
        (["--no-such-option"], "--no-such-option"),
        (["another"], "another"),
    ],
)
def test_wrong_usage_is_one_line_beside_the_help_and_exit_2(arguments, words):
    done = scalecheck("inspect", TINY, *arguments)
    assert (done.code, done.out) == (2, "")
    assert done.problem.startswith("scalecheck: ")
    assert words in done.problem


def test_no_arguments_show_the_help_and_exit_2():
    done = scalecheck()
    assert done.code == 2
    assert "inspect" in done.out
    assert done.err == ""


@pytest.mark.parametrize("command", [["-h"], ["inspect", "--help"], ["--version"]])
def test_help_and_version_exit_0(command):
    done = scalecheck(*command)
    assert (done.code, done.err) == (0, "")
    assert done.out


def test_the_package_runs_as_a_module():
    done = subprocess.run(
        [sys.executable, "-m", "scalecheck", "--version"],
        capture_output=True,
        check=True,
        text=True,
    )
    assert done.stdout == f"scalecheck {api.__version__}\n"


def test_torch_is_never_imported():
    code = (
        "import sys; from scalecheck.cli.main import run\n"
        f"sys.argv = ['scalecheck', 'inspect', {str(TINY)!r}, '--by', 'family']\n"
        "try: run()\n"
        "finally: print(sorted({'torch', 'rich', 'pandas'} & set(sys.modules)), file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert done.stderr == "[]\n"


def test_the_function_takes_a_path_or_an_open_checkpoint():
    with api.open_checkpoint(TINY) as checkpoint:
        assert (
            api.inspect(checkpoint, sort="rms", top=2).rows
            == api.inspect(str(TINY), sort="rms", top=2).rows
        )
    (tensor, *_) = checkpoint.tensors
    assert tensor.array().shape == tensor.shape
    assert math.sqrt((tensor.array() ** 2).mean()) == pytest.approx(
        api.inspect(TINY).rows[0]["rms"], rel=1e-12
    )


def test_a_report_shows_itself():
    report = api.inspect(TINY, by="role")
    assert str(report).startswith("Nothing stands out in 52 tensors")
    assert f"\n{TINY}: safetensors" in str(report)
    assert report._repr_markdown_().count("\n|") == 2 + len(report.rows)


def test_the_public_names_are_there():
    assert {name for name in api.__all__ if getattr(api, name)} == set(api.__all__)
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = api.no_such_name


def test_a_progress_bar_is_drawn_on_a_terminal_only(tmp_path):
    """A sparse file of 20 GB takes longer than a second and no room on the disk."""
    header = b'{"w":{"dtype":"F32","shape":[5000000000],"data_offsets":[0,20000000000]}}'
    path = tmp_path / "m.safetensors"
    with path.open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        file.truncate(8 + len(header) + 20_000_000_000)
    with on_terminal("inspect", path, stdout=subprocess.PIPE) as (_, end):
        assert b"GB" in shown(end, until=b"/s")


def test_figures_have_four_significant_digits():
    assert [number(x) for x in (0.1234567, 1e-7, 123456.0, -2.5, 1234.4, 0.0, None)] == [
        "0.1235", "1.000e-07", "1.235e+05", "-2.500", "1234", "0", "",
    ]  # fmt: skip
    assert [count(n) for n in (0, 9999, 10_000, 22_713_216, 10**13)] == [
        "0", "9999", "10.00K", "22.71M", "10.00T",
    ]  # fmt: skip
    assert [percent(x) for x in (0.0, 1.0, 0.5, 0.999999, 1e-9)] == [
        "0", "100", "50.00", "<100", "1.000e-07",
    ]  # fmt: skip
    assert [nbytes(n) for n in (0, 999, 484_800, 1_073_741_824)] == [
        "0 B", "999 B", "484.8 kB", "1.074 GB",
    ]  # fmt: skip


def test_names_are_shortened_in_the_middle():
    assert shortened("model.layers.0.mlp.up_proj.weight", 16) == "model.l…j.weight"
    assert shortened("short", 16) == "short"


def test_graphics_show_scale_on_a_logarithm():
    assert bar(1.0, 0.1, 10.0) == "█" * 4
    assert bar(0.0, 0.1, 10.0) == bar(None, 0.1, 10.0) == ""
    assert spark([1.0, 1.0, 1.0]) == "▅▅▅"
    assert spark([1e-3, 0.0, 1.0]) == "▁·█"
    assert spark([0.5]) == ""
    assert spark([1.0, None]) == "▅?"


def test_a_graph_of_many_layers_shows_the_one_that_is_out():
    scales = [1.0] * 320
    assert len(set(spark(scales))) == 1
    for stray, mark in ((1000.0, "█"), (0.0, "·"), (None, "?")):
        drawn = spark([*scales[:100], stray, *scales[101:]])
        assert len(drawn) == 32
        assert drawn.index(mark) == 10


def test_text_escapes_what_is_not_printable():
    assert printable("a\nb\x1b\udcff") == "a\\nb\\x1b\\udcff"
    assert printable("größe×2") == "größe×2"


@pytest.mark.parametrize("columns", [30, 60, 80, 100])
@pytest.mark.parametrize("by", ["tensor", "layer", "family", "role"])
def test_flags_are_never_left_out(columns, by):
    done = scalecheck("inspect", BROKEN, "--by", by, columns=columns)
    lines = done.out.splitlines()
    assert "flags" in lines[next(n for n, line in enumerate(lines) if line.startswith("--")) - 1]
    assert done.out.startswith("4 of 14 tensors stand out: ")


def long_names(count):
    stem = "base_model.model.model.layers.{}.self_attn.q_proj.lora_A.default.weight"
    return [stem.format(i) for i in range(count)]


@pytest.mark.parametrize("columns", [40, 60, 80, 120])
def test_names_that_differ_are_never_shortened_to_the_same(tmp_path, columns):
    weights = {name: np.full((2, 3), i + 1.0, np.float32) for i, name in enumerate(long_names(40))}
    for others in ({}, {"head.weight": np.ones((3, 2), np.float32)}):
        save_file(weights | others, tmp_path / "m.safetensors")
        done = scalecheck("inspect", tmp_path / "m.safetensors", "--quiet", columns=columns)
        names = [line.split()[0] for line in done.out.splitlines()[2:]]
        assert len(set(names)) == len(weights | others)


def test_what_all_names_begin_with_is_said_once(tmp_path):
    weights = {name: np.ones((2, 3), np.float32) for name in long_names(3)}
    save_file(weights, tmp_path / "m.safetensors")
    done = scalecheck("inspect", tmp_path / "m.safetensors", columns=70)
    assert "names begin with base_model.model.model.layers.\n" in done.out
    assert "\n…2.self_attn." in done.out


def test_only_names_are_shortened():
    done = scalecheck("inspect", TINY, "--columns", "mean,name,family,layer", "--quiet", columns=40)
    assert "…" not in done.out


def test_a_stream_without_unicode_gets_ascii():
    done = scalecheck("inspect", BROKEN, "--by", "family", encoding="ascii")
    assert done.out.isascii()
    assert "6x blocks.N.mlp.up.weight" in done.out


def test_siblings_have_one_shape(tmp_path):
    """Layers of a Sequential share a family and little else."""
    layers = {f"net.{i}.weight": np.full((8, 8), 0.05, np.float32) for i in range(0, 12, 2)}
    layers |= {f"net.{i}.weight": np.ones(8, np.float32) for i in range(1, 12, 2)}
    save_file(layers, tmp_path / "m.safetensors")
    assert all(row["family_ratio"] == 1 for row in rows(tmp_path / "m.safetensors").values())
    layers["net.4.weight"] *= 30
    save_file(layers, tmp_path / "m.safetensors")
    flagged = [name for name, row in rows(tmp_path / "m.safetensors").items() if row["flags"]]
    assert flagged == ["net.4.weight"]


def test_a_shard_whose_siblings_are_missing_is_no_model(tmp_path):
    for i in (1, 3):
        save_file({f"w{i}": np.ones(2)}, tmp_path / f"model-{i:05}-of-00003.safetensors")
    done = scalecheck("inspect", tmp_path)
    assert done.code == 3
    assert "1 of 3 shards missing: number 2 is the first" in done.err


def test_files_joined_and_files_left_are_named(tmp_path):
    for name in ("unet", "vae"):
        save_file({f"{name}.weight": np.ones(2)}, tmp_path / f"{name}.safetensors")
    (tmp_path / "weights.bin").write_bytes(b"another copy")
    done = scalecheck("inspect", tmp_path)
    assert "joined as one model: unet.safetensors, vae.safetensors" in done.out
    assert "beside the model, not inspected: weights.bin" in done.out


def test_csv_keeps_what_was_skipped_and_spreads_quantiles(tmp_path):
    header = (
        b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},'
        b'"b":{"dtype":"C64","shape":[1],"data_offsets":[4,12]}}'
    )
    path = tmp_path / "m.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(12))
    done = scalecheck("inspect", path, "--format", "csv", "--quantiles")
    first, second = csv.DictReader(io.StringIO(done.out))
    assert first["quantiles_0.5"] == "0.0"
    assert (second["name"], second["rms"]) == ("b", "")
    assert second["flags"].startswith("skipped: ")


def test_the_function_takes_one_word_for_several_and_refuses_what_it_does_not_know():
    assert len(api.inspect(TINY, match="ln_f.*", columns="rms").rows) == 2
    with pytest.raises(api.UsageError, match="by='families': not known"):
        api.inspect(TINY, by="families")


def test_what_stands_out_comes_first_and_alone_where_asked():
    """Tables for people only: programs get the rows in the checkpoint's order."""
    plain = scalecheck("inspect", BROKEN, "--quiet").out.splitlines()[2:]
    faulty = {"blocks.3.mlp.up.weight", "blocks.5.mlp.down.weight"}
    faulty |= {"blocks.1.attn.q.weight", "blocks.4.attn.out.weight"}
    assert {line.split()[0] for line in plain[:4]} == faulty
    alone = scalecheck("inspect", BROKEN, "--quiet", "--flagged").out.splitlines()[2:]
    assert {line.split()[0] for line in alone} == faulty | {"prefix_emb.weight"}
    rows = json.loads(scalecheck("inspect", BROKEN, "--format", "json").out)["rows"]
    assert rows[0]["name"] == "position_ids"
    by_name = scalecheck("inspect", BROKEN, "--quiet", "--sort", "name").out.splitlines()[2:]
    assert by_name[0].startswith("blocks.0.mlp.up.weight")


def test_a_bias_at_zero_is_no_fault():
    done = scalecheck("inspect", SAMPLES / "tiny-gpt-init", columns=80).out
    assert done.startswith("Nothing stands out in 52 tensors: no NaN or inf, no outlier")
    assert "all zero\n" not in done


@pytest.mark.parametrize("by", ["layer", "family", "role"])
def test_groups_do_not_change_the_conclusion(by):
    alone, grouped = (
        json.loads(scalecheck("inspect", BROKEN, "--format", "json", *more).out)["summary"]
        for more in ([], ["--by", by])
    )
    assert grouped == alone
    first = scalecheck("inspect", BROKEN).out.splitlines()[0]
    assert scalecheck("inspect", BROKEN, "--by", by).out.splitlines()[0] == first
