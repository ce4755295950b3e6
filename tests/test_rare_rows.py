"""How far one gradient moves a rare row, beside what torch does to it."""

import numpy as np
import pytest
import torch

import scalecheck as api

ROWS, WIDTH, LR = 600, 16, 1e-3


def embedding(steps, beta2, batch, seen=ROWS):
    """An embedding under Adam whose rows are seen as often as words are, its optimizer, and the
    step at which each row was seen last."""
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    often = 1 / np.arange(1, seen + 1)
    weights = torch.ones(ROWS, WIDTH, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adam([weights], lr=LR, betas=(0.9, beta2), eps=1e-15)
    last = np.zeros(ROWS)
    for step in range(steps):
        count = np.zeros(ROWS)
        count[:seen] = rng.multinomial(batch, often / often.sum())
        gradient = rng.standard_normal((ROWS, WIDTH)) * np.sqrt(count)[:, None]
        weights.grad = torch.from_numpy(gradient)
        optimizer.step()
        last[count > 0] = step
    return weights, optimizer, last


def saved(weights, optimizer, folder):
    path = folder / "run.pt"
    model = {"embed_tokens.weight": weights.detach().clone()}
    torch.save({"model": model, "optimizer": optimizer.state_dict()}, path)
    [row] = api.translate(path).rows
    assert row["role"] == "embedding"
    return row["rare_row_update"] * row["rms"] / LR


def moved(weights, optimizer, rows):
    """Σ of the updates at lr 1 of these rows after one gradient of each, without others."""
    rng = np.random.default_rng(1)
    state = optimizer.state[weights]
    state["exp_avg"].zero_()  # what earlier gradients still move is theirs
    before = weights.detach().clone()
    for step in range(150):
        gradient = rng.standard_normal((ROWS, WIDTH)) if step == 0 else np.zeros((ROWS, WIDTH))
        weights.grad = torch.from_numpy(gradient)
        optimizer.step()
    moves = (before - weights.detach()).numpy()[rows] / LR
    return np.sqrt((moves**2).mean(1))


@pytest.mark.parametrize(
    ("steps", "beta2", "batch", "least", "most"),
    [(2500, 0.999, 8, 13, 17), (800, 0.99, 64, 6, 8), (2500, 0.999, 1, 21, 27)],
)
def test_a_rare_row_moves_as_its_own_second_moment_says(steps, beta2, batch, least, most, tmp_path):
    """Within 1.35 times of what torch moves rows by that had no gradient for 100 steps; one that
    was never seen would move by 31.8, or with beta2 0.99 by 10.5."""
    weights, optimizer, last = embedding(steps, beta2, batch)
    told = saved(weights, optimizer, tmp_path)
    real = np.median(moved(weights, optimizer, np.flatnonzero(steps - last >= 100)))
    assert least < real < most
    assert real / 1.35 < told < 1.35 * real


def test_where_no_row_is_rare_the_least_seen_one_is_told(tmp_path):
    """All rows have a gradient at every step, which moves each by about its lr."""
    weights, optimizer, _ = embedding(300, 0.99, 20_000)
    told = saved(weights, optimizer, tmp_path)
    assert 1 < told < 4


def test_rows_that_were_never_seen_move_as_far_as_from_zero(tmp_path):
    """Of 600 rows 420 have v = 0, so that a rare row is one of them: 10.5, less what the bias
    correction of v takes at step 1,000, by when one of them is seen if any is."""
    weights, optimizer, _ = embedding(300, 0.99, 32, seen=180)
    told = saved(weights, optimizer, tmp_path)
    assert told == pytest.approx(10.4749 * (1 - 0.99**1000) ** 0.5, rel=1e-4)
    assert np.median(moved(weights, optimizer, [*range(200, 600)])) == pytest.approx(told, rel=0.05)


def next_moves(beta2, steps, batch, rows=2000):
    """m and v of rows that are seen by Zipf's law, and of those without a gradient for 100 steps
    the Σ of the updates at lr 1 of the next one, whenever that is."""
    rng = np.random.default_rng(0)
    often = 1 / np.arange(1, rows + 1)
    often /= often.sum()
    m, v = np.zeros((2, rows, WIDTH))
    last = np.zeros(rows)
    for step in range(1, steps + 1):
        count = rng.multinomial(batch, often)
        gradient = rng.standard_normal((rows, WIDTH)) * np.sqrt(count)[:, None]
        m = 0.9 * m + 0.1 * gradient
        v = beta2 * v + (1 - beta2) * gradient**2
        last[count > 0] = step
    wait = rng.geometric(1 - (1 - often) ** batch)[:, None]
    gradient = rng.standard_normal((rows, WIDTH))
    later = v * beta2**wait + (1 - beta2) * gradient**2
    moves = sum(
        0.1 * gradient * 0.9**k / np.sqrt(later * beta2**k / (1 - beta2 ** (steps + wait + k)))
        for k in range(150)
    )
    sizes = np.sqrt((moves**2).mean(1))
    return m, v, sizes[(steps - last >= min(100, (steps - last).max()))]


@pytest.mark.parametrize("batch", [8, 64, 512])
@pytest.mark.parametrize("steps", [100, 300, 1500])
@pytest.mark.parametrize("beta2", [0.95, 0.99, 0.999])
def test_a_rare_row_moves_within_half_of_what_is_told_whenever_it_is_next_seen(
    beta2, steps, batch, tmp_path
):
    """Whether most rows are rare or one in a hundred is, at any age of the state."""
    m, v, sizes = next_moves(beta2, steps, batch)
    weights = torch.ones(*m.shape, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adam([weights], lr=LR, betas=(0.9, beta2), eps=1e-15)
    weights.grad = torch.zeros_like(weights)
    optimizer.step()
    optimizer.state[weights] = {
        "step": torch.tensor(float(steps)),
        "exp_avg": torch.from_numpy(m),
        "exp_avg_sq": torch.from_numpy(v),
    }
    told = saved(weights, optimizer, tmp_path)
    assert told / 1.5 < np.median(sizes) < 1.5 * told
