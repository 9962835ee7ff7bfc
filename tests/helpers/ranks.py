"""Several processes that train together, as torchrun would have started them, without loading torch in each anew."""

import faulthandler
import io
import multiprocessing
import os
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

import torch
from torch.distributed import TCPStore

PATIENCE = 60


def on_ranks(size: int, function: Callable[[], Any], *, patience: float = PATIENCE) -> list[Any]:
    """What `function` returns in each of so many processes, in their order. Where one raises, this raises its traceback."""
    fork = multiprocessing.get_context("fork")
    pipes = [fork.Pipe() for _ in range(size)]
    processes = [fork.Process(target=_run, args=(rank, size, function, own)) for rank, (_, own) in enumerate(pipes)]
    for process, (_, own) in zip(processes, pipes, strict=True):
        process.start()
        own.close()
    # not before: a process that is forked while the store's thread holds a lock would wait for that lock for ever
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    try:
        for ours, _ in pipes:
            ours.send(store.port)
        results = [_received(ours, patience) for ours, _ in pipes]
    finally:
        for process in processes:
            process.kill()
            process.join()
    failures = [text for text, _ in results if text]
    assert not failures, "\n".join(failures)
    return [value for _, value in results]


def _received(pipe: Connection, patience: float) -> tuple[str, Any]:
    try:
        return torch.load(io.BytesIO(pipe.recv_bytes()), weights_only=False) if pipe.poll(patience) else ("no answer", None)
    except EOFError:
        return "ended without an answer", None


def _run(rank: int, size: int, function: Callable[[], Any], pipe: Connection) -> None:
    os.environ |= {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(size),
        "LOCAL_WORLD_SIZE": str(size),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(pipe.recv()),
        "TORCHELASTIC_USE_AGENT_STORE": "True",
        "TORCHELASTIC_RUN_ID": "test",
        "TORCH_CPP_LOG_LEVEL": "ERROR",
    }
    faulthandler.dump_traceback_later(PATIENCE - 5)
    try:
        answer = "", function()
    except BaseException:
        answer = traceback.format_exc(), None
    file = io.BytesIO()  # a pipe would leave tensors in memory that ends with this process
    torch.save(answer, file)
    pipe.send_bytes(file.getvalue())
