"""Public data sets: a tiny made-up file in the true schema of each, read by one word, with the right counts."""

from __future__ import annotations

import gzip
import json
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path

import pyarrow as pa
import pytest

from layerprobe.cli.main import main
from layerprobe.data.log import prepare
from layerprobe.data.sources import opening
from layerprobe.data.sources.raw import RawLog
from layerprobe.data.sources.registry import SOURCES, SourceOptions, read_source
from layerprobe.errors import InputError
from layerprobe.store.atomic import read_json

FORMATS = {"table", "sequences", "recbole", "amazon"}


@dataclass(frozen=True)
class Made:
    """Made-up files of a data set, and what is to be read from them."""

    files: dict[str, str]
    rows: list[tuple]
    titles: dict[str, str] | None = None
    ratings: list[float] | None = None
    options: dict[str, str] = field(default_factory=dict)
    encoding: str = "utf-8"


def lines(records: list[dict], write=json.dumps) -> str:
    return "".join(write(record) + "\n" for record in records)


def seconds(*parts: int) -> int:
    return int(datetime(*parts, tzinfo=timezone.utc).timestamp())  # type: ignore[misc]


def python_2(record: dict) -> str:
    """How Steam's files are written: Python literals of an old version."""
    return "{" + ", ".join(f"u'{key}': {'u' * isinstance(value, str)}{value!r}" for key, value in record.items()) + "}"


