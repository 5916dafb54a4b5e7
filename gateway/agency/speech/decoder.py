"""Reads envelopes out of a model's answer while it comes, and lets out the answer to 0.

Models are sloppy, so an object is looked for in whatever surrounds it. An object that names neither
`to` nor `context` is prose, whether or not it is JSON. One that names either is meant as an
envelope: if it is broken the whole answer is, and nothing behind that point is read. Else text
that an agent quotes without escaping could pass for an envelope of its own.

What stands in `marks` is no part of it. An answer that begins with JSON is let out as it comes; in
one that begins with words these may be thoughts, whose end has yet to come, and an envelope in them
a draft: it is held until the answer has ended, or such thoughts have (`docs/decisions/0015`).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeAlias

from gateway.agency.speech import lexemes, marks
from gateway.agency.speech.answer import AnswerReader, Slot
from gateway.agency.speech.envelope import NUMBER, Malformed, Said, storable
from gateway.agency.speech.marks import Mark, MarkKind
from gateway.agency.speech.thoughts import MAX_LOOKS, spoken

MAX_DEPTH = 64  # deeper is junk; Python's own parser gives up at about 1,000
MAX_CHANGES = 40_000
"""Of state, about five for each brace, bracket and member: some 0.2 s. No envelope needs more, and
what follows in prose that has more is not searched for any."""

_NOTHING = 'Your answer is not a JSON object with "to" and "context".'
CUT_OFF = "Your answer was cut off before it was complete."
_NOT_JSON = 'is not valid JSON (a quote inside a string is written \\")'

_OUTSIDE = re.compile(rf"[{{{re.escape(marks.FIRST)}]")
_MARKS = re.compile(rf"[{re.escape(marks.FIRST)}]")
_FENCE = re.compile(r"`{1,3}\w{0,20}\s{0,20}")


def parse(text: str) -> Said:
    decoder = Decoder()
    decoder.feed(text)
    return decoder.close()


class Decoder:
    """A state is a method that reads some of the text and says where it stopped.

    One that neither moved nor changed the state waits for more. Each reads on from where the last
    one stopped, never back, so the whole is linear.
    """

    def __init__(self) -> None:
        self.sure = False
        """Whether what is said is the answer, and no thoughts with drafts of it."""
        self.recanted = False
        """Whether something was let out that turned out to be a thought."""
        self._raw: list[str] = []
        self._changes = 0  # of state, so far
        self._looks = 0  # for marks, so far
        self.held = ""  # what a state waits with
        self._before = ""  # the character before what is held
        self._stack: list[str] = []  # the brackets that will close what is open
        self._parts: list[str] = []  # of the string that is being read
        self._begin()

    def _begin(self) -> None:
        """Start again: nothing was said so far."""
        self._answer = AnswerReader()
        self._closer: re.Pattern[str] | None = None  # of the thoughts that are being read
        self._state: _State = Decoder._start
        self._next: _State = Decoder._after  # the state behind a string
        self._stack.clear()
        self._level = 0  # depth of the object whose members the answer is told, 0 if none
        self._wrapped = False  # inside the array of {"envelopes": […]}
        self._slot = Slot.OTHER
        self._parts.clear()
        self._high = ""  # a high surrogate that awaits its low one
        self._capture: list[str] | None = None  # a context that is no string, as it was written

    @property
    def raw(self) -> str:
        return "".join(self._raw)

    @property
    def answer(self) -> str:
        """All that was said to 0 so far, be it let out or not."""
        return self._answer.text

    @property
    def answered(self) -> bool:
        """The first envelope to 0 has been read: the answer is all of it."""
        return self._answer.answered

    def feed(self, chunk: str) -> str:
        """Read on. Returns what may be let out to the end user now."""
        self._raw.append(chunk)
        text = self.held + chunk
        pos, end = 0, len(text)
        while pos < end:
            if self._answer.malformed:
                if self.sure:
                    break
                self._look_for_marks()
            state = self._state
            at = state(self, text, pos)
            if self._state is not state:
                self._changes += 1
            elif at == pos:
                break
            if self._capture is not None:
                self._capture.append(text[pos:at])
            pos = at
            if self._changes >= MAX_CHANGES and self._state is not Decoder._rest:
                self._give_up()
        self.held = "" if self.sure and self._answer.malformed else text[pos:]
        self._before = text[pos - 1] if pos else self._before
        return self._answer.release() if self.sure and not self.recanted else ""

    def _look_for_marks(self) -> None:
        """A broken part may be a thought, whose end has yet to come."""
        self._capture = None
        if self._state not in (Decoder._thought, Decoder._rest):
            self._state = Decoder._prose

    def close(self) -> Said:
        """Returns all that was said, or why it can't be read. Whoever has the answer may stop
        reading, so a missing end doesn't matter."""
        if self._answer.malformed:
            return self._answer.malformed
        if self._ends_thoughts():
            return Malformed(_NOTHING)
        if self._is_cut_off() and not self.answered:
            return Malformed(CUT_OFF)
        unfinished = self._answer.unfinished
        said = (*self._answer.said, unfinished) if unfinished else tuple(self._answer.said)
        return said or Malformed(_NOTHING, storable(spoken(self.raw)).strip())

    def _ends_thoughts(self) -> bool:
        """A closing mark is the last that came, and behind a quote: it was not believed so far."""
        mark = marks.read(self.held, 0, self._before, ended=True) if self.held else None
        return mark is not None and mark.kind is MarkKind.CLOSE and self._state is Decoder._prose

    def _is_cut_off(self) -> bool:
        if self._state is Decoder._thought:
            return True
        if self._state is Decoder._bare_name and not self._answer.meant:
            return False
        if self._stack:
            only_a_brace_is_missing = self._level == 1 and self._answer.unfinished
            return not only_a_brace_is_missing
        return bool(self._answer.said and lexemes.TRAILING_COMMA.search(self.raw))

    # Around the objects

    def _start(self, text: str, pos: int) -> int:
        pos = lexemes.skip(text, pos)
        if pos == len(text):
            return pos
        if text[pos] == "{":
            self.sure, self._state = True, Decoder._prose
            return pos
        self._looks += 1
        looks = self._looks < MAX_LOOKS
        mark = marks.read(text, pos, self._before, leads=True) if looks else None
        if mark is marks.WAIT:
            return pos
        if mark is not None:
            return self._heed(mark)
        at = lexemes.end_of(_FENCE, text, pos)
        if at == len(text) and at - pos < marks.LONGEST:
            return pos
        self.sure = text[at : at + 1] in ("{", "[")
        self._state = Decoder._prose
        return pos

    def _heed(self, mark: Mark) -> int:
        if mark.kind is MarkKind.OPEN:
            self._closer, self._state = mark.closer, Decoder._thought
        elif mark.kind is MarkKind.CLOSE:
            self.recanted |= bool(self._answer.released)
            self.sure = False
            self._begin()
        return mark.end

    def _thought(self, text: str, pos: int) -> int:
        at = marks.close(self._closer, text, pos) if self._closer else pos
        if at is None:
            return max(pos, len(text) - marks.LONGEST_CLOSER)
        self._state = Decoder._prose if self._answer.said else Decoder._start
        return at

    def _prose(self, text: str, pos: int) -> int:
        """Arrays are prose too: whether `[1]` or `[{…}, {…}]`, the objects are what counts. What is
        broken may be a thought: then only a mark is looked for."""
        outside = _MARKS if self._answer.malformed else _OUTSIDE
        while self._looks < MAX_LOOKS and (found := outside.search(text, pos)):
            at, pos = found.span()
            if text[at] == "{":
                return self._open("{", at)
            self._looks += 1
            mark = marks.read(text, at, self._before)
            if mark is not None:
                return at if mark is marks.WAIT else self._heed(mark)
        return len(text)

    # Inside of them

    def _name(self, text: str, pos: int) -> int:
        pos = lexemes.skip(text, pos)
        if text.startswith('"', pos):
            ours = len(self._stack) == self._level
            self._begin_string(Slot.NAME if ours else Slot.OTHER, Decoder._colon)
            return pos + 1
        if text.startswith("}", pos):
            return self._shut(pos)
        if pos < len(text):
            self._state = Decoder._bare_name
        return pos

    def _bare_name(self, text: str, pos: int) -> int:
        """A name without double quotes: prose, unless it is one of an envelope's."""
        at = lexemes.end_of(lexemes.BARE_NAME, text, pos)
        self._parts.append(text[pos:at])
        if at == len(text):
            return at
        name = "".join(self._parts).strip(" \t\r\n'`‘’“”")  # noqa: RUF001
        self._parts.clear()
        if text[at] == ":" and name in ("to", "context"):
            self._answer.fault(_NOT_JSON)
        return self._fail(at)

    def _colon(self, text: str, pos: int) -> int:
        pos = lexemes.skip(text, pos)
        if pos == len(text):
            return pos
        if text[pos] != ":":
            return self._fail(pos)
        self._state = Decoder._value
        return pos + 1

    def _value(self, text: str, pos: int) -> int:
        pos = lexemes.skip(text, pos)
        if pos == len(text):
            return pos
        char = text[pos]
        if char == '"':
            self._begin_string(self._slot, Decoder._after)
            return pos + 1
        if char == "]" == self._stack[-1]:
            return self._shut(pos)
        if self._slot is Slot.CONTEXT:
            self._capture, self._slot = [], Slot.OTHER
        if char in "{[":
            return self._open(char, pos)
        return self._scalar(text, pos)

    def _scalar(self, text: str, pos: int) -> int:
        at = lexemes.end_of(lexemes.SCALAR, text, pos)
        if at == len(text) and at - pos < lexemes.MAX_SCALAR:
            return pos
        token = text[pos:at]
        literal = token in ("true", "false", "null")
        if not literal and (len(token) >= lexemes.MAX_SCALAR or not NUMBER.fullmatch(token)):
            return self._fail(pos)
        if self._slot is Slot.TO:
            self._answer.address(token)
        self._slot, self._state = Slot.OTHER, Decoder._after
        return at

    def _after(self, text: str, pos: int) -> int:
        if self._capture is not None and len(self._stack) == self._level:
            context = lexemes.as_text("".join(self._capture))
            self._capture = None
            self._answer.piece(context)
            self._answer.write(context)
        pos = lexemes.skip(text, pos)
        if pos == len(text):
            return pos
        if text[pos] == self._stack[-1]:
            return self._shut(pos)
        if text[pos] != ",":
            return self._fail(pos)
        self._state = Decoder._name if self._stack[-1] == "}" else Decoder._value
        return pos + 1

    def _open(self, bracket: str, pos: int) -> int:
        if self._slot is Slot.TO:
            self._answer.fault('has a "to" that is not a number')
        if len(self._stack) == MAX_DEPTH:
            self._answer.fault(f"is nested more than {MAX_DEPTH} levels deep")
        if bracket == "[" and self._slot is Slot.ENVELOPES and len(self._stack) == 1:
            self._wrapped, self._level = True, 0
        self._slot = Slot.OTHER
        self._stack.append("}" if bracket == "{" else "]")
        self._state = Decoder._name if bracket == "{" else Decoder._value
        if bracket == "{" and len(self._stack) == (3 if self._wrapped else 1):
            self._level = len(self._stack)
            self._answer.begin()
        return pos + 1

    def _shut(self, pos: int) -> int:
        if len(self._stack) == self._level:
            self._answer.finish()
            self._level = 0
        self._stack.pop()
        if self._wrapped and len(self._stack) == 1:  # what else is in {"envelopes": […], …}
            self._wrapped, self._level = False, 1
        self._state = Decoder._after if self._stack else Decoder._prose
        return pos + 1

    def _fail(self, pos: int) -> int:
        """This is not JSON. Whatever it is, reading goes on in it, not behind it."""
        if self._answer.meant:
            self._answer.fault(_NOT_JSON)
        self._stack.clear()
        self._level, self._wrapped, self._slot = 0, False, Slot.OTHER
        self._state = Decoder._prose
        return pos

    def _give_up(self) -> None:
        if self._answer.meant:
            self._answer.fault("is too intricate")
        self._stack.clear()
        self._level, self._wrapped, self._slot = 0, False, Slot.OTHER
        self._capture, self._state = None, Decoder._rest

    def _rest(self, text: str, _: int) -> int:
        return len(text)

    # Strings

    def _begin_string(self, slot: Slot, then: _State) -> None:
        self._state, self._slot, self._next = Decoder._string, slot, then

    def _string(self, text: str, pos: int) -> int:
        at = lexemes.end_of(lexemes.BODY, text, pos)
        closed = text.startswith('"', at)
        if self._slot is not Slot.OTHER:
            self._take(text[pos:at], closed=closed)
        if not closed:
            return at
        self._state = self._next
        self._end_string()
        return at + 1

    def _take(self, body: str, *, closed: bool) -> None:
        piece = self._high + lexemes.unescape(body)
        self._high = ""
        if not closed and "\ud800" <= piece[-1:] <= "\udbff":
            piece, self._high = piece[:-1], piece[-1]
        piece = storable(piece)
        self._parts.append(piece)
        if self._slot is Slot.CONTEXT:
            self._answer.piece(piece)

    def _end_string(self) -> None:
        string = "".join(self._parts)
        self._parts.clear()
        slot, self._slot = self._slot, Slot.OTHER
        match slot:
            case Slot.NAME:
                self._slot = self._answer.name(string)
            case Slot.TO:
                self._answer.address(string)
            case Slot.CONTEXT:
                self._answer.write(string)
            case Slot.ENVELOPES | Slot.OTHER:
                pass


_State: TypeAlias = Callable[[Decoder, str, int], int]
