"""RecStack: an open-source recommender stack in Python."""

__version__ = "0.1.0"