MOVIELENS = Made(
    {
        "ratings.csv": "userId,movieId,rating,timestamp\n1,17,4.0,944249077\n1,25,1.0,944250228\n2,17,5.0,943230976\n"
        "3,29,0.5,1112484676\n",
        "movies.csv": 'movieId,title,genres\n17,Sense and Sensibility (1995),Drama\n25,"City, The (1995)",Drama\n'
        "29,Été (1995),(no genres listed)\n",
        "links.csv": "movieId,imdbId,tmdbId\n17,0114388,4584\n",
    },
    [("1", "17", 944249077), ("1", "25", 944250228), ("2", "17", 943230976), ("3", "29", 1112484676)],
    {"17": "Sense and Sensibility (1995)", "25": "City, The (1995)", "29": "Été (1995)"},
    [4.0, 1.0, 5.0, 0.5],
)
STEAM_REVIEW = {"hours": 0.1, "products": 41, "page_order": 0, "text": 'it\'s "fun"', "early_access": False, "page": 1}
RETAIL = "timestamp,visitorid,event,itemid,transactionid\n1433221332117,257597,view,355908,\n"
RETAIL += "1433224214164,992329,view,248676,\n1433223236124,992329,addtocart,248676,\n"
RETAIL += "1433222276276,599528,transaction,356475,4000\n"
SESSIONS = [
    {"session": 12899779, "events": [{"aid": 59625, "ts": 1661724000278, "type": "clicks"}]},
    {
        "session": 12899780,
        "events": [
            {"aid": 1142000, "ts": 1661724000378, "type": "clicks"},
            {"aid": 582732, "ts": 1661724058352, "type": "carts"},
            {"aid": 582732, "ts": 1661724109199, "type": "orders"},
        ],
    },
]
OLD_REVIEWS = [
    {"reviewerID": "A1", "asin": "0000013714", "helpful": [0, 0], "overall": 4.0, "unixReviewTime": 1393545600},
    {"reviewerID": "A2", "asin": "B000000001", "reviewText": "x", "overall": 5.0, "unixReviewTime": 1393545601},
]
OLD_ROWS = [("A1", "0000013714", 1393545600), ("A2", "B000000001", 1393545601)]
NEW_REVIEWS = [
    {"rating": 5.0, "title": "Good", "asin": "B00YQ6X8EO", "parent_asin": "B00YQ6X8E0", "user_id": "AGKHLE",
     "timestamp": 1588687728923, "helpful_vote": 0, "verified_purchase": True, "images": [], "text": "x"},
    {"rating": 4.0, "title": "Fine", "asin": "B081TJ8YS3", "parent_asin": "B081TJ8YS3", "user_id": "AGKHLE",
     "timestamp": 1588615855070, "helpful_vote": 1, "verified_purchase": True, "images": [], "text": "y"},
]  # fmt: skip
NEW_ROWS = [("AGKHLE", "B00YQ6X8E0", 1588687728923), ("AGKHLE", "B081TJ8YS3", 1588615855070)]
NEW_META = [
    {"main_category": "All Beauty", "title": "Gel", "price": None, "parent_asin": "B00YQ6X8E0", "details": {"a": "b"}},
    {"main_category": "All Beauty", "title": "Brush &amp; Comb", "price": 3.5, "parent_asin": "B081TJ8YS3"},
]
NEW_TITLES = {"B00YQ6X8E0": "Gel", "B081TJ8YS3": "Brush & Comb"}
NEW_CSV = "user_id,parent_asin,rating,timestamp\n" + "".join(
    f"{user},{item},{rating},{time}\n" for (user, item, time), rating in zip(NEW_ROWS, (5.0, 4.0), strict=True)
)
MIND_NEWS = 'N1\tnews\tus\tThe "first" story\tAn abstract\thttps://x/1\t[]\t[]\nN2\tsports\tgolf\tSecond\t\thttps://x/2\t[]\t[]\n'
MIND_NEWS += "N3\tlife\tfood\tThird\t\thttps://x/3\t[]\t[]\n"
SETS: list[tuple[str, Made]] = [
    *((name, MOVIELENS) for name in ("movielens-20m", "movielens-25m", "movielens-32m", "movielens-latest")),
    (
        "movielens-100k",
        Made(
            {
                "u.data": "196\t242\t3\t881250949\n186\t302\t3\t891717742\n",
                "u.item": "242|Kolya (1996)|24-Jan-1997||http://x|" + "|".join("0" * 19) + "\n",
            },
            [("196", "242", 881250949), ("186", "302", 891717742)],
            {"242": "Kolya (1996)"},
            [3.0, 3.0],
            encoding="latin-1",
        ),
    ),
    (
        "movielens-1m",
        Made(
            {"ratings.dat": "1::1193::5::978300760\n", "movies.dat": "1193::Été: One (1975)::Drama\n"},
            [("1", "1193", 978300760)],
            {"1193": "Été: One (1975)"},
            [5.0],
            encoding="latin-1",
        ),
    ),
    (
        "steam",
        Made(
            {
                "steam_reviews.json": lines(
                    [
                        {"username": "Chaos Syren", "product_id": "725280", "date": "2017-12-17", **STEAM_REVIEW},
                        {"username": "été", "product_id": "328100", "date": "2017-10-30", **STEAM_REVIEW},
                    ],
                    python_2,
                ),
                "steam_games.json": lines(
                    [
                        {"publisher": "K", "app_name": "Lost Summoner Kitty", "title": "x", "id": "725280"},
                        {"app_name": "No id"},
                        {"app_name": "It's \"two\"", "id": "328100", "early_access": False},
                    ],
                    python_2,
                ),
            },
            [("Chaos Syren", "725280", seconds(2017, 12, 17)), ("été", "328100", seconds(2017, 10, 30))],
            {"725280": "Lost Summoner Kitty", "328100": "It's \"two\""},
        ),
    ),
    (
        "yelp",
        Made(
            {
                "yelp_academic_dataset_review.json": lines(
                    [
                        {"review_id": "K", "user_id": "mh_", "business_id": "XQf", "stars": 3.0, "useful": 0,
                         "funny": 0, "cool": 0, "text": "a\nb", "date": "2018-07-07 22:09:11"},
                        {"review_id": "B", "user_id": "OyoG", "business_id": "7AT", "stars": 5.0, "useful": 1,
                         "funny": 0, "cool": 1, "text": "c", "date": "2012-01-03 15:28:18"},
                    ]
                ),
                "yelp_academic_dataset_business.json": lines(
                    [{"business_id": "XQf", "name": "Zaika", "address": "2481", "attributes": None, "stars": 4.0},
                     {"business_id": "7AT", "name": "Body Cycle", "attributes": {"WiFi": "no"}, "hours": None}]
                ),
            },
            [("mh_", "XQf", seconds(2018, 7, 7, 22, 9, 11)), ("OyoG", "7AT", seconds(2012, 1, 3, 15, 28, 18))],
            {"XQf": "Zaika", "7AT": "Body Cycle"},
            [3.0, 5.0],
        ),
    ),
    (
        "lastfm-1k",
        Made(
            {
                "userid-timestamp-artid-artname-traid-traname.tsv":
                "user_000001\t2009-05-04T23:08:57Z\tf1b1cf71\tDeep Dish\t\tLive (\"Ibiza\")-09-28-2007\n"
                "user_000639\t2009-04-08T01:57:47Z\t\tThe Dogs D'Amour\tMBID\tFall in Love Again?\n",
                "userid-profile.tsv": "id\tgender\n",
            },
            [("user_000001", "Deep Dish", seconds(2009, 5, 4, 23, 8, 57)),
             ("user_000639", "The Dogs D'Amour", seconds(2009, 4, 8, 1, 57, 47))],
        ),
    ),
    (
        "lastfm-2k",
        Made(
            {
                "user_taggedartists-timestamps.dat":
                "userID\tartistID\ttagID\ttimestamp\r\n2\t52\t13\t1238536800000\r\n2\t52\t15\t1238536800000\r\n"
                "3\t63\t13\t1238536800001\r\n",
                "artists.dat": "id\tname\turl\tpictureURL\n52\tMorcheeba \"live\"\thttp://x\thttp://y\n63\tEnigma\thttp://x\t\n",
            },
            [("2", "52", 1238536800000), ("2", "52", 1238536800000), ("3", "63", 1238536800001)],
            {"52": "Morcheeba \"live\"", "63": "Enigma"},
        ),
    ),
    (
        "retailrocket",
        Made(
            {"events.csv": RETAIL, "item_properties_part1.csv": "timestamp,itemid,property,value\n"},
            [("257597", "355908", 1433221332117), ("992329", "248676", 1433224214164),
             ("992329", "248676", 1433223236124), ("599528", "356475", 1433222276276)],
        ),
    ),
    (
        "retailrocket",
        Made(
            {"events.csv": RETAIL},
            [("992329", "248676", 1433223236124), ("599528", "356475", 1433222276276)],
            options={"events": "addtocart,transaction"},
        ),
    ),
    (
        "hm",
        Made(
            {
                "transactions_train.csv": "t_dat,customer_id,article_id,price,sales_channel_id\n"
                "2018-09-20,000058a1,0663713001,0.0508,2\n2018-09-21,00007d2d,0505221004,0.0152,2\n",
                "articles.csv": "article_id,product_code,prod_name,product_type_no,detail_desc\n"
                '0663713001,0663713,Atlanta Push Body,283,"Lace, ""soft"""\n0505221004,0505221,Inca Jumper,252,\n',
            },
            [("000058a1", "0663713001", seconds(2018, 9, 20)), ("00007d2d", "0505221004", seconds(2018, 9, 21))],
            {"0663713001": "Atlanta Push Body", "0505221004": "Inca Jumper"},
        ),
    ),
    (
        "kuairec",
        Made(
            {
                "big_matrix.csv": "user_id,video_id,play_duration,video_duration,time,date,timestamp,watch_ratio\n"
                "0,3649,13838,10867,2020-07-05 00:08:23.438,20200705,1593878903.438,1.25\n"
                "0,9598,13665,10984,2020-07-05 00:13:41.297,20200705,1593879221.297,0.5\n",
            },
            [("0", "3649", 1593878903_438000), ("0", "9598", 1593879221_297000)],
            ratings=[1.25, 0.5],
        ),
    ),
    ("amazon-2014", Made({"r.json": lines(OLD_REVIEWS)}, OLD_ROWS, ratings=[4.0, 5.0])),
    ("amazon-2018", Made({"r.json": lines(OLD_REVIEWS)}, OLD_ROWS, ratings=[4.0, 5.0])),
    (
        "amazon-2014",
        Made(
            {
                "r.csv": "A1,0000013714,4.0,1393545600\nA2,B000000001,5.0,1393545601\n",
                "meta.json": lines([{"asin": "0000013714", "title": "It's"}, {"asin": "B000000001"}], repr),
            },
            OLD_ROWS,
            {"0000013714": "It's"},
            [4.0, 5.0],
        ),
    ),
    (
        "amazon-2018",
        Made({"r.csv": "0000013714,A1,4.0,1393545600\nB000000001,A2,5.0,1393545601\n"}, OLD_ROWS, ratings=[4.0, 5.0]),
    ),
    *(
        (name, Made({"r.x": text, "meta.jsonl": lines(NEW_META)}, NEW_ROWS, NEW_TITLES, [5.0, 4.0]))
        for name in ("amazon-2023", "amazon")
        for text in (lines(NEW_REVIEWS), NEW_CSV)
    ),
    (
        "mind",
        Made(
            {
                "behaviors.tsv": "1\tU13\t11/15/2019 10:22:32 AM\tN9 N8\tN1-0 N2-1 N3-0\n"
                "2\tU14\t11/11/2019 5:28:05 PM\t\tN3-1 N1-1\n3\tU13\t11/15/2019 12:00:00 AM\tN9\tN1-0\n",
                "news.tsv": MIND_NEWS,
            },
            [("U13", "N2", seconds(2019, 11, 15, 10, 22, 32)), ("U14", "N3", seconds(2019, 11, 11, 17, 28, 5)),
             ("U14", "N1", seconds(2019, 11, 11, 17, 28, 5))],
            {"N1": 'The "first" story', "N2": "Second", "N3": "Third"},
        ),
    ),
    (
        "otto",
        Made(
            {"train.jsonl": lines(SESSIONS)},
            [("12899779", "59625", 1661724000278), ("12899780", "1142000", 1661724000378),
             ("12899780", "582732", 1661724058352), ("12899780", "582732", 1661724109199)],
        ),
    ),
    (
        "otto",
        Made(
            {"otto-recsys-train.jsonl": lines(SESSIONS)},
            [("12899780", "582732", 1661724109199)],
            options={"events": "orders"},
        ),
    ),
]  # fmt: skip


