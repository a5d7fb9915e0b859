"""`python -m hivq`: a job's results on the terminal, and its export to other tools."""

from __future__ import annotations

import argparse
import csv
import json
import math
import os
import sys
from pathlib import Path
from typing import Any, Callable, Dict, List, NoReturn, Optional, Sequence

from hivq.client import Client
from hivq.errors import Error
from hivq.html import shown
from hivq.job import Job
from hivq.progress import printable

DONE, FAILED, USAGE, INTERRUPTED, BROKEN_PIPE = 0, 1, 2, 130, 141
EXAMPLES = """examples:
  python -m hivq results 3 --where 'train.lr < 0.01' --sort loss
  python -m hivq results 3 --csv > results.csv
  python -m hivq export 3 --format tensorboard --out runs && tensorboard --logdir runs
  python -m hivq export 3 --format mlflow --out mlruns && MLFLOW_ALLOW_FILE_STORE=true mlflow ui --backend-store-uri mlruns
  python -m hivq export 3 --format parquet --out sweep --where state=finished

The coordinator's address is --url or HIVQ_URL, else http://127.0.0.1:4488; `hivq dashboard` tells that of a data folder.
Exit codes: 0 done, 1 error, 2 wrong usage, 130 interrupted.
"""

Export = Callable[[Job, Path, argparse.Namespace, "Line"], List[Path]]


class Line:
    """How far an export is: a line of stderr that is written over, on a terminal; nothing elsewhere."""

    def __init__(self, job: int) -> None:
        self._job = job
        self._open = False

    def told(self, done: int, trials: int) -> None:
        if not sys.stderr.isatty():
            return
        sys.stderr.write(f"\rjob {self._job}: {done} of {trials} trials written")
        sys.stderr.flush()
        self._open = True

    def close(self) -> None:
        if self._open:
            sys.stderr.write("\n")
            sys.stderr.flush()
            self._open = False


def to_tensorboard(job: Job, out: Path, given: argparse.Namespace, line: Line) -> List[Path]:
    job.to_tensorboard(out, 1000 if given.points is None else given.points, given.where, line.told)
    return [out]


def to_mlflow(job: Job, out: Path, given: argparse.Namespace, line: Line) -> List[Path]:
    job.to_mlflow(out, 1000 if given.points is None else given.points, given.where, line.told)
    return [out]


def to_csv(job: Job, out: Path, given: argparse.Namespace, line: Line) -> List[Path]:
    results, metrics = out / "results.csv", out / "metrics.csv"
    job.to_csv(results, given.where)
    job.curves_to_csv(metrics, given.points or 0, given.where, line.told)
    return [results, metrics]


def to_parquet(job: Job, out: Path, given: argparse.Namespace, line: Line) -> List[Path]:
    results, metrics = out / "results.parquet", out / "metrics.parquet"
    job.to_parquet(results, given.where)
    job.curves_to_parquet(metrics, given.points or 0, given.where, line.told)
    return [results, metrics]


FORMATS: Dict[str, Export] = {"tensorboard": to_tensorboard, "mlflow": to_mlflow, "csv": to_csv, "parquet": to_parquet}


def export(client: Client, given: argparse.Namespace) -> None:
    job = client.job(given.job)
    line = Line(job.id)
    try:
        written = FORMATS[given.format](job, given.out, given, line)
    finally:
        line.close()
    for path in written:
        print(path)
    if not job.has_ended:
        sys.stderr.write(f"{job.summary()}: export it again once it has ended; the same files are written over\n")


def results(client: Client, given: argparse.Namespace) -> None:
    columns, rows = client.job(given.job)._results(given.where, given.sort, given.reverse)
    rows = rows if given.limit is None else rows[: given.limit]
    if given.csv:
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(rows)
    elif given.json:
        for row in rows:
            print(json.dumps({name: as_json(value) for name, value in zip(columns, row)}))
    else:
        print_table(columns, rows)


