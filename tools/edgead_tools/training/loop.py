"""Runs the training loop: a budget turned into steps, progress, checkpoints, resume, reproducible bit for bit.

A result depends on the seed, the number of steps and the number of threads, nothing else: the draws of step i come
from a generator seeded with (seed, stage, i), and a time budget is turned into a number of steps once, from the
measured time of the first ones, before the learning rate depends on it. So `steps=N` repeats a budgeted run of N
steps bit for bit, and a resumed run equals one that was never interrupted.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import time
import zlib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from edgead.errors import GateError, UsageError
from edgead.files import replace_file, write_file
from edgead_tools.training.run import Run
from edgead_tools.training.session import Interrupts, session

WARM_UP = 20  # steps of rising rate; a budget is planned within them, so that they cannot depend on the plan
SKIPPED = 2  # first steps that are not timed: they allocate and compile
MEASURED = 8  # steps timed before a budget is turned into steps
OVERRUN = 1.15  # of the budget, where the machine slows down after the plan was made
LOG_EVERY = 20  # steps averaged in one line of the log

Step = Callable[[int, np.random.Generator], Mapping[str, Tensor]]  # step number, its draws -> losses, to be summed


@dataclass(frozen=True, slots=True)
class Optimizer:
    """How one part learns: warm-up over 20 steps, then a cosine down to `last` of the rate.

    With `last` = 1 the rate is constant from the first step on. After the share `drop` of the steps it is a tenth.
    """

    rate: float = 1e-3
    kind: Literal["adamw", "adam", "sgd"] = "adamw"
    weight_decay: float = 1e-4
    betas: tuple[float, float] = (0.9, 0.999)  # of Adam
    momentum: float = 0.9  # of SGD
    last: float = 0.01
    drop: float = 1.0
    clip: float = 0.0  # largest norm of the part's gradient; 0 is none


@dataclass(frozen=True, slots=True)
class TrainReport:
    """What a stage of training did, for the bundle's provenance."""

    stage: str
    steps: int
    planned: int
    seconds: float  # of training, over all sessions
    losses: dict[str, float] = field(default_factory=dict)  # means over the last 20 steps logged
    stopped: str = ""  # why the plan was cut short: "budget" where the machine slowed down, "finish" where asked


class Interrupted(KeyboardInterrupt):
    """Ctrl-C was pressed; the training is saved and the same command continues it."""

    def __init__(self, stage: str, steps: int, planned: int, checkpoint: Path) -> None:
        of = f" of {planned}" if planned else ""
        super().__init__(f"{stage} stopped after step {steps}{of}, saved in {checkpoint}")
        self.checkpoint = checkpoint


