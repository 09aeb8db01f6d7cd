"""The part of the fusion spec that says how the objects of a picture are matched with those of good images."""

from __future__ import annotations

from typing import Literal

from edgead.bundle.structs import Scale, Struct

Source = Literal["ground", "classes", "mobile-sam", "sam-vit-h"]


class ProposalSpec(Struct, frozen=True):
    """From a picture to the masks of its objects (`edgead.ops.proposals`).

    `ground`: labels of the graph's `components`, of which some are ground for sure, and what stands out against it;
    `classes`: connected pieces of the labels but 0; else SAM's masks of everything, on a workstation.
    """

    source: Source
    count: int  # the usual number of objects
    smallest: float  # limits of an object's area, shares of the picture
    largest: float
    gap: float = 0.0  # pieces of one mask nearer than so many sides of the picture are one object's
    bridge: float = 0.0  # a piece that holds together by nothing wider, in sides of the picture, is several objects
    points: int = 32  # of SAM: a side of the grid of points, and which masks are kept
    rated: float = 0.88  # the least IoU that SAM thinks a mask has
    stable: float = 0.95  # the least stability
    side: int = 1024  # pixels of SAM's input
    classes: int = 0  # of the graph's `components` (B, K, h, w); 0: it has none
    ground: tuple[int, ...] = ()  # labels
    names: tuple[str, ...] = ()  # of the classes, the background first; none where they have no names
    scenery: str | None = None  # .npy member, bool (H, W) of the input's size: where what is no ground is no object

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ValueError(f"a picture needs at least one object, not {self.count}")
        if not 0 <= self.smallest < self.largest <= 1:
            raise ValueError(f"areas of {self.smallest} to {self.largest} are no limits within 0..1")
        if not (0 <= self.gap <= 0.25 and 0 <= self.bridge <= 0.25):
            raise ValueError(f"gaps and bridges lie in 0..0.25 sides of the picture, not {self.gap} and {self.bridge}")
        if not (1 <= self.points <= 64 and 16 <= self.side <= 2048 and self.side % 16 == 0):
            raise ValueError(f"{self.points} points at {self.side} pixels lie outside 1..64 and 16..2048")
        if self.names and len(self.names) != self.classes:
            raise ValueError(f"{self.classes} classes have {len(self.names)} names")
        if self.source in ("ground", "classes") and not 2 <= self.classes <= 255:
            raise ValueError(f"a source of masks needs 2 to 255 classes, not {self.classes}")


class KindSpec(Struct, frozen=True):
    """One kind of object, and what is usual of it over good images: each a cost that objects of images left out had."""

    name: str
    appearance: Scale  # distance from the nearest objects of the kind
    place: Scale  # distance from where the nearest lie, in sides of the picture
    size: Scale  # |log(area / usual area)|
    surface: Scale  # mean distance of its features from those of its counterparts (AMM)
    area: float  # usual share of the picture

    def __post_init__(self) -> None:
        if not 0 < self.area <= 1:
            raise ValueError(f"an object's area is a share of the picture above 0, not {self.area}")


class SlotSpec(Struct, frozen=True):
    """One object that every good picture has."""

    kind: int  # index of its kind
    x: float  # mean place, in shares of the picture
    y: float
    spread: float  # standard deviation of the place, in sides of the picture


class MatchingSpec(Struct, frozen=True):
    """Objects are described, matched with those of the nearest good images and measured (`edgead.ops.matching`).

    The graph's `features` (B, C, h, w), the finest first, are interpolated to one grid. Members: `bank`, float16
    (N, C * bank_height * bank_width), the good images' features on a grid of their own; `labels`, uint8
    (N, height, width), each image's objects numbered from 1; `objects`, float32 (M, 5), of every object its image,
    slot, x, y and share of the picture, in the order of images and numbers; `descriptors`, float32 (1 + M, C), the mean
    descriptor and those of the objects without it; `boxes`, float16 (M, C * box * box), their features in their boxes;
    `projection`, float32 (1 + D, C * box * box), the mean of the boxes, and the directions that they are compared in:
    their principal components, equally wide within kinds.
    """

    proposals: ProposalSpec
    features: tuple[str, ...]
    height: int
    width: int
    descriptor: Literal["gated", "gmp", "gap", "literal"]
    box: int  # cells a side of a box
    bank_height: int  # cells of the bank's own grid
    bank_width: int
    neighbors: int  # images that are matched with (k)
    match: Literal["sinkhorn", "hungarian"]
    measure: Literal["aligned", "literal"]
    iterations: int  # of Sinkhorn's algorithm
    temperature: float  # of the scores
    dustbin: float  # score below which objects do not belong together
    place: float  # what a distance of one side costs against an appearance, in 1 - cosine
    area: float  # what an area larger by the factor e costs
    notable: float  # standard deviations above which an object is said to be moved or changed
    extra: float  # standard deviations that an object counts which is extra
    missing: float  # and one that is missing
    weight: float  # of the map of objects in the sum with the fused map
    kinds: tuple[KindSpec, ...]
    slots: tuple[SlotSpec, ...]
    logical: Scale  # of the score of objects
    structural: Scale  # of the score of the map
    sigma: float = 0.0  # Gaussian smoothing of the map of objects, in cells of the fused map
    counted: bool = True  # in the score; not where good images do not agree on the number of objects
    light: bool = False  # whether the map shows unmatched objects alone
    bank: str = "matching/bank.npy"
    labels: str = "matching/labels.npy"
    objects: str = "matching/objects.npy"
    descriptors: str = "matching/descriptors.npy"
    boxes: str = "matching/boxes.npy"
    projection: str = "matching/projection.npy"

    def __post_init__(self) -> None:
        if not self.features or not self.slots:
            raise ValueError("matching needs features and slots")
        if not (1 <= self.height <= 2048 and 1 <= self.width <= 2048):
            raise ValueError(f"a grid of {self.width}x{self.height} is outside 1..2048")
        if not 1 <= self.box <= 64 or not 1 <= self.neighbors <= 16 or not 1 <= self.iterations <= 1000:
            raise ValueError("box, neighbors and iterations must lie in 1..64, 1..16 and 1..1000")
        if not (self.temperature > 0 and self.place >= 0 and self.area >= 0 and self.notable > 0):
            raise ValueError("temperature and notable must be above 0, place and area at least 0")
        if not 0 <= self.sigma <= 100:
            raise ValueError(f"sigma must be in 0..100 cells, not {self.sigma}")
        if any(not 0 <= slot.kind < len(self.kinds) for slot in self.slots):
            raise ValueError("a slot names a kind that is not there")

    @property
    def members(self) -> tuple[str, ...]:
        """The bundle's members that it names."""
        own = (self.bank, self.labels, self.objects, self.descriptors, self.boxes, self.projection)
        return own if self.proposals.scenery is None else (*own, self.proposals.scenery)
