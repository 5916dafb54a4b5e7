"""Keeps a model's thoughts out of what it says, while it comes: for answers in plain words. Those
in envelopes have `decoder`, which knows where a string begins and ends. Pure.
"""

from __future__ import annotations

import re

from gateway.agency.speech import marks
from gateway.agency.speech.marks import MarkKind

_CANDIDATE = re.compile(rf"[{re.escape(marks.FIRST)}]")
_IN_JSON = re.compile(rf'[{re.escape(marks.FIRST)}"\\]')
_SPACE = re.compile(r"\s*+")
_MOST_SPACE = 64
"""Characters of space that are waited with: if a thought follows they are dropped."""

MAX_LOOKS = 40_000
"""For marks, in one answer: some 0.1 s. What follows is taken as it is."""

_ALOUD = (
    *("okay", "ok,", "ok ", "alright", "hmm", "hm,", "first,", "let me", "let's", "let us"),
    *("we need", "we have to", "we are asked", "i need", "i should", "i have to", "the user"),
    *("user asks", "user wants", "wait", "now,", "so,", "so the", "thinking"),
)
"""How thoughts begin whose opening mark stood in the template."""


def spoken(text: str) -> str:
    """A whole answer without its thoughts."""
    thoughts = Thoughts(clear=True)
    thoughts.feed(text)
    thoughts.close()
    return thoughts.text


class Thoughts:
    """Lets through what is said. What it let through adds up to `text`, unless `recanted`.

    `clear` says whether the model is known to mark where its thoughts begin. Who is known not to is
    held back until its thoughts end; who is not known, if it begins as one does that thinks aloud.
    """

    def __init__(self, *, clear: bool | None = None) -> None:
        self.unmarked = False
        """Whether thoughts ended that had not begun."""
        self.recanted = False
        """Whether something was let through that turned out to be thought."""
        self.aloud = False
        """Whether it began as one does that thinks aloud."""
        self._holding = None if clear is None else not clear  # None: that is to be seen
        self._kept: list[str] = []
        self._pending: list[str] = []  # of that, what is not let through yet
        self._let_through = False
        self.held = ""  # what may be a mark, or space around one
        self._before = ""  # the character before that
        self._closer: re.Pattern[str] | None = None  # set within thoughts
        self._looks = 0
        self._leads = True  # nothing was said since the beginning, or since a thought
        self._thought = False
        self._json = False  # what is said is JSON: nothing in its strings is a mark
        self._in_string = False

    @property
    def text(self) -> str:
        """What was said so far."""
        return "".join(self._kept)

    @property
    def _plain(self) -> bool:
        """True if a delta without marks is let through as it is."""
        waits = self._leads or self.held or self._json or self._closer is not None
        return not waits and self._holding is False and not self.recanted

    def feed(self, delta: str) -> str:
        """Returns what may go out now."""
        if self._plain and not _CANDIDATE.search(delta):  # as almost always
            self._before = delta[-1:] or self._before
            self._kept.append(delta)
            self._let_through = True
            return delta
        self._read(self.held + delta, ended=False)
        return self._release()

    def close(self, *, cut: bool = False) -> str:
        """The rest. If the answer was `cut`, who is held back was still thinking."""
        self._read(self.held, ended=True)
        if self._holding and cut:
            self._kept.clear()
            self._pending.clear()
        self._holding = False
        return self._release()

    def _read(self, text: str, *, ended: bool) -> None:
        pos = 0
        while pos < len(text):
            at = self._step(text, pos, ended)
            if at == pos:
                break
            pos = at
        self.held = text[pos:]
        self._before = text[pos - 1] if pos else self._before

    def _step(self, text: str, pos: int, ended: bool) -> int:
        """Reads some of the text, and says where it stopped. Who does not move waits."""
        if self._closer is not None:
            return self._think(self._closer, text, pos, ended)
        if self._leads:
            return self._lead(text, pos, ended)
        return self._speak(text, pos, pos, ended)

    def _think(self, closer: re.Pattern[str], text: str, pos: int, ended: bool) -> int:
        end = marks.close(closer, text, pos)
        if end is None:
            return len(text) if ended else max(pos, len(text) - marks.LONGEST_CLOSER)
        self._holding = False
        self._begin()
        return end

    def _lead(self, text: str, pos: int, ended: bool) -> int:
        found = _SPACE.match(text, pos)
        at = found.end() if found else pos
        if at == len(text) and not ended:
            if self._thought:
                return at
            if at - pos > _MOST_SPACE:
                self._say(text[pos:at])
                return at
            return pos
        mark = self._look(text, at, leads=True, ended=ended)
        if mark is marks.WAIT:
            return pos
        if mark is not None:
            return self._take(mark)
        self._leads = False
        self._json = text[at : at + 1] in ("{", "[")
        return self._speak(text, at if self._thought else pos, at, ended)

    def _speak(self, text: str, start: int, pos: int, ended: bool) -> int:
        """Read what is said, from `start` on, of which all up to `pos` was looked at."""
        pattern = _IN_JSON if self._json else _CANDIDATE
        while self._looks < MAX_LOOKS and (found := pattern.search(text, pos)):
            at, pos = found.span()
            self._looks += 1
            if text[at] == "\\" and self._in_string:
                if pos == len(text) and not ended:
                    return self._say(text[start:at], at)
                pos += 1
            elif text[at] == '"' and self._json:
                self._in_string = not self._in_string
            elif not self._in_string and text[at] in marks.FIRST:
                mark = self._look(text, at, leads=False, ended=ended)
                if mark is not None:
                    self._say(text[start:at])
                    return at if mark is marks.WAIT else self._take(mark)
        return self._say(text[start:], len(text))

    def _look(self, text: str, at: int, *, leads: bool, ended: bool) -> marks.Mark | None:
        self._looks += 1
        if self._looks > MAX_LOOKS:
            return None
        return marks.read(text, at, self._before, leads=leads, ended=ended)

    def _say(self, text: str, at: int = 0) -> int:
        if text:
            self._kept.append(text)
            self._pending.append(text)
        return at

    def _take(self, mark: marks.Mark) -> int:
        if mark.kind is MarkKind.OPEN:
            self._closer = mark.closer
        elif mark.kind is MarkKind.CLOSE:
            self._forget()
        return mark.end

    def _forget(self) -> None:
        """Drop what came so far: it was a thought."""
        self.unmarked |= bool(self._kept)
        self.recanted |= self._let_through
        self._kept.clear()
        self._pending.clear()
        self._holding = False
        self._begin()

    def _begin(self) -> None:
        self._closer = None
        self._leads = self._thought = True
        self._json = self._in_string = False

    # ---- whether it goes out ---------------------------------------------------------------------

    def _release(self) -> str:
        if self._holding is None:
            self._holding = thinks_aloud("".join(self._pending))
            self.aloud = self._holding is True
        if self._holding is not False or not self._pending or self.recanted:
            return ""
        out = "".join(self._pending)
        self._pending.clear()
        self._let_through = True
        return out


def thinks_aloud(beginning: str) -> bool | None:
    """Whether this is how thoughts begin. None if it is too short to say."""
    text = beginning.lstrip().lower()
    if any(text.startswith(words) for words in _ALOUD):
        return True
    undecided = any(words.startswith(text) for words in _ALOUD)
    return None if undecided and len(beginning) <= _MOST_SPACE else False
