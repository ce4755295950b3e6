"""What the rules are shown: every tensor measured once, forecast where an lr is known, and set
beside its initialization and its state."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from scalecheck.checkpoint.evidence.wrappers import difference, matched
from scalecheck.checkpoint.formats.directory import without_files
from scalecheck.checkpoint.naming import WEIGHTS
from scalecheck.checkpoint.recorded import Recorded, recorded
from scalecheck.checkpoint.selection import Selection, retied
from scalecheck.checkpoint.tensor import Checkpoint, Tensor
from scalecheck.dtypes import DTYPES, WORDS, named
from scalecheck.errors import unknown
from scalecheck.measure.initial_scale import Model, scheme
from scalecheck.measure.masters import agreement
from scalecheck.measure.measuring import measure
from scalecheck.measure.pipeline import Progress
from scalecheck.measure.rows import row_figures
from scalecheck.measure.tensor_stats import TensorStats
from scalecheck.measure.training_signs import signs_of_training
from scalecheck.report.part import Part
from scalecheck.rules.contract import NEEDS, CheckpointFacts, TensorFacts
from scalecheck.rules.judging.forecasts import Forecasts
from scalecheck.rules.judging.policy import RulePolicy
from scalecheck.rules.judging.state_tensors import (
    in_no_state,
    other_facts,
    state_facts,
    unmeasured_in,
)
from scalecheck.settings import Settings
from scalecheck.updates.forecast import planned
from scalecheck.updates.placed import placed
from scalecheck.updates.published_summary import against_each, phase_note, unranged
from scalecheck.updates.saved_state import NONE, States, asked_states
from scalecheck.updates.situation import Situation, situation
from scalecheck.updates.tensor_forecast import TensorForecast
from scalecheck.updates.training import Trainings, doubts, untrained

if TYPE_CHECKING:
    pass

_WITH_ROWS = ("SC103", "SC108")  # rules that look inside tensors
_TRAINED = "SC109"  # that asks whether the model was trained


@dataclass(frozen=True)
class CheckInput:
    """The subject of the rules; `missing` says for each of NEEDS that was not met why. adapters:
    what a report says of them beside. roles: of every name that a rule can speak of. notes: on what
    was left out."""

    subject: CheckpointFacts
    missing: Mapping[str, str]
    states: States
    adapters: Part
    roles: Mapping[str, str]
    notes: Sequence[str]


def check_input(
    checkpoint: Checkpoint, settings: Settings, policy: RulePolicy, progress: Progress
) -> CheckInput:
    """Reads the checkpoint, and what lies with it. Raises UsageError, CheckpointError."""
    selection = Selection(settings.match, settings.exclude)
    served = None if settings.serve_dtype is None else serve_dtype(settings.serve_dtype)
    init = None if settings.init is None else scheme(settings.init)
    before = None if settings.baseline is None else recorded(settings.baseline)
    states = asked_states(checkpoint, settings)
    others = in_no_state(checkpoint, states, settings.state)
    beside = [one.name for one in others]
    wanted = retied(selection.tensors(checkpoint.tensors, checkpoint.unread, beside))
    others = [one for one in others if selection.holds(one.name)]
    asked = None
    if settings.base is not None or checkpoint.may_have_adapters:
        from scalecheck.measure.adapted import asked_adapters

        asked = asked_adapters(checkpoint, wanted, settings)
    trained = [tensor for tensor in wanted if untrained(tensor, states) is None]
    forecasts = Forecasts(settings, states, [tensor.name for tensor in wanted], trained)

    tensors: list[TensorFacts] = []
    every = () if init is None else checkpoint.tensors
    model = Model({tensor.name: tensor.shape for tensor in every})
    trained_by = states.trained_by(checkpoint.tensors)
    has_rows = bool(set(_WITH_ROWS) & policy.rules.keys())
    needed = {need for entry in policy.rules.values() for need in entry.rule.needs}
    readable = tuple(tensor for tensor in wanted if tensor.unmeasured is None)
    for tensor, sketch in measure(readable, settings.jobs, progress):
        stats = TensorStats.of(tensor, sketch)
        # Of a tied tensor the first says all, and of one of zeros its rule.
        is_alone = stats.tied_to is None and stats.zeros < stats.numel
        is_weight = stats.kind.is_weight and stats.role in WEIGHTS
        is_looked_into = has_rows and is_alone and is_weight
        is_trained = untrained(tensor, states) is None
        has_forecast = is_trained and bool({"lr", "peak_lr"} & needed)
        tensors.append(
            TensorFacts(
                stats,
                row_figures(tensor, stats.zeros, stats.role) if is_looked_into else None,
                None if init is None else init.of(stats.name, stats.role, stats.shape, model),
                forecasts.of(stats, sketch) if has_forecast else None,
                checkpoint.siblings.get(tensor.name),
                trained_by.get(tensor.name),
            )
        )
    is_run_judged = bool({"lr", "peak_lr", "phase"} & needed)
    run = _run(settings, tensors, wanted) if is_run_judged else Situation()
    for n, tensor_facts in enumerate(tensors):  # in place, as there may be very many
        if tensor_facts.forecast is not None:
            tensors[n] = replace(tensor_facts, forecast=placed(tensor_facts.forecast, run))
    known = [t.forecast for t in tensors if t.forecast is not None]
    found = None if asked is None else forecasts.adapted(asked, known)
    steps_on_base = [placed(each, run) for each in (found.on_base if found else ())]
    on_base = [TensorFacts(each, forecast=each) for each in steps_on_base]
    steps_of_adapters = found.steps if found and asked and asked.base is None else ()
    unmeasured = [tensor for tensor in wanted if tensor.unmeasured is not None]
    roles = {tensor.name: tensor.role for tensor in wanted}
    roles |= {each.name: each.scale.role for each in on_base}
    names: dict[str, str] = {}
    if before is not None:
        names = matched(before.every, [tensor.name for tensor in checkpoint.tensors])
        before = _selected(before, names, settings)
        gone = {name: was for name, was in before.every.items() if name not in roles}
        roles |= {name: was.kind.role for name, was in gone.items()}
    # States without a name cannot be filtered, so they are judged only when all tensors are.
    is_whole = len(wanted) == len(checkpoint.tensors)
    judged = [s for s in states.by_name.values() if s.name in roles]
    judged += states.unnamed if is_whole else []
    steps = [one.step for one in (*states.by_name.values(), *states.unnamed) if one.step]
    is_told = run.is_phase_found or (steps and any(trained_by.values()))
    is_sought = _TRAINED in policy.rules and not is_told
    subject = CheckpointFacts(
        tensors,
        unmeasured,
        state_facts(judged if "state" in needed else [], forecasts, roles, settings.jobs),
        before,
        frozenset() if before is None else frozenset(_covered(before, names, wanted)),
        serve_dtype=served,
        is_dtype_given=settings.param_dtype is not None,
        unread=[*selection.folders(checkpoint.unread), *states.unopened],
        steps=max(steps, default=None),
        adapters=asked.found.pairs if asked else (),
        adapted=on_base,
        run=run,
        adapter_steps=steps_of_adapters,
        unadapted=asked.missing if asked else {},
        signs_of_training=(
            signs_of_training([t.scale for t in tensors], {t.name: t for t in wanted})
            if is_sought
            else ""
        ),
        others=other_facts(others, settings.jobs),
        unmeasured_others=unmeasured_in(judged, others),
    )
    missing = {
        "init": NEEDS["init"] if init is None else "",
        "baseline": NEEDS["baseline"] if before is None else "",
        "state": states.unread or (NEEDS["state"] if states.path is None else ""),
        "optimizer": forecasts.no_optimizer,
        "lr": forecasts.no_lr,
        "phase": "" if run.phase == "pretrain" else NEEDS["phase"],
        "warmup": "" if run.warmup is not None else NEEDS["warmup"],
        "peak_lr": NEEDS["peak_lr"] if settings.lr is None else forecasts.no_lr,
    }
    read = {path.name for path in checkpoint.state_files.values()}
    read |= {states.path.name} if states.path else set()
    notes = [*states.notes, *without_files(checkpoint.notes, read), *checkpoint.layout]
    if str(settings.state) == NONE and checkpoint.optimizer:
        notes.append(f"{len(checkpoint.optimizer)} tensors of an optimizer state were not judged")
    notes += agreement(checkpoint, [*roles], settings.jobs)
    notes += [states.lr_note] if states.lr_note and settings.lr is None else []
    notes += doubts(Trainings.asked(settings), states, wanted)
    if states.unnamed and not is_whole:
        notes.append(f"{len(states.unnamed)} states are of no certain tensor and were not judged")
    if not forecasts.no_lr:
        notes += _on_published(run, [*known, *(t.forecast for t in on_base if t.forecast)])
    if names:
        notes.append(f"baseline: {difference(names)}")
    adapters = Part()
    if asked is not None:
        adapters = Part(source=asked.source, skipped=asked.skipped, notes=asked.found.notes)
    return CheckInput(subject, missing, states, adapters, roles, [*notes, *forecasts.notes])


def _run(settings: Settings, tensors: Sequence[TensorFacts], wanted: Sequence[Tensor]) -> Situation:
    """What the checkpoint is at the start of."""
    plan = None if settings.steps is None else planned(settings)
    by_name = {tensor.name: tensor for tensor in wanted}
    return situation(settings, plan, [tensor.scale for tensor in tensors], by_name)


def _on_published(run: Situation, forecasts: Sequence[TensorForecast]) -> Iterator[str]:
    """What says the phase, or what is published for each, and what is not."""
    yield from filter(None, [phase_note(run)])
    if run.phase is None and (sentence := against_each(forecasts)) is not None:
        yield sentence
    yield from unranged(forecasts, run)


def serve_dtype(word: str) -> str:
    """The type of --serve-dtype by its safetensors name. Raises UsageError."""
    name = named(word)
    if name not in DTYPES or not DTYPES[name].is_float:
        raise unknown("serve_dtype", word, [*WORDS])
    return name


def _selected(before: Recorded, names: Mapping[str, str], settings: Settings) -> Recorded:
    """The recorded tensors among those that are wanted, under the names that they have now; names:
    what those of now are called in it, where wrappers make them differ."""
    selection = Selection(settings.match, settings.exclude)
    now = {then: name for name, then in names.items()}
    rows = {now.get(name, name): row for name, row in before.rows.items()}
    unmeasured = {now.get(name, name): row for name, row in before.unmeasured.items()}
    rows = {name: row for name, row in rows.items() if selection.holds(name)}
    return replace(before, rows=rows, unmeasured=unmeasured)


def _covered(before: Recorded, names: Mapping[str, str], wanted: Sequence[Tensor]) -> list[str]:
    """The names that the baseline would have, had they been there."""
    selection = Selection(before.match, before.exclude)
    return [t.name for t in wanted if selection.holds(names.get(t.name, t.name))]
