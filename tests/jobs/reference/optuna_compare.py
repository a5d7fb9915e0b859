#!/usr/bin/env python3
"""Compares hivq's searchers with Optuna's: same problems, same budgets, same number of seeds, in the same run.

    optuna_compare.py SEARCH_QUALITY [--seeds 20] [--searches tpe,cma-es,gp] [--problems branin,…] [--speed 300]

SEARCH_QUALITY is the program of that name in build/release/bin. Needs `pip install optuna==5.0.0 cmaes scipy`, and torch for
Optuna's gp. Prints a Markdown table: the median over the seeds of the best value found; lower is better. `table` is a surrogate
table of real measurements, svc_digits.csv beside this file; --make-table measures it anew (needs scikit-learn). With --searches
random+asha,tpe+asha,tpe+hyperband,bohb+hyperband trials have curves, are stopped early (Optuna: SuccessiveHalvingPruner or
HyperbandPruner), and both sides may train so many epochs as 40 whole trials take.
"""
import argparse
import csv
import json
import math
import pathlib
import statistics
import subprocess
import time

import optuna

TABLE = pathlib.Path(__file__).with_name("svc_digits.csv")
BUDGETS = {"branin": 100, "hartmann6": 150, "rosenbrock5": 200, "mixed": 100, "table": 60, "ackley4": 150, "levy6": 150}


def branin(trial):
    x, y = trial.suggest_float("x0", -5, 10), trial.suggest_float("x1", 0, 15)
    a = y - 5.1 / (4 * math.pi**2) * x * x + 5 / math.pi * x - 6
    return a * a + 10 * (1 - 1 / (8 * math.pi)) * math.cos(x) + 10


def hartmann6(trial):
    alpha = [1.0, 1.2, 3.0, 3.2]
    a = [[10, 3, 17, 3.5, 1.7, 8], [0.05, 10, 17, 0.1, 8, 14], [3, 3.5, 1.7, 10, 17, 8], [17, 8, 0.05, 10, 0.1, 14]]
    p = [[0.1312, 0.1696, 0.5569, 0.0124, 0.8283, 0.5886], [0.2329, 0.4135, 0.8307, 0.3736, 0.1004, 0.9991],
         [0.2348, 0.1451, 0.3522, 0.2883, 0.3047, 0.6650], [0.4047, 0.8828, 0.8732, 0.5743, 0.1091, 0.0381]]
    x = [trial.suggest_float(f"x{d}", 0, 1) for d in range(6)]
    return -sum(alpha[i] * math.exp(-sum(a[i][d] * (x[d] - p[i][d])**2 for d in range(6))) for i in range(4))


def rosenbrock5(trial):
    x = [trial.suggest_float(f"x{d}", -2.048, 2.048) for d in range(5)]
    return sum(100 * (x[d + 1] - x[d]**2)**2 + (1 - x[d])**2 for d in range(4))


def ackley4(trial):
    x = [trial.suggest_float(f"x{d}", -20, 32) for d in range(4)]
    waves = sum(math.cos(2 * math.pi * v) for v in x) / 4
    return -20 * math.exp(-0.2 * math.sqrt(sum(v * v for v in x) / 4)) - math.exp(waves) + 20 + math.e


def levy6(trial):
    w = [1 + (trial.suggest_float(f"x{d}", -10, 10) - 1) / 4 for d in range(6)]
    middle = sum((v - 1)**2 * (1 + 10 * math.sin(math.pi * v + 1)**2) for v in w[:-1])
    return math.sin(math.pi * w[0])**2 + middle + (w[-1] - 1)**2 * (1 + math.sin(2 * math.pi * w[-1])**2)


def mixed(trial):
    kind = trial.suggest_categorical("kind", ["a", "b", "c"])
    units = trial.suggest_int("units", 8, 512, log=True)
    value = 0.05 * (math.log2(units) - 6.3)**2
    if kind == "a":
        lr, depth = trial.suggest_float("lr", 1e-5, 1, log=True), trial.suggest_int("depth", 1, 10)
        return value + 0.3 + 0.3 * (math.log10(lr) + 3.2)**2 + 0.02 * (depth - 7)**2
    if kind == "b":
        x, y = trial.suggest_float("x", -5, 5), trial.suggest_float("y", -5, 5, step=0.5)
        return value + 0.05 + 0.1 * (x - 1.5)**2 + 0.1 * (y + 1)**2 + 0.2 * (1 - math.cos(3 * (x - 1.5)))
    return value + 0.25 + 5 * (trial.suggest_float("momentum", 0, 1) - 0.9)**2


def table():
    with TABLE.open() as file:
        rows = list(csv.reader(file))
    names, rows = rows[0][:-1], rows[1:]
    results = {tuple(row[:-1]): float(row[-1]) for row in rows}
    columns = [sorted({row[i] for row in rows}) for i in range(len(names))]

    def objective(trial):
        setting = []
        for name, values in zip(names, columns):
            if values[0][0].isdigit():
                setting.append(str(trial.suggest_int(name, 0, len(values) - 1)))
            else:
                setting.append(trial.suggest_categorical(name, values))
        return results[tuple(setting)]

    return objective


