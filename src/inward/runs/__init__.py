"""The run folder: everything a run makes, in files that are either whole or absent. No torch.

`docs/run-folder.md` shows the layout. A method opens the folder, and every stage writes into it:

    with RunFolder.open(out, manifest) as folder:
        groups = folder.map("traces", prompts, sample, TraceGroup, shard_size=16)
        scored = folder.map("scored", groups, score, ScoredGroup, shard_size=16)
        pairs = folder.once("pairs", lambda: rank(scored), PreferencePair)
        folder.build("checkpoint", lambda out: train(pairs, out))

Running the same code again after it was killed, at whatever point, continues after the last whole file.
"""

from inward.runs.crew import ALONE, Crew
from inward.runs.files import hash_folder
from inward.runs.folder import Listener, Progress, RunFolder, nobody, silent
from inward.runs.identity import identity
from inward.runs.records import digest, from_json, schema, to_json
from inward.runs.shards import Records

__all__ = [
    "ALONE",
    "Crew",
    "Listener",
    "Progress",
    "Records",
    "RunFolder",
    "digest",
    "from_json",
    "hash_folder",
    "identity",
    "nobody",
    "schema",
    "silent",
    "to_json",
]
