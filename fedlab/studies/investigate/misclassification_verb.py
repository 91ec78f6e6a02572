"""`fedlab data misclassification RUN`: the accuracy of a classifier on each user, without a bug in the data and with it."""

from __future__ import annotations

from collections.abc import Sequence

from fedlab.console.output import writable
from fedlab.console.parsing import Parser
from fedlab.studies.investigate.subject_parser import subject_parser, tested


def parser() -> Parser:
    """Returns the parser."""
    made = subject_parser(
        "fedlab data misclassification",
        "Accuracy of a run's classifier on each user's training examples, without a bug in the data and with it.",
        "outputs/RUN corruption=inversion corruption.fraction=0.5 --png users.png",
    )
    made.add_file("--csv", help="also write a row per user")
    made.add_file("--png", help="also write a histogram of the users' accuracies")
    return made


def main(argv: Sequence[str]) -> int:
    """Prints the accuracies; returns the exit code. Raises `FedlabError`."""
    args = parser().parse(argv)
    to_csv, to_png = writable("--csv", args.csv), writable("--png", args.png)
    from fedlab.console.tables import print_table
    from fedlab.studies.investigate.accuracies import Accuracies

    found = Accuracies(tested(args))
    columns, rows = found.table()
    print_table(columns, rows, columns[1:], found.heading)
    for line in [*found.by_bug(), ""]:
        print(line)
    columns, rows = found.histogram()
    print_table(columns, rows, columns[1:])
    if to_csv:
        found.write_csv(to_csv)
        print(f"a row per user in {to_csv}")
    if to_png:
        found.plot(to_png)
        print(f"histogram in {to_png}")
    return 0
