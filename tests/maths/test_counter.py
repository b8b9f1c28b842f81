import math

import pytest
import torch

from noprop_dist.maths.counter import seeded_normals, threefry

# The known answers that come with Random123: key, counter, result.
KNOWN = [
    ((0, 0), (0, 0), (0x6B200159, 0x99BA4EFE)),
    ((0xFFFFFFFF,) * 2, (0xFFFFFFFF,) * 2, (0x1CB996FC, 0xBB002BE7)),
    ((0x13198A2E, 0x03707344), (0x243F6A88, 0x85A308D3), (0xC4923A9C, 0x483DF7A0)),
]


@pytest.mark.parametrize(("key", "counter", "answer"), KNOWN)
def test_threefry_gives_the_known_answers(
    key: tuple[int, int], counter: tuple[int, int], answer: tuple[int, int]
) -> None:
    words = [torch.tensor([word]) for word in (*key, *counter)]
    first, second = threefry((words[0], words[1]), (words[2], words[3]))
    assert (int(first), int(second)) == answer


def test_seeded_normals_are_normal_and_uncorrelated() -> None:
    z = seeded_normals(torch.arange(500), 1, 401)[:, 0].double()
    assert z.shape == (500, 401)
    assert abs(float(z.mean())) < 0.01
    assert abs(float(z.var()) - 1) < 0.02
    assert abs(float((z**4).mean()) - 3) < 0.1
    for a, b in ((z[:, :-1], z[:, 1:]), (z[:-1], z[1:])):
        assert abs(float((a * b).mean())) < 0.01


def test_a_row_of_noise_depends_on_its_seed_and_the_draw_alone() -> None:
    seeds = torch.tensor([5, 2**62 + 5, 5, 2**31])
    z = seeded_normals(seeds, 2, 9)[:, 1]
    assert torch.equal(z[0], z[2])
    assert not torch.equal(z[0], z[1])
    assert torch.equal(seeded_normals(seeds[1:2], 3, 9)[0, 1], z[1])
    assert torch.equal(seeded_normals(seeds, 2, 4)[:, 1], z[:, :4])
    assert not torch.equal(seeded_normals(seeds, 3, 9)[:, 2], z)


def test_seeded_normals_are_those_of_the_formula_to_the_last_bit() -> None:
    """Rounded once, from float64: what a machine's log and sin do in their last bit is not seen."""
    seeds = [7, 2**40 + 3]
    z = seeded_normals(torch.tensor(seeds), 1, 200)[:, 0]
    for row, seed in zip(z, seeds, strict=True):
        for pair in range(100):
            words = [torch.tensor([w]) for w in (seed & 0xFFFFFFFF, seed >> 32, pair, 0)]
            first, second = threefry((words[0], words[1]), (words[2], words[3]))
            radius = math.sqrt(-2 * math.log((int(first) + 0.5) / 2**32))
            turn = 2 * math.pi * (int(second) >> 8) / 2**24
            told = [radius * math.cos(turn), radius * math.sin(turn)]
            assert torch.equal(row[2 * pair : 2 * pair + 2], torch.tensor(told))
