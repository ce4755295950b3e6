"""The order of a Hugging Face class's parameters, against what transformers 4 and 5 list.
data/module_orders.json is their record, made by record_module_orders.py."""

import json
from itertools import chain
from pathlib import Path

import pytest
import safetensors.torch
import torch

import scalecheck
from scalecheck.checkpoint.states.module_families import FAMILIES
from scalecheck.checkpoint.states.module_order import (
    MAX_LAYERS,
    certain_by_class,
    module_orders,
    trainer_groups,
)

RECORDS = [
    {
        "configs": record["configs"],
        "names": names,
        "shapes": {
            name: tuple(map(int, shape.split("x")))
            for name, shape in zip(names, record["shapes"].split(), strict=True)
        },
        "groups": [
            [[name for name, mark in zip(names, decay, strict=True) if mark == one] for one in "10"]
            for decay in record["decay"]
        ],
    }
    for record in json.loads((Path(__file__).parent / "data/module_orders.json").read_bytes())
    for names in [record["names"].split()]
]
CLASSES = sorted({name for family in FAMILIES for name in family.classes})

TWO_ORDERS = ("vit", "roberta")  # transformers 4 has one, 5 the other


def of_class(name):
    """The recorded configs of a class, each with its record."""
    return [
        (config, record)
        for record in RECORDS
        for config in record["configs"]
        if config["architectures"] == [name]
    ]


def one_of(name, **settings):
    """A recorded config with these settings, and its names."""
    [(config, record), *_] = [
        (config, record) for config, record in of_class(name) if settings.items() <= config.items()
    ]
    return config, record["names"]


def entries(groups, shapes):
    """Groups of names as an optimizer state numbers them."""
    numbers = iter(range(sum(map(len, groups))))
    return [{next(numbers): shapes[name] for name in group} for group in groups]


def test_every_class_is_recorded():
    recorded = {
        name for one in RECORDS for config in one["configs"] for name in config["architectures"]
    }
    assert recorded == {*CLASSES}


@pytest.mark.parametrize("name", CLASSES)
def test_order_is_that_of_named_parameters(name):
    """Where versions differ, one order is each one's own."""
    for config, record in of_class(name):
        orders = module_orders(config, sorted(record["names"]))
        assert record["names"] in orders, config
        assert len(orders) == (2 if config["model_type"] in TWO_ORDERS else 1), config


@pytest.mark.parametrize("name", CLASSES)
def test_two_groups_are_those_of_trainer(name):
    for _, record in of_class(name):
        pairs = [[*pair] for pair in trainer_groups(record["names"])]
        assert all(groups in pairs for groups in record["groups"])


@pytest.mark.parametrize("name", CLASSES)
def test_every_entry_is_named(name):
    """By one group, and by Trainer's two of each version, from names that are sorted."""
    for config, record in of_class(name):
        shapes = dict(sorted(record["shapes"].items()))
        for groups in ([record["names"]], *record["groups"]):
            expected = dict(enumerate(chain(*groups)))
            assert certain_by_class(entries(groups, shapes), shapes, config) == expected


@pytest.mark.parametrize("name", CLASSES)
def test_missing_or_unknown_parameter_is_refused(name):
    for config, record in of_class(name)[:1]:
        names = record["names"]
        for one in names:
            if one.endswith(".decoder.bias"):  # its own in transformers 5, not in 4
                continue
            rest = [other for other in names if other != one]
            assert module_orders(config, rest) == [], one
            assert module_orders(config, [*rest, one + "_"]) == [], one
            assert module_orders(config, [*names, one + "_"]) == [], one


@pytest.mark.parametrize("name", CLASSES)
def test_other_number_of_layers_is_refused(name):
    for config, record in of_class(name)[:1]:
        [key] = {"num_hidden_layers", "n_layer", "n_layers", "num_layers"} & {*config}
        for layers in (0, config[key] - 1, config[key] + 1):
            assert module_orders(config | {key: layers}, record["names"]) == []


def test_other_class_is_refused():
    config, names = one_of("LlamaForCausalLM")
    for other in ("LlamaModel", "LlamaForSequenceClassification", "MistralForCausalLM", "Llama"):
        assert module_orders(config | {"architectures": [other]}, names) == []
    assert module_orders(config | {"model_type": "mistral"}, names) == []


def test_class_of_the_repository_is_refused():
    config, names = one_of("Phi3ForCausalLM")
    code = {"AutoModelForCausalLM": "modeling_phi3.Phi3ForCausalLM"}
    assert module_orders(config | {"auto_map": code}, names) == []
    assert module_orders(config | {"auto_map": {}}, names) == [names]


@pytest.mark.parametrize("architectures", [None, [], "LlamaForCausalLM", [1], [[]], {}, ["a", "b"]])
def test_architectures_of_a_wrong_type_are_refused(architectures):
    config, names = one_of("LlamaForCausalLM")
    assert module_orders(config | {"architectures": architectures}, names) == []


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *(("num_hidden_layers", value) for value in (-1, 2.0, "2", None, True, [2], {})),
        *(("num_hidden_layers", value) for value in (MAX_LAYERS + 1, 10**9, 10**400)),
        *(("attention_bias", value) for value in (0, "", None, [])),
        *(("tie_word_embeddings", value) for value in (0, "false", None)),
        *(("model_type", value) for value in (None, 1, ["llama"], {})),
    ],
)
def test_setting_of_a_wrong_type_is_refused(key, value):
    config, names = one_of("LlamaForCausalLM", attention_bias=False, tie_word_embeddings=False)
    assert module_orders(config, names) == [names]
    assert module_orders(config | {key: value}, names) == []


