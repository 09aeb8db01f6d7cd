"""Adds lower precisions to a bundle: quantizes, compares with FP32, mixes in FP32 where needed, ships or leaves out."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import msgspec
import numpy as np

from edgead import Bundle, Detector
from edgead.bundle import Artifact, Manifest
from edgead.bundle.judging import passed
from edgead.bundle.manifest import Precision
from edgead.bundle.store import list_members
from edgead.progress import Reporter
from edgead_calibration import networks
from edgead_calibration.activations import Inputs, features
from edgead_calibration.conformal import carry_over
from edgead_calibration.gate import Comparison, Readings, compare, faults, map_error
from edgead_calibration.golden import record_golden
from edgead_calibration.images import choose, digest, evenly_spaced, inputs_of, warnings
from edgead_calibration.mixed_precision import fewest, order
from edgead_calibration.probe import ON_CPU, ProbeFrames, milliseconds, open_probe, read, runs_here, runtime
from edgead_calibration.recipe import Recipe
from edgead_calibration.thresholds import fit_thresholds

LEAST = 0.1  # of the weights; a network with fewer in its precision is not worth its name
FASTER = 0.95  # of FP32's time; what gains less than that is no reason to take another precision
PROBES = 4  # good and anomalous images each, on which the effect of every block is measured


class PrecisionResult(msgspec.Struct, frozen=True, kw_only=True):
    """The outcome of one precision on one engine; a bundle records it under provenance `precisions`."""

    precision: Precision
    engine: str
    reason: str = ""  # why it was left out; empty: it is in the bundle
    reverted: tuple[str, ...] = msgspec.field(default=(), name="kept")  # blocks that stay in FP32
    effects: dict[str, float] = {}  # of each block alone: mean difference of the calibrated maps; empty: not needed
    fp32_nodes: dict[str, int] = {}  # how many nodes stay FP32 for their values' sake, by kind of reason
    share: float = 0.0  # of the weights that may be quantized, in this precision
    comparison: Comparison | None = None
    size: int = 0  # bytes of the network
    size_fp32: int = 0
    milliseconds: float | None = None  # the network on one frame, here; None where the engine is another machine's
    milliseconds_fp32: float | None = None
    runtime: str = ""

    @property
    def shipped(self) -> bool:
        return not self.reason

    @property
    def is_faster(self) -> bool | None:
        """Whether it is worth its name for speed; None where that cannot be measured here."""
        if self.milliseconds is None or self.milliseconds_fp32 is None:
            return None
        return self.milliseconds < FASTER * self.milliseconds_fp32


def add_precisions(
    bundle: Bundle,
    frames: ProbeFrames,
    recipe: Recipe,
    reporter: Reporter,
    *,
    precisions: Collection[str] = (),
    seed: int = 0,
    mixed: bool = True,
) -> tuple[Manifest, dict[str, bytes], list[PrecisionResult]]:
    """The bundle's manifest and members with the recipe's precisions (or those named), and a record of each result.

    A precision that was there for the same engine is replaced. With `mixed`, blocks are reverted to FP32 until the
    tolerances hold; without it what does not hold is left out. Raises BundleError for a bundle without an FP32 network.
    """
    work = _Work(bundle, frames, recipe, reporter, seed, mixed)
    artifacts = [
        msgspec.structs.replace(one, batches=recipe.batches) if not one.engine else one
        for one in bundle.manifest.artifacts
    ]
    members = bundle.members()
    results: list[PrecisionResult] = []
    try:
        for precision in [p for p in recipe.precisions if p != "fp32" and (p in precisions or not precisions)]:
            for artifact, added, result in work.attempt(precision):
                results.append(result)
                artifacts = [one for one in artifacts if (one.precision, one.engine) != (precision, result.engine)]
                if artifact is not None:
                    artifacts.append(artifact)
                    members |= added
    finally:
        work.close()
    gone = _names(bundle.manifest.artifacts) - _names(artifacts)
    members = {name: data for name, data in members.items() if name not in gone}
    record = _provenance(bundle.manifest.provenance, results, work)
    manifest = msgspec.structs.replace(
        bundle.manifest,
        artifacts=tuple(sorted(artifacts, key=lambda one: _rank(one, record["trials"]))),
        provenance={**bundle.manifest.provenance, "precisions": record},
        members=list_members(members),
    )
    return manifest, members, results


class _Work:
    """One bundle's FP32 network and its readings, beside which every precision is put."""

    def __init__(
        self, bundle: Bundle, frames: ProbeFrames, recipe: Recipe, reporter: Reporter, seed: int, mixed: bool
    ) -> None:
        self.bundle, self.recipe, self.reporter, self.mixed = bundle, recipe, reporter, mixed
        self.exact = bundle.manifest.artifact("fp32")
        self.network = bundle.read(self.exact.member)
        self.rate = self.exact.thresholds.false_alarm_rate
        self.engines = [name for name in recipe.engines if name not in ON_CPU or runs_here(bundle, name)]
        self.frames, self.inputs = self._calibration(frames, seed)
        self.detectors: dict[str, Detector] = {}
        self.references: dict[str, Readings] = {}

    def _calibration(self, frames: ProbeFrames, seed: int) -> tuple[ProbeFrames, Inputs]:
        """The frames with a coreset of the calibration images, and these as inputs."""
        spec = self.bundle.manifest.input
        inputs = inputs_of(frames.calibration, spec)
        others = inputs_of(evenly_spaced(frames.good, len(frames.calibration)), spec)
        rows = features(self.network, [*inputs, *others])
        chosen = choose(rows[: len(inputs)], self.recipe.int8.images, seed)
        for warning in warnings(rows[chosen], rows[len(inputs) :]):
            self.reporter.say(warning)
        each = len(inputs) // len(frames.calibration)
        taken = [frames.calibration[index] for index in dict.fromkeys(index // each for index in chosen)]
        return ProbeFrames(taken, frames.good, frames.anomalous), [inputs[index] for index in chosen]

    def reference(self, engine: str) -> tuple[Detector, Readings]:
        """FP32 on an engine, and what it measures there."""
        if engine not in self.references:
            self.detectors[engine] = open_probe(self.bundle, self.network, self.exact, engine)
            with self.reporter.stage(f"fp32 on {engine}") as on_progress:
                self.references[engine] = read(self.detectors[engine], self.frames, on_progress)
        return self.detectors[engine], self.references[engine]

    def attempt(self, precision: Precision) -> list[tuple[Artifact | None, dict[str, bytes], PrecisionResult]]:
        """Quantize, revert blocks until every engine keeps the tolerances, and measure it on each."""
        with self.reporter.stage(f"{precision} ranges"):
            if precision == "int8":
                factory = networks.int8(self.network, self.inputs, self.recipe.int8)
            else:
                factory = networks.fp16(self.network, self.inputs)
        like = msgspec.structs.replace(self.exact, precision=precision)
        reverted: frozenset[str] = frozenset()
        effects: dict[str, float] = {}
        network = factory.make(reverted)
        if self.mixed and not self._holds(factory, like, network):
            effects = self._effects(factory, like)
            reverted = self._search_mixed_precision(factory, like, order(effects)) or reverted
            network = factory.make(reverted)
        results = []
        for engine in self.engines:
            result = PrecisionResult(
                precision=precision,
                engine=engine,
                reverted=tuple(sorted(reverted)),
                effects={name: round(effect, 6) for name, effect in effects.items()},
                fp32_nodes=_counted(factory.fp32_nodes),
                share=factory.share(reverted),
                size=len(network),
                size_fp32=len(self.network),
                runtime=runtime(self.bundle, engine),
            )
            results.append(self._try(factory, like, network, result))
        return results

    def _try(
        self, factory: networks.QuantizedModelFactory, like: Artifact, network: bytes, result: PrecisionResult
    ) -> tuple[Artifact | None, dict[str, bytes], PrecisionResult]:
        found, wrong = self._faults(factory, like, network, result.engine)
        if found is not None:
            _, reference = self.reference(result.engine)
            result = msgspec.structs.replace(result, comparison=compare(reference, found, self.rate))
        if not wrong and result.share < LEAST:
            wrong = [f"only {result.share:.0%} of its weights can be {result.precision}"]
        if found is None or wrong:
            result = msgspec.structs.replace(result, reason="; ".join(wrong))
            self.reporter.say(in_words(result))
            return None, {}, result
        exact, _ = self.reference(result.engine)
        tag = f"{result.precision}-{result.engine}"
        with open_probe(self.bundle, network, like, result.engine) as detector:
            if runs_here(self.bundle, result.engine):
                times = milliseconds([detector, exact], self.frames.judged())
                result = msgspec.structs.replace(result, milliseconds=times[0], milliseconds_fp32=times[1])
            golden = record_golden(self.bundle, detector, self.exact, tag)
        form = f".{self.recipe.int8.form}" if result.precision == "int8" else ""
        artifact = msgspec.structs.replace(
            like,
            member=f"model.{result.precision}{form}.onnx",
            engine=result.engine,
            batches=self.recipe.batches,
            **self._fitted(found, result.engine),
            golden=tuple(golden.maps),
            golden_scores=golden.scores,
            tolerance=golden.tolerance,
            score_tolerance=golden.score_tolerance,
        )
        if lost := passed(self.bundle.manifest, artifact, artifact.thresholds):
            result = msgspec.structs.replace(result, reason=f"{', '.join(lost)}, a planted anomaly, is not NG")
            self.reporter.say(in_words(result))
            return None, {}, result
        self.reporter.say(in_words(result))
        return artifact, {artifact.member: network, **golden.maps}, result

    def _fitted(self, found: Readings, engine: str) -> dict[str, Any]:
        """Thresholds and good scores of a network: those of all good images, carried over from FP32 by the images that
        both have read."""
        _, reference = self.reference(engine)
        scores, growth = carry_over(self.exact.good_scores, reference.good_scores, found.good_scores)
        maxima, growth_of_maxima = carry_over(self.exact.good_maxima, reference.good_maxima, found.good_maxima)
        margin = growth * self.exact.good_margin[0], growth_of_maxima * self.exact.good_margin[1]
        return {
            "thresholds": fit_thresholds(
                scores.tolist(), maxima.tolist(), self.rate, margin, parts=self.exact.good_parts
            ),
            "good_scores": tuple(scores.tolist()),
            "good_maxima": tuple(maxima.tolist()),
            "good_margin": margin,
            "good_parts": self.exact.good_parts,
        }

    def _faults(
        self, factory: networks.QuantizedModelFactory, like: Artifact, network: bytes, engine: str
    ) -> tuple[Readings | None, list[str]]:
        """What a network measures, and every tolerance it breaks; no readings where it cannot be run."""
        wrong = networks.broken(factory, network, self.inputs, self.recipe.batches)
        if wrong:
            return None, wrong
        with open_probe(self.bundle, network, like, engine) as detector:
            found = read(detector, self.frames)
        if not np.isfinite(found.maps).all():
            return None, ["its maps are not finite numbers"]
        return found, faults(compare(self.reference(engine)[1], found, self.rate), self.recipe.tolerances)

    def _holds(self, factory: networks.QuantizedModelFactory, like: Artifact, network: bytes) -> bool:
        """Whether a network keeps every tolerance on every engine: they round differently."""
        return not any(self._faults(factory, like, network, engine)[1] for engine in self.engines)

    def _effects(self, factory: networks.QuantizedModelFactory, like: Artifact) -> dict[str, float]:
        """The effect on the map of each block alone in the low precision, on a few frames."""
        few = ProbeFrames((), evenly_spaced(self.frames.good, PROBES), evenly_spaced(self.frames.anomalous, PROBES))
        engine, every = self.engines[0], {block.name for block in factory.blocks}
        reference = read(self.reference(engine)[0], few)
        effects = {}
        with self.reporter.stage(f"{like.precision} block by block") as on_progress:
            for count, block in enumerate(factory.blocks, start=1):
                with open_probe(self.bundle, factory.draft(every - {block.name}), like, engine) as detector:
                    effects[block.name] = map_error(reference, read(detector, few), self.exact.thresholds)
                on_progress(count, len(factory.blocks))
        return {name: effect if np.isfinite(effect) else _WORST for name, effect in effects.items()}

    def _search_mixed_precision(
        self, factory: networks.QuantizedModelFactory, like: Artifact, ordered: Sequence[str]
    ) -> frozenset[str] | None:
        """The fewest blocks that must be reverted to FP32, or None."""
        tried = 0
        with self.reporter.stage(f"{like.precision} mixed with fp32") as on_progress:

            def passes(reverted: frozenset[str]) -> bool:
                nonlocal tried
                tried += 1
                on_progress(tried, tried + 1)
                return self._holds(factory, like, factory.make(reverted))

            return fewest(ordered, passes)

    def close(self) -> None:
        for detector in self.detectors.values():
            detector.close()


_WORST = 1e9  # the effect of a block whose maps are no numbers


def _names(artifacts: Sequence[Artifact]) -> set[str]:
    """The members that artifacts name."""
    return {name for artifact in artifacts for name in (artifact.member, *artifact.golden)}


def _provenance(provenance: dict[str, Any], results: list[PrecisionResult], work: _Work) -> dict[str, Any]:
    """What the bundle keeps of all results: the new ones, and older ones of other precisions and engines."""
    new = {(one.precision, one.engine) for one in results}
    old = provenance.get("precisions", {}).get("trials", [])
    return {
        "recipe": msgspec.to_builtins(work.recipe),
        "images": [digest(image) for image in work.frames.calibration],
        "good": len(work.frames.good),
        "anomalous": len(work.frames.anomalous),
        "trials": [
            *(one for one in old if (one["precision"], one["engine"]) not in new),
            *(msgspec.to_builtins(one) for one in results),
        ],
    }


def _rank(artifact: Artifact, records: Sequence[dict[str, Any]]) -> tuple[int, float]:
    """Where an artifact stands in its bundle: the fastest first, and before FP32 only what is faster than it.

    What could not be timed here stands before FP32, INT8 before FP16.
    """
    if artifact.precision == "fp32":
        return 1, 0.0
    key = artifact.precision, artifact.engine
    result = next(
        (msgspec.convert(one, PrecisionResult) for one in records if (one["precision"], one["engine"]) == key), None
    )
    if result is None or result.is_faster is None or result.milliseconds is None:
        return 0, float(("int8", "fp16").index(artifact.precision))
    return (0 if result.is_faster else 2), result.milliseconds


def _counted(fp32_nodes: dict[str, str]) -> dict[str, int]:
    kinds = [reason.partition(":")[0] for reason in fp32_nodes.values()]
    return {kind: kinds.count(kind) for kind in dict.fromkeys(kinds)}


def in_words(result: PrecisionResult) -> str:
    """What a precision costs and gains, or why it is left out."""
    if not result.shipped:
        return f"{result.precision} on {result.engine} is left out: {result.reason}"
    text = f"{result.precision} on {result.engine}: {result.size / 1e6:.1f} MB of {result.size_fp32 / 1e6:.1f}"
    if result.comparison is not None:
        text += f", maps differ by {result.comparison.map_mean:.3f} on average"
        text += f", scores' rank correlation {result.comparison.spearman:.4f}"
    if result.reverted:
        text += f", {len(result.reverted)} blocks reverted to FP32"
    if result.milliseconds is not None and result.milliseconds_fp32 is not None:
        text += f", {result.milliseconds:.1f} ms where FP32 takes {result.milliseconds_fp32:.1f}"
        text += "" if result.is_faster else ": not faster here, so `auto` stays with FP32"
    return text
