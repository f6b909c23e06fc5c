# SPDX-License-Identifier: Apache-2.0
"""A peer is a process that lives through the whole benchmark, so that compiling and warming up are paid once: it answers each
line of JSON on its standard input with one on its standard output."""
import json
import os
import statistics
import sys
import time


def timed(work, rounds):
    seconds = []
    for _ in range(rounds):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return seconds


class Contest:
    """Variants of one piece of work: name -> function that makes it. All are tried, then those that `more` makes of the best one's
    name; those clearly slower than the best of the first turn stay out of the others."""

    KEEP = 1.15

    def __init__(self, makers, more=None):
        self.makers, self.more, self.work, self.failed = makers, more, {}, {}

    def make(self, makers, rounds):
        """Their times in this turn."""
        seconds = {}
        for name, maker in makers.items():
            print("warming up:", name, file=sys.stderr, flush=True)
            try:
                work = maker()
                for _ in range(3):
                    work()
                self.work[name], seconds[name] = work, timed(work, rounds)
            except Exception as error:  # a variant that a library cannot do is no reason to stop
                self.failed[name] = f"{type(error).__name__}: {error}".split("\n", maxsplit=1)[0][:200]
        return seconds

    def first_turn(self, rounds):
        seconds = self.make(self.makers, rounds)
        if self.more and seconds:
            seconds |= self.make(self.more(min(seconds, key=lambda name: statistics.median(seconds[name]))), rounds)
        best = min(map(statistics.median, seconds.values()), default=0)
        self.work = {name: work for name, work in self.work.items() if statistics.median(seconds[name]) <= self.KEEP * best}
        self.makers = None
        return seconds

    def turn(self, rounds):
        seconds = self.first_turn(rounds) if self.makers else {name: timed(work, rounds) for name, work in self.work.items()}
        return {"seconds": seconds, "failed": self.failed}


SHORTCUT = "class token alone"  # the contest of nets whose last block is made for it; table.py looks for it


class Contests:
    """Several, each with a best of its own: contest/variant, or the variant's name alone where the contest's is empty."""

    def __init__(self, contests):
        self.contests = contests

    def turn(self, rounds):
        out = {"seconds": {}, "failed": {}}
        for name, contest in self.contests.items():
            for kind, values in contest.turn(rounds).items():
                out[kind] |= {f"{name}/{variant}" if name else variant: value for variant, value in values.items()}
        return out


def serve(answer):
    """answer(request) -> object. Whatever libraries print goes to standard error."""
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    for line in sys.stdin:
        try:
            reply = answer(json.loads(line))
        except SystemExit as error:
            reply = {"error": str(error)}
        print(json.dumps(reply), file=replies, flush=True)
