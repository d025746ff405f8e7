"""Column names of every table the project reads or writes.

One place, so that a name is spelled once and a typing error is an `ImportError`.
"""

# interactions.parquet, items.parquet
USER = "user"
ITEM = "item"
TIMESTAMP = "timestamp"
RATING = "rating"
TITLE = "title"
INDEX = "index"

# ranks.parquet: one row per user, split and protocol
TARGET = "target"
SPLIT = "split"
PROTOCOL = "protocol"
N_HIGHER = "n_higher"
N_TIES = "n_ties"
N_CANDIDATES = "n_candidates"
HISTORY_LENGTH = "history_length"
TARGET_POPULARITY = "target_popularity"
RANKS = (
    USER,
    TARGET,
    SPLIT,
    PROTOCOL,
    N_HIGHER,
    N_TIES,
    N_CANDIDATES,
    HISTORY_LENGTH,
    TARGET_POPULARITY,
)

# curve.csv: one row per point, protocol, split, metric and cut-off
KIND = "kind"
SELECTION = "selection"
DEPTH = "depth"
SEED = "seed"
METRIC = "metric"
K = "k"
VALUE = "value"
CI_LOW = "ci_low"
CI_HIGH = "ci_high"
N_USERS = "n_users"
PARAMETERS = "parameters"
TRAIN_SECONDS = "train_seconds"
USERS_PER_SECOND = "users_per_second"
CURVE = (
    KIND,
    SELECTION,
    DEPTH,
    SEED,
    PROTOCOL,
    SPLIT,
    METRIC,
    K,
    VALUE,
    CI_LOW,
    CI_HIGH,
    N_USERS,
    PARAMETERS,
    TRAIN_SECONDS,
    USERS_PER_SECOND,
)
CLOCK = (TRAIN_SECONDS, USERS_PER_SECOND)

# slices.csv: one row per point, slice, group and metric; test split, full protocol
SLICE = "slice"
GROUP = "group"
SLICED = (HISTORY_LENGTH, TARGET_POPULARITY)
"""Values of `slice`: the columns of ranks.parquet that users are grouped by."""
SLICE_ROWS = (SLICE, GROUP, METRIC, K, VALUE, CI_LOW, CI_HIGH, N_USERS)
SLICES = (KIND, SELECTION, DEPTH, SEED, *SLICE_ROWS)

# similarity.parquet and importance.csv
MEASURE = "measure"
LAYER = "layer"
LAYER_A = "layer_a"
LAYER_B = "layer_b"
N_ROWS = "n_rows"
DIM = "dim"
ROWS = "rows"
SIMILARITY = (MEASURE, LAYER_A, LAYER_B, VALUE, CI_LOW, CI_HIGH, N_ROWS, DIM, ROWS)
IMPORTANCE = (MEASURE, LAYER, VALUE)
DROP_ONE = "drop-one-ndcg"
"""Value of `measure`: share of NDCG@10 lost when a layer is skipped."""

# range.csv of a learning-rate test: one row per optimiser step
STEP = "step"
LEARNING_RATE = "learning_rate"
LOSS = "loss"
SMOOTHED = "smoothed"
GRAD_NORM = "grad_norm"
RATE_RANGE = (STEP, LEARNING_RATE, LOSS, SMOOTHED, GRAD_NORM)
