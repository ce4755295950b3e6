"""The order in which a Hugging Face model lists its parameters, from the config.json beside its
weights. An optimizer state numbers its entries by that order, and a safetensors file loses it."""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from scalecheck.checkpoint.states.module_families import FAMILIES, TIED, Body, Family
from scalecheck.checkpoint.states.parameter_order import Group, Shape, certain, reachable

MAX_LAYERS = 1_000  # the deepest published model of these families has 126: Llama 3.1 405B


def module_orders(config: Mapping[str, object], names: Collection[str]) -> list[list[str]]:
    """A checkpoint's parameters in the order of its class's named_parameters().

    Nearly always one order. More where versions 4 and 5 of transformers order the class
    differently, or where tied parameters both lie in the file, so that training may have untied
    them. None unless `config`, the content of config.json, names a class that is known here, and
    `names` are exactly those of its parameters with this config; only buffers and second names of
    tied parameters may be there or not. Wrappers' prefixes, such as `module.`, must be removed.
    """
    match config:
        case {"architectures": [str(class_name)], "model_type": str(model_type)}:
            pass
        case _:
            return []
    if config.get("auto_map"):  # which names code of the repository's own
        return []
    present = {*names}
    orders: list[list[str]] = []
    for family in FAMILIES:
        if family.model_type != model_type or class_name not in family.classes:
            continue
        settings = _settings(family, config)
        if settings is None:
            continue
        prefix, *head = family.classes[class_name]
        for body in family.bodies:
            templates = [*_prefixed(body, prefix, settings), *head]
            untied = _existing(templates, settings | {TIED: False}, present)
            others = {_pattern(name, prefix) for name in present.difference(untied)}
            for order in (_existing(templates, settings, present), untied):
                if others <= family.unlisted and present.issuperset(order) and order not in orders:
                    orders.append(order)
    return orders


def trainer_groups(order: Sequence[str]) -> list[tuple[list[str], list[str]]]:
    """A model's parameters as Hugging Face's Trainer groups them: with weight decay and without.
    One pair for each way in which versions of it tell norms from other parameters."""
    pairs = []
    for pattern in (_NORM_OR_BIAS, _LAYERNORM_OR_BIAS, _BIAS):
        pair: tuple[list[str], list[str]] = [], []
        for name in order:
            pair[pattern.search(name.lower()) is not None].append(name)
        if pair not in pairs:
            pairs.append(pair)
    return pairs


def certain_by_class(
    groups: Sequence[Group], parameters: Mapping[str, Shape], config: Mapping[str, object]
) -> dict[int, str] | None:
    """The name of each entry's parameter where only one is possible, by the entry's number. None
    where config.json names no class that is known here, or the entries fit it in no way.

    Entries of all of the model's parameters, in one group or in Trainer's two, are named one by
    one. Others, as of a model with frozen layers, are named as `parameter_order.certain` does.
    """
    orders = module_orders(config, parameters)
    answers = [
        _in_turn(groups, way, parameters)
        for order in orders
        for way in ([order], *trainer_groups(order))
    ]
    if not any(answers):
        answers = [
            certain(groups, {name: parameters[name] for name in order}, in_order=True)
            for order in orders
        ]
    possible = [answer.items() for answer in answers if answer is not None]
    return dict(set(possible[0]).intersection(*possible[1:])) if possible else None


def reachable_by_class(
    groups: Sequence[Group],
    parameters: Mapping[str, Shape],
    config: Mapping[str, object],
    asked: Collection[int],
) -> set[str] | None:
    """The names that the entries of these numbers have in one of `certain_by_class`'s assignments
    or another; None where it has none."""
    orders = module_orders(config, parameters)
    found = [
        reachable(groups, {name: parameters[name] for name in order}, asked, in_order=True)
        for order in orders
    ]
    possible = [names for names in found if names is not None]
    return set[str]().union(*possible) if possible else None


def _in_turn(
    groups: Sequence[Group], way: Sequence[Sequence[str]], parameters: Mapping[str, Shape]
) -> dict[int, str] | None:
    """The names of one way of grouping, each for the entry in its place; None where a group has
    another number of entries, or an entry another shape."""
    filled = [group for group in groups if group]
    if [len(group) for group in filled] != [len(names) for names in way]:
        return None
    answer = {}
    for group, names in zip(filled, way, strict=True):
        for (entry, shape), name in zip(group.items(), names, strict=True):
            if shape not in (None, parameters[name]):
                return None
            answer[entry] = name
    return answer


def _settings(family: Family, config: Mapping[str, object]) -> dict[str, bool | int] | None:
    """The family's settings in a config; None where one has a wrong type or counts too much."""
    settings: dict[str, bool | int] = {}
    for key, default in family.settings.items():
        value = config.get(key, settings[default] if isinstance(default, str) else default)
        expected = bool if isinstance(default, bool) else int
        if not isinstance(value, int) or type(value) is not expected:
            return None
        if not 0 <= value <= MAX_LAYERS:
            return None
        settings[key] = value
    return settings


def _prefixed(body: Body, prefix: str, settings: Mapping[str, bool | int]) -> Iterator[str]:
    """A body's templates with the class's prefix, those of layers once a layer."""
    for part in body:
        if isinstance(part, str):
            yield prefix + part
            continue
        for number in range(settings[part.count]):
            for template in part.parameters:
                name, is_first, _ = template.partition("?first")
                if number == 0 or not is_first:
                    yield f"{prefix}{part.path}.{number}.{name}"


def _existing(
    templates: Iterable[str], settings: Mapping[str, bool | int], present: Collection[str]
) -> list[str]:
    """The parameters that exist with these settings and, for what no setting decides, this file."""
    parameters = [one.split("?") for template in templates for one in _expanded(template)]
    in_file = {x for name, *conditions in parameters if name in present for x in conditions}

    def holds(condition: str) -> bool:
        x = condition.removeprefix("!")
        return bool(settings.get(x, x in in_file)) is (x == condition)

    return [name for name, *conditions in parameters if all(map(holds, conditions))]


def _expanded(template: str) -> Iterator[str]:
    """The names that a template with braces stands for."""
    before, brace, rest = template.partition("{")
    if not brace:
        yield template
        return
    choices, _, after = rest.partition("}")
    for choice in choices.split(","):
        yield from _expanded(before + choice + after)


def _pattern(name: str, prefix: str) -> str:
    return re.sub(r"(?<=\.)[0-9]+(?=\.)", "*", name.removeprefix(prefix))


# What Trainer gives no weight decay, by names in lower case: biases and all norms in transformers 5
# and the last of 4; in 4.50, of norms of a model's own class, those called layernorm; before, none.
_NORM_OR_BIAS = re.compile(r"bias|layernorm|(?:\b|_)norm\b|\bln_")
_LAYERNORM_OR_BIAS = re.compile(r"bias|layernorm")
_BIAS = re.compile(r"bias")
