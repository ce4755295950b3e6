"""The fields of a translation and how a table shows them."""

from scalecheck.measure.groups import of_several
from scalecheck.report.formatting import number
from scalecheck.report.report import Column

COLUMNS = (
    Column("name", "name", "text", "the tensor's name as stored, or the group's"),
    Column("dtype", "dtype", "text", "storage type by its safetensors name", 9),
    Column("shape", "shape", "shape", "sizes of the dimensions; null where a group's differ", 8),
    Column("role", "role", "text", "what the tensor is; null where a group's differ", 9),
    Column("layer", "layer", "text", "module path up to and including the block index"),
    Column("family", "family", "text", "the name with every index replaced by N"),
    Column("tensors", "tensors", "count", "number of tensors in the row", 6),
    Column("numel", "numel", "count", "number of elements"),
    Column("rms", "rms", "number", "root mean square of the weights"),
    Column("optimizer", "optimizer", "text", "the optimizer that trains it"),
    Column("lr", "lr", "setting", "its learning rate", 3),
    Column("weight_decay", "decay", "setting", "its weight decay"),
    Column(
        "update_rms",
        "measured",
        "number",
        "RMS of the update at lr 1: measured from an optimizer state where there is one, else "
        "expected",
        1,
        cell=lambda row: row["update_rms"] if row["measured"] else None,
    ),
    Column(
        "update_rms_expected", "theory", "number", "the same by theory, null where it has none", 2
    ),
    Column(
        "measured", "measured", "sentence", "update_rms is the state's, of the last step applied"
    ),
    Column("absolute_update", "moved", "number", "RMS of the change of a step, lr included"),
    Column("relative_update", "relative", "number", "lr·update_rms/rms: the change of a step"),
    Column(
        "relative_update_min",
        "least",
        "number",
        "the smallest of a tensor in the group",
        2,
        cell=of_several("relative_update_min"),
    ),
    Column(
        "relative_update_max",
        "most",
        "number",
        "the largest of a tensor in the group",
        2,
        cell=of_several("relative_update_max"),
    ),
    Column(
        "nominal_relative_update",
        "nominal",
        "number",
        "lr/rms: the change where the update is 1, as in a first step",
        1,
    ),
    Column(
        "band",
        "band",
        "text",
        "of a matrix, by rule of thumb; zero-init, not finite or empty where there is no ratio",
    ),
    Column(
        "decay_pull",
        "decay pull",
        "number",
        "share of the weights that weight decay takes a step: lr·weight_decay",
        7,
    ),
    Column(
        "stalled",
        "stalled %",
        "percent",
        "share of the elements that the update is too small to move; in tables in %",
        4,
    ),
    Column(
        "rare_row_update",
        "rare row",
        "number",
        "of an embedding: relative change of a row by one gradient after none for long",
        6,
    ),
    Column("reason", "reason", "sentence", "why there is no update_rms"),
)
"""Fields of every row; others come with an optimizer state, a schedule and what is asked back."""

SAVED = (
    Column("step", "step", "count", "steps of the optimizer state", 10),
    Column("grad_rms", "grad rms", "number", "RMS of the gradients, by the state", 6),
    Column(
        "snr",
        "snr",
        "written",
        "mean/std of an element's gradient, by the state; null at the noise floor",
        6,
        cell=lambda row: "floor" if row["at_noise_floor"] else number(row["snr"]),
    ),
    Column("at_noise_floor", "floor", "sentence", "the estimate of snr² is not above 0", 9),
    Column(
        "eps_share",
        "in eps %",
        "percent",
        "share of the elements with √v̂ below eps; in tables in %",
        5,
    ),
    Column("eps_near_share", "near eps", "percent", "the same below 100 eps", 8),
    Column("v_zeros", "v = 0", "count", "elements whose √v̂ is 0", 8),
    Column("v_not_finite", "v broken", "count", "elements whose v is NaN, inf or negative", 8),
    Column("m_not_finite", "m broken", "count", "elements whose m is NaN or inf", 8),
)
LATE = (
    Column(
        "drift",
        "drift",
        "number",
        "displacement of the schedule over rms for gradients that keep their sign: the bound",
        1,
    ),
    Column(
        "random_walk",
        "random walk",
        "number",
        "displacement of the schedule over rms for gradients of --snr",
        1,
    ),
    Column(
        "equilibrium_rms",
        "balance",
        "number",
        "rms at which updates and weight decay hold the weights at this lr",
        2,
    ),
    Column("equilibrium_ratio", "× balance", "number", "rms over that", 1),
    Column(
        "memory_steps",
        "memory",
        "number",
        "steps over which the weights forget: 1/(lr·weight_decay)",
        3,
    ),
    Column(
        "decay_sum", "lr·decay", "number", "over the schedule: 1 and more reaches the balance", 3
    ),
)
STATES = (
    Column("name", "state", "text", "the number of the state, and the shape of its parameter"),
    Column("shape", "shape", "shape", "sizes of the dimensions; null where it does not say", 8),
    Column("lr", "lr", "setting", "the lr of its group", 3),
    Column("weight_decay", "decay", "setting", "the weight decay of its group", 4),
    Column("update_rms", "update", "number", "RMS of its last update at lr 1"),
    *SAVED,
)
