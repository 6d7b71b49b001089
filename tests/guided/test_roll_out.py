import pytest
import torch

from guided import DDIM, Counted, Heun, RectifiedFlow, Rng
from guided.guidance import HistoryGuidance, roll_out, vanilla
from guided.rng import stream_seed
from guided.schedule import log_snr, uniform
from tests.guided.draws import normal
from tests.guided.tokens import DECAY, F64, Tokens, ar1


def plain(count):
    return vanilla(count, 1.0)


def test_segments_are_histories_of_the_last_tokens():
    """Against a loop by hand: 2 of context, 3 at a time, 4 wanted."""
    denoiser, context, times = Tokens(ar1(5)), normal(2, 2, 1), uniform(5)
    found = roll_out(
        denoiser, DDIM, context, 4, 5, times, lambda n: vanilla(n, 1.5), rng=Rng(1), seed=7
    )
    rng, past, history = Rng(1), context, torch.arange(5) < 2
    for segment, least in enumerate(([0.0, 0.0], [0.02, 0.02])):
        known = torch.cat([past[:, -2:], torch.zeros(2, 3, 1, dtype=F64)], 1)
        guided = HistoryGuidance(
            denoiser, known, history, vanilla(2, 1.5), least, stream_seed(7, segment)
        )
        x = rng.normal((2, 5, 1), F64)
        past = torch.cat([past, DDIM(guided).sample(x, times, rng=rng)[:, 2:]], 1)
    assert found.shape == (2, 6, 1)
    torch.testing.assert_close(found, past[:, :6])
    assert torch.equal(found[:, :2], context)


def test_context_and_generated_history_are_shown_at_their_levels():
    seen = []

    class Watched(Tokens):
        def forward(self, x, level, cond=None):
            seen.append([round(t, 4) for t in level.t[0, :2, 0].tolist()])
            return super().forward(x, level, cond)

    context = normal(1, 2, 1)
    roll_out(
        Watched(ar1(3)), DDIM, context, 3, 3, uniform(1), plain, rng=Rng(0), given=0.01,
        generated=0.05,
    )  # fmt: skip
    assert seen == [[0.01, 0.01], [0.01, 0.05], [0.05, 0.05]]


def test_a_roll_out_of_the_exact_model_is_the_process():
    """AR(1) for 40 tokens by windows of 3: variance 1 and neighbours at the right correlation."""
    times = log_snr(RectifiedFlow(), 25, sigma_min=1e-2, sigma_max=100.0)
    context = Rng(5).normal((400, 1, 1), F64)
    counted = Counted(Tokens(ar1(3)))
    found = roll_out(counted, Heun, context, 40, 3, times, plain, rng=Rng(0), generated=0.0)
    assert counted.calls == 20 * 49
    late = found[:, 5:, 0]
    assert late.square().mean().item() == pytest.approx(1.0, abs=0.06)
    for lag in (1, 2, 3):
        product = (late[:, lag:] * late[:, :-lag]).mean().item()
        assert product == pytest.approx(DECAY**lag, abs=0.06)


@pytest.mark.parametrize(("held", "tokens"), [(0, 2), (3, 2), (1, 0)])
def test_what_does_not_fit_is_refused(held, tokens):
    with pytest.raises(ValueError, match=f"got {held} of a window of 3 and {tokens}"):
        context = torch.zeros(1, held, 1)
        roll_out(Tokens(ar1(3)), DDIM, context, tokens, 3, uniform(2), plain, rng=Rng(0))
