"""Judge images with a bundle:  python examples/quickstart.py BUNDLE IMAGE ..."""

import sys

import cv2

from edgead import Detector

if len(sys.argv) < 3:
    sys.exit(__doc__)

with Detector(sys.argv[1]) as detector:
    for path in sys.argv[2:]:
        image = cv2.imread(path)
        result = detector(image)
        print(f"{path}: {result.verdict}, score {result.score:.2f} (1.00 is the threshold)")
        for region in result.regions:
            print(f"  at ({region.x}, {region.y}), {region.width} x {region.height} pixels, {region.score:.2f}")
        cv2.imwrite(f"{path}.overlay.jpg", result.overlay(image))
