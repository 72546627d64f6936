"""One drawing per genre for invented posters.

Coordinates are fractions of the picture's width, origin at the top left; the picture part is 1 wide and 1 high.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

Point = tuple[float, float]
Colour = tuple[int, int, int]

INK: Colour = (16, 16, 24)
PAPER: Colour = (250, 246, 235)


@dataclass(frozen=True, slots=True)
class Brush:
    """Draws on an image in `accent` unless told another colour. Angles are degrees, clockwise from the right."""

    image: Image.Image
    accent: Colour
    rng: np.random.Generator

    def _scaled(self, *points: Point) -> list[Point]:
        return [(x * self.image.width, y * self.image.width) for x, y in points]

    def disc(self, x: float, y: float, radius: float, colour: Colour | None = None) -> None:
        corners = self._scaled((x - radius, y - radius), (x + radius, y + radius))
        ImageDraw.Draw(self.image).ellipse(corners, fill=colour or self.accent)

    def arc(
        self,
        x: float,
        y: float,
        rx: float,
        ry: float,
        start: float,
        end: float,
        width: float,
        colour: Colour | None = None,
    ) -> None:
        corners = self._scaled((x - rx, y - ry), (x + rx, y + ry))
        pixels = round(width * self.image.width)
        ImageDraw.Draw(self.image).arc(corners, start, end, fill=colour or self.accent, width=pixels)

    def shape(self, *points: Point, colour: Colour | None = None) -> None:
        ImageDraw.Draw(self.image).polygon(self._scaled(*points), fill=colour or self.accent)

    def box(self, x: float, y: float, width: float, height: float, colour: Colour | None = None) -> None:
        self.shape((x, y), (x + width, y), (x + width, y + height), (x, y + height), colour=colour)

    def line(self, *points: Point, width: float = 0.02, colour: Colour | None = None) -> None:
        pixels = round(width * self.image.width)
        ImageDraw.Draw(self.image).line(self._scaled(*points), fill=colour or self.accent, width=pixels, joint="curve")

    def star(self, x: float, y: float, outer: float, inner: float, points: int, colour: Colour | None = None) -> None:
        corners = []
        for corner in range(2 * points):
            angle, radius = math.pi * corner / points - math.pi / 2, inner if corner % 2 else outer
            corners.append((x + radius * math.cos(angle), y + radius * math.sin(angle)))
        self.shape(*corners, colour=colour)

    def dots(self, count: int, radius: float, colour: Colour | None = None) -> None:
        for x, y in self.rng.random((count, 2)):
            self.disc(x, y, radius, colour)


def _action(b: Brush) -> None:
    b.star(0.5, 0.5, 0.46, 0.22, 12)
    b.star(0.5, 0.5, 0.27, 0.13, 12, PAPER)


def _adventure(b: Brush) -> None:
    b.disc(0.76, 0.25, 0.11, PAPER)
    b.shape((0.35, 1.1), (0.74, 0.48), (1.2, 1.1))
    b.shape((-0.2, 1.1), (0.34, 0.32), (0.85, 1.1), colour=INK)
    b.shape((0.24, 0.463), (0.34, 0.32), (0.437, 0.463), (0.34, 0.53), colour=PAPER)


def _animation(b: Brush) -> None:
    for x in (0.25, 0.75):
        b.disc(x, 0.3, 0.16)
    b.disc(0.5, 0.58, 0.33)
    for x in (0.38, 0.62):
        b.disc(x, 0.52, 0.09, PAPER)
        b.disc(x + 0.02, 0.54, 0.045, INK)
    b.arc(0.5, 0.64, 0.14, 0.12, 20, 160, 0.03, INK)


def _childrens(b: Brush) -> None:
    for x, y, radius, colour in ((0.28, 0.4, 0.17, b.accent), (0.68, 0.27, 0.16, PAPER), (0.6, 0.6, 0.18, b.accent)):
        b.line((x, y), (0.48, 1.05), width=0.012, colour=INK)
        b.disc(x, y, radius, colour)
        b.disc(x - radius / 3, y - radius / 3, radius / 5, PAPER)


def _comedy(b: Brush) -> None:
    b.disc(0.5, 0.52, 0.36)
    for x in (0.37, 0.63):
        b.disc(x, 0.42, 0.05, INK)
    b.arc(0.5, 0.52, 0.22, 0.22, 15, 165, 0.05, INK)


def _crime(b: Brush) -> None:
    for x in np.arange(0, 1, 0.17):
        top = b.rng.uniform(0.25, 0.7)
        b.box(x, top, 0.14, 1.1 - top, INK)
        for window in np.arange(top + 0.06, 1, 0.11):
            b.box(x + (0.03 if b.rng.random() < 0.5 else 0.08), window, 0.03, 0.04)


def _documentary(b: Brush) -> None:
    b.disc(0.5, 0.5, 0.35)
    for rx in (0.12, 0.25):
        b.arc(0.5, 0.5, rx, 0.35, 0, 360, 0.015, INK)
    for y in (0.33, 0.5, 0.67):
        half = math.sqrt(0.35**2 - (y - 0.5) ** 2)
        b.line((0.5 - half, y), (0.5 + half, y), width=0.015, colour=INK)


def _drama(b: Brush) -> None:
    b.disc(0.38, 0.5, 0.28)
    b.disc(0.62, 0.5, 0.28, INK)
    b.arc(0.38, 0.5, 0.28, 0.28, 0, 360, 0.02, PAPER)


def _fantasy(b: Brush) -> None:
    b.disc(0.75, 0.22, 0.1, PAPER)
    for x, top, width in ((0.16, 0.5, 0.18), (0.4, 0.33, 0.2), (0.68, 0.55, 0.16)):
        b.box(x, top, width, 1.1 - top)
        b.shape((x - 0.03, top), (x + width / 2, top - 0.22), (x + width + 0.03, top), colour=INK)
    b.box(0.46, 0.85, 0.08, 0.25, INK)


def _film_noir(b: Brush) -> None:
    for y in np.arange(-0.5, 1.1, 0.19):
        b.shape((0, y), (1, y + 0.35), (1, y + 0.44), (0, y + 0.09))
    b.disc(0.5, 0.55, 0.13, INK)
    b.box(0.28, 0.42, 0.44, 0.045, INK)
    b.box(0.37, 0.25, 0.26, 0.18, INK)
    b.shape((0.2, 1.1), (0.42, 0.66), (0.58, 0.66), (0.8, 1.1), colour=INK)


def _horror(b: Brush) -> None:
    b.disc(0.5, 0.38, 0.25, PAPER)
    for x in np.arange(0, 1, 0.125):
        b.shape((x, 0), (x + 0.0625, b.rng.uniform(0.12, 0.3)), (x + 0.125, 0))
        b.shape((x, 1.1), (x + 0.0625, b.rng.uniform(0.65, 0.85)), (x + 0.125, 1.1), colour=INK)
    for x in (0.42, 0.58):
        b.disc(x, 0.38, 0.045)


def _musical(b: Brush) -> None:
    for x in (0.3, 0.66):
        b.disc(x, 0.7, 0.11)
        b.box(x + 0.075, 0.28, 0.035, 0.42)
    b.shape((0.375, 0.28), (0.77, 0.2), (0.77, 0.3), (0.375, 0.38))


def _mystery(b: Brush) -> None:
    b.disc(0.5, 0.5, 0.38, INK)
    b.disc(0.5, 0.4, 0.14)
    b.shape((0.45, 0.44), (0.55, 0.44), (0.62, 0.74), (0.38, 0.74))


def _romance(b: Brush) -> None:
    for x in (0.36, 0.64):
        b.disc(x, 0.4, 0.185)
    b.shape((0.205, 0.5), (0.5, 0.88), (0.795, 0.5), (0.5, 0.36))


def _sci_fi(b: Brush) -> None:
    b.dots(28, 0.008, PAPER)
    b.disc(0.52, 0.5, 0.25)
    b.disc(0.45, 0.42, 0.07, PAPER)
    b.arc(0.52, 0.5, 0.44, 0.12, -20, 200, 0.035, PAPER)


def _thriller(b: Brush) -> None:
    for radius, colour in ((0.4, b.accent), (0.31, INK), (0.22, b.accent), (0.13, INK), (0.05, PAPER)):
        b.disc(0.5, 0.5, radius, colour)


def _war(b: Brush) -> None:
    b.star(0.5, 0.4, 0.3, 0.12, 5)
    for x in np.arange(0, 1, 0.2):
        b.shape((x, 1.1), (x, 0.82), (x + 0.1, 0.74), (x + 0.2, 0.82), (x + 0.2, 1.1), colour=INK)


def _western(b: Brush) -> None:
    b.disc(0.5, 0.55, 0.3)
    b.shape((-0.1, 1.1), (0, 0.62), (0.22, 0.62), (0.3, 0.85), (0.7, 0.85), (1.1, 0.8), (1.1, 1.1), colour=INK)
    for width, points in ((0.07, [(0.75, 0.9), (0.75, 0.4)]), (0.05, [(0.75, 0.66), (0.88, 0.66), (0.88, 0.5)])):
        b.line(*points, width=width, colour=INK)
    b.line((0.75, 0.72), (0.63, 0.72), (0.63, 0.58), width=0.05, colour=INK)


MOTIFS: dict[str, Callable[[Brush], None]] = {
    "Action": _action,
    "Adventure": _adventure,
    "Animation": _animation,
    "Children's": _childrens,
    "Comedy": _comedy,
    "Crime": _crime,
    "Documentary": _documentary,
    "Drama": _drama,
    "Fantasy": _fantasy,
    "Film-Noir": _film_noir,
    "Horror": _horror,
    "Musical": _musical,
    "Mystery": _mystery,
    "Romance": _romance,
    "Sci-Fi": _sci_fi,
    "Thriller": _thriller,
    "War": _war,
    "Western": _western,
}
"""What to draw for each genre."""
