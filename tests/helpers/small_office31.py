"""A few coloured squares in the layout of Office-31."""

import numpy as np
from PIL import Image as Picture

COLOURS = {"back_pack": (200, 30, 30), "mug": (30, 160, 40), "phone": (40, 50, 190)}
COUNTS = {"amazon": 9, "dslr": 4, "webcam": 6}  # of each class: groups of 4, 4 and 1; 4; 4 and 2


def make_office31(folder):
    """Three classes; a domain has a background of its own, and an image a shade of its own."""
    for number, (domain, count) in enumerate(COUNTS.items()):
        for name, colour in COLOURS.items():
            place = folder / domain / "images" / name
            place.mkdir(parents=True)
            for i in range(count):
                pixels = np.full((24, 24, 3), 255 - 90 * number, np.uint8)
                pixels[6:18, 6:18] = np.array(colour) + 5 * i
                Picture.fromarray(pixels).save(place / f"frame_{i + 1:04d}.jpg")
    return folder
