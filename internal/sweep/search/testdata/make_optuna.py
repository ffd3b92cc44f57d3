"""Writes optuna.json: what Optuna's samplers and pruners do, for search_test.go.

    python3 -m venv venv && venv/bin/pip install optuna==5.0.0
    venv/bin/python make_optuna.py
"""

import functools
import json
import math
import pathlib
import random
import unittest.mock

import numpy as np
import optuna
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers._tpe.sampler import _split_trials, default_gamma
from optuna.trial import TrialState

optuna.logging.set_verbosity(optuna.logging.WARNING)

TRIALS = 100
SEEDS = 20


# The functions of TestTPEIsAsGoodAsOptuna, which states them again.


def sphere(trial):
    return sum(trial.suggest_float(f"x{i}", -5, 10) ** 2 for i in range(5))


def branin(trial):
    x = trial.suggest_float("x", -5, 10)
    y = trial.suggest_float("y", 0, 15)
    a = y - 5.1 / (4 * math.pi**2) * x**2 + 5 / math.pi * x - 6
    return a**2 + 10 * (1 - 1 / (8 * math.pi)) * math.cos(x) + 10


HARTMANN_C = [1.0, 1.2, 3.0, 3.2]
HARTMANN_A = [
    [10, 3, 17, 3.5, 1.7, 8],
    [0.05, 10, 17, 0.1, 8, 14],
    [3, 3.5, 1.7, 10, 17, 8],
    [17, 8, 0.05, 10, 0.1, 14],
]
HARTMANN_P = [
    [1312, 1696, 5569, 124, 8283, 5886],
    [2329, 4135, 8307, 3736, 1004, 9991],
    [2348, 1451, 3522, 2883, 3047, 6650],
    [4047, 8828, 8732, 5743, 1091, 381],
]


def hartmann6(trial):
    x = [trial.suggest_float(f"x{i}", 0, 1) for i in range(6)]
    return -sum(
        c * math.exp(-sum(a * (v - p / 10000) ** 2 for a, v, p in zip(A, x, P)))
        for c, A, P in zip(HARTMANN_C, HARTMANN_A, HARTMANN_P)
    )


def conditional(trial):
    lr = math.log10(trial.suggest_float("lr", 1e-6, 1e-1, log=True))
    layers = trial.suggest_int("layers", 1, 12)
    optimizer = trial.suggest_categorical("optimizer", ["sgd", "adamw", "adafactor"])
    value = 0.05 * (layers - 7) ** 2
    if optimizer == "sgd":
        momentum = trial.suggest_float("momentum", 0, 0.95, step=0.05)
        return value + (lr + 2) ** 2 + 4 * (momentum - 0.9) ** 2 + 0.5
    if optimizer == "adamw":
        rank = trial.suggest_int("rank", 1, 256, log=True)
        decay = trial.suggest_float("decay", 1e-4, 1, log=True)
        return value + (lr + 4) ** 2 + 0.1 * (math.log2(rank) - 5) ** 2 + 0.3 * (math.log10(decay) + 2) ** 2
    return value + (lr + 3) ** 2 + 1


def best(function, workers, seed):
    """The best value; with several workers, a trial is told when they all have one."""
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed))
    running = []
    for _ in range(TRIALS):
        if len(running) == workers:
            trial = running.pop(0)
            study.tell(trial[0], trial[1])
        trial = study.ask()
        running.append((trial, function(trial)))
    for trial in running:
        study.tell(trial[0], trial[1])
    return study.best_value


def runs():
    for function, workers in [(sphere, 1), (branin, 1), (hartmann6, 1), (conditional, 1), (hartmann6, 8)]:
        yield {
            "function": function.__name__,
            "workers": workers,
            "best": [best(function, workers, seed) for seed in range(SEEDS)],
        }


# What the estimators make of a history.

DISTRIBUTIONS = {
    "x": FloatDistribution(-2, 3),
    "lr": FloatDistribution(1e-5, 1e-1, log=True),
    "drop": FloatDistribution(0, 0.5, step=0.1),
    "layers": IntDistribution(2, 30, step=4),
    "rank": IntDistribution(1, 64, log=True),
    "choice": CategoricalDistribution(["a", "b", "c", "d"]),
}


def jsonable(value):
    """JSON has no NaN and no infinities; the test reads these words."""
    return value if value is None or math.isfinite(value) else str(float(value))


def described(trial):
    return {
        "number": trial.number,
        "state": trial.state.name,
        "params": trial.params,
        "value": trial.value,
        "intermediate": {step: jsonable(v) for step, v in trial.intermediate_values.items()},
    }


