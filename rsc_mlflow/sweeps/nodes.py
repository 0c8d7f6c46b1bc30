"""YAML read as text, lists and mappings whose lines are known; nothing is constructed, so nothing can be run.

YAML's own typing is left aside on purpose: ``1e-5`` is text in YAML 1.1, ``010`` is eight and ``no`` is false.
Every value reaches the option's parser as it was typed, exactly as from the command line.
"""

import difflib
from collections.abc import Collection
from dataclasses import dataclass

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from rsc_mlflow.errors import InputError

MAX_CHARACTERS = 1_000_000
MAX_DEPTH = 20
_PLAIN_TAGS = {f"tag:yaml.org,2002:{name}" for name in ("str", "seq", "map")}


@dataclass(frozen=True)
class YamlFile:
    """A file's name, for messages that begin with where the error is."""

    name: str

    def error(self, node: Node | None, message: str) -> InputError:
        """An error at the node's line."""
        where = self.name if node is None else f"{self.name}, line {node.start_mark.line + 1}"
        return InputError(f"{where}: {message}")

    def root(self, text: str) -> MappingNode:
        """The mapping that the whole text is.

        Raises:
            InputError: not YAML, too long or too deep, with tags, anchors or aliases, or not a mapping.
        """
        if len(text) > MAX_CHARACTERS:
            raise self.error(None, f"the file has {len(text)} characters; accepted: at most {MAX_CHARACTERS}")
        try:
            self._check_events(text)
            node = yaml.compose(text, Loader=yaml.BaseLoader)
        except yaml.YAMLError as error:
            raise InputError(f"{self.name}{_place(error)}: not YAML ({_problem(error)})") from None
        if not isinstance(node, MappingNode):
            raise self.error(node, "the file must be a mapping with the keys entry_point, options, axes …")
        self._check_tags(node)
        return node

    def _check_events(self, text: str) -> None:
        """What must be refused before nodes are made: YAML takes time and stack without limit for the depth."""
        depth = 0
        for event in yaml.parse(text, Loader=yaml.BaseLoader):
            where = f"{self.name}, line {event.start_mark.line + 1 if event.start_mark else 1}"
            if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
                raise InputError(f"{where}: anchors and aliases are not accepted; write the value out")
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > MAX_DEPTH:
                raise InputError(f"{where}: nested too deeply; accepted: at most {MAX_DEPTH} levels")

    def _check_tags(self, node: Node) -> None:
        if node.tag not in _PLAIN_TAGS:
            raise self.error(node, f"the tag {node.tag!r} is not accepted; write a plain value")
        if isinstance(node, SequenceNode):
            for item in node.value:
                self._check_tags(item)
        elif isinstance(node, MappingNode):
            for key, value in node.value:
                self._check_tags(key)
                self._check_tags(value)

    def mapping(self, node: Node, where: str, accepted: Collection[str] | None = None) -> dict[str, Node]:
        """A mapping's values by key.

        Raises:
            InputError: not a mapping, a key twice, or a key that is not accepted.
        """
        if not isinstance(node, MappingNode):
            raise self.error(node, f"{where} must be a mapping (key: value); got {described(node)}")
        found: dict[str, Node] = {}
        for key_node, value in node.value:
            key = self.scalar(key_node, f"a key of {where}")
            if key in found:
                raise self.error(key_node, f"{where} has the key {key!r} twice; write it once")
            if accepted is not None and key not in accepted:
                raise self.error(key_node, unknown(f"key of {where}", key, accepted))
            found[key] = value
        return found

    def items(self, node: Node, where: str) -> list[Node]:
        """A list's items, at least one.

        Raises:
            InputError: not a list, or empty.
        """
        if not isinstance(node, SequenceNode):
            raise self.error(node, f"{where} must be a list, e.g. [0, 1]; got {described(node)}")
        if not node.value:
            raise self.error(node, f"{where} is empty; give at least one value, or leave it out")
        return list(node.value)

    def items_or_one(self, node: Node, where: str) -> list[Node]:
        """A list's items, or a single value as a list of one."""
        return [node] if isinstance(node, ScalarNode) else self.items(node, where)

    def scalar(self, node: Node, where: str) -> str:
        """A value's text as typed.

        Raises:
            InputError: a list or a mapping, or nothing.
        """
        if not isinstance(node, ScalarNode):
            raise self.error(node, f"{where} must be a single value; got {described(node)}")
        if not node.value:
            raise self.error(node, f"{where} has no value")
        return str(node.value)


def described(node: Node) -> str:
    """What a node is, in words."""
    if isinstance(node, ScalarNode):
        return repr(node.value) if node.value else "nothing"
    return "a list" if isinstance(node, SequenceNode) else "a mapping"


def unknown(what: str, given: str, accepted: Collection[str]) -> str:
    """The sentence for a name that is not accepted, with the nearest that is."""
    close = difflib.get_close_matches(given, sorted(accepted), n=1)
    hint = f" (did you mean {close[0]!r}?)" if close else ""
    return f"unknown {what}: {given!r}{hint}; accepted: {', '.join(sorted(accepted))}"


def _place(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    return f", line {mark.line + 1}" if mark is not None else ""


def _problem(error: yaml.YAMLError) -> str:
    return str(getattr(error, "problem", None) or getattr(error, "reason", None) or error).splitlines()[0]
