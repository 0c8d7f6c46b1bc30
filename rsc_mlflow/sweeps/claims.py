"""Who runs a job, when several sweeps want to: agreed through tags of MLflow runs alone.

MLflow has no compare-and-set, so the protocol is one for mutual exclusion with reads and writes.  To claim a
fingerprint, a claimant

1. reads all its runs; a finished one, or one that a living claimant holds, ends the attempt;
2. writes a claim in state *asking* (on an interrupted run that can go on, or with a run made for the purpose);
3. reads again, and withdraws if a living claimant holds the fingerprint or asks with priority;
4. writes *holding*;
5. reads again, and withdraws if any other living claimant has priority, or the job was finished meanwhile.

Priority is the order of (time of asking, claimant).  Two claimants A and B never both pass step 5: say B has
priority.  A passed, so B's claim was not there when A read in step 5, so B asked after A had written *holding*, so
B saw that in step 3 and withdrew.  This needs nothing of the clocks.  Both may withdraw when they collide; each then
tries again later.

What remains: a claimant counts as living while its process is there (same machine) and its run's heartbeat, or its
claim, is younger than ``ALIVE_SECONDS``; who has just found the store away takes the silent for living.  A process
that was suspended or cut off for longer and comes back works beside its successor on *the same run*; both write the
same values, some points twice, and one finished run results.  The store must show a write to every later read (SQLite
and PostgreSQL do, read replicas do not).
"""

import os
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial

from mlflow.entities import Run, RunStatus, RunTag
from mlflow.tracking import MlflowClient

from rsc_mlflow.tracking import environment, schema
from rsc_mlflow.tracking.permissions import may_change, where_allowed
from rsc_mlflow.tracking.query import all_experiments, condition, iterate_runs
from rsc_mlflow.tracking.resuming import ALIVE_SECONDS, heartbeat_age, is_alive, process_exists
from rsc_mlflow.tracking.store import recent_outage, remove_tag, with_retries
from rsc_mlflow.tracking.upload_queue import UPLOADER, UploadQueue
from rsc_mlflow.tracking.values import number, whole

CLAIM_PREFIX = "rsc.claim."
ABANDONED = "rsc.abandoned"
"""Tag of an interrupted run that could not go on: the job was started anew in another."""
ASKING, HOLDING = "asking", "holding"


@dataclass(frozen=True)
class Claim:
    """One claimant's claim as it stands on a run."""

    run: Run
    owner: str
    state: str
    asked: float  # seconds since 1970, by the claimant's clock
    host: str
    pid: int

    @property
    def priority(self) -> tuple[float, str]:
        """Smaller goes first."""
        return (self.asked, self.owner)

    def is_alive(self, now: float) -> bool:
        """Whether the claimant may still act on its claim."""
        if self.run.info.status == "FINISHED":
            return False
        if self.host == environment.host() and not process_exists(str(self.pid)):
            return False
        if recent_outage(ALIVE_SECONDS):  # nobody could give a sign of life; whoever lives will now
            return True
        tags = self.run.data.tags
        same = tags.get(schema.HOST) == self.host and tags.get(schema.PID) == str(self.pid)
        return now - self.asked < ALIVE_SECONDS or (same and heartbeat_age(self.run, now) < ALIVE_SECONDS)


def claims_of(runs: Iterable[Run]) -> list[Claim]:
    """All claims that stand on these runs; tags that are none are passed over."""
    return [
        claim
        for run in runs
        for key, value in run.data.tags.items()
        if key.startswith(CLAIM_PREFIX) and (claim := _parsed(run, key, value)) is not None
    ]


@dataclass(frozen=True)
class Claimed:
    """The job is ours, in this run."""

    run_id: str
    resumes: bool


@dataclass(frozen=True)
class Taken:
    """The job is not ours: finished already (``run_id`` says where), or another claimant is on it."""

    finished: bool
    run_id: str = ""


