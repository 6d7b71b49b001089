"""Relation attention against loops over the formula, in double precision."""

import math

import pytest
import torch

from domains.trajectory.network.attention import Feed, RelationAttention
from guided.rng import initial_weights

B, S, A, N, WIDTH, HEADS = 2, 3, 4, 5, 8, 2
C = WIDTH // HEADS


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).double()


@pytest.fixture
def attention():
    with initial_weights(0):
        return RelationAttention(WIDTH, HEADS).double().requires_grad_(False)


@pytest.fixture
def counts():
    seen = torch.rand(B, A, N, generator=torch.Generator().manual_seed(1)) < 0.6
    seen[0, 1] = False
    return seen


def parts(vector):
    """Return the keys and values (HEADS, C) of each head."""
    return vector.reshape(2, HEADS, C)


def by_loops(net, x, embedding, counts, sender):
    """The formula, receiver by receiver; ``sender(b, s, a, n)`` is what is said of a sender."""
    out = torch.zeros_like(x)
    for b, s, a in torch.cartesian_prod(*(torch.arange(n) for n in x.shape[:3])).tolist():
        q = net.query(net.norm(x[b, s, a])).reshape(HEADS, C)
        found = torch.zeros(HEADS, C).double()
        who = [n for n in range(counts.shape[2]) if counts[b, a, n]]
        if not who:
            out[b, s, a] = net.out.bias
            continue
        for h in range(HEADS):
            pairs = []
            for n in who:
                k, v = parts(net.content.weight @ sender(b, s, a, n))
                kr, vr = parts(net.relation(embedding[b, a, n]))
                pairs.append((q[h] @ (k[h] + kr[h]) / math.sqrt(C), v[h] + vr[h]))
            total = sum(logit.exp() for logit, _ in pairs)
            for logit, value in pairs:
                found[h] += logit.exp() / total * value
        out[b, s, a] = net.out(found.flatten())
    return out


def test_senders_of_each_sample(attention, counts):
    x, embedding, senders = draw(B, S, A, WIDTH), draw(B, A, N, WIDTH), draw(B, S, N, WIDTH)
    found = attention(x, attention.relate(embedding, counts), senders)
    said = lambda b, s, a, n: attention.norm(senders[b, s, n])  # noqa: E731
    torch.testing.assert_close(found, by_loops(attention, x, embedding, counts, said))


@pytest.mark.parametrize("each", [False, True])
def test_senders_that_all_samples_share(attention, counts, each):
    x, embedding = draw(B, S, A, WIDTH), draw(B, A, N, WIDTH)
    shared = draw(B, A, N, WIDTH, seed=3) if each else draw(B, N, WIDTH, seed=3)
    related = attention.fixed(attention.relate(embedding, counts), shared)
    said = lambda b, s, a, n: shared[b, a, n] if each else shared[b, n]  # noqa: E731
    torch.testing.assert_close(
        attention(x, related), by_loops(attention, x, embedding, counts, said)
    )


def test_folding_senders_in_equals_passing_them(attention, counts):
    """``fixed`` takes them as they are, ``forward`` behind the norm."""
    x, embedding, senders = draw(B, S, A, WIDTH), draw(B, A, N, WIDTH), draw(B, N, WIDTH)
    related = attention.relate(embedding, counts)
    passed = attention(x, related, senders[:, None].expand(-1, S, -1, -1))
    folded = attention(x, attention.fixed(related, attention.norm(senders)))
    torch.testing.assert_close(folded, passed)


def test_relations_alone(attention, counts):
    x, embedding = draw(B, S, A, WIDTH), draw(B, A, N, WIDTH)
    nothing = lambda b, s, a, n: torch.zeros(WIDTH).double()  # noqa: E731
    found = attention(x, attention.relate(embedding, counts))
    torch.testing.assert_close(found, by_loops(attention, x, embedding, counts, nothing))


def test_nothing_of_who_does_not_count_is_seen(attention, counts):
    x, embedding, senders = draw(B, S, A, WIDTH), draw(B, A, N, WIDTH), draw(B, S, N, WIDTH)
    counts[:, :, 2] = False
    found = attention(x, attention.relate(embedding, counts), senders)
    other, garbage = embedding.clone(), senders.clone()
    other[~counts] = 1e6 * draw(int((~counts).sum()), WIDTH)
    garbage[:, :, 2] = -1e9
    again = attention(x, attention.relate(other, counts), garbage)
    assert torch.equal(again, found)
    folded = attention.fixed(attention.relate(other, counts), garbage[:, 0])
    plain = attention.fixed(attention.relate(embedding, counts), senders[:, 0])
    assert torch.equal(attention(x, folded), attention(x, plain))


def test_who_sees_nobody_gets_the_bias_alone(attention):
    x, embedding = draw(B, S, A, WIDTH), draw(B, A, N, WIDTH)
    counts = torch.zeros(B, A, N, dtype=torch.bool)
    found = attention(x, attention.relate(embedding, counts), draw(B, S, N, WIDTH))
    assert torch.equal(found, attention.out.bias.expand_as(x))
    nobody = attention(x, attention.relate(embedding[:, :, :0], counts[:, :, :0]), x[:, :, :0])
    torch.testing.assert_close(nobody, found)


def test_gradients_stay_finite_where_nobody_is_seen(attention):
    x = draw(B, S, A, WIDTH).requires_grad_()
    embedding = draw(B, A, N, WIDTH).requires_grad_()
    counts = torch.zeros(B, A, N, dtype=torch.bool)
    attention(x, attention.relate(embedding, counts), draw(B, S, N, WIDTH)).sum().backward()
    assert torch.isfinite(x.grad).all() and torch.isfinite(embedding.grad).all()


def test_the_order_of_senders_and_the_other_samples_do_not_matter(attention, counts):
    x, embedding, senders = draw(B, S, A, WIDTH), draw(B, A, N, WIDTH), draw(B, S, N, WIDTH)
    found = attention(x, attention.relate(embedding, counts), senders)
    order = [3, 0, 4, 2, 1]
    mixed = attention.relate(embedding[:, :, order], counts[:, :, order])
    torch.testing.assert_close(attention(x, mixed, senders[:, :, order]), found)
    alone = attention(x[:, 1:2], attention.relate(embedding, counts), senders[:, 1:2])
    torch.testing.assert_close(alone, found[:, 1:2])


def test_the_perceptron_by_hand():
    with initial_weights(0):
        feed = Feed(WIDTH).double()
    x = draw(3, WIDTH)
    norm = (x - x.mean(-1, keepdim=True)) / (x.var(-1, correction=0, keepdim=True) + 1e-5).sqrt()
    wide = norm @ feed.layers[1].weight.T + feed.layers[1].bias
    hidden = wide * wide.sigmoid()
    expected = hidden @ feed.layers[3].weight.T + feed.layers[3].bias
    assert wide.shape == (3, 2 * WIDTH)
    torch.testing.assert_close(feed(x), expected)