def test_config_that_is_no_object_is_refused():
    assert module_orders([], ["a"]) == []
    assert module_orders({}, []) == []


def test_absent_setting_is_the_class_default():
    """As transformers 4 writes none that is the default."""
    config, names = one_of("GPT2LMHeadModel", add_cross_attention=False, tie_word_embeddings=True)
    absent = ("add_cross_attention", "tie_word_embeddings")
    short = {key: value for key, value in config.items() if key not in absent}
    assert module_orders(short, names) == [names]


def test_tied_head_may_be_in_the_file():
    """Then training may have tied it or not."""
    config, names = one_of("Qwen2ForCausalLM", tie_word_embeddings=True)
    untied = [*names, "lm_head.weight"]
    assert module_orders(config, untied) == [names, untied]
    shapes = dict.fromkeys(untied, (2, 2))
    for order in (names, untied):
        assert certain_by_class(entries([order], shapes), shapes, config) == dict(enumerate(order))


def test_head_of_another_class_is_refused():
    config, names = one_of("Qwen2ForSequenceClassification", tie_word_embeddings=True)
    assert module_orders(config, [*names, "lm_head.weight"]) == []


@pytest.mark.parametrize(
    ("name", "buffers"),
    [
        ("GPT2LMHeadModel", ["transformer.h.0.attn.bias", "transformer.h.1.attn.masked_bias"]),
        ("LlamaForCausalLM", ["model.layers.1.self_attn.rotary_emb.inv_freq"]),
        ("BertForMaskedLM", ["bert.embeddings.position_ids"]),
        ("T5ForConditionalGeneration", ["encoder.embed_tokens.weight"]),
    ],
)
def test_buffer_is_not_listed(name, buffers):
    config, names = one_of(name)
    assert module_orders(config, [*buffers, *names]) == [names]


def test_where_no_shape_is_known_only_what_all_orders_agree_on_is_named():
    config, names = one_of("RobertaModel")
    [first, second] = module_orders(config, names)
    shapes = dict.fromkeys(names, (2, 2))
    named = certain_by_class([dict.fromkeys(range(len(names)))], shapes, config)
    agreed = {n: a for n, (a, b) in enumerate(zip(first, second, strict=True)) if a == b}
    assert named == agreed
    assert len(names) - len(agreed) == 4


def test_frozen_parameter_leaves_the_names_that_order_and_shape_decide():
    """Without the embedding; and without a layer, which none can tell from the other."""
    [(config, record), *_] = of_class("LlamaModel")
    names, shapes = record["names"], record["shapes"]
    trained = names[1:]
    assert certain_by_class(entries([trained], shapes), shapes, config) == dict(enumerate(trained))
    trained = [name for name in names if ".0." not in name]
    named = certain_by_class(entries([trained], shapes), shapes, config)
    assert named == {0: names[0]}


def test_entries_that_fit_in_no_way_have_no_names():
    config, names = one_of("LlamaModel")
    assert certain_by_class([{0: (7, 7)}], dict.fromkeys(names, (2, 2)), config) is None
    assert certain_by_class([{0: (2, 2)}], {"a": (2, 2)}, config) is None


@pytest.mark.parametrize("prefix", ["", "_orig_mod."])
@pytest.mark.parametrize(
    "name", ["LlamaForCausalLM", "Qwen3ForCausalLM", "GPT2LMHeadModel", "BertForMaskedLM"]
)
def test_a_folder_of_the_trainer_names_each_state_by_the_class_of_its_configuration(
    tmp_path, name, prefix
):
    config, record = of_class(name)[0]
    shapes, groups = record["shapes"], record["groups"][0]
    weights = {f"{prefix}{key}": torch.randn(shape) for key, shape in shapes.items()}
    safetensors.torch.save_file(weights, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(config))
    order = [key for group in groups for key in group]
    shared = {"lr": 1e-3, "betas": (0.9, 0.999), "eps": 1e-8, "amsgrad": False}
    numbers = [range(len(groups[0])), range(len(groups[0]), len(order))]
    state = {
        place: {
            "step": torch.tensor(1.0),
            "exp_avg": torch.full(shapes[key], float(place + 1)),
            "exp_avg_sq": torch.ones(shapes[key]),
        }
        for place, key in enumerate(order)
    }
    param_groups = [
        {**shared, "weight_decay": decay, "params": [*own]}
        for own, decay in zip(numbers, (0.1, 0.0), strict=True)
    ]
    torch.save({"state": state, "param_groups": param_groups}, tmp_path / "optimizer.pt")
    report = scalecheck.translate(tmp_path)
    words = (
        f"{len(order)} of {len(order)} optimizer states are matched "
        f"to tensors by the module order of {name}"
    )
    assert any(note.startswith(words) for note in report.notes)
    # At step 1 the update is m̂ over the root of v̂, which tells the entry's number.
    updates = {row["name"]: row["update_rms"] for row in report.rows}
    expected = {f"{prefix}{key}": place + 1 for place, key in enumerate(order)}
    scale = 0.1**-1 * 0.001**0.5
    assert updates == pytest.approx({key: n * scale for key, n in expected.items()}, rel=1e-4)