def lay(folder: Path, made: Made, pack: bool = False) -> None:
    for name, text in made.files.items():
        content = text.encode(made.encoding)
        (folder / (f"{name}.gz" if pack else name)).write_bytes(gzip.compress(content) if pack else content)


def options_of(source: str, folder: Path, made: Made) -> SourceOptions:
    is_amazon = source.startswith("amazon")
    meta = next((str(path) for path in folder.glob("meta.*") if is_amazon), None)
    return SourceOptions(items_path=meta, **made.options)  # type: ignore[arg-type]


def path_of(source: str, folder: Path) -> Path:
    return next(folder.glob("r.*")) if source.startswith("amazon") else folder


def rows_of(raw: RawLog) -> list[tuple]:
    log = raw.interactions
    assert log.timestamp is not None
    return list(zip(log.user_ids[log.user], log.item_ids[log.item], log.timestamp.tolist(), strict=True))


@pytest.mark.parametrize("pack", [False, True])
@pytest.mark.parametrize(("source", "made"), SETS)
def test_a_set_is_read_by_one_word(tmp_path: Path, source: str, made: Made, pack: bool) -> None:
    lay(tmp_path, made, pack)
    raw = read_source(source, path_of(source, tmp_path), options_of(source, tmp_path, made))
    assert rows_of(raw) == made.rows
    assert raw.titles == made.titles
    assert (None if raw.interactions.rating is None else raw.interactions.rating.tolist()) == made.ratings


