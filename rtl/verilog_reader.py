"""From structural Verilog to :class:`lutscape.rtl.netlist.Netlist`: tokens, statements, joined nets, hierarchy."""

from __future__ import annotations

import re

import numpy as np

from lutscape.hw.errors import UserError, nearest
from lutscape.rtl.netlist import ONE, ZERO, Netlist

_TOKEN = re.compile(
    r"""
    (?P<space>\s+|//[^\n]*|/\*.*?\*/|\(\*(?!\)).*?\*\))
  | (?P<escaped>\\[^\s]+)
  | (?P<constant>\d+\s*'[sS]?[bBoOdDhH]\s*[0-9a-fA-FxXzZ?_]+)
  | (?P<number>\d+)
  | (?P<name>[A-Za-z_][\w$]*)
  | (?P<mark>[()\[\]{},;:.=\#])
  | (?P<other>.)
    """,
    re.VERBOSE | re.DOTALL,
)
_BASES = {"b": 1, "o": 3, "h": 4}
_REFUSED = {
    "always": "behavioural code",
    "always_ff": "behavioural code",
    "always_comb": "behavioural code",
    "initial": "behavioural code",
    "reg": "behavioural code",
    "function": "behavioural code",
    "task": "behavioural code",
    "parameter": "a parameter",
    "localparam": "a parameter",
    "defparam": "a parameter",
    "generate": "a generate block",
    "inout": "an inout port",
    "supply0": "a supply net",
    "supply1": "a supply net",
}


class Reader:
    """Tokens of one file, and the place being read."""

    def __init__(self, text: str, file: str) -> None:
        self.text, self.file = text, file
        self.kinds: list[str] = []
        self.words: list[str] = []
        self.places: list[int] = []
        position = 0
        match_at = _TOKEN.match
        while position < len(text):
            match = match_at(text, position)
            assert match is not None
            kind = match.lastgroup
            assert kind is not None
            if kind != "space":
                word = match.group()
                if kind == "escaped":
                    word, kind = word[1:], "name"
                self.kinds.append(kind)
                self.words.append(word)
                self.places.append(position)
            position = match.end()
        self.at = 0
        self.kinds += ["end"]
        self.words += [""]
        self.places += [len(text)]
        self.starts: dict[str, int] = {}  # module -> token after its name
        self.done: dict[str, Netlist] = {}
        self.reading: list[str] = []  # modules, the outermost first

    def error(self, at: int, message: str) -> UserError:
        line = self.text.count("\n", 0, self.places[min(at, len(self.places) - 1)]) + 1
        return UserError(f"{self.file}:{line}: {message}")

    def netlist(self, top: str) -> Netlist:
        """Return the module ``top`` (the only one, if empty), its hierarchy dissolved."""
        starts = self.starts
        for i, word in enumerate(self.words):
            if word == "module" and self.kinds[i] == "name" and self.kinds[i + 1] == "name":
                starts[self.words[i + 1]] = i + 2
        if not starts:
            raise UserError(f"{self.file}: no Verilog module")
        if not top and len(starts) > 1:
            raise UserError(f"{self.file}: {len(starts)} modules; say which is the top: {', '.join(starts)}")
        top = top or next(iter(starts))
        if top not in starts:
            raise UserError(f"{self.file}: no module {top!r}{nearest(top, starts)}; has: {', '.join(starts)}")
        return self.module(top)

    def module(self, name: str) -> Netlist:
        """Return one module; each is read once."""
        if name not in self.done:
            self.reading.append(name)
            self.at = self.starts[name]
            self.done[name] = _Module(self, name).read()
            self.reading.pop()
        return self.done[name]

    # Reading tokens.

    def take(self, word: str) -> None:
        if self.words[self.at] != word or self.kinds[self.at] not in ("mark", "name"):
            found = self.words[self.at] or "the end of the file"
            raise self.error(self.at, f"{found!r} where {word!r} is expected")
        self.at += 1

    def accept(self, word: str) -> bool:
        if self.words[self.at] == word and self.kinds[self.at] == "mark":
            self.at += 1
            return True
        return False

    def skip(self, *words: str) -> None:
        """Step over keywords, each of which may stand here once, in this order."""
        for word in words:
            if self.words[self.at] == word and self.kinds[self.at] == "name":
                self.at += 1

    def name(self) -> str:
        if self.kinds[self.at] != "name":
            found = self.words[self.at] or "the end of the file"
            raise self.error(self.at, f"{found!r} where a name is expected")
        self.at += 1
        return self.words[self.at - 1]

    def number(self) -> int:
        if self.kinds[self.at] != "number":
            raise self.error(self.at, f"{self.words[self.at]!r} where a number is expected")
        self.at += 1
        return int(self.words[self.at - 1])

    def range(self) -> tuple[int, int] | None:
        """Return (msb, lsb) of ``[msb:lsb]``, or None where there is none."""
        if not self.accept("["):
            return None
        high = self.number()
        self.take(":")
        low = self.number()
        self.take("]")
        return high, low