def scores():
    """Histories, points, and log l(x) - log g(x) of each."""
    rng = random.Random(5)
    for trials, names in [(10, ["x"]), (12, ["choice"]), (40, ["lr"]), (25, ["drop"]), (60, ["layers"]), (31, ["rank"]), (27, ["x", "choice"]), (90, list(DISTRIBUTIONS)), (400, ["lr", "layers"])]:
        space = {name: DISTRIBUTIONS[name] for name in names}
        study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=trials))
        for number in range(trials):
            # Some trials lack some parameters, as in a conditional space.
            some = dict(space) if number % 7 else dict(list(space.items())[: number % (len(space) + 1)])
            trial = study.ask(some)
            if number % 3 == 0:
                for step in range(rng.randrange(4)):
                    trial.report(rng.choice([rng.random(), rng.random(), math.nan]), 10 * step)
            fate = rng.random()
            if fate < 0.15 and trials > 10:
                continue
            if fate < 0.3:
                study.tell(trial, state=TrialState.PRUNED)
            elif fate < 0.4 and trials > 10:
                study.tell(trial, state=TrialState.FAIL)
            else:
                study.tell(trial, rng.gauss(0, 1))
        sampler = optuna.samplers.TPESampler(seed=0)
        history = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING))
        finished = sum(t.state != TrialState.RUNNING for t in history)
        below, above = _split_trials(study, history, default_gamma(finished))
        # Which of several equal values gets which neighbour's distance is left to NumPy's order.
        with unittest.mock.patch.object(np, "argsort", functools.partial(np.argsort, kind="stable")):
            low = sampler._build_parzen_estimator(study, space, below, handle_below=True)
            high = sampler._build_parzen_estimator(study, space, above, handle_below=False)
        samples = low.sample(np.random.RandomState(1), 6)
        spread = high.sample(np.random.RandomState(2), 6)
        samples = {name: np.concatenate([samples[name], spread[name]]) for name in names}
        values = sampler._compute_acquisition_func(samples, low, high)
        yield {
            "parameters": names,
            "below": [t.number for t in below],
            "history": [described(t) for t in study.trials],
            "points": [{name: d.to_external_repr(samples[name][i].item()) for name, d in space.items()} for i in range(12)],
            "scores": values.tolist(),
        }


# What pruners decide. Trials run side by side and report in turn.


def decisions(pruner, every, seed):
    """Events in their order: a report and what was decided, or how a trial ended."""
    rng = random.Random(seed)
    study = optuna.create_study(pruner=pruner)
    events, running = [], []
    for _ in range(40):
        running.append([study.ask(), 0, rng.gauss(0, 1)])
        while running and (len(running) == 6 or rng.random() < 0.2):
            lane = rng.choice(running)
            trial, step, quality = lane
            lane[1] = step = step + every
            value = math.nan if rng.random() < 0.03 else quality + 3 / step + rng.gauss(0, 0.3)
            trial.report(value, step)
            stop = bool(trial.should_prune())
            events.append({"trial": trial.number, "step": step, "value": jsonable(value), "prune": stop})
            fails = rng.random() < 0.005
            if stop or fails or step >= 70:
                running.remove(lane)
                state = TrialState.PRUNED if stop else TrialState.FAIL if fails else TrialState.COMPLETE
                study.tell(trial, quality if state == TrialState.COMPLETE else None, state=state)
                events.append({"trial": trial.number, "state": state.name})
    return events


def pruners():
    for minimum, factor, every in [(1, 4, 1), (5, 2, 2), (4, 3, 3), (8, 4, 5)]:
        pruner = optuna.pruners.SuccessiveHalvingPruner(min_resource=minimum, reduction_factor=factor)
        yield {"kind": "asha", "arguments": [minimum, factor], "events": decisions(pruner, every, minimum)}
    for startup, warmup, every in [(5, 0, 1), (0, 0, 2), (3, 30, 5)]:
        pruner = optuna.pruners.MedianPruner(n_startup_trials=startup, n_warmup_steps=warmup)
        yield {"kind": "median", "arguments": [startup, warmup], "events": decisions(pruner, every, startup)}


def main():
    recorded = {"optuna": optuna.__version__, "runs": list(runs()), "scores": list(scores()), "pruners": list(pruners())}
    lines = []
    for key, value in recorded.items():
        if isinstance(value, list):
            value = "[\n" + ",\n".join(json.dumps(v, allow_nan=False, separators=(",", ":")) for v in value) + "\n]"
        else:
            value = json.dumps(value)
        lines.append(f'"{key}": {value}')
    path = pathlib.Path(__file__).with_name("optuna.json")
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()
