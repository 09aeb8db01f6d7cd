"""The folder of a build under way: whose it is, and when it goes."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgead.config import BuildConfig
from edgead.errors import UsageError
from edgead_tools.pipeline.runs import open_run, pin_images, unfinished_budget


def config(tmp_path: Path, seed: int = 0) -> BuildConfig:
    return BuildConfig(data="parts", out=str(tmp_path / "b.edgead"), seed=seed)


def begin(tmp_path: Path, images: str = "a") -> None:
    """A build that was stopped in its training."""
    with open_run(config(tmp_path), fresh=False) as folder:
        pin_images(folder, images)
        (folder / "denoising.pt").touch()


def test_it_is_gone_where_nothing_was_trained(tmp_path: Path) -> None:
    with open_run(config(tmp_path), fresh=False) as folder:
        assert [path.name for path in folder.iterdir()] == ["settings.json"]
    assert list(tmp_path.iterdir()) == []


def test_a_training_is_kept_for_the_same_settings_and_images(tmp_path: Path) -> None:
    begin(tmp_path)
    begin(tmp_path)
    with pytest.raises(UsageError, match=r"other settings.*--fresh"), open_run(config(tmp_path, 1), fresh=False):
        pass
    with pytest.raises(UsageError, match="other images"):
        begin(tmp_path, images="b")
    assert (tmp_path / "b.edgead.run" / "denoising.pt").exists()


def test_fresh_forgets_a_training_of_any_settings(tmp_path: Path) -> None:
    begin(tmp_path)
    with open_run(config(tmp_path, 1), fresh=True) as folder:
        assert [path.name for path in folder.iterdir()] == ["settings.json"]


def test_a_record_that_cannot_be_read_is_another_one(tmp_path: Path) -> None:
    begin(tmp_path)
    (tmp_path / "b.edgead.run" / "settings.json").write_text("{")
    with pytest.raises(UsageError, match="other settings"), open_run(config(tmp_path), fresh=False):
        pass


def test_two_builds_do_not_share_it(tmp_path: Path) -> None:
    with (
        open_run(config(tmp_path), fresh=False),
        pytest.raises(UsageError, match="another build is at work"),
        open_run(config(tmp_path), fresh=True),
    ):
        pass


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    mine = tmp_path / "b.edgead.run" / "mine.txt"
    mine.parent.mkdir()
    mine.touch()
    for fresh in (False, True):
        with pytest.raises(UsageError, match="holds something else"), open_run(config(tmp_path), fresh=fresh):
            pass
    assert mine.exists()


def test_an_unfinished_training_tells_its_budget(tmp_path: Path) -> None:
    bundle = tmp_path / "b.edgead"
    assert unfinished_budget(bundle) == ""
    with open_run(BuildConfig(data="parts", out=str(bundle), budget="70s"), fresh=False) as folder:
        assert unfinished_budget(bundle) == ""  # nothing was trained yet
        (folder / "denoising.pt").touch()
    assert unfinished_budget(bundle) == "70s"
