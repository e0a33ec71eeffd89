"""``./lab TASK``: Invoke's own program with our tasks built in and the exit codes of the command line's contract.

Entry point: ``main()``. It finds and runs a task; what a task does is in ``tasks.py``.
"""

from __future__ import annotations

import difflib
import os
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

from invoke.collection import Collection
from invoke.exceptions import Exit, ParseError
from invoke.parser import Parser
from invoke.program import Program
from invoke.util import helpline

from rackbox import __version__
from rackbox.errors import EXIT_INTERRUPTED
from rackbox.task import (
    EXIT_BROKEN_PIPE,
    UsageError,
    before_double_dash,
    check_core_options,
    stdout_is_read,
    usage_exit,
)

HELP_END = """
Options after a task: --help explains them, --lab FILE chooses the lab (default: $RACKBOX_LAB, else
config/default.yaml), --json prints JSON and nothing else. What follows `--` is passed on untouched.

  ./lab doctor                     what this computer can run, and what is missing
  ./lab up                         boots the default lab
  ./lab failover-test --list       what can be broken
  ./lab ssh lb1 -- sudo crm_mon -1  a command in a machine

Exit codes: 0 well, 1 not, 2 not known, 3 could not run (usage, config, missing tool), 130 interrupted.
"""


TASK_HELP = "`./lab TASK --help` shows a task's options"