def test_every_public_set_has_a_made_up_file() -> None:
    assert {name for name, _ in SETS} | FORMATS == set(SOURCES)
    assert len({name for name, _ in SETS}) == 19


GROWN = {
    "retailrocket": Made(
        {"events.csv": "timestamp,visitorid,event,itemid,transactionid\n"
         + "".join(f"{1433221332117 + t},{u},view,{(u + t) % 5},\n" for u in range(6) for t in range(4))}, []),
    "hm": Made(
        {"transactions_train.csv": "t_dat,customer_id,article_id,price,sales_channel_id\n"
         + "".join(f"2018-09-{20 + t},c{u},0{(u + t) % 5},1,2\n" for u in range(6) for t in range(4)),
         "articles.csv": "article_id,prod_name\n" + "".join(f"0{i},Name {i}\n" for i in range(5))}, []),
    "otto": Made(
        {"train.jsonl": lines([
            {"session": u, "events": [{"aid": (u + t) % 5, "ts": t, "type": "clicks"} for t in range(4)]}
            for u in range(6)])}, []),
}  # fmt: skip


@pytest.mark.parametrize("source", GROWN)
def test_the_command_prepares_a_set(tmp_path: Path, source: str) -> None:
    (tmp_path / "raw").mkdir()
    lay(tmp_path / "raw", GROWN[source])
    arguments = ["--source", source, "--path", str(tmp_path / "raw"), "--out", str(tmp_path / "data")]
    assert main(["prepare", *arguments]) == 0
    facts = read_json(tmp_path / "data" / "facts.json")
    assert facts["counts"] == {
        "users": 6, "items": 5, "interactions": 24, "evaluated_users": 6, "density": 24 / 30,
    }  # fmt: skip
    assert facts["items_with_title"] == (5 if source == "hm" else None)


