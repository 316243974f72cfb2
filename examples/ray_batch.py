"""Many prompts on many machines: an actor pool of Ray Data, one shared rate limit, files to resume from.

    pip install ".[langchain,ray]"
    python ray_batch.py prompts.txt answers      # one prompt per line; all machines share the folder

Ray replaces dead workers. After a restart, prompts that have an answer are not sent again, wherever they are
in the file now. Only calls of a worker that dies may be paid twice. Each machine needs the token.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, cast
from zlib import crc32

import ray
from langchain_core.rate_limiters import BaseRateLimiter, InMemoryRateLimiter

from langchain_rockai import ChatRockAI

AT_ONCE = 8  # calls of one actor


class SharedLimit(BaseRateLimiter):
    """LangChain acquires it before each model call; all machines share one limiter."""

    def __init__(self, limiter: Any) -> None:
        self.limiter = limiter

    def acquire(self, *, blocking: bool = True) -> bool:
        """Wait for this call's turn."""
        return bool(ray.get(self.limiter.acquire.remote(blocking=blocking)))

    async def aacquire(self, *, blocking: bool = True) -> bool:
        """As `acquire`, with await."""
        return bool(await self.limiter.acquire.remote(blocking=blocking))


class Answerer:
    """An actor: one model that answers one partition after another."""

    def __init__(self, limit: SharedLimit, folder: Path) -> None:
        self.llm = ChatRockAI(model="meta/meta-llama-3-70b-instruct", max_tokens=200, rate_limiter=limit)
        self.folder = folder

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """Answer the prompts that the partition's file does not answer yet; write each answer at once."""
        path = self.folder / f"part-{row['part']:05}.jsonl"
        *whole, _ = path.read_bytes().split(b"\n") if path.exists() else [b""]  # the last line may be cut
        missing = sorted(set(row["prompts"]) - {json.loads(line)["prompt"] for line in whole})
        options: Any = {"config": {"max_concurrency": AT_ONCE}, "return_exceptions": True}
        with path.open("ab", buffering=0) as file:
            file.truncate(sum(len(line) + 1 for line in whole))
            for at, got in self.llm.batch_as_completed(missing, **options):
                if getattr(got, "may_have_started", True):  # else it cost nothing: the next run repeats it
                    said = str(got) if isinstance(got, Exception) else got.text
                    file.write(json.dumps({"prompt": missing[at], "answer": said}).encode() + b"\n")
        return {"asked": len(missing)}


def main(prompts: Path, folder: Path, actors: int = 2, per_second: float = 10.0, parts: int = 256) -> None:
    """Split the prompts into partitions, each always into the same one, and let the actors answer them."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = {line: crc32(line.encode()) % parts for line in prompts.read_text("utf-8").splitlines()}
    rows = [{"part": at, "prompts": [one for one in lines if lines[one] == at]} for at in range(parts)]
    limiter = ray.remote(InMemoryRateLimiter).options(max_concurrency=AT_ONCE * actors)
    limit = SharedLimit(limiter.remote(requests_per_second=per_second))
    asked = ray.data.from_items(rows, override_num_blocks=len(rows)).map(
        cast("Any", Answerer),  # Ray's annotation allows only functions
        fn_constructor_args=(limit, folder.resolve()),
        compute=ray.data.ActorPoolStrategy(size=actors, max_tasks_in_flight_per_actor=1),
    )
    print(f"asked for {sum(row['asked'] for row in asked.iter_rows())} of {len(lines)}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2])) if sys.argv[2:] else sys.exit(__doc__)
