"""The command line ``fx-monai``.

The verbs are functions (:mod:`fx_monai.verbs`). A thin layer checks the words before anything is imported or run:
unknown verbs and flags are refused with the closest known one, values stay strings unless the parameter says
otherwise. python-fire then calls the function.
"""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

from fx_monai import __version__
from fx_monai.errors import ConfigError, FxError, did_you_mean
from fx_monai.signals import terminate_as_interrupt
from fx_monai.verbs import VERBS


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code: 0 all done, 1 a user's error, 2 an internal one."""
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        with terminate_as_interrupt():
            return _run(words)
    except FxError as error:
        sys.stderr.write(f"fx-monai: {error}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("fx-monai: interrupted\n")
        return 1
    except BrokenPipeError:
        return 0
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        sys.stderr.write(
            f"fx-monai: {place}{error.strerror or error}. Expected files that can be read and folders that can be "
            "written. Check the path, the permissions and the space that is left.\n"
        )
        return 1
    except Exception as error:
        if os.environ.get("FX_MONAI_DEBUG"):
            raise
        sys.stderr.write(
            f"fx-monai: internal error, {type(error).__name__}: {error}\n"
            "Run again with FX_MONAI_DEBUG=1 for the traceback and report it.\n"
        )
        return 2


def _run(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help", "help"):
        sys.stdout.write(f"{_overview()}\n")
        return 0
    if words[0] in ("--version", "version"):
        sys.stdout.write(f"{__version__}\n")
        return 0
    name = words[0].replace("_", "-")
    if name not in VERBS:
        raise ConfigError(
            where="fx-monai",
            problem=f"unknown command '{words[0]}'. {did_you_mean(name, VERBS)}".rstrip(),
            expected=f"one of {', '.join(VERBS)}",
            remedy="See `fx-monai --help`",
        )
    verb = VERBS[name]
    if any(word in ("-h", "--help") for word in words[1:]):
        sys.stdout.write(f"{_help(name, verb)}\n")
        return 0
    return _call(name, verb, words[1:])


def _call(name: str, verb: Callable[..., Any], words: list[str]) -> int:
    """Check the words against the verb's parameters, then let python-fire call it."""
    import fire
    from fire.decorators import SetParseFn

    positional, flags = _sort_words(name, verb, words)
    parameters = inspect.signature(verb).parameters
    result: list[Any] = []

    def call(*args: str, **kwargs: str) -> None:
        # errors must reach main() instead of fire's own report
        result.append((args, kwargs))

    parse = SetParseFn(str)
    fire.Fire(parse(call), command=[*positional, *(f"--{key}={value}" for key, value in flags.items())], name=name)
    args, kwargs = result[0]
    converted = {key: _convert(name, key, value, parameters[key].annotation) for key, value in kwargs.items()}
    code = verb(*args, **converted)
    return int(code or 0)


def _sort_words(name: str, verb: Callable[..., Any], words: list[str]) -> tuple[list[str], dict[str, str]]:
    parameters = inspect.signature(verb).parameters
    named = {key: p for key, p in parameters.items() if p.kind is not inspect.Parameter.VAR_POSITIONAL}
    positional: list[str] = []
    flags: dict[str, str] = {}
    rest = iter(words)
    for word in rest:
        if not word.startswith("--") or word == "--":
            positional.append(word)
            continue
        key, equals, value = word[2:].partition("=")
        key = key.replace("-", "_")
        if key == "json":
            key = "as_json"
        if key not in named:
            known = [k.replace("_", "-") for k in named]
            hint = did_you_mean(key.replace("_", "-"), known)
            raise ConfigError(
                where=f"fx-monai {name}",
                problem=f"unknown flag '{word.partition('=')[0]}'. {hint}".rstrip(),
                expected="one of " + ", ".join(f"--{k}" for k in known),
                remedy=f"See `fx-monai {name} --help`",
            )
        if not equals:
            if named[key].annotation == "bool":
                value = "true"
            else:
                value = next(rest, "")
                if not value or value.startswith("--"):
                    raise ConfigError(
                        where=f"fx-monai {name}",
                        problem=f"the flag '{word}' has no value",
                        expected=f"{word} VALUE",
                        remedy="Give the value",
                    )
        # --set may be given several times
        flags[key] = f"{flags[key]},{value}" if key == "set" and key in flags else value
    _check_positional(name, named, positional, flags, parameters)
    return positional, flags


def _check_positional(
    name: str,
    named: dict[str, inspect.Parameter],
    positional: list[str],
    flags: dict[str, str],
    parameters: Any,
) -> None:
    places = [key for key, p in named.items() if p.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD]
    open_ended = any(p.kind is inspect.Parameter.VAR_POSITIONAL for p in parameters.values())
    missing = [key for key in places[len(positional) :] if key not in flags]
    if missing:
        raise ConfigError(
            where=f"fx-monai {name}",
            problem=f"{missing[0].upper()} is missing",
            expected=_usage(name, VERBS[name]),
            remedy=f"See `fx-monai {name} --help`",
        )
    if len(positional) > len(places) and not open_ended:
        raise ConfigError(
            where=f"fx-monai {name}",
            problem=f"'{positional[len(places)]}' is one word too many",
            expected=_usage(name, VERBS[name]),
            remedy="Remove it, or write it as the value of a flag",
        )


def _convert(name: str, key: str, value: str, annotation: str) -> Any:
    try:
        if annotation == "bool":
            return {"true": True, "false": False}[value.lower()]
        if annotation.startswith("int"):
            return int(value)
        if annotation == "float":
            return float(value)
    except (ValueError, KeyError):
        raise ConfigError(
            where=f"fx-monai {name}",
            problem=f"--{key.replace('_', '-')} is '{value}'",
            expected={"bool": "true or false", "float": "a number"}.get(annotation, "a whole number"),
            remedy="Correct the value",
        ) from None
    return value


def _usage(name: str, verb: Callable[..., Any]) -> str:
    words = []
    for key, parameter in inspect.signature(verb).parameters.items():
        if parameter.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD:
            words.append(key.upper())
        elif parameter.kind is inspect.Parameter.VAR_POSITIONAL:
            words.append(f"{key.upper()}...")
    return f"fx-monai {name} {' '.join(words)} [FLAGS]".replace("  ", " ")


def _overview() -> str:
    lines = [f"fx-monai {__version__}: chest X-ray models trained on every annotation there is", "", "Commands:"]
    lines += [f"  {name:16s} {(inspect.getdoc(verb) or '').splitlines()[0]}" for name, verb in VERBS.items()]
    return "\n".join([*lines, "", "`fx-monai COMMAND --help` explains a command. Research use only."])


def _help(name: str, verb: Callable[..., Any]) -> str:
    text, _, arguments = (inspect.getdoc(verb) or "").partition("Args:")
    lines = [f"usage: {_usage(name, verb)}", "", text.strip(), ""]
    parameters = inspect.signature(verb).parameters
    for line in arguments.strip().splitlines():
        key, _, description = line.strip().partition(":")
        parameter = parameters[key]
        flag = key.upper() if parameter.kind is not inspect.Parameter.KEYWORD_ONLY else f"--{key.replace('_', '-')}"
        flag = "--json" if key == "as_json" else flag
        lines.append(f"  {flag:24s}{description.strip()}")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