class _Module:
    """Declarations, assigns and instances of one module."""

    def __init__(self, reader: Reader, name: str) -> None:
        self.p, self.title = reader, name
        self.ranges: dict[str, tuple[int, int] | None] = {}
        self.bits: dict[str, list[int]] = {}  # wire -> nets, bit 0 (rightmost) first
        self.alias: list[int] = [ZERO, ONE]  # union-find parent of each net
        self.names: list[str] = ["1'b0", "1'b1"]
        self.directions: dict[str, str] = {}
        self.order: list[str] = []
        self.instances: list[str] = []
        self.cells: list[str] = []
        self.pins: list[dict[str, int]] = []
        self.assigns: list[tuple[int, list[int], list[int]]] = []
        self.children: list[tuple[int, str, str, dict[str, list[int]]]] = []  # place, instance, module, connections

    def read(self) -> Netlist:
        p = self.p
        if p.accept("("):
            self._port_list()
        p.take(";")
        while True:
            word, kind = p.words[p.at], p.kinds[p.at]
            if kind == "end":
                raise p.error(p.at, f"module {self.title!r} does not end (no endmodule)")
            if kind != "name":
                raise p.error(p.at, f"{word!r} where a statement is expected")
            if word == "endmodule":
                break
            if word in _REFUSED:
                raise p.error(p.at, f"{_REFUSED[word]} ({word}); allowed: a netlist mapped to library cells")
            p.at += 1
            if word in ("input", "output", "wire"):
                self._declaration(word)
                p.take(";")
            elif word == "assign":
                self._assign()
            else:
                self._instance(word)
        return self._finish()

    def _port_list(self) -> None:
        p = self.p
        direction, span = "", None
        while not p.accept(")"):
            word = p.words[p.at]
            if word in _REFUSED and p.kinds[p.at] == "name":
                raise p.error(p.at, f"{_REFUSED[word]} ({word}); allowed: input and output")
            if word in ("input", "output") and p.kinds[p.at] == "name":
                direction = word
                p.at += 1
                p.skip("wire", "signed")
                span = p.range()
            name = p.name()
            if direction:
                self._declare(span, name, direction)
            self.order.append(name)
            if p.words[p.at] != ")":
                p.take(",")

    def _declaration(self, word: str) -> None:
        p = self.p
        p.skip("wire", "signed")
        if p.words[p.at] == "reg":
            raise p.error(p.at, f"{_REFUSED['reg']} (reg); allowed: a netlist mapped to library cells")
        span = p.range()
        while True:
            self._declare(span, p.name(), word)
            if not p.accept(","):
                return

    def _declare(self, span: tuple[int, int] | None, name: str, word: str) -> None:
        if word != "wire":
            self.directions[name] = word
        if name in self.bits:
            if self.ranges[name] != span:
                raise self.p.error(self.p.at - 1, f"{name!r} is declared with two ranges")
            return
        self.ranges[name] = span
        high, low = span if span is not None else (0, 0)
        step = 1 if high >= low else -1
        nets = []
        for index in range(low, high + step, step):
            nets.append(len(self.names))
            self.names.append(name if span is None else f"{name}[{index}]")
            self.alias.append(nets[-1])
        self.bits[name] = nets

    def _expression(self) -> list[int]:
        """Return the nets of a name, bit, slice, constant or concatenation, bit 0 first."""
        p = self.p
        at = p.at
        kind, word = p.kinds[at], p.words[at]
        if kind == "name":
            p.at += 1
            if word not in self.bits:
                self._declare(None, word, "wire")  # Verilog declares undeclared scalar nets
            nets = self.bits[word]
            if not p.accept("["):
                return nets
            span = self.ranges[word]
            if span is None:
                raise p.error(at, f"{word!r} is one bit wide and has no index")
            high = p.number()
            low = p.number() if p.accept(":") else high
            p.take("]")
            first, last = self._offset(word, span, low, at), self._offset(word, span, high, at)
            if last < first:
                raise p.error(at, f"{word}[{high}:{low}] runs against its declaration [{span[0]}:{span[1]}]")
            return nets[first : last + 1]
        if kind == "constant":
            p.at += 1
            return _constant(word)
        if p.accept("{"):
            parts: list[list[int]] = []
            while True:
                if p.kinds[p.at] == "number" and p.words[p.at + 1] == "{":
                    count = p.number()
                    parts += [self._expression()] * count
                else:
                    parts.append(self._expression())
                if p.accept("}"):
                    return [net for part in reversed(parts) for net in part]
                p.take(",")
        raise p.error(at, f"{word!r} where a net is expected")

    def _offset(self, name: str, span: tuple[int, int], index: int, at: int) -> int:
        high, low = span
        offset = index - low if high >= low else low - index
        if not 0 <= offset <= abs(high - low):
            raise self.p.error(at, f"{name}[{index}] is outside [{high}:{low}]")
        return offset

    def _assign(self) -> None:
        p = self.p
        while True:
            at = p.at
            left = self._expression()
            p.take("=")
            right = self._expression()
            if p.words[p.at] not in (";", ","):
                raise p.error(p.at, f"an operator in an assign ({p.words[p.at]!r}); allowed: nets and constants")
            self.assigns.append((at, left, right))
            if not p.accept(","):
                break
        p.take(";")

    def _instance(self, cell: str) -> None:
        p = self.p
        at = p.at
        if p.words[p.at] == "#":
            raise p.error(at, f"parameters of {cell!r}; allowed: a netlist mapped to library cells")
        name = p.name()
        if p.range() is not None:
            raise p.error(at, f"an array of instances ({name!r})")
        p.take("(")
        pins: dict[str, list[int]] = {}
        while not p.accept(")"):
            if not p.accept("."):
                if p.kinds[p.at] in ("name", "constant") and not pins:
                    raise p.error(p.at, f"{name}: pins by position; allowed: .pin(net)")
                p.take(")")
            pin = p.name()
            if p.words[p.at] == "[":
                raise p.error(p.at, f"{name}: a bus pin")
            p.take("(")
            if not p.accept(")"):
                nets = self._expression()
                if len(nets) != 1 and cell not in p.starts:
                    raise p.error(p.at, f"{name}: {len(nets)} bits on pin {pin!r}; allowed: one")
                if pin in pins:
                    raise p.error(p.at, f"{name}: pin {pin!r} is connected twice")
                pins[pin] = nets
                p.take(")")
            if p.words[p.at] != ")":
                p.take(",")
        p.take(";")
        if cell in p.starts:
            self.children.append((at, name, cell, pins))
            return
        self.instances.append(name)
        self.cells.append(cell)
        self.pins.append({pin: nets[0] for pin, nets in pins.items()})

    def _dissolve(self, at: int, instance: str, module: str, pins: dict[str, list[int]]) -> None:
        """Take over the parts of an instance of another module."""
        if module in self.p.reading:
            raise self.p.error(at, f"module {module!r} contains itself")
        child = self.p.module(module)
        nets = [-1] * len(child.nets)
        nets[ZERO], nets[ONE] = ZERO, ONE
        ports = {**child.inputs, **child.outputs}
        for pin, found in pins.items():
            if pin not in ports:
                raise self.p.error(at, f"{instance}: {module} has no port {pin!r}{nearest(pin, ports)}")
            if len(found) != len(ports[pin]):
                raise self.p.error(at, f"{instance}: {len(found)} bits on port {pin!r} of {len(ports[pin])}")
        for port, inner in child.inputs.items():
            if port not in pins:
                raise self.p.error(at, f"{instance}: input {port!r} of {module} is open")
            for net, outer in zip(inner, pins[port], strict=True):
                nets[net] = outer
        for port, inner in child.outputs.items():
            for net, outer in zip(inner, pins.get(port, []), strict=port in pins):
                if nets[net] < 0:
                    nets[net] = outer
                else:  # an input or constant goes straight through, or two outputs are one net
                    self.assigns.append((at, [outer], [nets[net]]))
        for net, name in enumerate(child.nets):
            if nets[net] < 0:
                nets[net] = len(self.names)
                self.names.append(f"{instance}.{name}")
                self.alias.append(nets[net])
        self.instances += [f"{instance}.{name}" for name in child.instances]
        self.cells += child.cells
        self.pins += [{pin: nets[net] for pin, net in pins.items()} for pins in child.pins]

    def _root(self, net: int) -> int:
        while self.alias[net] != net:
            self.alias[net] = self.alias[self.alias[net]]
            net = self.alias[net]
        return net

    def _finish(self) -> Netlist:
        for name in self.order:
            if name not in self.directions:
                raise UserError(f"{self.p.file}: port {name!r} of {self.title!r} has no direction")
        for child in self.children:
            self._dissolve(*child)
        inputs = {n for name, d in self.directions.items() if d == "input" for n in self.bits[name]}
        for at, left, right in self.assigns:
            if len(left) != len(right):
                raise self.p.error(at, f"assign of {len(right)} bits to {len(left)}")
            for a, b in zip(left, right, strict=True):
                target, source = self._root(a), self._root(b)
                if target in inputs or target < 2:
                    if target != source:
                        raise self.p.error(at, f"assign to {self.names[a]}, which is driven already")
                else:
                    self.alias[target] = source
        roots = np.array([self._root(n) for n in range(len(self.names))])
        kept = np.unique(np.concatenate([[ZERO, ONE], roots]))
        number = np.full(len(self.names), -1)
        number[kept] = np.arange(len(kept))
        final = number[roots]
        ports = {
            d: {name: final[np.array(self.bits[name])] for name, e in self.directions.items() if e == d}
            for d in ("input", "output")
        }
        return Netlist(
            self.title,
            ports["input"],
            ports["output"],
            tuple(self.names[n] for n in kept),
            tuple(self.instances),
            tuple(self.cells),
            tuple({pin: int(final[net]) for pin, net in pins.items()} for pins in self.pins),
        )


def _constant(word: str) -> list[int]:
    """Return the nets of a sized constant, bit 0 first."""
    size_text, rest = word.split("'")
    rest = rest.strip().lstrip("sS")
    base, digits = rest[0].lower(), rest[1:].replace("_", "").strip().lower()
    size = int(size_text)
    if base == "d":
        value = 0 if any(c in "xz?" for c in digits) else int(digits)
        bits = [value >> i & 1 for i in range(size)]
    else:
        width = _BASES[base]
        bits = []
        for digit in reversed(digits):
            value = 0 if digit in "xz?" else int(digit, 16)
            bits += [value >> i & 1 for i in range(width)]
        bits = (bits + [0] * size)[:size]
    return [ONE if b else ZERO for b in bits]
