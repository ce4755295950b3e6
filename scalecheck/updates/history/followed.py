"""What became of a tensor, or of several as one, at each checkpoint of a run, beside what the lr is
expected to have done."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from scalecheck.checkpoint.kinds import TensorKind
from scalecheck.checkpoint.naming import family, layer
from scalecheck.checkpoint.tensor import Tensor
from scalecheck.errors import CheckpointError, UsageError
from scalecheck.measure.scaled_float import ScaledFloat
from scalecheck.measure.tracks import Track, TrackPoint
from scalecheck.optimizers.contract import Gradient
from scalecheck.theory.lr_curve import LrCurve, PlannedLrs, RecordedLrs, lr_sums
from scalecheck.theory.schedule import Schedule, Sums
from scalecheck.updates.forecast import displacements, equilibrium
from scalecheck.updates.history.steps import Lrs, Snapshot, saved_lr
from scalecheck.updates.state_statistics import figures
from scalecheck.updates.training import Training, Trainings

NEAR_EQUILIBRIUM = 0.1
"""A tensor is at its equilibrium within this share of its rms."""


@dataclass(frozen=True)
class Expectation:
    """How the tensors of a run are trained, and the lrs of its steps."""

    run: Sequence[Snapshot]
    trainings: Trainings
    lrs: Lrs
    gradient: Gradient

    def training(self, number: int, tensor: Tensor) -> Training | None:
        """How a tensor is trained at a checkpoint; None where that is not known."""
        states = self.run[number].states
        if states.not_trained(tensor.name) or states.not_certain(tensor.name):
            return None
        try:
            return self.trainings.of(tensor.name, states.settings(tensor.name, tensor.shape))
        except UsageError:
            return None

    @property
    def is_told(self) -> bool:
        """An optimizer state or the command line says the optimizer and its weight decay."""
        is_saved = any(one.states.path is not None for one in self.run)
        return is_saved or isinstance(self.lrs.curve, PlannedLrs)


@dataclass(frozen=True)
class Expected:
    """RMS of what the steps between two checkpoints move by, for gradients that are noise and for
    those that keep their sign; None where that is not known."""

    walk: float | None = None
    drift: float | None = None


@dataclass(frozen=True)
class Followed:
    """A tensor with its points by the numbers of the checkpoints in which it is."""

    track: Track
    points: dict[int, TrackPoint]
    expectation: Expectation

    @property
    def name(self) -> str:
        return self.track.name

    @property
    def kind(self) -> TensorKind:
        return self.track.last.kind

    @property
    def role(self) -> str:
        return self.kind.role

    @property
    def layer(self) -> str:
        return layer(self.name)

    @property
    def family(self) -> str:
        return family(self.name)

    @property
    def numel(self) -> int:
        return self.track.numel

    @property
    def is_of_model(self) -> bool:
        return self.kind.is_weight

    def curve(self, number: int) -> LrCurve | None:
        """The lr of each step, by how it is trained at a checkpoint."""
        expectation, tensor = self.expectation, self.track.tensors[number]
        if isinstance(expectation.lrs.curve, PlannedLrs):
            training = expectation.training(number, tensor)
            return None if training is None else replace(expectation.lrs.curve, peak=training.lr)
        return self._own_lrs or expectation.lrs.curve

    @cached_property
    def _own_lrs(self) -> RecordedLrs | None:
        """Its lrs in the states, where not all tensors have one."""
        lrs = {
            one.step: lr
            for one in self.expectation.run
            if one.step is not None
            and one.has_several_lrs
            and (lr := saved_lr(one, self.name, self.track.last.shape)) is not None
        }
        return RecordedLrs(lrs) if lrs else None

    def expected(self, after: int, number: int) -> Expected:
        """What the steps from one checkpoint to another were expected to move it by."""
        run, tensor = self.expectation.run, self.track.tensors.get(number)
        start, end = run[after].step, run[number].step
        if tensor is None or start is None or end is None or end <= start or not self.is_of_model:
            return Expected()
        training = self.expectation.training(number, tensor)
        curve = self.curve(number)
        if training is None or curve is None or not training.is_known:
            return Expected()
        count = end - start
        sums = lr_sums(curve, start, end)
        walk, drift, _ = displacements(
            replace(training, lr=1.0), Schedule("constant", count), self.expectation.gradient
        )
        # Over many steps a walk is as long as √Σlr², and a drift as Σlr.
        unit = 1.0
        if training.optimizer.relative_lr:
            unit = self.points[after].rms or 0.0 if after in self.points else 0.0
        return Expected(
            None if walk is None else unit * walk * math.sqrt(sums.second / count),
            None if drift is None else unit * drift * sums.first / count,
        )

    def is_trained(self, number: int) -> bool:
        """No optimizer state says that it is not."""
        return self.expectation.run[number].states.not_trained(self.name) is None

    def update(self, number: int) -> float | None:
        """RMS of the last update by the optimizer state saved with a checkpoint; None where it does
        not tell it."""
        return self._updates.get(number)

    @cached_property
    def _updates(self) -> dict[int, float]:
        found = {}
        for number, tensor in self.track.tensors.items():
            one = self.expectation.run[number]
            state, training = (
                one.states.by_name.get(self.name),
                self.expectation.training(number, tensor),
            )
            lr = saved_lr(one, self.name, tensor.shape)
            if state is None or training is None or not training.is_known or lr is None:
                continue
            try:
                update = figures(state, training.optimizer, lr, tensor).update_rms
            except CheckpointError:
                continue
            if update is not None:
                relative = training.optimizer.relative_lr
                unit = (self.points[number].rms or 0.0) if relative else 1.0
                found[number] = training.optimizer.effective_lr(lr, one.state_step) * update * unit
        return found

    def held(self, number: int) -> tuple[float, float] | None:
        """The rms at which updates and weight decay hold it at the lr of a checkpoint, and the
        share of it that decay takes a step; None where that is not known."""
        tensor = self.track.tensors.get(number)
        step = self.expectation.run[number].step
        if tensor is None or not self.expectation.is_told or not self.is_of_model:
            return None
        training = self.expectation.training(number, tensor)
        lr = saved_lr(self.expectation.run[number], self.name, tensor.shape)
        curve = self.curve(number)
        if (lr is None or isinstance(curve, PlannedLrs)) and curve is not None and step is not None:
            lr = _at(curve, step)
        if training is None or not lr:
            return None
        training = replace(training, lr=lr, has_lr=True)
        rms, _ = equilibrium(training, self.expectation.gradient)
        pull = training.decay_pull
        return (rms, pull) if rms and pull else None


def _at(curve: LrCurve, step: int) -> float:
    return lr_sums(curve, step - 1, step).first


@dataclass(frozen=True)
class Group:
    """Several tensors as one: sums over all their elements, never averages of averages."""

    name: str
    members: Sequence[Followed]

    @property
    def run(self) -> Sequence[Snapshot]:
        return self.members[0].expectation.run

    @property
    def numbers(self) -> list[int]:
        """The checkpoints in which it is."""
        return sorted({number for member in self.members for number in member.points})

    def point(self, number: int) -> TrackPoint | None:
        """Its own at a checkpoint; None where it is not there."""
        return self._points.get(number)

    @cached_property
    def _points(self) -> dict[int, TrackPoint]:
        return {
            number: sum(
                (member.points[number] for member in self.members if number in member.points),
                TrackPoint(),
            )
            for number in self.numbers
        }

    @cached_property
    def numel(self) -> int:
        return sum(member.numel for member in self.members)

    @property
    def is_of_model(self) -> bool:
        return all(member.is_of_model for member in self.members)

    def update(self, number: int) -> float | None:
        """RMS of the last update over the rms of the weights; None where the state does not tell it
        of all its tensors that are trained."""
        there = [m for m in self.members if number in m.points and m.is_trained(number)]
        known = [(m, x) for m in there if (x := m.update(number)) is not None]
        if len(known) < len(there):
            return None
        moved = math.fsum(m.points[number].numel * x * x for m, x in known)
        size = sum((m.points[number].square for m, _ in known), ScaledFloat())
        return ScaledFloat(moved).root_over(size) if known else None

    def expected(self, after: int, number: int, kind: str) -> float | None:
        """The "walk" or the "drift" of the steps from one checkpoint to another, over its rms
        before; None where that is not known of all its tensors."""
        there = [m for m in self.members if number in m.points and after in m.points]
        squares = []
        for member in there:
            moved: float | None = getattr(member.expected(after, number), kind)
            if moved is None:
                return None
            squares.append(member.points[number].numel * moved**2)
        size = sum((m.points[after].square for m in there), ScaledFloat())
        return ScaledFloat(math.fsum(squares)).root_over(size) if there else None

    def lr(self, number: int) -> float | None:
        """The lr at a checkpoint; None where it is not known, or not one for all its tensors."""
        step = self.run[number].step
        if step is None:
            return None
        curves = (m.curve(number) for m in self.members if number in m.points)
        found = {None if curve is None else _at(curve, step) for curve in curves}
        return found.pop() if len(found) == 1 else None

    def lr_sums(self, after: int, number: int) -> Sums | None:
        """Σlr and Σlr² of the steps between two checkpoints; None where they are not known, or not
        the same for all its tensors."""
        start, end = self.run[after].step, self.run[number].step
        if start is None or end is None or end <= start:
            return None
        curves = {m.curve(number) for m in self.members if number in m.points}
        curve = curves.pop() if len(curves) == 1 else None
        return None if curve is None else lr_sums(curve, start, end)

    def mean_lr(self, after: int, number: int) -> float | None:
        """The mean lr of the steps between two checkpoints."""
        sums, start, end = self.lr_sums(after, number), self.run[after].step, self.run[number].step
        if sums is None or start is None or end is None:
            return None
        return sums.first / (end - start)

    def held(self, number: int) -> tuple[float, float] | None:
        """The rms at which updates and decay hold it, and the share that decay takes a step; None
        where these are not known, or not one for all its tensors."""
        found = {member.held(number) for member in self.members if number in member.points}
        return found.pop() if len(found) == 1 else None

    def steps_to_equilibrium(self, number: int) -> int | None:
        """After how many steps of the same lr its rms is within NEAR_EQUILIBRIUM of the
        equilibrium's: rms² comes nearer by 2·lr·weight_decay a step. 0 where it is, None where
        that is not known."""
        held, point = self.held(number), self.point(number)
        rms = None if point is None else point.rms
        if held is None or not rms:
            return None
        equilibrium_rms, pull = held
        ratio = rms / equilibrium_rms
        if abs(ratio - 1) <= NEAR_EQUILIBRIUM:
            return 0
        there = 1 + math.copysign(NEAR_EQUILIBRIUM, ratio - 1)
        steps = math.log((ratio**2 - 1) / (there**2 - 1)) / (2 * pull)
        return math.ceil(steps) if math.isfinite(steps) else None