def make_table():
    """Errors of support vector machines on scikit-learn's digits: 600 to train, 1197 to test."""
    from sklearn.datasets import load_digits
    from sklearn.svm import SVC
    x, y = load_digits(return_X_y=True)
    with TABLE.open("w") as file:
        file.write("c,gamma,kernel,error\n")
        for kernel in ("poly", "rbf", "sigmoid"):
            for c in range(20):
                for gamma in range(20):
                    model = SVC(C=10**(-3 + 6 * c / 19), gamma=10**(-6 + 5 * gamma / 19), kernel=kernel)
                    error = 1 - model.fit(x[:600], y[:600]).score(x[600:], y[600:])
                    file.write(f"{c},{gamma},{kernel},{error:.6f}\n")


def sampler(search, seed):
    if search == "tpe":
        return optuna.samplers.TPESampler(seed=seed)
    if search == "tpe-multivariate":
        return optuna.samplers.TPESampler(seed=seed, multivariate=True, group=True, constant_liar=True)
    if search == "cma-es":
        return optuna.samplers.CmaEsSampler(seed=seed)
    if search == "gp":
        return optuna.samplers.GPSampler(seed=seed)
    if search == "nsga2":
        return optuna.samplers.NSGAIISampler(seed=seed)
    return optuna.samplers.RandomSampler(seed=seed)


# Of trials that are stopped early; as in search_quality.cpp.
WHOLE, WHOLE_TRIALS = 27, 40


def optuna_bests_with_stops(search, objective, seeds):
    first, stop = search.split("+")
    bests = []
    for seed in range(seeds):
        if stop == "asha":
            pruner = optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=3)
        else:
            pruner = optuna.pruners.HyperbandPruner(min_resource=1, max_resource=WHOLE, reduction_factor=3)
        study = optuna.create_study(sampler=sampler(first, seed), pruner=pruner)
        epochs = 0

        def train(trial):
            nonlocal epochs
            final = objective(trial)
            speed = 0.75 + 0.45 * math.sin(37 * sum(trial.params.values()))
            for epoch in range(1, WHOLE + 1):
                epochs += 1
                value = final + 4 * (epoch**-speed - WHOLE**-speed)
                trial.report(value, epoch)
                if epoch < WHOLE and trial.should_prune():
                    raise optuna.TrialPruned
            return value

        def enough(study, _):
            if epochs >= WHOLE * WHOLE_TRIALS:
                study.stop()

        study.optimize(train, callbacks=[enough])
        bests.append(study.best_value)
    return bests


def optuna_bests(search, objective, budget, seeds):
    if "+" in search:
        return optuna_bests_with_stops(search, objective, seeds)
    bests = []
    for seed in range(seeds):
        study = optuna.create_study(sampler=sampler(search, seed))
        study.optimize(objective, n_trials=budget)
        bests.append(study.best_value)
    return bests


def hivq_bests(program, search, problem, budget, seeds):
    command = [program, search, problem, str(budget), str(seeds)] + ([str(TABLE)] if problem == "table" else [])
    answer = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return answer["best"], answer["seconds"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", nargs="?")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--searches", default="tpe,cma-es")
    parser.add_argument("--problems", default=",".join(BUDGETS))
    parser.add_argument("--speed", type=int, default=0, help="also trials a second of a whole search of so many")
    parser.add_argument("--make-table", action="store_true")
    parser.add_argument("--save", help="Optuna's results, as JSON; read where the file is there")
    options = parser.parse_args()
    if options.make_table:
        return make_table()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    import warnings
    warnings.simplefilter("ignore")
    saved = pathlib.Path(options.save) if options.save else None
    known = json.loads(saved.read_text()) if saved and saved.exists() else {}
    objectives = {"branin": branin, "hartmann6": hartmann6, "rosenbrock5": rosenbrock5, "mixed": mixed, "ackley4": ackley4,
                  "levy6": levy6}
    print(f"Optuna {optuna.__version__}, {options.seeds} seeds\n")
    print("| problem | trials | search | hivq: median best | Optuna: median best | seeds better | |\n|---|---|---|---|---|---|---|")
    for problem in options.problems.split(","):
        objective = table() if problem == "table" else objectives[problem]
        for search in options.searches.split(","):
            budget = WHOLE_TRIALS if "+" in search else BUDGETS[problem]
            ours, _ = hivq_bests(options.program, search, problem, budget, options.seeds)
            for theirs in ["tpe", "tpe-multivariate"] if search == "tpe" else [search.replace("bohb", "tpe")]:
                key = f"{problem} {theirs} {budget} {options.seeds}"
                if key not in known:
                    known[key] = optuna_bests(theirs, objective, budget, options.seeds)
                    if saved:
                        saved.write_text(json.dumps(known))
                wins = sum(a < b for a, b in zip(ours, known[key]))
                mine, other = statistics.median(ours), statistics.median(known[key])
                word = "not worse" if mine <= other + 1e-12 else "WORSE"
                print(f"| {problem} | {budget} | {search} vs {theirs} | {mine:.6g} | {other:.6g} | "
                      f"{wins}/{options.seeds} | {word} |", flush=True)
    if options.speed:
        for search in options.searches.split(","):
            _, seconds = hivq_bests(options.program, search, "hartmann6", options.speed, 3)
            begin = time.perf_counter()
            optuna_bests(search, hartmann6, options.speed, 1)
            other = options.speed / (time.perf_counter() - begin)
            mine = 3 * options.speed / seconds
            print(f"\n{search}, {options.speed} trials of hartmann6: hivq {mine:.0f} trials/s, Optuna {other:.0f}: "
                  f"{mine / other:.0f} times")


if __name__ == "__main__":
    main()