@pytest.mark.parametrize("artist", ["None", "NA", "Nil"])
def test_artists_may_be_called_like_a_missing_value(tmp_path: Path, artist: str) -> None:
    plays = "".join(
        f"u{u}\t2009-05-04T23:08:0{t}Z\t\t{(artist, 'Air', 'Moby')[t]}\t\tx\n" for u in (1, 2) for t in range(3)
    )
    path = tmp_path / "userid-timestamp-artid-artname-traid-traname.tsv"
    path.write_text(plays)
    data = prepare(read_source("lastfm-1k", tmp_path, SourceOptions()))
    assert data.facts["counts"]["items"] == 3
    bare = SourceOptions(columns="user,timestamp,-,item,-,-")
    with pytest.raises(InputError, match="mark for a missing value"):
        prepare(read_source("table", path, bare))


def test_all_events_are_kept_with_a_note_unless_some_are_named(tmp_path: Path) -> None:
    (tmp_path / "events.csv").write_text(RETAIL)
    raw = read_source("retailrocket", tmp_path, SourceOptions())
    assert raw.notes == ("rows by event: view 2, addtocart 1, transaction 1; all are kept, read.events keeps some",)


def test_titles_of_a_set_without_titles_come_from_a_file(tmp_path: Path) -> None:
    lay(tmp_path, dict(SETS)["kuairec"])
    (tmp_path / "captions.csv").write_text("video_id,caption\n3649,Dance\n")
    options = SourceOptions(items_path=str(tmp_path / "captions.csv"), title_column="caption")
    assert read_source("kuairec", tmp_path, options).titles == {"3649": "Dance"}