def as_json(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def print_table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """The columns that say something, aligned; numbers to the right."""
    told = [i for i, name in enumerate(columns) if name == "trial" or any(says_something(name, row[i]) for row in rows)]
    cells = [[printable(shown(row[i])) for i in told] for row in rows]
    names = [columns[i] for i in told]
    right = [any(isinstance(row[i], (int, float)) and not isinstance(row[i], bool) for row in rows) for i in told]
    widths = [max(len(line[i]) for line in [names, *cells]) for i in range(len(names))]
    for line in [names, *cells]:
        parts = (text.rjust(width) if to_right else text.ljust(width) for text, width, to_right in zip(line, widths, right))
        print("  ".join(parts).rstrip())


def says_something(name: str, value: Any) -> bool:
    if name == "step":
        return bool(value)  # of a trial that runs
    if name in ("feasible", "on_front"):
        return bool(value) != (name == "feasible")  # as most trials have it: feasible, and of no front
    return value not in (None, "") and value == value


def positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 1")
    return int(text)


def not_negative(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 0")
    return int(text)


class Parser(argparse.ArgumentParser):
    """Errors in one line, as the other programs of hivq have them."""

    def error(self, message: str) -> NoReturn:
        self.exit(USAGE, f"hivq: {message}; `{self.prog} --help` shows how\n")


def parser() -> Parser:
    text = argparse.RawDescriptionHelpFormatter
    about = "A job's results on the terminal, and its export to other tools."
    whole = Parser("python -m hivq", description=about, epilog=EXAMPLES, formatter_class=text)
    commands = whole.add_subparsers(metavar="COMMAND", required=True, parser_class=Parser)

    def add(name: str, what: str, run: Callable[[Client, argparse.Namespace], None]) -> Parser:
        command: Parser = commands.add_parser(name, help=what, description=what, epilog=EXAMPLES, formatter_class=text)
        command.set_defaults(run=run)
        command.add_argument("job", type=positive, metavar="JOB", help="its number")
        command.add_argument("--url", "--coordinator", metavar="URL", help="the coordinator's address, http://HOST:PORT")
        condition = "only trials that meet it, such as 'train.lr < 0.01' or 'variant = \"+ POT\"' (again for more)"
        command.add_argument("--where", metavar="CONDITION", action="append", default=[], help=condition)
        return command

    export_parser = add("export", "Writes a job's parameters, results and curves for another tool.", export)
    export_parser.add_argument(
        "--format", choices=tuple(FORMATS), default="csv", help="csv and parquet: results and metrics, a file each (csv)"
    )
    export_parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="a folder; made where it is not there")
    points = "of each curve at most, its ends and extremes stay; 0: all (tensorboard, mlflow: 1000; csv, parquet: 0)"
    export_parser.add_argument("--points", type=not_negative, metavar="N", help=points)
    results_parser = add("results", "Prints a job's trials, the best first.", results)
    results_parser.add_argument("--sort", metavar="NAME", help="rank, trial, variant, state, duration, loss, a parameter or a metric (rank)")
    results_parser.add_argument("--reverse", action="store_true", help="the other way round")
    results_parser.add_argument("--limit", type=positive, metavar="N", help="so many rows at most")
    form = results_parser.add_mutually_exclusive_group()
    form.add_argument("--csv", action="store_true", help="in full precision")
    form.add_argument("--json", action="store_true", help="an object a line")
    return whole


def main(arguments: Optional[Sequence[str]] = None) -> int:
    try:
        given = parser().parse_args(arguments)
    except SystemExit as ended:  # help, or wrong usage
        return int(ended.code or 0)
    try:
        with Client(given.url) as client:
            given.run(client, given)
        sys.stdout.flush()
        return DONE
    except Error as error:
        sys.stderr.write(f"hivq: {printable(str(error))}\n")
    except BrokenPipeError:  # as into `head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    except OSError as error:
        sys.stderr.write(f"hivq: {error.filename or 'the file'} cannot be written: {error.strerror}\n")
    except KeyboardInterrupt:
        sys.stderr.write("\nhivq: interrupted; what was whole is written\n")
        return INTERRUPTED
    return FAILED


if __name__ == "__main__":
    sys.exit(main())
