"""Trains one peer on what `examples/trees.rs --export` wrote; prints a JSON line per task: its figures and seconds."""

import json
import pathlib
import sys
import time

import numpy as np

system, folder, threads, repeats = sys.argv[1], pathlib.Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])


def load(table):
    values = np.fromfile(folder / table["file"], dtype="<f8").reshape(table["columns"] + 1, table["rows"])
    return np.ascontiguousarray(values[1:].T), values[0].copy()


def lightgbm(settings, training, x, y):
    """A function that trains, and one that predicts."""
    import lightgbm as lgb

    objectives = {"l2": "regression", "logistic": "binary", "softmax": "multiclass", "lambda_rank": "lambdarank"}
    parameters = {
        "objective": objectives.get(settings["objective"], settings["objective"]),
        "learning_rate": settings["learning_rate"],
        "num_leaves": settings["max_leaves"],
        "min_data_in_leaf": settings["min_data"],
        "min_sum_hessian_in_leaf": settings["min_weight"],
        "lambda_l2": settings["l2"],
        "max_bin": settings["max_bins"],
        "max_cat_to_onehot": settings["one_vs_rest"],
        "num_threads": threads,
        "verbose": -1,
    }
    if settings["classes"] > 1:
        parameters["num_class"] = settings["classes"]
    if settings["dart"]:
        rate, skip, most = settings["dart"]
        # `uniform_drop`: every tree with the same probability, as in the paper.
        parameters |= {"boosting": "dart", "drop_rate": rate, "skip_drop": skip, "max_drop": most, "uniform_drop": True}

    def train():
        data = lgb.Dataset(
            x, y, group=training["groups"], categorical_feature=training["categorical"], params=parameters
        )
        return lgb.train(parameters, data, settings["rounds"])

    return train, lambda model, x: model.predict(x, num_threads=threads)


def xgboost(settings, training, x, y):
    import xgboost as xgb

    objectives = {
        "l2": "reg:squarederror",
        "logistic": "binary:logistic",
        "cross_entropy": "binary:logistic",
        "softmax": "multi:softprob",
        "lambda_rank": "rank:ndcg",
    }
    parameters = {
        "objective": objectives[settings["objective"]],
        "tree_method": "hist",
        "grow_policy": "lossguide",
        "max_depth": 0,
        "eta": settings["learning_rate"],
        "max_leaves": settings["max_leaves"],
        "min_child_weight": settings["min_weight"],
        "lambda": settings["l2"],
        "max_bin": settings["max_bins"],
        "max_cat_to_onehot": settings["one_vs_rest"],
        "nthread": threads,
        "verbosity": 0,
    }
    # XGBoost has no least number of rows; with squared errors the second derivatives count them.
    if settings["objective"] == "l2":
        parameters["min_child_weight"] = settings["min_data"]
    if settings["classes"] > 1:
        parameters["num_class"] = settings["classes"]
    if settings["objective"] == "lambda_rank":
        parameters |= {"lambdarank_pair_method": "topk", "lambdarank_num_pair_per_sample": 30}
    if settings["dart"]:
        rate, skip, _ = settings["dart"]
        parameters |= {"booster": "dart", "rate_drop": rate, "skip_drop": skip, "one_drop": 1}
    kinds = ["c" if c in training["categorical"] else "q" for c in range(training["columns"])]
    options = {"feature_types": kinds, "enable_categorical": True, "nthread": threads}

    def train():
        data = xgb.QuantileDMatrix(x, y, group=training["groups"], max_bin=settings["max_bins"], **options)
        return xgb.train(parameters, data, settings["rounds"])

    return train, lambda model, x: model.predict(xgb.DMatrix(x, **options))


def sklearn(settings, training, x, y):
    from sklearn.ensemble import RandomForestClassifier

    def train():
        forest = RandomForestClassifier(
            settings["trees"],
            max_features=settings["features_per_node"],
            min_samples_leaf=settings["min_data"],
            oob_score=True,
            n_jobs=threads,
            random_state=0,
        )
        return forest.fit(x, y)

    return train, lambda model, x: model.predict_proba(x)


def auc(predictions, y, groups):
    order = np.argsort(predictions, kind="stable")
    values, inverse, counts = np.unique(predictions, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    ranks = ((ends - counts + 1 + ends) / 2)[inverse]
    positive = y.sum()
    return (ranks[y == 1].sum() - positive * (positive + 1) / 2) / (positive * (len(order) - positive))


def accuracy(predictions, y, groups):
    classes = predictions > 0.5 if predictions.ndim == 1 else predictions.argmax(1)
    return (classes == y).mean()


def rmse(predictions, y, groups):
    return np.sqrt(((predictions - y) ** 2).mean())


def ndcg(predictions, y, groups):
    def dcg(labels):
        return ((2.0 ** labels[:10] - 1) / np.log2(np.arange(len(labels[:10])) + 2)).sum()

    figures, begin = [], 0
    for size in groups:
        scores, labels = predictions[begin : begin + size], y[begin : begin + size]
        ideal = dcg(-np.sort(-labels))
        figures.append(dcg(labels[np.argsort(-scores, kind="stable")]) / ideal if ideal else 1.0)
        begin += size
    return np.mean(figures)


FIGURES = {"AUC": auc, "accuracy": accuracy, "RMSE": rmse, "NDCG@10": ndcg}

for task in json.loads((folder / "tasks.json").read_text()):
    if (task["kind"] == "forest") != (system == "sklearn"):
        continue
    make = {"lightgbm": lightgbm, "xgboost": xgboost, "sklearn": sklearn}[system]
    predictions, labels, groups, seconds = [], [], [], 0.0
    for training, test in task["folds"]:
        train, predict = make(task["settings"], training, *load(training))
        times = []
        for _ in range(repeats):
            start = time.perf_counter()
            model = train()
            times.append(time.perf_counter() - start)
        seconds += min(times)
        x, y = load(test)
        predictions.append(predict(model, x))
        labels.append(y)
        groups += test["groups"] or []
    predictions, labels = np.concatenate(predictions), np.concatenate(labels)
    figures = [[name, float(FIGURES[name](predictions, labels, groups))] for name, _ in task["figures"]]
    print(json.dumps({"name": task["name"], "seconds": seconds, "figures": figures}), flush=True)