BAD = [
    ("movielens-25m", {"tags.csv": "x\n"}, {}, "ratings.csv does not exist, nor compressed"),
    ("hm", {"transactions_train.csv": "t_dat,customer_id\n2018-09-20,c\n"}, {}, "no column 'article_id'"),
    ("yelp", {"yelp_academic_dataset_review.json": '{"user_id": "u"}\n'}, {}, "no column 'business_id'"),
    ("retailrocket", {"events.csv": RETAIL}, {"events": "buy"}, "no row whose 'event' is 'buy'; found: view 2"),
    ("otto", {"train.jsonl": '{"session": 1}\n'}, {}, "line 1: no key 'events'; keys of the first object: session"),
    ("otto", {"train.jsonl": '{"session": 1, "events": []}\n'}, {}, "no event in any session"),
    (
        "otto",
        {"train.jsonl": lines(SESSIONS) + '{"session": 1, "events": [{"aid": "x"}]}\n'},
        {},
        "line 3: 'events' must",
    ),
    ("otto", {"train.jsonl": lines(SESSIONS) + "oops\n"}, {}, "line 3: expected one JSON object per line"),
    ("otto", {"train.jsonl": '{"session": 1, "events": 3}\n'}, {}, "line 1: 'events' must be a list of objects"),
    (
        "mind",
        {"behaviors.tsv": "1\tU\t11/15/2019 10:22:32 AM\t\tN1 N2\n"},
        {},
        "line 1: 'impressions' must be news",
    ),
    ("mind", {"behaviors.tsv": "1\tU\t15/11/2019 10:22\t\tN1-1\n"}, {}, "line 1: 'time' must be a time such as"),
    ("mind", {"behaviors.tsv": "1\tU\t11/15/2019 1:22:32 AM\t\tN1-0\n"}, {}, "has no click"),
    ("mind", {"behaviors.tsv": "1,U,11/15/2019,N1-0\n"}, {}, "line 1: expected 5 columns split at"),
    ("steam", {"steam_reviews.json": "{u'username': u'a', u'product_id': oops}\n"}, {}, "line 1: expected one JSON"),
    ("amazon", {"r.csv": "A1,0000013714,4.0,1393545600\n"}, {}, "use source amazon-2014"),
    ("amazon-2023", {"r.csv": "A1,0000013714,4.0,1393545600\n"}, {}, "the CSV of amazon-2014, -2018 or -2023"),
    ("amazon-2014", {"r.csv": "0000013714,A1,five,1393545600\n"}, {}, "line 1: 'overall' must be a finite number"),
    ("amazon-2018", {"r.json": lines(NEW_REVIEWS)}, {}, "expected a review file of 2018"),
]


@pytest.mark.parametrize(("source", "files", "options", "part"), BAD)
def test_bad_files_of_a_set_are_named(tmp_path: Path, source: str, files: dict, options: dict, part: str) -> None:
    lay(tmp_path, Made(files, []))
    with pytest.raises(InputError) as raised:
        read_source(source, path_of(source, tmp_path), SourceOptions(**options))
    assert part in str(raised.value)
    assert str(raised.value).isprintable()


def test_datasets_names_owner_and_licence(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["datasets"]) == 0
    printed = capsys.readouterr().out
    for name, source in SOURCES.items():
        assert f"{name}\n    {source.description}\n    from {source.where}\n" in printed
        assert (source.licence is None) == (name in FORMATS - {"amazon"})
        if source.licence is not None:
            assert f"    licence: {source.licence}\n" in printed


def test_the_documentation_names_every_source() -> None:
    text = (Path(__file__).resolve().parents[2] / "docs" / "data.md").read_text()
    assert [name for name in SOURCES if f"`{name}`" not in text] == []
    assert f"{opening.MOST_TIMES} times its size" in text
    assert f"{opening.ALWAYS_ALLOWED // 2**20} MiB" in text


def test_steam_as_json_is_read_as_well(tmp_path: Path) -> None:
    record = {"username": "a", "product_id": "1", "date": "2017-12-17"}
    (tmp_path / "steam_reviews.json").write_bytes(pa.compress(lines([record]).encode(), "gzip", asbytes=True))
    assert rows_of(read_source("steam", tmp_path, SourceOptions())) == [("a", "1", seconds(2017, 12, 17))]
