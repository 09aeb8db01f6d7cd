"""Local and global students of the edge form: their losses, their maps, and what they share with the trunk."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
import torch

from edgead_tools.backbones.efficientnet_lite import EfficientNetLite
from edgead_tools.methods.csad.component_head import ComponentHead
from edgead_tools.methods.csad.local_global import GlobalStudent, LocalGlobal, fit_students

pytestmark = pytest.mark.usefixtures("one_thread")

SIDE = 64


def images() -> Iterable[torch.Tensor]:
    random = torch.Generator().manual_seed(0)
    return [torch.randn(4, 3, SIDE, SIDE, generator=random) for _ in range(2)]


@pytest.fixture(scope="module")
def students() -> LocalGlobal:
    torch.manual_seed(0)
    trunk = EfficientNetLite("lite0").eval()
    return LocalGlobal(trunk, images, (SIDE, SIDE), 16).eval()


def test_the_teacher_is_standardized_and_fixed(students: LocalGlobal) -> None:
    taps = torch.cat([students.taps(batch)[1] for batch in images()])
    torch.testing.assert_close(taps.mean((0, 2, 3)), torch.zeros(40), atol=1e-3, rtol=0)
    torch.testing.assert_close(taps.std((0, 2, 3)), torch.ones(40), atol=1e-2, rtol=0)
    assert not any(parameter.requires_grad for parameter in students.trunk.parameters())


def test_all_see_one_grid(students: LocalGlobal) -> None:
    batch = next(iter(images()))
    taps = students.taps(batch)
    assert students.teach(taps).shape == (4, 152, SIDE // 8, SIDE // 8)
    assert [one.shape for one in students.differences(batch)] == [(4, 152, SIDE // 8, SIDE // 8)] * 2


def test_the_losses_are_their_definitions(students: LocalGlobal) -> None:
    plain, jittered = images()
    losses = students.losses(plain, jittered)
    with torch.no_grad():
        seen, other = students.taps(plain), students.taps(jittered)
        guess = students.wide(other[2])
        local = (students.teach(seen) - students.local(seen[0])[0]).square().mean()
        wide = (students.teach(other) - guess).square().mean()
        agreement = (guess - students.local(other[0])[1]).square().mean()
    for name, expected in (("local", local), ("global", wide), ("agreement", agreement)):
        assert losses[name].item() == pytest.approx(float(expected), rel=1e-4)


def test_agreeing_teaches_both(students: LocalGlobal) -> None:
    students.zero_grad()
    students.losses(*images())["agreement"].backward()
    assert students.wide.head.weight.grad is not None
    assert students.local.of_global.weight.grad is not None
    assert students.local.of_teacher.weight.grad is None
    students.zero_grad()


def test_the_global_student_sees_all_and_the_local_one_its_place(students: LocalGlobal) -> None:
    taps = students.taps(next(iter(images())))
    moved = [tap.clone() for tap in taps]
    moved[0][:, :, :4, :4] += 5
    moved[2][:, :, :1, :1] += 5
    with torch.no_grad():
        near = (students.local(moved[0])[0] - students.local(taps[0])[0]).abs().amax((0, 1))
        wide = (students.wide(moved[2]) - students.wide(taps[2])).abs().amax((0, 1))
    assert near[0, 0] > 0
    assert near[6:, 6:].max() == 0
    assert wide[-1, -1] > 0


def test_the_graph_gives_both_maps_and_the_logits(students: LocalGlobal) -> None:
    head = ComponentHead((24, 112), 3, widths=(8, 8, 8), dilations=(2,)).eval()
    network = fit_students(students, head, images).eval()
    with torch.no_grad():
        outputs = [network(batch) for batch in images()]
    maps = torch.cat([one["local"] for one in outputs])
    assert maps.shape == (8, SIDE // 8, SIDE // 8)
    assert abs(float(maps.mean())) < 0.1  # what is usual is 0
    assert outputs[0]["components"].shape == (4, 3, SIDE // 4, SIDE // 4)


@pytest.mark.parametrize("grid", [(16, 16), (26, 10), (5, 7)])
def test_the_global_student_takes_any_shape(grid: tuple[int, int]) -> None:
    student = GlobalStudent(8, 6, 4, grid).eval()
    assert student(torch.rand(2, 8, *grid)).shape == (2, 4, 2 * grid[0], 2 * grid[1])
