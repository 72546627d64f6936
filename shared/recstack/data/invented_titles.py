"""Invented film titles whose words hint at the genre. Any likeness to a real title is chance."""

from collections.abc import Sequence

import numpy as np

from recstack.features.schema import GENRES

NOUNS: dict[str, tuple[str, ...]] = {
    "Action": ("Vanguard", "Detonator", "Siege Driver", "Iron Courier", "Breakaway", "Skyline Chase"),
    "Adventure": ("Caravan", "Cartographer", "Seventh Pass", "River Crossing", "Compass", "Lost Summit"),
    "Animation": ("Paper Fox", "Inkling", "Teapot Dragon", "Clockwork Otter", "Moonlit Snail", "Button Knight"),
    "Children's": ("Treehouse", "Runaway Kite", "Marmalade Bear", "Puddle Parade", "Biscuit Club", "Tiny Pirate"),
    "Comedy": ("Wedding Rehearsal", "Wrong Suitcase", "Landlord", "Goose Committee", "Houseguest", "Bad Haircut"),
    "Crime": ("Safecracker", "Ledger", "Pawnbroker", "Alibi", "Harbour Job", "Two-Way Witness"),
    "Documentary": ("Portrait", "Field Notes", "Archive", "Year on the Ice", "Salt Workers", "Voices"),
    "Drama": ("Orchard", "Inheritance", "Winter Letters", "Glassmaker", "Quiet House", "Daughters"),
    "Fantasy": ("Moonwell", "Thorn Crown", "Spellwright", "Ember Throne", "Hollow Giant", "Star Weaver"),
    "Film-Noir": ("Smoke Alley", "Midnight Tenant", "Rain Ledger", "Velvet Debt", "Lamplight", "Last Cigarette"),
    "Horror": ("Cellar", "Bone Choir", "Pale Nursery", "Whispering Well", "Black Orchard", "Thing Below"),
    "Musical": ("Tambourine", "Encore", "Dance Hall", "Song Peddler", "Brass Parade", "Second Chorus"),
    "Mystery": ("Locked Pavilion", "Cipher", "Missing Hour", "Third Key", "Silent Bell", "Unsigned Will"),
    "Romance": ("Sweetheart", "Rose Ferry", "Summer Promise", "Love Letter", "Dance Card", "Second Spring"),
    "Sci-Fi": ("Orbital", "Android", "Signal", "Fusion Gate", "Starliner", "Quantum Garden"),
    "Thriller": ("Countdown", "Stalker's Mile", "Double Bluff", "Night Train", "Blind Turn", "Cold Pursuit Line"),
    "War": ("Battalion", "Trench", "Last Bridge", "Field Hospital", "Armistice", "Convoy"),
    "Western": ("Drifter", "Gulch", "Six Rivers Stagecoach", "Sheriff", "Rustlers", "Prairie Gun"),
}
"""Words for each genre."""

PLACES = (
    "Orvane", "Kestrel Bay", "Veldra", "Port Almeny", "Côte-Mirelle", "Dunmarrow", "Saint-Oriel", "Tessaly Falls",
    "Brackwater", "Larkenfeld", "Nueva Palmira Alta", "Ostrava Lane", "Fennimoor", "Quillon", "Harrowgate Pier",
    "Mirador", "Besançal", "Tallow Hill", "Vintergård", "Ashgrove Junction",
)  # fmt: skip
PEOPLE = (
    "Marisol", "Mr. Pemberly", "Ottilie", "Captain Varga", "Señora Quill", "Young Tobias", "Inspector Lund",
    "Agnès", "Doctor Okonjo", "The Widow Marlowe", "Baxter", "Little Wren", "Aunt Philippa", "Zoltan", "Ines",
)  # fmt: skip
QUALITIES = (
    "Crimson", "Borrowed", "Restless", "Forgotten", "Velvet", "Northern", "Reluctant", "Eleventh", "Gilded",
    "Wandering", "Secret", "Unlikely", "Faithful", "Broken", "Invisible", "Stubborn",
)  # fmt: skip
PATTERNS = (
    "The {quality} {noun} of {place}",
    "{person} and the {noun}",
    "The {noun} in {place}",
    "{person}'s {quality} {noun}",
    "{noun}, {place}",
    "Return to {place}: The {noun}",
    "The {noun} and the {noun2}",
)


def invented_titles(genres: Sequence[Sequence[int]], rng: np.random.Generator) -> tuple[str, ...]:
    """One title per item from its genre ids (1-based, at least one each). A repeated title becomes a sequel."""
    draws = rng.integers(0, 2**31, (len(genres), 6)).tolist()
    seen: dict[str, int] = {}
    titles = []
    for item_genres, (pattern, noun, noun2, quality, place, person) in zip(genres, draws, strict=True):
        words = NOUNS[GENRES[item_genres[0] - 1]]
        others = [word for word in NOUNS[GENRES[item_genres[-1] - 1]] if word != words[noun % len(words)]]
        title = PATTERNS[pattern % len(PATTERNS)].format(
            noun=words[noun % len(words)],
            noun2=others[noun2 % len(others)],
            quality=QUALITIES[quality % len(QUALITIES)],
            place=PLACES[place % len(PLACES)],
            person=PEOPLE[person % len(PEOPLE)],
        )
        seen[title] = part = seen.get(title, 0) + 1
        titles.append(title if part == 1 else f"{title} {_roman(part)}")
    return tuple(titles)


def _roman(number: int) -> str:
    numerals = ("X", 10), ("IX", 9), ("V", 5), ("IV", 4), ("I", 1)
    text = ""
    for numeral, value in numerals:
        text += numeral * (number // value)
        number %= value
    return text
