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
