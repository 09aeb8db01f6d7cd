"""The commands, in this process: what they print and what they return."""

from __future__ import annotations

import json
import os
from importlib.util import find_spec
from pathlib import Path

import cv2
import msgspec
import pytest
import tiny

from edgead.bundle.store import write_bundle
from edgead.cli import doctor
from edgead.cli.doctor import _finish, _start

NO_GPU = """
class Error(Exception): pass
class Device: count = staticmethod(lambda: 0)
def init(): raise Error('no device')
"""


def test_help_and_version(edgead) -> None:
    code, out, _ = edgead("--help")
    assert code == 0
    for command in ("run", "predict", "info", "verify", "doctor"):
        assert f"\n  {command} " in out
        assert edgead(command, "--help")[0] == 0
    assert edgead("--version")[:2] == (0, "edgead 0.1.0\n")


@pytest.mark.parametrize(
    "arguments",
    [["rnu"], ["run", "--camra", "0"], ["predict"], ["run", "--precision", "int4"], ["run", "--limit", "0"]],
    ids=" ".join,
)
def test_wrong_usage_is_2(edgead, arguments: list[str]) -> None:
    code, out, err = edgead(*arguments)
    assert (code, out) == (2, "")
    assert "Traceback" not in err


def test_predict_prints_a_line_an_image(edgead, tiny_bundle: Path, parts: Path) -> None:
    code, out, err = edgead("predict", tiny_bundle, parts)
    assert (code, err) == (0, "")
    assert [line.split()[0] for line in out.splitlines()] == ["OK", "OK", "NG"]
    assert out.splitlines()[2].endswith(f"1 region     {parts}/part_10.png")
    assert edgead("predict", tiny_bundle, parts, "--fail-on-anomaly")[0] == 10
    assert edgead("predict", tiny_bundle, parts / "part_1.png", "--fail-on-anomaly")[0] == 0


def test_predict_prints_json_and_saves_pictures(edgead, tiny_bundle: Path, parts: Path, tmp_path: Path) -> None:
    code, out, err = edgead(
        "predict", tiny_bundle, f"{parts}/part_1*.png", parts / "part_2.png", "--json", "--save", "s"
    )
    assert (code, err) == (0, "")
    assert [json.loads(line)["verdict"] for line in out.splitlines()] == ["OK", "NG", "OK"]
    assert len(list((tmp_path / "s").iterdir())) == 3


def test_predict_goes_on_past_a_broken_image_and_says_so(edgead, tiny_bundle: Path, parts: Path) -> None:
    (parts / "part_0.png").write_bytes(b"")
    code, out, err = edgead("predict", tiny_bundle, parts, "--fail-on-anomaly")
    assert (code, len(out.splitlines())) == (1, 3)
    assert "1 of 4 images could not be read" in err


