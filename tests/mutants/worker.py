"""A process with a universe of its own that judges mutants: a line of JSON in, and one out, for each.

`{"name", "claims"}` in: a control has other claims when fewer mutants were chosen.
"""

from __future__ import annotations

import sys
import traceback
from dataclasses import replace
from pathlib import Path


def main() -> int:
    keep = Path(sys.argv[1]) if len(sys.argv) > 1 else None
    from natsproof.cluster.binaries import for_image
    from natsproof.cluster.embedded import embedded, enter_universe

    binaries = for_image("nats:2.12.8-alpine")  # fetched before: inside there is no network
    enter_universe()  # before numpy is imported: its threads would forbid it to an ordinary user

    import orjson

    from tests.mutants.bench import Result, execute
    from tests.mutants.catalogue import everything

    known = {mutant.name: mutant for mutant in everything()}
    out = sys.stdout.buffer
    for line in sys.stdin:
        asked = orjson.loads(line)
        name = asked["name"]
        try:
            mutant = replace(known[name], claims=tuple(asked["claims"]))
            result = execute(
                mutant, lambda contract, workdir: embedded(contract, workdir, binaries=binaries), keep
            )
        except Exception as problem:  # a mutant that cannot be judged is not killed, and the next one goes on
            traceback.print_exc()
            result = Result(name, problem=f"{type(problem).__name__}: {problem}")
        out.write(orjson.dumps(result) + b"\n")
        out.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
