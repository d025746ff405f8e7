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
FULL = "full"
"""Value of `protocol`: the target is ranked among the whole catalogue."""
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
RANKED = (USER, TARGET, SPLIT, PROTOCOL, N_HIGHER, N_TIES)
"""What metrics, intervals and decisions need of it; the other columns are for slices and checks."""

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

# convergence.csv: one row per trained model, how its training ended
EPOCHS = "epochs"
EPOCHS_ALLOWED = "epochs_allowed"
STOPPED_BY = "stopped_by"
BEST_EPOCH = "best_epoch"
BEST_VALID = "best_valid"
SLOPE, SLOPE_SE = "slope", "slope_se"
RISING = "rising"
SETTINGS_TRIED = "settings_tried"
ENDING = (EPOCHS, EPOCHS_ALLOWED, STOPPED_BY, BEST_EPOCH, BEST_VALID, SLOPE, SLOPE_SE, RISING)
CONVERGENCE = (KIND, SELECTION, DEPTH, SEED, *ENDING, SETTINGS_TRIED, TRAIN_SECONDS)

# slices.csv: one row per point, slice, group and metric; test split, full protocol
SLICE = "slice"
GROUP = "group"
SLICED = (HISTORY_LENGTH, TARGET_POPULARITY)
"""Values of `slice`: the columns of ranks.parquet that users are grouped by."""
SLICE_ROWS = (SLICE, GROUP, METRIC, K, VALUE, CI_LOW, CI_HIGH, N_USERS)
SLICES = (KIND, SELECTION, DEPTH, SEED, *SLICE_ROWS)
RECENCY = "recency"
"""A further value of `slice`: time from the last item of a test history to the target, where the log has times."""

# slice_differences.csv: a model minus the full model, one row per model, slice, group and metric, seeds together
FULL_VALUE = "full_value"
DIFFERENCE = "difference"
RELATIVE = "relative"
CI_LOW_ALL = "ci_low_all"
CI_HIGH_ALL = "ci_high_all"
SEEDS = "seeds"
DIFFERENCE_ROWS = (
    SLICE,
    GROUP,
    METRIC,
    K,
    VALUE,
    FULL_VALUE,
    DIFFERENCE,
    RELATIVE,
    CI_LOW,
    CI_HIGH,
    CI_LOW_ALL,
    CI_HIGH_ALL,
    N_USERS,
    SEEDS,
)
SLICE_DIFFERENCES = (KIND, SELECTION, DEPTH, *DIFFERENCE_ROWS)

# similarity.parquet, and student.parquet where layer_a counts the teacher's layers and layer_b the student's
MEASURE = "measure"
LAYER = "layer"
LAYER_A = "layer_a"
LAYER_B = "layer_b"
N_ROWS = "n_rows"
DIM = "dim"
ROWS = "rows"
SIMILARITY = (MEASURE, LAYER_A, LAYER_B, VALUE, CI_LOW, CI_HIGH, N_ROWS, DIM, ROWS)

# null.csv: a pair of states after the rows of one were shuffled; ci_low and ci_high hold 1 - alpha of the shuffles
N_PERMUTATIONS = "n_permutations"
NULL = (MEASURE, LAYER_A, LAYER_B, VALUE, CI_LOW, CI_HIGH, N_PERMUTATIONS, N_ROWS, DIM)

# states.csv: what may fool a measure, one row per state
OUTLIER_ROWS = "outlier_rows"
OUTLIER_SPREAD = "outlier_spread"
ROGUE_DIMS = "rogue_dims"
ROGUE_SHARE = "rogue_share"
MEAN_COSINE = "mean_cosine"
STATES = (LAYER, N_ROWS, DIM, OUTLIER_ROWS, OUTLIER_SPREAD, ROGUE_DIMS, ROGUE_SHARE, MEAN_COSINE)

