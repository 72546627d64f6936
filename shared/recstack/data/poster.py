"""Drawn posters for films without a picture: motif and colours come from the genres, the title stands below."""

import unicodedata
import zlib

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from recstack.data.dataset import Items
from recstack.data.poster_motifs import INK, MOTIFS, PAPER, Brush, Colour
from recstack.features.schema import GENRES

WIDTH, HEIGHT = 64, 96
"""Pixels of a poster."""

# Drawn at this multiple and reduced, which smooths every edge.
_SCALE = 4
_PICTURE_HEIGHT = 1.02
_FONT_SIZES = (36, 32, 28, 24, 20)
_LINE_HEIGHT = 1.15
_MARGIN = 8
_TINT = 24

# Per genre: sky above, sky below, accent.
PALETTES: dict[str, tuple[Colour, Colour, Colour]] = {
    "Action": ((120, 20, 10), (230, 90, 20), (255, 200, 60)),
    "Adventure": ((60, 140, 190), (240, 200, 130), (90, 130, 70)),
    "Animation": ((70, 200, 220), (255, 220, 120), (240, 90, 140)),
    "Children's": ((130, 210, 250), (210, 245, 200), (245, 90, 80)),
    "Comedy": ((255, 150, 50), (255, 110, 120), (255, 225, 70)),
    "Crime": ((30, 35, 60), (130, 60, 60), (250, 205, 90)),
    "Documentary": ((215, 215, 205), (150, 165, 160), (85, 120, 140)),
    "Drama": ((70, 80, 110), (170, 140, 130), (215, 170, 120)),
    "Fantasy": ((60, 40, 110), (200, 110, 190), (120, 90, 170)),
    "Film-Noir": ((40, 40, 44), (95, 95, 100), (190, 190, 190)),
    "Horror": ((15, 10, 20), (90, 5, 15), (190, 15, 25)),
    "Musical": ((110, 30, 120), (250, 120, 110), (255, 215, 90)),
    "Mystery": ((20, 50, 60), (60, 110, 110), (235, 190, 90)),
    "Romance": ((255, 190, 190), (250, 140, 160), (200, 30, 70)),
    "Sci-Fi": ((8, 12, 50), (40, 60, 140), (90, 210, 220)),
    "Thriller": ((25, 30, 35), (70, 80, 90), (225, 60, 40)),
    "War": ((90, 95, 70), (170, 150, 100), (220, 190, 100)),
    "Western": ((235, 130, 50), (250, 205, 120), (215, 60, 30)),
}


def render_poster(items: Items, row: int) -> Image.Image:
    """An RGB poster of 64 × 96 pixels for one item, the same each time.

    The first genre gives motif, accent and the sky's upper colour; the last one its lower colour. An item without
    genres gets Drama's look.
    """
    genres = [GENRES[genre - 1] for genre in items.genres[row] if genre] or ["Drama"]
    # Tints and details differ between films of one genre, and never between two drawings of one film.
    rng = np.random.default_rng(zlib.crc32(items.titles[row].encode()))
    top, accent = _tinted(PALETTES[genres[0]][0], rng), _tinted(PALETTES[genres[0]][2], rng)
    image = _gradient(top, _tinted(PALETTES[genres[-1]][1], rng))
    MOTIFS[genres[0]](Brush(image, accent, rng))
    _letter(image, items.titles[row], accent)
    return image.resize((WIDTH, HEIGHT), Image.Resampling.LANCZOS)


def _tinted(colour: Colour, rng: np.random.Generator) -> Colour:
    red, green, blue = np.clip(np.array(colour) + rng.integers(-_TINT, _TINT + 1, 3), 0, 255).tolist()
    return red, green, blue


def _gradient(top: Colour, bottom: Colour) -> Image.Image:
    width, height = WIDTH * _SCALE, HEIGHT * _SCALE
    share = np.linspace(0, 1, height)[:, None, None]
    rows = np.array(top) * (1 - share) + np.array(bottom) * share
    return Image.fromarray(np.broadcast_to(rows, (height, width, 3)).astype(np.uint8))


def _letter(image: Image.Image, title: str, accent: Colour) -> None:
    draw = ImageDraw.Draw(image)
    top = round(_PICTURE_HEIGHT * image.width)
    draw.rectangle([0, top, image.width, image.height], fill=INK)
    draw.rectangle([0, top, image.width, top + 5], fill=accent)
    # The font that Pillow brings knows no accents.
    plain = unicodedata.normalize("NFKD", title).encode("ascii", "ignore").decode()
    room = image.height - top - _MARGIN
    for size in _FONT_SIZES:
        font = ImageFont.load_default(size)
        lines = _wrapped(draw, font, plain, image.width - 2 * _MARGIN)
        most = int(room / (size * _LINE_HEIGHT))
        if len(lines) <= most:
            break
    centre = (image.width / 2, (top + image.height) / 2 + 2)
    text = "\n".join(lines[:most])
    draw.multiline_text(centre, text, fill=PAPER, font=font, anchor="mm", align="center", spacing=2)


def _wrapped(
    draw: ImageDraw.ImageDraw, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, text: str, width: int
) -> list[str]:
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and draw.textlength(longer, font=font) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines
