"""Facts of public data sets: file names, columns, unit of time, owner. The data stay with their owners.

One entry per set; nothing but facts differs, so `reader.py` reads them all. Sets whose rows are nested have a module of
their own: `mind.py`, `otto.py`, `amazon.py`.
"""

from __future__ import annotations

from dataclasses import dataclass

from layerprobe.data.sources.delimited import Layout
from layerprobe.data.sources.raw_table import LogColumns

CSV, TABS = Layout(",", quoted=True), Layout("\t")


@dataclass(frozen=True)
class ItemFile:
    """Where titles lie; `layout` None is JSON lines. The file lies beside the log, under the first of its names."""

    files: tuple[str, ...]
    key: str
    title: str
    layout: Layout | None = CSV


@dataclass(frozen=True)
class Recipe:
    """One public data set.

    Attributes:
        name: the source, one word.
        about: what a row is and what to know of it.
        where: page of the owner.
        licence: what the owner asks, in words.
        unit: of the times.
        files: names that the log may have in its folder, plain or compressed.
        columns: its columns of user, item, time and rating.
        layout: how the text is written; None is JSON lines.
        items: where its titles lie; None where it has none, or none that can be read.
        event_column: says what a row is; `read.events` picks.
        ids_are_names: whether ids are names, among them some, such as `None`, that elsewhere stand for a missing value.
    """

    name: str
    about: str
    where: str
    licence: str
    unit: str
    files: tuple[str, ...]
    columns: LogColumns
    layout: Layout | None = CSV
    items: ItemFile | None = None
    event_column: str | None = None
    ids_are_names: bool = False


GROUPLENS = "https://grouplens.org/datasets/movielens/"
GROUPLENS_TERMS = "GroupLens: research, no redistribution without permission, no commercial use; see its README"
RATINGS = LogColumns("userId", "movieId", "timestamp", "rating")
FIELDS = ("userId", "movieId", "rating", "timestamp")
FLAGS = tuple(f"genre_{position}" for position in range(19))
MOVIE_FIELDS = ("movieId", "title", "released", "video_released", "url", *FLAGS)
MOVIES_CSV = ItemFile(("movies.csv",), "movieId", "title")


def _movielens_csv(word: str, about: str) -> Recipe:
    text = f"MovieLens {about}: ratings.csv with movies.csv beside it"
    where = f"{GROUPLENS}{word}/"
    return Recipe(
        f"movielens-{word}", text, where, GROUPLENS_TERMS, "seconds", ("ratings.csv",), RATINGS, items=MOVIES_CSV
    )


RECIPES = (
    Recipe(
        "movielens-100k",
        "MovieLens 100K: u.data (tab separated) with u.item beside it",
        f"{GROUPLENS}100k/",
        GROUPLENS_TERMS,
        "seconds",
        ("u.data",),
        RATINGS,
        Layout("\t", FIELDS),
        ItemFile(("u.item",), "movieId", "title", Layout("|", MOVIE_FIELDS, encoding="latin-1")),
    ),
    Recipe(
        "movielens-1m",
        "MovieLens 1M: ratings.dat with movies.dat beside it, split at '::'",
        f"{GROUPLENS}1m/",
        GROUPLENS_TERMS,
        "seconds",
        ("ratings.dat",),
        RATINGS,
        Layout("::", FIELDS),
        ItemFile(("movies.dat",), "movieId", "title", Layout("::", ("movieId", "title", "genres"), encoding="latin-1")),
    ),
    _movielens_csv("20m", "20M"),
    _movielens_csv("25m", "25M"),
    _movielens_csv("32m", "32M"),
    _movielens_csv("latest", "latest or latest-small"),
    Recipe(
        "steam",
        "Steam reviews of 2018, a review per row; users are user names, times are days",
        "https://cseweb.ucsd.edu/~jmcauley/datasets.html#steam_data",
        "research; cite the papers named on the page",
        "days",
        ("steam_reviews.json", "steam_new.json"),
        LogColumns("username", "product_id", "date"),
        None,
        ItemFile(("steam_games.json",), "id", "app_name", None),
        ids_are_names=True,
    ),
    Recipe(
        "yelp",
        "Yelp open data set, a review per row, with the businesses beside it",
        "https://business.yelp.com/data/resources/open-dataset/",
        "Yelp's data set terms: academic and personal use, no redistribution",
        "seconds",
        ("yelp_academic_dataset_review.json",),
        LogColumns("user_id", "business_id", "date", "stars"),
        None,
        ItemFile(("yelp_academic_dataset_business.json",), "business_id", "name", None),
    ),
    Recipe(
        "lastfm-1k",
        "Last.fm 1K users: a play per row; items are artists by name, which are their titles as well",
        "http://ocelma.net/MusicRecommendationDataset/lastfm-1K.html",
        "non-commercial use; Last.fm's terms of service",
        "seconds",
        ("userid-timestamp-artid-artname-traid-traname.tsv",),
        LogColumns("userid", "artist-name", "timestamp"),
        Layout(
            "\t",
            (
                "userid",
                "timestamp",
                "musicbrainz-artist-id",
                "artist-name",
                "musicbrainz-track-id",
                "track-name",
            ),
        ),
        ids_are_names=True,
    ),
    Recipe(
        "lastfm-2k",
        "Last.fm of HetRec 2011: a row per tag that a user gave an artist, so equal rows are many",
        "https://grouplens.org/datasets/hetrec-2011/",
        "non-commercial use; Last.fm's terms of service",
        "milliseconds",
        ("user_taggedartists-timestamps.dat",),
        LogColumns("userID", "artistID", "timestamp"),
        TABS,
        ItemFile(("artists.dat",), "id", "name", TABS),
    ),
    Recipe(
        "retailrocket",
        "Retailrocket: view, addtocart or transaction per row; no titles",
        "https://www.kaggle.com/datasets/retailrocket/ecommerce-dataset",
        "CC BY-NC-SA 4.0",
        "milliseconds",
        ("events.csv",),
        LogColumns("visitorid", "itemid", "timestamp"),
        event_column="event",
    ),
    Recipe(
        "hm",
        "H&M personalised fashion: a purchase per row, with articles.csv beside it; times are days",
        "https://www.kaggle.com/competitions/h-and-m-personalized-fashion-recommendations",
        "the competition's rules: non-commercial use, no redistribution",
        "days",
        ("transactions_train.csv",),
        LogColumns("customer_id", "article_id", "t_dat"),
        items=ItemFile(("articles.csv",), "article_id", "prod_name"),
    ),
    Recipe(
        "kuairec",
        "KuaiRec: a view per row of big_matrix.csv; the rating is watch_ratio; captions by read.items_path",
        "https://kuairec.com",
        "CC BY-SA 4.0",
        "seconds with fractions, read as microseconds",
        ("big_matrix.csv",),
        LogColumns("user_id", "video_id", "timestamp", "watch_ratio"),
    ),
)
