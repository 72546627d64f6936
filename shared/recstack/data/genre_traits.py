"""Where the genres of the synthetic world lie in the space of tastes."""

GENRE_TRAITS: dict[str, tuple[float, ...]] = {
    "Action": (0.9, 0.2, 0.2, 1.0, 0.0, -0.7),
    "Adventure": (0.6, -0.3, 0.6, 0.7, -0.4, 0.0),
    "Animation": (0.3, -0.7, 0.9, 0.0, -1.0, 0.3),
    "Children's": (0.5, -0.9, 0.6, -0.2, -1.2, 0.4),
    "Comedy": (2.0, -0.9, -0.2, -0.2, -0.1, 0.2),
    "Crime": (0.5, 0.9, -0.6, 0.5, 0.6, -0.5),
    "Documentary": (0.3, 0.1, -1.2, -0.9, 0.6, -0.1),
    "Drama": (2.5, 0.3, -0.7, -0.5, 0.7, 0.6),
    "Fantasy": (0.3, -0.1, 1.2, 0.3, -0.5, 0.3),
    "Film-Noir": (0.2, 1.2, -0.4, 0.2, 1.2, 0.1),
    "Horror": (0.6, 1.2, 0.7, 0.8, 0.2, -0.8),
    "Musical": (0.3, -0.8, 0.1, -0.6, 0.0, 0.8),
    "Mystery": (0.3, 0.7, -0.1, 0.3, 0.6, -0.1),
    "Romance": (0.9, -0.4, -0.4, -0.7, 0.3, 1.2),
    "Sci-Fi": (0.6, 0.3, 1.2, 0.7, 0.0, -0.6),
    "Thriller": (0.9, 0.8, -0.1, 0.9, 0.4, -0.5),
    "War": (0.3, 0.7, -0.7, 0.6, 0.7, 0.0),
    "Western": (0.2, 0.1, -0.3, 0.6, 0.5, -0.4),
}
"""Per genre: how common it is, then its place on the axes dark, fantastic, intense, grown-up, tender."""
