"""MovieLens readers: 100K (`u.data`, `u.item`), 1M (`ratings.dat`, `movies.dat`) and latest (`ratings.csv`).

Each takes the folder or the ratings file; titles are read where the movies file lies beside it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from layerprobe.data.sources.delimited import Layout, read_delimited
from layerprobe.data.sources.raw import RawLog, SourceOptions
from layerprobe.data.sources.raw_table import LogColumns, to_interactions
from layerprobe.data.sources.titles import read_titles

RATINGS = LogColumns(user="userId", item="movieId", timestamp="timestamp", rating="rating")
FIELDS = ("userId", "movieId", "rating", "timestamp")
GENRE_FLAGS = tuple(f"genre_{position}" for position in range(19))
MOVIE_FIELDS = ("movieId", "title", "released", "video_released", "url", *GENRE_FLAGS)


@dataclass(frozen=True)
class _Release:
    ratings: str
    ratings_layout: Layout
    movies: str
    movies_layout: Layout


ML_100K = _Release(
    ratings="u.data",
    ratings_layout=Layout("\t", FIELDS),
    movies="u.item",
    movies_layout=Layout("|", MOVIE_FIELDS, encoding="latin-1"),
)
ML_1M = _Release(
    ratings="ratings.dat",
    ratings_layout=Layout("::", FIELDS),
    movies="movies.dat",
    movies_layout=Layout("::", ("movieId", "title", "genres"), encoding="latin-1"),
)
ML_LATEST = _Release(
    ratings="ratings.csv",
    ratings_layout=Layout(",", quoted=True),
    movies="movies.csv",
    movies_layout=Layout(",", quoted=True),
)


def read_movielens_100k(path: Path, _options: SourceOptions) -> RawLog:
    """Reads MovieLens 100K: tab separated ratings, latin-1 movies split at `|`."""
    return _read(path, ML_100K)


def read_movielens_1m(path: Path, _options: SourceOptions) -> RawLog:
    """Reads MovieLens 1M: ratings and latin-1 movies split at `::`."""
    return _read(path, ML_1M)


def read_movielens_latest(path: Path, _options: SourceOptions) -> RawLog:
    """Reads MovieLens latest, latest-small, 20M, 25M or 32M: `ratings.csv` and `movies.csv`."""
    return _read(path, ML_LATEST)


def _read(path: Path, release: _Release) -> RawLog:
    ratings = path / release.ratings if path.is_dir() else path
    log = to_interactions(read_delimited(ratings, release.ratings_layout, RATINGS.present()), RATINGS)
    movies = ratings.parent / release.movies
    titles = None
    if movies.exists():
        table = read_delimited(movies, release.movies_layout, ("movieId", "title"))
        titles = read_titles(table, "movieId", "title", log.item_ids)
    return RawLog(log, titles, ordered=False)