def test_names_cannot_play_with_the_terminal(edgead, tiny_bundle: Path, tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), tiny.good())
    (tmp_path / "a.png").rename(tmp_path / "\x1b[31m\n.png")
    (out,) = edgead("predict", tiny_bundle, tmp_path)[1].splitlines()
    assert out.endswith("\\x1b[31m\\n.png")


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["predict", "none.edgead", "x.png"], 1, "there is no image"),
        (["predict", "none.edgead", "."], 1, "has no images"),
        (["predict", "none.edgead", "line.mp4"], 1, "is a video: judge it with `edgead run"),
        (["info", "none.edgead"], 1, "there is no bundle at none.edgead"),
        (["info", "."], 1, "is not a file"),
        (["verify", "text"], 1, "not an edgead bundle"),
        (["run", "--bundle", "BUNDLE"], 2, "nothing to look at"),
        (["run", "BUNDLE", "--source", "none"], 5, "there is no image, folder or video at none"),
        (["run", "BUNDLE", "--bundle", "BUNDLE", "--source", "none"], 2, "name one bundle"),
        (["run", "--bundle", "BUNDLE", "--source", "none"], 5, "there is no image, folder or video at none"),
        (["run", "--bundle", "BUNDLE", "--source", "gige:0"], 2, "no kind of source"),
        (["run", "--bundle", "BUNDLE", "--camera", "99"], 5, "camera:99 cannot be opened"),
        (["run", "--bundle", "BUNDLE", "--camera", "0", "--source", "x"], 2, "give one of"),
        (["run", "--source", "x"], 2, "which bundle?"),
        (["run", "--bundle", "BUNDLE", "--source", "x", "--engine", "onxx"], 2, "did you mean 'onnx'"),
        (["run", "--bundle", "BUNDLE", "--source", "x", "--precision", "int8"], 1, "it has fp32"),
        (["run", "--bundle", "BUNDLE", "--source", "text", "--video", "v.gif"], 2, "end its name in"),
        (["run", "--config", "none.yaml"], 2, "none.yaml cannot be read"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_errors_are_one_sentence_and_a_code(
    edgead, tiny_bundle: Path, tmp_path: Path, arguments: list[str], code: int, sentence: str
) -> None:
    (tmp_path / "text").write_text("some text")
    (tmp_path / "line.mp4").write_text("a video, by its name")
    got, out, err = edgead(*(str(tiny_bundle) if argument == "BUNDLE" else argument for argument in arguments))
    assert (got, out) == (code, "")
    assert sentence in err
    assert err.splitlines()[-1].startswith("edgead: ")
    assert "Traceback" not in err


def test_debug_shows_the_traceback(edgead, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "Traceback" in edgead("--debug", "info", "none.edgead")[2]
    monkeypatch.setenv("EDGEAD_DEBUG", "1")
    assert "Traceback" in edgead("info", "none.edgead")[2]


def test_a_fault_of_ours_is_named_so(edgead, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgead.cli.info._rows", lambda *_, **__: 1 / 0)
    code, _, err = edgead("info", tiny_bundle)
    assert code == 1
    assert "unexpected ZeroDivisionError" in err
    assert "--debug" in err


def test_run_writes_everything_it_is_asked_for(edgead, tiny_bundle: Path, parts: Path, tmp_path: Path) -> None:
    where = ["--jsonl", "r.jsonl", "--save", "seen", "--video", "seen.mp4"]
    code, out, err = edgead("run", "--bundle", tiny_bundle, "--source", parts, "--json", *where)
    assert code == 0
    assert [json.loads(line)["verdict"] for line in out.splitlines()] == ["OK", "OK", "NG"]
    assert (tmp_path / "r.jsonl").read_text() == out
    assert len(list((tmp_path / "seen").iterdir())) == 3
    assert (tmp_path / "seen.mp4").stat().st_size > 0
    assert err.splitlines()[-1].startswith("edgead: 3 frames in ")
    assert err.endswith("1 NG\n")


def test_run_stops_at_its_limit(edgead, tiny_bundle: Path, parts: Path) -> None:
    assert "edgead: 2 frames" in edgead("run", "--bundle", tiny_bundle, "--source", parts, "--limit", 2)[2]


def test_run_fails_where_nothing_could_be_judged(edgead, tiny_bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"")
    code, _, err = edgead("run", "--bundle", tiny_bundle, "--source", tmp_path)
    assert code == 1
    assert "none of the 1 images" in err


def test_the_newest_bundle_of_the_folder_is_taken(edgead, tiny_bundle: Path, parts: Path, tmp_path: Path) -> None:
    (tmp_path / "old.edgead").write_bytes(b"not even a bundle")
    os.utime(tmp_path / "old.edgead", (1, 1))
    (tmp_path / "new.edgead").write_bytes(tiny_bundle.read_bytes())
    assert edgead("run", "--source", parts)[0] == 0


def test_command_line_over_environment_over_file(
    edgead, tiny_bundle: Path, parts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "line.yaml").write_text(f"bundle: {tiny_bundle}\nsource: {parts}\nlimit: 2\njson: true\n")
    code, out, _ = edgead("run", "--config", "line.yaml")
    assert (code, len(out.splitlines())) == (0, 2)
    assert len(edgead("run", "--config", "line.yaml", "--limit", 1)[1].splitlines()) == 1
    monkeypatch.setenv("EDGEAD_CONFIG", "line.yaml")
    monkeypatch.setenv("EDGEAD_SOURCE", str(parts / "part_10.png"))
    assert json.loads(edgead("run")[1])["verdict"] == "NG"
    assert "camera:99" in edgead("run", "--camera", 99)[2]
    assert json.loads(edgead("run", "--source", parts / "part_1.png")[1])["verdict"] == "OK"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("sorce: x", "did you mean 'source'?"),
        ("- source", "must hold keys and values"),
        ("limit: [1]", "'limit' in line.yaml cannot be used"),
        ("{", "is not valid YAML"),
        ("limit: many", "limit"),
    ],
)
def test_a_wrong_file_is_wrong_usage(edgead, tmp_path: Path, text: str, sentence: str) -> None:
    (tmp_path / "line.yaml").write_text(text)
    code, _, err = edgead("run", "--config", "line.yaml")
    assert code == 2
    assert sentence in err


def test_info_in_words_and_in_json(edgead, tiny_bundle: Path) -> None:
    _, out, _ = edgead("info", tiny_bundle)
    for words in (
        "brightness",
        "32 x 32",
        "fp32",
        "NG above a raw score of 0.6",
        "too few images",
        "weights: Apache-2.0",
    ):
        assert words in out
    fields = json.loads(edgead("info", tiny_bundle, "--json")[1])
    assert fields["manifest"]["provenance"]["seed"] == 7
    assert len(fields["digest"]) == 64


def test_verify_passes_and_fails(edgead, tiny_bundle: Path, tmp_path: Path) -> None:
    code, out, err = edgead("verify", tiny_bundle)
    assert (code, out.count("ok ")) == (0, 2)
    assert "5 members match their digests" in err
    tiny.write_tiny(tmp_path / "off.edgead", distort=lambda golden: golden + 1)
    code, out, err = edgead("verify", tmp_path / "off.edgead", "--json")
    assert code == 4
    assert [json.loads(line)["passed"] for line in out.splitlines()] == [False, False]
    assert "2 golden frames differ" in err


def elsewhere(path: Path) -> None:
    """The tiny bundle, with one network more, for TensorRT alone."""
    whole = tiny.write_tiny(path)
    (fp32,) = whole.manifest.artifacts
    fp16 = msgspec.structs.replace(fp32, precision="fp16", engine="tensorrt")
    write_bundle(path, msgspec.structs.replace(whole.manifest, artifacts=(fp16, fp32)), whole.members())


def test_verify_leaves_out_what_is_for_an_engine_that_is_not_here(edgead, tmp_path: Path) -> None:
    elsewhere(tmp_path / "b.edgead")
    code, out, err = edgead("verify", "b.edgead")
    assert (code, out.count("ok ")) == (0, 2)
    assert "fp16 is for tensorrt and was not checked" in err
    code, out, err = edgead("verify", "b.edgead", "--precision", "fp16")
    assert (code, out) == (3, "")
    assert "tensorrt" in err


def test_every_precision_is_every_one_that_runs_here(edgead, tmp_path: Path) -> None:
    elsewhere(tmp_path / "b.edgead")
    for kind, part in (("good", tiny.good), ("spot", tiny.bad)):
        (tmp_path / "parts/test" / kind).mkdir(parents=True)
        for index in range(3):
            cv2.imwrite(str(tmp_path / "parts/test" / kind / f"{index}.png"), part(index))
    code, out, _ = edgead("eval", "b.edgead", "parts", "--every-precision", "--json")
    assert code == 0
    assert [json.loads(line)["precision"] for line in out.splitlines()] == ["fp32"]


def test_doctor_tries_what_is_there(edgead, monkeypatch: pytest.MonkeyPatch) -> None:
    absent = ("torch", "onnx")
    monkeypatch.setattr("edgead.cli.doctor.find_spec", lambda name: None if name in absent else find_spec(name))
    checks = {fields["name"]: fields for fields in map(json.loads, edgead("doctor", "--json")[1].splitlines())}
    assert checks["onnxruntime"]["found"]
    assert checks["torch"] == {
        "name": "torch",
        "found": False,
        "detail": "not installed",
        "purpose": "building bundles",
        "install": "pip install 'edgead[build]'",
    }
    assert {"python", "edgead", "numpy", "opencv", "cameras"} <= set(checks)


@pytest.mark.parametrize(
    ("probe", "reason"),
    [
        ("raise ImportError('libcuda.so.1 is missing')", "ImportError: libcuda.so.1 is missing"),
        ("import os; os.abort()", "its process ended with -6"),
    ],
)
def test_doctor_survives_broken_packages(probe: str, reason: str) -> None:
    found, detail = _finish(_start("broken", probe))
    assert not found
    assert detail.endswith(reason)


@pytest.mark.parametrize(
    ("files", "detail", "fix"),
    [
        ({"driver.py": "import pytools"}, "pytools is not installed: pip install 'edgead[tensorrt]'", ""),
        (
            {"driver.py": "raise ImportError('libcuda.so.1: cannot open')"},
            "(libcuda.so.1: cannot open): install it",
            "",
        ),
        ({"driver.py": NO_GPU}, "finds no GPU to use (no device): see what nvidia-smi says", ""),
        ({"driver.py": NO_GPU + "init = int"}, "finds no GPU: pass one to the container", ""),
    ],
)
def test_doctor_names_what_a_gpu_lacks(
    edgead, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, files: dict[str, str], detail: str, fix: str
) -> None:
    for name, text in files.items():
        package = tmp_path / "packages/pycuda"
        package.mkdir(parents=True)
        (package / "__init__.py").touch()
        (package / name).write_text(text)
    monkeypatch.setattr(doctor, "PACKAGES", {})
    monkeypatch.setattr(doctor, "GPU_PACKAGES", {"pycuda": doctor.GPU_PACKAGES["pycuda"]})
    monkeypatch.setattr(doctor, "find_spec", lambda name: name)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path / 'packages'}:{os.environ.get('PYTHONPATH', '')}")
    (check,) = (one for one in map(json.loads, edgead("doctor", "--json")[1].splitlines()) if one["name"] == "pycuda")
    assert not check["found"]
    assert detail in check["detail"]
    assert "EngineError" not in check["detail"]
    assert check["install"] == fix


