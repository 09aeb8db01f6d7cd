"""Finds under which terms everything stands that a build learns from, and refuses what is not free for commercial use.

It reads what is stated (the table of weights, a license file beside the images, --data-license, a teacher's bundle) and
compares it with a short list. It is no legal advice, and says what it went by.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from edgead import Bundle
from edgead.config import BuildConfig
from edgead.errors import UsageError
from edgead_tools.backbones.weights import find
from edgead_tools.data import Dataset
from edgead_tools.methods import Method

UNKNOWN = "not stated"
FREE = re.compile(
    r"(own|apache-2\.0|mit|bsd-[23]-clause|isc|zlib|cc0-1\.0|public domain|unlicense|cc-by(-sa)?-[234]\.\d)",
    re.IGNORECASE,
)
_FILES = re.compile(r"(licen[cs]e|copying)(\.(txt|md))?", re.IGNORECASE)
_LIMIT = 1 << 16  # bytes of a license file that are read
_TEXTS = (  # what a file says, in the order in which it is looked for, and how that is called
    (r"(attribution-)?non-?commercial-share-?alike|by-nc-sa", "CC-BY-NC-SA-4.0"),
    (r"(attribution-)?non-?commercial-no-?deriv|by-nc-nd", "CC-BY-NC-ND-4.0"),
    (r"non-?commercial|by-nc\b", "CC-BY-NC-4.0"),
    (r"(academic|scientific|research) (purposes|use) only|for research only", "research only"),
    (r"attribution-sharealike|by-sa\b", "CC-BY-SA-4.0"),
    (r"cc0|public domain dedication", "CC0-1.0"),
    (r"creative commons attribution|\bcc[ -]by\b", "CC-BY-4.0"),
    (r"apache license", "Apache-2.0"),
    (r"\bmit license", "MIT"),
)


def licenses_of(config: BuildConfig, method: Method, dataset: Dataset) -> dict[str, str]:
    """The terms of each thing: the images, each set of weights, textures, and what a teacher learned from."""
    found = {"images": config.data_license or license_in(dataset.root)}
    given = Path(config.weights) if config.weights else None
    for name in method.weights:
        file = find(name, given)
        found[name] = file.license if file.published else f"{UNKNOWN}: {file.path.name} is not the published file"
    if config.textures:
        found["textures"] = license_in(Path(config.textures))
    for whose, bundle in (("teacher's", config.distill_from), ("masks'", config.masks_from)):
        if bundle:
            theirs = Bundle.open(bundle).manifest.provenance.get("licenses") or {"everything": UNKNOWN}
            found |= {f"{whose} {name}": str(terms) for name, terms in theirs.items()}
    return found


def check_commercial(licenses: Mapping[str, str]) -> None:
    """Raise UsageError that names everything which is not free for commercial use, or of which that is not known."""
    faults = [f"{name}: {terms}" for name, terms in licenses.items() if not is_free(terms)]
    if faults:
        hint = "; images of your own are --data-license own" if licenses.get("images") == UNKNOWN else ""
        raise UsageError(f"not for commercial use, as far as is known: {', '.join(faults)}{hint}")


def is_free(terms: str) -> bool:
    """Whether a license is known to allow commercial use; what follows its name after a sign is a note."""
    return FREE.fullmatch(re.split(r"[;:(]", terms)[0].strip()) is not None


def license_in(folder: Path) -> str:
    """What a license file in the folder, or in the one above it, says; `not stated` where there is none."""
    for place in (folder, folder.absolute().parent):
        for path in sorted(place.iterdir()) if place.is_dir() else ():
            if _FILES.fullmatch(path.name) and path.is_file():
                text = path.read_bytes()[:_LIMIT].decode("utf-8", "replace").lower()
                named = next((name for pattern, name in _TEXTS if re.search(pattern, text)), f"see {path.name}")
                return f"{named} ({path.name})"
    return UNKNOWN