# importance.csv: one row per measure and layer; blocks.csv: one row per measure and run of layers
START = "start"
LENGTH = "length"
IMPORTANCE = (MEASURE, LAYER, VALUE, CI_LOW, CI_HIGH, N_ROWS, DIM)
BLOCKS = (MEASURE, START, LENGTH, VALUE, CI_LOW, CI_HIGH, N_ROWS, DIM)
ANGULAR = "angular"
"""Value of `measure`: the mean angle between two states as a share of pi, the one measure of runs of layers."""
DROP_ONE = "drop-one-ndcg"
"""Value of `measure`: share of NDCG@10 lost when a layer is skipped."""

# predictiveness.csv: how well a cheap score orders the fine-tuned variants; predicted.csv: the points behind it
SCORE = "score"
CORRELATION = "correlation"
P_VALUE = "p_value"
N_SELECTIONS = "n_selections"
MEASURED = "measured"
DEPTH_SCORE, PERFECT_SCORE, SAME_MODELS_SCORE = "depth", "perfect", "perfect-same-models"
"""Values of `score` that are no candidates: more layers are better, the score to beat, which needs no model; and what a
score that knew the true order could be expected to reach on a curve that is measured with this noise: of users and
training, from halves of both, or of users alone, where one training counts as the truth."""
CEILINGS = (PERFECT_SCORE, SAME_MODELS_SCORE)
"""A study has one of them."""
SPLIT_BY_USERS = (SCORE, CORRELATION, CI_LOW, CI_HIGH, P_VALUE, N_SELECTIONS, N_USERS)
"""Columns of older tables, whose `perfect` comes from halves of the users alone."""
PREDICTIVENESS = (*SPLIT_BY_USERS, SEEDS)
PREDICTED = (SCORE, SELECTION, DEPTH, VALUE, MEASURED)

# robustness.csv: one row per metric, cut-off and selection; interval as a share of the full model's value
IS_OWN = "is_own"
"""Whether it is the metric that the study decides by."""
VERDICT, KEPT, OWN_VERDICT = "verdict", "kept", "selection_verdict"
ROBUSTNESS = (METRIC, K, IS_OWN, VERDICT, KEPT, SELECTION, DEPTH, VALUE, RELATIVE, CI_LOW, CI_HIGH, OWN_VERDICT)

# range.csv of a learning-rate test: one row per optimiser step
STEP = "step"
LEARNING_RATE = "learning_rate"
LOSS = "loss"
SMOOTHED = "smoothed"
GRAD_NORM = "grad_norm"
RATE_RANGE = (STEP, LEARNING_RATE, LOSS, SMOOTHED, GRAD_NORM)

# costs.csv: one row per model, cost of the first seed that was trained; latencies in ms of one scoring call
PARAMETER_PARTS = ("backbone", "layers", "input_adapter", "head", "item_table", "trainable")
"""Parts that `metrics.json` counts parameters by; their columns are `parameters_<part>`, empty where there is none."""
LATENCY_P50_1, LATENCY_P95_1 = "latency_ms_p50_1", "latency_ms_p95_1"
LATENCY_P50_64, LATENCY_P95_64 = "latency_ms_p50_64", "latency_ms_p95_64"
WEIGHT_BYTES, SCORING_BYTES, TRAINING_BYTES = "weight_bytes", "scoring_bytes", "training_bytes"
COSTS = (
    KIND,
    SELECTION,
    DEPTH,
    PARAMETERS,
    *(f"{PARAMETERS}_{part}" for part in PARAMETER_PARTS),
    TRAIN_SECONDS,
    USERS_PER_SECOND,
    LATENCY_P50_1,
    LATENCY_P95_1,
    LATENCY_P50_64,
    LATENCY_P95_64,
    WEIGHT_BYTES,
    SCORING_BYTES,
    TRAINING_BYTES,
)

# front.csv: one row per cost and model; value is the decision's metric, amount the model's entry in the cost's column
COST = "cost"
AMOUNT = "amount"
ON_FRONT = "on_front"
FRONT = (COST, KIND, SELECTION, DEPTH, AMOUNT, VALUE, ON_FRONT)
LIMITED = {"latency_ms": LATENCY_P95_1, "parameters": PARAMETERS}
"""The column of `costs.csv` that each limit of a budget bounds."""
FRONT_COSTS = tuple(LIMITED.values())
"""Values of `cost`."""
