"""The optimizer state that MLX programs save as safetensors, the flattened state of an optimizer:
`NAME.m`, `NAME.v`, `step`, `learning_rate`."""

from collections.abc import Sequence

from scalecheck.checkpoint.tensor import Tensor

MADE_BY = "mlx"
"""The setting of a group that says so."""
_COUNT, _LR = "step", "learning_rate"
# What MLX's optimizers keep for a parameter: Adam's kind, Lion, one average of either kind.
_ENTRIES = {frozenset("mv"): {"m": "exp_avg", "v": "exp_avg_sq"}, frozenset("m"): {"m": "exp_avg"}}


def saved_by_mlx(tensors: Sequence[Tensor]) -> dict[str, object] | None:
    """The state as a tree that state_places finds it in; None where the tensors are none of MLX's,
    whose names all are those of one optimizer's entries."""
    by_name = {tensor.name: tensor for tensor in tensors}
    count, lr = by_name.pop(_COUNT, None), by_name.pop(_LR, None)
    if count is None or lr is None or count.shape or lr.shape or not by_name:
        return None
    kept: dict[str, dict[str, Tensor]] = {}
    for name, tensor in by_name.items():
        parameter, _, word = name.rpartition(".")
        kept.setdefault(parameter, {})[word] = tensor
    words = {frozenset(own) for own in kept.values()}
    names = _ENTRIES.get(next(iter(words))) if len(words) == 1 else None
    if names is None:
        return None
    from scalecheck.checkpoint.state_file import recorded  # few files need it

    state = {
        parameter: {
            "step": recorded(count),
            **{names[word]: recorded(tensor) for word, tensor in own.items()},
        }
        for parameter, own in kept.items()
    }
    group = {"lr": recorded(lr), MADE_BY: True, "params": [*state]}
    return {"optimizer": {"state": state, "param_groups": [group]}}
