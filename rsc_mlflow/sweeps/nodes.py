"""Read YAML as text, lists and mappings with line numbers.  No Python objects are constructed from it.

YAML's own types are ignored, because ``1e-5`` is text in YAML 1.1, ``010`` is eight and ``no`` is false.  Every value
reaches the option's parser as typed, as on the command line.
"""

from collections.abc import Collection
from dataclasses import dataclass

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from rsc_mlflow.errors import InputError, unknown_name

MAX_CHARACTERS = 1_000_000
MAX_DEPTH = 20
_PLAIN_TAGS = {f"tag:yaml.org,2002:{name}" for name in ("str", "seq", "map")}


@dataclass(frozen=True)
class YamlFile:
    """The name of a YAML file, for messages that start with the place of the error."""

    name: str

    def error(self, node: Node | None, message: str) -> InputError:
        """Return an error with the line of the node."""
        where = self.name if node is None else f"{self.name}, line {node.start_mark.line + 1}"
        return InputError(f"{where}: {message}")

    def root(self, text: str) -> MappingNode:
        """Return the mapping in the text.

        Raises:
            InputError: the text is not YAML, too long, nested too deeply, contains tags, anchors or aliases, or is not
                a mapping.
        """
        if len(text) > MAX_CHARACTERS:
            raise self.error(None, f"the file has {len(text)} characters. Expected at most {MAX_CHARACTERS}.")
        try:
            self._check_events(text)
            node = yaml.compose(text, Loader=yaml.BaseLoader)
        except yaml.YAMLError as error:
            raise InputError(f"{self.name}{_place(error)}: not valid YAML ({_problem(error)}).") from None
        if not isinstance(node, MappingNode):
            raise self.error(node, "the file must be a mapping with the keys entry_point, options, axes …")
        self._check_tags(node)
        return node

    def _check_events(self, text: str) -> None:
        """Refuse aliases and deep nesting before nodes are created, which takes unbounded time and stack."""
        depth = 0
        for event in yaml.parse(text, Loader=yaml.BaseLoader):
            where = f"{self.name}, line {event.start_mark.line + 1 if event.start_mark else 1}"
            if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
                raise InputError(f"{where}: anchors and aliases are not supported. Write out the value.")
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > MAX_DEPTH:
                raise InputError(f"{where}: nested too deeply. Expected at most {MAX_DEPTH} levels.")

    def _check_tags(self, node: Node) -> None:
        if node.tag not in _PLAIN_TAGS:
            raise self.error(node, f"the tag {node.tag!r} is not supported. Write a plain value.")
        if isinstance(node, SequenceNode):
            for item in node.value:
                self._check_tags(item)
        elif isinstance(node, MappingNode):
            for key, value in node.value:
                self._check_tags(key)
                self._check_tags(value)

    def mapping(self, node: Node, where: str, accepted: Collection[str] | None = None) -> dict[str, Node]:
        """Return a mapping's values by key.

        Raises:
            InputError: the node is not a mapping, or a key is repeated or not accepted.
        """
        if not isinstance(node, MappingNode):
            raise self.error(node, f"{where} must be a mapping (key: value), got {described(node)}.")
        found: dict[str, Node] = {}
        for key_node, value in node.value:
            key = self.scalar(key_node, f"a key of {where}")
            if key in found:
                raise self.error(key_node, f"{where} has the key {key!r} twice. Write it once.")
            if accepted is not None and key not in accepted:
                raise self.error(key_node, unknown_name(f"key of {where}", key, sorted(accepted)))
            found[key] = value
        return found

    def items(self, node: Node, where: str) -> list[Node]:
        """Return the items of a list.

        Raises:
            InputError: the node is not a list, or it is empty.
        """
        if not isinstance(node, SequenceNode):
            raise self.error(node, f"{where} must be a list, e.g. [0, 1], got {described(node)}.")
        if not node.value:
            raise self.error(node, f"{where} is empty. Add at least one value or remove it.")
        return list(node.value)

    def items_or_one(self, node: Node, where: str) -> list[Node]:
        """Return the items of a list, or a single value as a list of one."""
        return [node] if isinstance(node, ScalarNode) else self.items(node, where)

    def scalar(self, node: Node, where: str) -> str:
        """Return a value's text as typed.

        Raises:
            InputError: the node is a list, a mapping or empty.
        """
        if not isinstance(node, ScalarNode):
            raise self.error(node, f"{where} must be a single value, got {described(node)}.")
        if not node.value:
            raise self.error(node, f"{where} has no value.")
        return str(node.value)


def described(node: Node) -> str:
    """Return a description of a node."""
    if isinstance(node, ScalarNode):
        return repr(node.value) if node.value else "nothing"
    return "a list" if isinstance(node, SequenceNode) else "a mapping"


def _place(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    return f", line {mark.line + 1}" if mark is not None else ""


def _problem(error: yaml.YAMLError) -> str:
    return str(getattr(error, "problem", None) or getattr(error, "reason", None) or error).splitlines()[0]