def fit(
    parts: Mapping[str, nn.Module],
    step: Step,
    optimizer: Optimizer | Mapping[str, Optimizer],
    run: Run,
    *,
    stage: str = "train",
    steps_per_epoch: float | None = None,
    key: str = "",
) -> TrainReport:
    """Train `parts` in place until the run's steps are done, continuing from `<folder>/<stage>.pt` if it is there.

    `step` gives the named losses of step i, drawn with the generator it is handed; their sum is minimized. Each part
    is moved to the run's device and to channels_last (1.8 times faster on a CPU), its train or eval mode is the
    caller's. `key` names whatever else the result depends on (data, options); a checkpoint of another run is refused.
    Raises GateError where a loss is not finite, Interrupted at Ctrl-C, UsageError.
    """
    if not run.trains:
        raise UsageError("a budget of 0 trains nothing, and this is to be trained: give a budget above 0")
    total = _steps(run, steps_per_epoch)
    run.folder.mkdir(parents=True, exist_ok=True)
    with session(run.device, run.threads), Interrupts() as interrupts:
        for part in parts.values():
            part.to(device=run.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        training = _Training(dict(parts), _per_part(parts, optimizer), step, run, stage, total, key)
        training.resume()
        if run.finish and training.done:
            return training.finish_early()
        while not training.finished:
            training.advance()
            if interrupts.asked and not training.finished:
                training.save()
                raise Interrupted(stage, training.done, training.planned, training.path)
        training.save()
    return training.report()


def _steps(run: Run, steps_per_epoch: float | None) -> int:
    """Steps to do; 0 where a budget decides."""
    if run.epochs is None:
        return run.steps or 0
    if steps_per_epoch is None:
        raise UsageError("this stage has no epochs: give a budget or steps")
    return max(1, math.ceil(run.epochs * steps_per_epoch))


def _per_part(parts: Mapping[str, nn.Module], optimizer: Optimizer | Mapping[str, Optimizer]) -> dict[str, Optimizer]:
    if isinstance(optimizer, Optimizer):
        return dict.fromkeys(parts, optimizer)
    assert optimizer.keys() == parts.keys(), "every part needs its optimizer"
    return dict(optimizer)


def rate_factor(step: int, planned: int, last: float, drop: float = 1.0) -> float:
    """The share of the rate at `step`; within the warm-up it does not depend on `planned`."""
    if drop < 1 and step >= max(WARM_UP, drop * planned):
        return 0.1 * rate_factor(step, planned, last)
    if last == 1:
        return 1.0
    if step < WARM_UP:
        return (step + 1) / WARM_UP
    progress = (step - WARM_UP) / max(1, planned - WARM_UP)
    return last + (1 - last) * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


class _Training:
    """One stage under way: what a checkpoint holds, and how it moves by a step."""

    def __init__(
        self,
        parts: dict[str, nn.Module],
        specs: dict[str, Optimizer],
        step: Step,
        run: Run,
        stage: str,
        total: int,
        key: str,
    ) -> None:
        self._parts, self._specs, self._step, self._run, self._stage = parts, specs, step, run, stage
        self._optimizers = {name: _build(specs[name], part) for name, part in parts.items()}
        self._key = self._identity(key)
        self.path = run.folder / f"{stage}.pt"
        self._log = run.folder / f"{stage}.jsonl"
        self.planned, self.done, self.stopped = total, 0, ""
        self._before, self._start = 0.0, time.monotonic()  # seconds of earlier sessions, start of this one
        self._saved = self._start
        self._times: list[float] = []
        self._sums: dict[str, float] = {}
        self._count = 0
        self._means: dict[str, float] = {}

    @property
    def seconds(self) -> float:
        return self._before + time.monotonic() - self._start

    @property
    def finished(self) -> bool:
        return bool(self.stopped) or 0 < self.planned <= self.done

    def advance(self) -> None:
        """One step, and whatever falls due after it: the plan, the log, the checkpoint."""
        start = time.monotonic()
        self._learn()
        self.done += 1
        self._times.append(time.monotonic() - start)
        if not self.planned:
            self._plan()
        elif self._run.budget is not None and self.seconds > OVERRUN * self._run.budget and not self.finished:
            self.stopped = "budget"
        if self._count >= LOG_EVERY or self.finished:
            self._write_log()
        self._run.on_progress(self.done, self.planned or self._estimate())
        if time.monotonic() - self._saved >= self._run.checkpoint_every and not self.finished:
            self.save()

    def _learn(self) -> None:
        random = np.random.default_rng((self._run.seed, zlib.crc32(self._stage.encode()), self.done))
        torch.manual_seed(int(random.integers(2**62)))  # dropout and its like
        losses = self._step(self.done, random)
        values = {name: loss.item() for name, loss in losses.items()}
        if not all(math.isfinite(value) for value in values.values()):
            named = ", ".join(f"{name}={value:g}" for name, value in values.items())
            raise GateError(f"{self._stage} diverged at step {self.done}: {named}; lower the learning rate")
        for optimizer in self._optimizers.values():
            optimizer.zero_grad()
        torch.stack(list(losses.values())).sum().backward()  # type: ignore[no-untyped-call]
        for name, optimizer in self._optimizers.items():
            spec = self._specs[name]
            if spec.clip:
                nn.utils.clip_grad_norm_(self._parts[name].parameters(), spec.clip)
            for group in optimizer.param_groups:
                group["lr"] = spec.rate * rate_factor(self.done, self.planned, spec.last, spec.drop)
            optimizer.step()
        for name, value in values.items():
            self._sums[name] = self._sums.get(name, 0.0) + value
        self._count += 1

    def _plan(self) -> None:
        """Turn the budget into a number of steps, once."""
        assert self._run.budget is not None
        timed = len(self._times) - SKIPPED
        left = self._run.budget - self.seconds
        most = math.inf if self._run.most is None else self._run.most
        hurry = left <= 0 or (timed > 0 and left < 0.9 * self._run.budget)
        if hurry or timed >= MEASURED or self.done >= min(WARM_UP - 1, most):
            self.planned = int(min(self._estimate(), max(self.done, most)))

    def _estimate(self) -> int:
        timed = self._times[SKIPPED:] or self._times
        left = (self._run.budget or 0.0) - self.seconds
        return self.done + max(0, int(left / (sum(timed) / len(timed))))

    def _write_log(self) -> None:
        self._means = {name: total / self._count for name, total in self._sums.items()}
        line = {"step": self.done, "planned": self.planned, "seconds": round(self.seconds, 3), **self._means}
        with self._log.open("a") as log:
            log.write(json.dumps(line) + "\n")
        self._sums, self._count = {}, 0

    def save(self) -> None:
        """Write the checkpoint in one go: plain tensors and numbers."""
        state = {
            "key": self._key,
            "counts": [self.done, self.planned, self._count],
            "seconds": self.seconds,
            "stopped": self.stopped,
            "sums": self._sums,
            "means": self._means,
            "parts": {name: part.state_dict() for name, part in self._parts.items()},
            "optimizers": {name: optimizer.state_dict() for name, optimizer in self._optimizers.items()},
        }
        written = io.BytesIO()  # torch hides in its own words why a file cannot be written
        torch.save(state, written)
        replace_file(self.path, lambda file: file.write(written.getbuffer()))
        self._saved = time.monotonic()

    def resume(self) -> None:
        """Take up the checkpoint, if there is one; raises UsageError if it is another run's."""
        if not self.path.exists():
            self._log.unlink(missing_ok=True)
            return
        try:
            state: dict[str, Any] = torch.load(self.path, map_location="cpu", weights_only=True)
            if state["key"] != self._key:
                raise ValueError("it belongs to a run with other data or options")
            for name, part in self._parts.items():
                part.load_state_dict(state["parts"][name])
                self._optimizers[name].load_state_dict(state["optimizers"][name])
            self.done, self.planned, self._count = state["counts"]
            self._before, self.stopped = state["seconds"], state["stopped"]
            self._sums, self._means = state["sums"], state["means"]
        except Exception as error:  # unpickling raises whatever it likes
            reason = str(error).partition("\n")[0] or type(error).__name__
            raise UsageError(
                f"cannot continue from {self.path} ({reason}): delete it or choose another folder"
            ) from error
        self._truncate_log()

    def _truncate_log(self) -> None:
        """Drop the lines of steps that are about to be done again."""
        if self._log.exists():
            kept = [line for line in self._log.read_text().splitlines(keepends=True) if _step_of(line) <= self.done]
            write_file(self._log, "".join(kept).encode())

    def finish_early(self) -> TrainReport:
        """End the stage here; the checkpoint stays as it is, so that the training may be continued all the same."""
        if not self.finished:
            self.stopped = "finish"
        return self.report()

    def report(self) -> TrainReport:
        seconds = round(self.seconds, 3)
        return TrainReport(self._stage, self.done, self.planned, seconds, self._means, self.stopped)

    def _identity(self, key: str) -> str:
        run = self._run
        facts = {
            "key": key,
            "run": [run.seed, run.budget, run.steps, run.epochs],
            "optimizers": {name: asdict(spec) for name, spec in self._specs.items()},
            "tensors": [
                [name, entry, list(tensor.shape)]
                for name, part in self._parts.items()
                for entry, tensor in part.state_dict().items()
            ],
        }
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _build(spec: Optimizer, part: nn.Module) -> torch.optim.Optimizer:
    parameters = [parameter for parameter in part.parameters() if parameter.requires_grad]
    if spec.kind == "sgd":
        return torch.optim.SGD(parameters, spec.rate, momentum=spec.momentum, weight_decay=spec.weight_decay)
    kind = torch.optim.AdamW if spec.kind == "adamw" else torch.optim.Adam
    return kind(parameters, spec.rate, spec.betas, weight_decay=spec.weight_decay)


def _step_of(line: str) -> int:
    try:
        return int(json.loads(line)["step"])
    except (ValueError, KeyError):  # the last line of a process that was killed
        return 2**62