def test_an_interrupt_says_how_to_go_on(edgead, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> object:
        raise KeyboardInterrupt("stopped after step 7")

    monkeypatch.setattr("edgead.cli.info._rows", interrupted)
    code, _, err = edgead("info", tiny_bundle)
    assert (code, err) == (130, "edgead: stopped after step 7\n")


def test_a_video_is_not_written_over_its_source(edgead, tiny_bundle: Path, parts: Path, tmp_path: Path) -> None:
    assert edgead("run", "--bundle", tiny_bundle, "--source", parts, "--video", "v.mp4")[0] == 0
    before = (tmp_path / "v.mp4").read_bytes()
    for source in ("v.mp4", "video:v.mp4", tmp_path / "v.mp4"):
        code, _, err = edgead("run", "--bundle", tiny_bundle, "--source", source, "--video", "v.mp4")
        assert (code, "would overwrite the source" in err) == (2, True)
    assert (tmp_path / "v.mp4").read_bytes() == before


def test_no_empty_video_is_left(edgead, tiny_bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"")
    (tmp_path / "old.mp4").write_bytes(b"old")
    for video in ("new.mp4", "old.mp4"):
        assert edgead("run", "--bundle", tiny_bundle, "--source", "*.png", "--video", video)[0] == 1
    assert not (tmp_path / "new.mp4").exists()
    assert (tmp_path / "old.mp4").read_bytes() == b"old"


def test_a_link_that_leads_nowhere_is_no_newest_bundle(edgead, parts: Path, tmp_path: Path) -> None:
    (tmp_path / "a.edgead").symlink_to("nowhere")
    code, _, err = edgead("run", "--source", parts)
    assert (code, "which bundle?" in err) == (2, True)


def test_sources_with_odd_names(edgead, tiny_bundle: Path, tmp_path: Path) -> None:
    folder = tmp_path / "50% é [1]"
    folder.mkdir()
    cv2.imwrite(str(folder / "a.png"), tiny.good())
    for source in (folder, folder.as_uri(), folder / "a.png"):
        assert edgead("run", "--bundle", tiny_bundle, "--source", source)[0] == 0
    assert edgead("run", "--bundle", tiny_bundle, "--source", folder, "--video", folder / "v[1].mp4")[0] == 0
    assert edgead("run", "--bundle", tiny_bundle, "--source", folder / "v[1].mp4")[0] == 0
    assert "is empty" in edgead("predict", tiny_bundle, "")[2]
