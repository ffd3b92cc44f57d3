"""The tests' other side: Optuna on a journal.

optuna_study.py dump FILE     what Optuna makes of the study, as JSON
optuna_study.py write FILE    a study of Optuna's own, with every kind of trial
optuna_study.py add FILE N    N more trials, while others may add theirs
"""

import json
import sys

import optuna
from optuna.distributions import FloatDistribution, distribution_to_json
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

optuna.logging.set_verbosity(optuna.logging.ERROR)
command, path = sys.argv[1:3]
storage = JournalStorage(JournalFileBackend(path))


def best(study):
    try:
        return study.best_trial.number
    except (ValueError, TypeError):  # nothing is complete, or without a value
        return -1


def dump():
    study = optuna.load_study(study_name="study", storage=storage)
    frame = study.trials_dataframe(attrs=("number", "value", "state", "params"))
    json.dump(
        {
            "best": best(study),
            "minimize": study.direction == optuna.study.StudyDirection.MINIMIZE,
            "states": frame["state"].tolist(),
            "columns": sorted(frame.columns),
            "trials": [
                {
                    "id": trial._trial_id,
                    "number": trial.number,
                    "state": int(trial.state),
                    "params": trial.params,
                    "distributions": {k: json.loads(distribution_to_json(d)) for k, d in trial.distributions.items()},
                    "value": repr(trial.value) if trial.values else None,
                    "intermediate": {str(step): repr(v) for step, v in trial.intermediate_values.items()},
                    "user": trial.user_attrs,
                    "system": trial.system_attrs,
                    "start": trial.datetime_start and trial.datetime_start.timestamp(),
                    "end": trial.datetime_complete and trial.datetime_complete.timestamp(),
                }
                for trial in study.trials
            ],
        },
        sys.stdout,
    )


def write():
    other = optuna.create_study(study_name="other", storage=storage, direction="maximize")
    study = optuna.create_study(study_name="study", storage=storage)
    other.ask()
    trial = study.ask()
    trial.suggest_float("lr", 1e-5, 1e-1, log=True)
    trial.suggest_float("drop", 0, 0.5, step=0.25)
    trial.suggest_int("layers", 1, 64, log=True)
    trial.suggest_int("even", 0, 10, step=2)
    trial.suggest_categorical("kind", [None, True, 8, 2.0, '"é"'])
    for step, value in enumerate([2.5, float("nan"), float("inf"), float("-inf")]):
        trial.report(value, step)
    trial.set_user_attr("note", ["NaN, -Infinity\\", {"deep": None}])
    study.tell(trial, 0.1 + 0.2)
    other.tell(other.ask(), 1.0)
    pruned = study.ask()
    pruned.report(7.0, 10)
    study.tell(pruned, state=TrialState.PRUNED)
    study.tell(study.ask(), state=TrialState.FAIL)
    study.tell(study.ask(), float("inf"))
    study.enqueue_trial({"lr": 0.01})
    study.ask().suggest_float("lr", 1e-5, 1e-1, log=True)  # the queue's, running
    study.enqueue_trial({"lr": 0.02})  # waits
    study.add_trial(
        optuna.create_trial(params={"x": 0.5}, distributions={"x": FloatDistribution(0, 1)}, value=1.0, intermediate_values={1: 2.0, 7: float("nan")})
    )
    storage.delete_study(other._study_id)


def add(n):
    study = optuna.load_study(study_name="study", storage=storage)
    for i in range(n):
        trial = study.ask()
        trial.report(trial.suggest_float("lr", 1e-5, 1e-1, log=True), 1)
        trial.set_user_attr("i", i)
        study.tell(trial, float(i))


if command == "write":
    write()
elif command == "add":
    add(int(sys.argv[3]))
if command != "add":
    dump()
