"""One finished run per job, however claimants interleave, whatever their clocks say, and whoever dies."""

import itertools
import math
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from mlflow.entities import Run
from mlflow.tracking import MlflowClient

from rsc_mlflow.sweeps import claims
from rsc_mlflow.sweeps.claims import ABANDONED, CLAIM_PREFIX, Claimant, Claimed, Taken, claims_of
from rsc_mlflow.tracking import environment, schema, store
from rsc_mlflow.tracking.resuming import ALIVE_SECONDS

TAGS = {schema.KIND: "train", schema.METHOD: "train_classifier"}
STEPS = 5  # read, ask, read, hold, read


def runs_of(client: MlflowClient, fingerprint: str) -> list[Run]:
    return list(client.search_runs(["0"], f"tags.`{schema.FINGERPRINT}` = '{fingerprint}'"))


def claim(claimant: Claimant, fingerprint: str = "f", *, resumes: bool = True) -> Claimed | Taken:
    return claimant.claim(fingerprint, "a name", TAGS, resumes=resumes)


def dead_process() -> int:
    """The id of a process that is no more."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def interrupted_run(client: MlflowClient, fingerprint: str = "f", *, status: str = "KILLED", **tags: str) -> str:
    signs = {schema.HOST: environment.host(), schema.PID: str(dead_process()), schema.HEARTBEAT: f"{time.time():.0f}"}
    run = client.create_run("0", tags={**TAGS, schema.FINGERPRINT: fingerprint, **signs, **tags})
    client.log_param(run.info.run_id, "epochs", 3)
    if status != "RUNNING":
        client.set_terminated(run.info.run_id, status)
    return str(run.info.run_id)


@pytest.fixture
def client(sqlite_store: str) -> MlflowClient:
    return MlflowClient(sqlite_store)


class Turns:
    """Lets the steps of several threads happen in a given order; a thread that has left gives its turns up."""

    def __init__(self, order: Sequence[int]) -> None:
        self._order = list(order)
        self._changed = threading.Condition()

    def step(self, who: int, action: Callable[[], Any]) -> Any:
        with self._changed:
            assert self._changed.wait_for(lambda: not self._order or self._order[0] == who, timeout=30)
            try:
                return action()
            finally:
                if self._order:
                    self._order.pop(0)
                self._changed.notify_all()

    def leave(self, who: int) -> None:
        with self._changed:
            self._order = [other for other in self._order if other != who]
            self._changed.notify_all()


class Stepping(Claimant):
    """A claimant whose every access to the store waits for its turn."""

    who: int
    turns: Turns

    def _runs(self, fingerprint: str) -> list[Run]:
        found: list[Run] = self.turns.step(self.who, lambda: super(Stepping, self)._runs(fingerprint))
        return found

    def _ask(self, *arguments: Any) -> str:
        return str(self.turns.step(self.who, lambda: super(Stepping, self)._ask(*arguments)))

    def _write(self, run_id: str, state: str, asked: float) -> None:
        if state == claims.HOLDING:
            self.turns.step(self.who, lambda: super(Stepping, self)._write(run_id, state, asked))
        else:
            super()._write(run_id, state, asked)  # part of asking


def race(client: MlflowClient, fingerprint: str, order: Sequence[int], skew: float) -> list[Claimed | Taken]:
    """Two claimants, the second's clock ``skew`` seconds off, take their steps in this order."""
    turns = Turns(order)
    answers: dict[int, Claimed | Taken] = {}

    def compete(who: int) -> None:
        claimant = Stepping(client, "0", clock=lambda: time.time() + skew * who)
        claimant.who, claimant.turns = who, turns
        try:
            answers[who] = claim(claimant, fingerprint)
        finally:
            turns.leave(who)

    threads = [threading.Thread(target=compete, args=(who,)) for who in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return [answers[who] for who in range(2)]


def orders(count: int) -> list[tuple[int, ...]]:
    """Some of the 252 ways in which two claimants' five steps can interleave."""
    places = range(2 * STEPS)
    every = [tuple(int(i in chosen) for i in places) for chosen in itertools.combinations(places, STEPS)]
    return random.Random(0).sample(every, count)


@pytest.mark.parametrize("interrupted", [False, True], ids=["new run", "interrupted run"])
def test_two_claimants_never_both_get_a_job(client: MlflowClient, interrupted: bool) -> None:
    for number, order in enumerate(orders(15)):
        skew = (-30.0, 0.0, 30.0)[number % 3]
        fingerprint = f"race-{number}"
        if interrupted:
            interrupted_run(client, fingerprint)
        answers = race(client, fingerprint, order, skew)
        won = [answer for answer in answers if isinstance(answer, Claimed)]
        assert len(won) <= 1, (order, skew, answers)
        left = runs_of(client, fingerprint)
        assert len(left) <= 1, (order, skew)
        if won:
            assert [run.info.run_id for run in left] == [won[0].run_id]


DECISIVE = {
    # The second looked before the first asked, and asks, with priority, when the first has it: step 3 must yield.
    "held before it was asked for": ((1, 0, 0, 0, 0, 0, 1, 1, 1, 1), 0),
    # The second asks, with priority, between the first's second look and its hold: the first must yield in step 5.
    "asked for before it is held": ((1, 0, 0, 0, 1, 1, 1, 0, 1, 0), 1),
}


@pytest.mark.parametrize("case", DECISIVE)
@pytest.mark.parametrize("skew", [-30.0, 30.0])
def test_the_interleavings_that_the_second_and_third_look_are_there_for(
    client: MlflowClient, case: str, skew: float
) -> None:
    order, winner = DECISIVE[case]
    if skew > 0:  # the other way round: now the first has priority
        order, winner = tuple(1 - who for who in order), 1 - winner
    answers = race(client, "f", order, skew)
    assert [isinstance(answer, Claimed) for answer in answers] == [who == winner for who in range(2)]
    assert [run.info.run_id for run in runs_of(client, "f")] == [answers[winner].run_id]


def test_one_after_the_other_the_second_sees_the_first(client: MlflowClient) -> None:
    for skew in (-30.0, 30.0):
        first, second = race(client, f"f{skew}", [0] * STEPS + [1] * STEPS, skew)
        assert isinstance(first, Claimed)
        assert second == Taken(False, first.run_id)


def test_a_claimed_run_is_scheduled_and_carries_what_a_sweep_needs(client: MlflowClient) -> None:
    answer = claim(Claimant(client, "0"))
    assert isinstance(answer, Claimed)
    assert not answer.resumes
    run = client.get_run(answer.run_id)
    assert run.info.status == "SCHEDULED"
    assert run.info.run_name == "a name"
    assert run.data.tags[schema.KIND] == "train"
    assert run.data.tags[schema.PID] == str(os.getpid())


def test_a_finished_job_is_not_claimed(client: MlflowClient) -> None:
    run_id = interrupted_run(client, status="FINISHED")
    assert claim(Claimant(client, "0")) == Taken(True, run_id)
    assert len(runs_of(client, "f")) == 1


@pytest.mark.parametrize("status", ["KILLED", "FAILED", "RUNNING"])
def test_the_run_of_a_dead_process_goes_on(client: MlflowClient, status: str) -> None:
    run_id = interrupted_run(client, status=status)
    assert claim(Claimant(client, "0")) == Claimed(run_id, True)
    assert len(runs_of(client, "f")) == 1


def test_a_job_that_cannot_resume_gets_a_new_run_and_the_dead_one_is_closed(client: MlflowClient) -> None:
    run_id = interrupted_run(client, status="RUNNING")
    answer = claim(Claimant(client, "0"), resumes=False)
    assert isinstance(answer, Claimed)
    assert answer.run_id != run_id
    assert client.get_run(run_id).info.status == "KILLED"


def test_of_several_dead_claims_one_is_taken_over_and_the_others_disappear(client: MlflowClient) -> None:
    """Their claimants died between making a run and beginning it; the clocks of two machines agreed on nothing."""
    made = []
    for number in range(2):
        dead = f"asking 1.0 {dead_process()} {environment.host()}"
        tags = {**TAGS, schema.FINGERPRINT: "f", f"{CLAIM_PREFIX}dead{number}": dead}
        made.append(client.create_run("0", tags=tags, start_time=number + 1).info.run_id)
        client.update_run(made[-1], status="SCHEDULED")
    assert claim(Claimant(client, "0")) == Claimed(made[1], False)
    assert [run.info.run_id for run in runs_of(client, "f")] == [made[1]]


def test_a_claim_on_a_finished_run_is_dead(client: MlflowClient) -> None:
    """Its claimant was stopped between the end of the run and the release, or is about to release it."""
    living = f"holding {time.time()!r} {os.getpid()} {environment.host()}"
    run_id = client.create_run("0", tags={f"{CLAIM_PREFIX}x": living}).info.run_id
    for status, alive in (("RUNNING", True), ("FINISHED", False)):
        client.set_terminated(run_id, status)
        assert [one.is_alive(time.time()) for one in claims_of([client.get_run(run_id)])] == [alive]


def test_a_run_started_by_hand_is_left_alone_while_it_lives(client: MlflowClient) -> None:
    run_id = interrupted_run(client, status="RUNNING", **{schema.PID: str(os.getpid())})
    assert claim(Claimant(client, "0")) == Taken(False, run_id)
    old = f"{time.time() - ALIVE_SECONDS - 1:.0f}"
    client.set_tag(run_id, schema.HEARTBEAT, old)
    assert claim(Claimant(client, "0")) == Claimed(run_id, True)


def test_a_dead_claimant_stands_in_nobodys_way(client: MlflowClient) -> None:
    gone = f"holding {time.time()!r} {dead_process()} {environment.host()}"
    silent = f"holding {time.time() - ALIVE_SECONDS - 1!r} 1 another-machine"
    for number, text in enumerate((gone, silent)):
        run_id = interrupted_run(client, f"f{number}", **{f"{CLAIM_PREFIX}x": text})
        assert claim(Claimant(client, "0"), f"f{number}") == Claimed(run_id, True)
        assert f"{CLAIM_PREFIX}x" not in client.get_run(run_id).data.tags


def test_a_claim_from_another_machine_counts_while_it_is_young(client: MlflowClient) -> None:
    run_id = interrupted_run(client, **{f"{CLAIM_PREFIX}x": f"holding {time.time()!r} 1 another-machine"})
    assert claim(Claimant(client, "0")) == Taken(False, run_id)


def test_after_the_store_was_away_the_silent_are_not_taken_for_dead(
    client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody's heartbeat got through; whose process is known to be gone is dead all the same."""
    silent = f"holding {time.time() - 2 * ALIVE_SECONDS!r} 1 another-machine"
    gone = f"holding {time.time() - 2 * ALIVE_SECONDS!r} {dead_process()} {environment.host()}"
    run_id = interrupted_run(client, "silent", **{f"{CLAIM_PREFIX}x": silent})
    other = interrupted_run(client, "gone", **{f"{CLAIM_PREFIX}x": gone})
    monkeypatch.setattr(store, "_last_away", -math.inf)
    failures = iter([ConnectionResetError()])

    def fails_once() -> None:
        for failure in failures:
            raise failure

    store.with_retries(fails_once, "a test", 5)
    assert claim(Claimant(client, "0"), "silent") == Taken(False, run_id)
    assert claim(Claimant(client, "0"), "gone") == Claimed(other, True)
    monkeypatch.setattr(store, "_last_away", time.monotonic() - ALIVE_SECONDS)
    assert claim(Claimant(client, "0"), "silent") == Claimed(run_id, True)


def test_what_is_no_claim_is_passed_over(client: MlflowClient) -> None:
    texts = ("", "holding", "holding x 1 here", "holding 1.0 x here", "asking 1.0 -1 here")
    tags = {f"{CLAIM_PREFIX}{number}": text for number, text in enumerate(texts)}
    run_id = interrupted_run(client, **tags)
    assert claims_of([client.get_run(run_id)]) == []
    assert claim(Claimant(client, "0")) == Claimed(run_id, True)


def test_an_abandoned_run_is_not_tried_again(client: MlflowClient) -> None:
    run_id = interrupted_run(client)
    claimant = Claimant(client, "0")
    claim(claimant)
    claimant.abandon(run_id, "its checkpoints are damaged")
    answer = claim(claimant)
    assert isinstance(answer, Claimed)
    assert answer.run_id != run_id
    assert client.get_run(run_id).data.tags[ABANDONED] == "true"


def test_what_was_claimed_and_never_begun_disappears(client: MlflowClient) -> None:
    claimant = Claimant(client, "0")
    answer = claim(claimant)
    assert isinstance(answer, Claimed)
    claimant.drop(answer.run_id)
    assert runs_of(client, "f") == []
    interrupted_run(client)
    answer = claim(claimant)
    assert isinstance(answer, Claimed)
    claimant.drop(answer.run_id)
    assert [run.info.status for run in runs_of(client, "f")] == ["KILLED"]


WORKER = """
import sys, time, random
from mlflow.tracking import MlflowClient
from rsc_mlflow.sweeps.claims import Claimant, Claimed
client = MlflowClient(sys.argv[1])
claimant = Claimant(client, sys.argv[2])
left = [f"job-{k}" for k in range(int(sys.argv[3]))]
print("ready", flush=True)
sys.stdin.readline()
while left:
    for job in list(left):
        answer = claimant.claim(job, job, {"rsc.kind": "train"}, resumes=True)
        if isinstance(answer, Claimed):
            time.sleep(random.uniform(0, 0.02))
            client.log_metric(answer.run_id, "worked", 1)
            client.set_terminated(answer.run_id, "FINISHED")
            print("did", job, flush=True)
        elif not answer.finished:
            time.sleep(random.uniform(0, 0.2))
            continue
        left.remove(job)
"""


def test_two_processes_on_a_real_server_share_the_jobs(mlflow_server: Any) -> None:
    client = MlflowClient(mlflow_server.uri)
    experiment = client.create_experiment("two processes share the jobs")
    count = 10
    command = [sys.executable, "-c", WORKER, mlflow_server.uri, experiment, str(count)]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    workers = [subprocess.Popen(command, **pipes) for _ in range(2)]
    for worker in workers:
        assert worker.stdout.readline() == "ready\n"
    for worker in workers:
        worker.stdin.write("go\n")
        worker.stdin.flush()
    printed = [line for worker in workers for line in worker.communicate(timeout=120)[0].splitlines()]
    done = [line for line in printed if line.startswith("did")]  # beside MLflow's own lines
    assert [worker.returncode for worker in workers] == [0, 0]
    assert sorted(done) == sorted(f"did job-{k}" for k in range(count))
    runs = client.search_runs([experiment])
    assert sorted(run.data.tags[schema.FINGERPRINT] for run in runs) == sorted(f"job-{k}" for k in range(count))
    assert {run.info.status for run in runs} == {"FINISHED"}