class RackboxProgram(Program):
    """Invoke's program, except that: a usage error exits 3 and names what may have been meant, an interrupt exits
    130, and core options that would not do what they seem to say are refused."""

    def __init__(self, namespace: Collection) -> None:
        super().__init__(version=__version__, namespace=namespace, name="rackbox", binary="./lab")

    def parse_core(self, argv: list[str] | None) -> None:
        words = list(sys.argv if argv is None else argv)
        with self._usage_errors():
            check_core_options(words[1:])
            super().parse_core(_help_first(words))
        # Invoke switches bytecode caching off, which would have every command compile our modules again.
        sys.dont_write_bytecode = bool(os.environ.get("PYTHONDONTWRITEBYTECODE"))

    def parse_tasks(self) -> None:
        with self._usage_errors():
            try:
                super().parse_tasks()
            except ValueError as error:  # Invoke casts an option's value and lets int()'s own error through
                got = str(error).rpartition("base 10: ")[2]
                raise UsageError(
                    f"{_flag_before(self.argv, got)} must be a whole number; got {got}", TASK_HELP
                ) from error
            # Invoke would run each word that is a task: `./lab ssh lb2 down` would take the lab down.
            names = [str(context.name) for context in self.tasks]
            if len(names) > 1:
                hint = "a command for a machine stands behind --: ./lab ssh lb1 -- hostname"
                raise UsageError(f"one task at a time; got {', '.join(names)}", hint)

    def _make_parser(self) -> Parser:
        """Invoke's, but an option that may be given again wants a value like any other: `up --renew --machine` would
        have renewed every machine."""
        parser = super()._make_parser()
        for context in parser.contexts.values():
            for argument in context.args.values():
                if argument.kind is list:
                    argument.raw_value = None
        return parser

    def parse_cleanup(self) -> None:
        if group := self._group(str(self.args.help.value)):
            print(f"Usage: ./lab {self.args.help.value}.TASK [--option …]\n\nTasks:\n")
            self._print_tasks(group)
            raise Exit
        with self._usage_errors():
            super().parse_cleanup()

    def execute(self) -> None:
        with self._usage_errors():
            super().execute()

    def print_help(self) -> None:
        print("Usage: ./lab TASK [--option …] [-- ARGUMENT …]\n\nTasks:\n")
        self._print_tasks(self._names())
        print(HELP_END.strip("\n"), flush=True)

    def print_task_help(self, name: str) -> None:
        context = self.parser.contexts[name]
        places = "".join(f" {argument.name.upper()}" for argument in context.positional_args)
        print(f"Usage: ./lab {name}{places} [--option …]\n\n{helpline(self.collection[name])}\n\nOptions:\n")
        self.print_columns(context.help_tuples())
        sys.stdout.flush()

    def _print_tasks(self, names: Iterable[str]) -> None:
        self.print_columns([(name, helpline(self.collection[name])) for name in names])

    def _names(self) -> list[str]:
        """Every task by the shortest name that it is called by: a collection's default by the collection's."""
        short = {f"{name}.{sub.default}": name for name, sub in self.collection.collections.items() if sub.default}
        return sorted(short.get(name, name) for name in self.collection.task_names)

    def _group(self, word: str) -> list[str]:
        """The tasks of a collection that cannot be called by its own name; none if ``word`` is something else."""
        sub = self.collection.collections.get(word)
        return [] if sub is None or sub.default else [name for name in self._names() if name.startswith(f"{word}.")]

    @contextmanager
    def _usage_errors(self) -> Iterator[None]:
        try:
            yield
        except UsageError as error:
            usage_exit(error)
        except ParseError as error:
            usage_exit(self._explain(error))
        except KeyboardInterrupt as error:
            raise Exit("rackbox: interrupted", code=EXIT_INTERRUPTED) from error
        except BrokenPipeError as error:
            if stdout_is_read():
                raise
            raise Exit(code=EXIT_BROKEN_PIPE) from error

    def _explain(self, error: ParseError) -> UsageError:
        """The same error in our words, with the nearest known names."""
        message = str(error)
        task = error.context.name if error.context is not None and error.context.name else ""
        where = f"{task}: " if task else ""
        hint = f"`./lab {task} --help` shows its options" if task else "`./lab` alone lists the tasks"
        if match := re.fullmatch(r"No idea what '(.*)' is!", message, re.DOTALL):
            unknown = match[1]
            if unknown.startswith("-"):
                if not task and any(unknown in context.flags for context in self.parser.contexts.values()):
                    return UsageError(f"{unknown} stands after the task", f"./lab TASK {unknown} …; {hint}")
                flags = error.context.flags.keys() if error.context is not None and task else ()
                return UsageError(f"{where}no such option: {unknown}", _meant(unknown, flags) or hint)
            if group := self._group(unknown):
                return UsageError(f"{unknown}: which of its tasks?", f"one of {', '.join(group)}")
            if task:
                return UsageError(f"{task}: takes no {unknown!r}", hint)
            return UsageError(f"no such task: {unknown}", _meant(unknown, self._names()) or hint)
        if match := re.fullmatch(r"Flag <Argument: (\S+).*> needed value and was not given one!", message):
            return UsageError(f"{where}--{match[1]} wants a value", hint)
        if match := re.fullmatch(r"'\S+' did not receive required positional arguments: (.*)", message):
            return UsageError(f"{where}missing: {match[1].replace(chr(39), '').upper()}", hint)
        return UsageError(f"{where}{message}", hint)


def _flag_before(words: Sequence[str], value: str) -> str:
    """The option that was given this value (as ``repr`` writes it); a few words where none is to be seen."""
    for word, after in zip(words, (*words[1:], ""), strict=True):
        flag, _, given = word.partition("=")
        if word.startswith("--") and repr(given or after) == value:
            return flag
    return "an option's value"


def _help_first(words: list[str]) -> list[str]:
    """``--help`` put before the task: behind it, Invoke takes it for a missing argument's value (a node's name)."""
    mine = before_double_dash(words[1:])
    tasks = [word for word in mine if not word.startswith("-")]
    return [words[0], "--help", *tasks[:1]] if {"-h", "--help"} & set(mine) else words


def _meant(unknown: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(unknown, list(known), n=3, cutoff=0.6)
    return f"did you mean {' or '.join(near)}?" if near else ""


def main() -> None:
    """Run the command line that this process was started with; never returns."""
    try:
        import tasks  # the project's own, beside this package
    except KeyboardInterrupt:
        sys.exit(EXIT_INTERRUPTED)
    RackboxProgram(tasks.namespace).run()


if __name__ == "__main__":
    main()