@dataclass
class Claimant:
    """Claims jobs for this process.

    Args:
        client: the store.
        experiment_id: where new runs go.
        clock: seconds since 1970 (tests let claimants' clocks disagree).
    """

    client: MlflowClient
    experiment_id: str
    clock: Callable[[], float] = time.time
    owner: str = field(default_factory=lambda: uuid.uuid4().hex[:12])
    _experiments: list[str] = field(default_factory=list)
    _pulses: dict[str, UploadQueue] = field(default_factory=dict)

    def claim(self, fingerprint: str, name: str | None, tags: Mapping[str, str], *, resumes: bool) -> Claimed | Taken:
        """Try to become the one who runs the job.

        Args:
            fingerprint: the job.
            name: of the run, if one is made.
            tags: of the run, if one is made.
            resumes: whether an interrupted run of the job may go on.
        """
        self._experiments = all_experiments(self.client)
        asked = self.clock()
        runs = self._runs(fingerprint)
        if (taken := self._judge(runs, None)) is not None:
            return taken
        found = _newest_interrupted(runs, asked) if resumes else None
        run_id, taken = "" if found is None else str(found.info.run_id), None
        give_up: Callable[[str], None] = partial(self._withdraw, made=found is None)
        try:
            run_id = self._ask(found, fingerprint, name, tags, asked)
            taken, runs = self._contest(run_id, fingerprint, asked)
            if taken is None:
                give_up = self.drop
                self._take_over(run_id, runs)
                return Claimed(run_id, found is not None and found.info.status != "SCHEDULED")
        except BaseException:  # a signal, or the store stays away: nobody shall wait for us
            with suppress(Exception):
                give_up(run_id)
            raise
        give_up(run_id)
        return taken

    def _contest(self, run_id: str, fingerprint: str, asked: float) -> tuple[Taken | None, list[Run]]:
        """Steps 3 to 5, after asking on ``run_id``: what speaks against us, if anything, and the runs as last read."""
        runs = self._runs(fingerprint)
        self._remove_doubles(run_id, runs)
        taken = self._judge(runs, asked, held_wins=True)
        if taken is None:
            self._write(run_id, HOLDING, asked)
            runs = self._runs(fingerprint)
            taken = self._judge(runs, asked, held_wins=False)
        return taken, runs

    def _remove_doubles(self, run_id: str, runs: list[Run]) -> None:
        """Runs that asking made before the one we know of: their making was repeated because an answer was lost."""
        for run in runs:
            if run.info.run_id != run_id and {claim.owner for claim in claims_of([run])} == {self.owner}:
                with_retries(partial(self.client.delete_run, run.info.run_id), "claim")

    def release(self, run_id: str) -> None:
        """Take the claim off a run that has ended."""
        self._stop_pulse(run_id)
        remove_tag(self.client, run_id, CLAIM_PREFIX + self.owner)

    def drop(self, run_id: str) -> None:
        """Give up a claim whose run was not begun: a run made for it disappears, an interrupted one is KILLED again."""
        self._stop_pulse(run_id)
        run = with_retries(lambda: self.client.get_run(run_id), "claim")
        if run.data.metrics or run.data.params:
            with_retries(lambda: self.client.set_terminated(run_id, "KILLED"), "claim")
            self.release(run_id)
        else:
            self._withdraw(run_id, made=True)

    def abandon(self, run_id: str, reason: str) -> None:
        """Close an interrupted run that cannot go on, so that the job can start anew in another."""
        with_retries(lambda: self.client.set_tag(run_id, schema.ERROR, reason[:500]), "abandoned run")
        with_retries(lambda: self.client.set_tag(run_id, ABANDONED, "true"), "abandoned run")
        with_retries(lambda: self.client.set_terminated(run_id, "FAILED"), "abandoned run")
        self.release(run_id)

    def _judge(self, runs: list[Run], asked: float | None, *, held_wins: bool = True) -> Taken | None:
        """What the runs say against us; None if nothing.  Without ``asked`` any living claim does."""
        now = self.clock()
        for run in runs:
            if run.info.status == "FINISHED":
                return Taken(True, run.info.run_id)
        for claim in claims_of(runs):
            if claim.owner == self.owner or not claim.is_alive(now):
                continue
            first = asked is None or claim.priority < (asked, self.owner)
            if first or (held_wins and claim.state == HOLDING):
                return Taken(False, claim.run.info.run_id)
        if asked is None:
            for run in runs:  # started by hand, outside any sweep
                if run.info.status == "RUNNING" and not claims_of([run]) and is_alive(run, now):
                    return Taken(False, run.info.run_id)
        return None

    def _runs(self, fingerprint: str) -> list[Run]:
        conditions = [condition("tags", schema.FINGERPRINT, fingerprint)]
        found = iterate_runs(self.client, conditions, self._experiments)
        return [run for run in found if schema.KIND in run.data.tags]

    def _ask(self, found: Run | None, fingerprint: str, name: str | None, tags: Mapping[str, str], asked: float) -> str:
        """Write the claim on the interrupted run, or make a run that carries it from its first moment."""
        if found is not None:
            self._write(found.info.run_id, ASKING, asked)
            return str(found.info.run_id)
        own = {**environment.source_tags(), **tags, schema.FINGERPRINT: fingerprint}
        own[CLAIM_PREFIX + self.owner] = _text(ASKING, asked)
        run = with_retries(lambda: self.client.create_run(self.experiment_id, tags=own, run_name=name), "claim")
        self._set_status(run.info.run_id, RunStatus.SCHEDULED)  # RUNNING when the experiment opens it
        return str(run.info.run_id)

    def _write(self, run_id: str, state: str, asked: float) -> None:
        text = _text(state, asked)
        with_retries(lambda: self.client.set_tag(run_id, CLAIM_PREFIX + self.owner, text), "claim")

    def _set_status(self, run_id: str, status: int) -> None:
        with_retries(lambda: self.client.update_run(run_id, status=RunStatus.to_string(status)), "claim")

    def _withdraw(self, run_id: str, *, made: bool) -> None:
        """Give the claim up; a run made for it goes to MLflow's trash, unless somebody else has claimed it."""
        run = with_retries(lambda: self.client.get_run(run_id), "claim")
        if made and {claim.owner for claim in claims_of([run])} <= {self.owner}:
            with_retries(lambda: self.client.delete_run(run_id), "withdrawn claim")
        else:
            self.release(run_id)

    def _take_over(self, run_id: str, runs: list[Run]) -> None:
        """Show life on the run until the experiment opens it; close what dead claimants left unfinished."""
        now = self.clock()
        living = {claim.run.info.run_id for claim in claims_of(runs) if claim.is_alive(now)} - {run_id}
        for run in runs:
            other: str = run.info.run_id
            if other == run_id:
                self._begin_pulse(run, now)
            elif other not in living and run.info.status == "SCHEDULED" and not run.data.metrics:
                where_allowed(partial(self.client.delete_run, other), "dead claim")
            elif other not in living and run.info.status in ("RUNNING", "SCHEDULED") and not is_alive(run, now):
                where_allowed(partial(self.client.set_terminated, other, "KILLED"), "dead run")

    def _begin_pulse(self, run: Run, now: float) -> None:
        run_id: str = run.info.run_id
        for claim in claims_of([run]):
            if claim.owner != self.owner and not claim.is_alive(now):
                remove_tag(self.client, run_id, CLAIM_PREFIX + claim.owner)
        signs = {schema.HOST: environment.host(), schema.PID: str(os.getpid()), schema.HEARTBEAT: f"{now:.0f}"}
        tags = [RunTag(key, value) for key, value in signs.items()]
        with_retries(lambda: self.client.log_batch(run_id, tags=tags), "claim")
        if run.info.status != "SCHEDULED":
            self._set_status(run_id, RunStatus.SCHEDULED)
        self._pulses[run_id] = UploadQueue(self.client, run_id)
        UPLOADER.register(self._pulses[run_id])

    def _stop_pulse(self, run_id: str) -> None:
        if (outbox := self._pulses.pop(run_id, None)) is not None:
            UPLOADER.release(outbox)


def _text(state: str, asked: float) -> str:
    return f"{state} {asked!r} {os.getpid()} {environment.host()}"


def _newest_interrupted(runs: list[Run], now: float) -> Run | None:
    """The newest run that somebody began, or only claimed, that nobody works on, and that this account may change."""
    for run in runs:  # newest first
        dead = run.info.status != "RUNNING" or not is_alive(run, now)
        if dead and run.info.status != "FINISHED" and ABANDONED not in run.data.tags and may_change(run):
            return run
    return None


def _parsed(run: Run, key: str, value: str) -> Claim | None:
    parts = value.split(" ", 3)
    if len(parts) < 4:
        return None
    asked, pid = number(parts[1]), whole(parts[2])
    if asked is None or pid is None or pid <= 0:
        return None
    return Claim(run, key.removeprefix(CLAIM_PREFIX), parts[0], asked, parts[3], pid)
