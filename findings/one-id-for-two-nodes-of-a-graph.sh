#!/usr/bin/env bash
# circuit-tracer 0.5.0: in the graph files that its viewer and Neuronpedia's read, an error node and a feature of layer 0
# can have the same id.
#
# The guess was: `node_id` tells the nodes of a graph apart, since links name their ends by it alone. Seen: the id of the
# error of layer 3 at position 7 is "0_3_7", and so is that of feature 3 of layer 0 at position 7; the error's
# `jsNodeId`, "3_7-0", is likewise that of feature 7 of layer 3. Links to either then mean both, in the viewer and in
# whatever reads the file. A layer has its error at every position, so a graph of L layers has the trouble as soon as one
# of the first L features of layer 0 fires. Whoever writes such files can give errors a number that no feature has:
# "3_-1_7".
# Output seen:
#   feature 3 of layer 0 at 7: node_id 0_3_7
#   error of layer 3 at 7: node_id 0_3_7
#   feature 7 of layer 3: jsNodeId 3_7-0
#   error of layer 3 at 7: jsNodeId 3_7-0
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/env"
# Its models of nodes need pydantic alone; all that the rest of the package needs is left out.
"$folder/env/bin/pip" install -q pydantic==2.12.4 2> "$folder/errors" || { cat "$folder/errors"; exit 1; }
"$folder/env/bin/pip" install -q --no-deps circuit-tracer==0.5.0 2> "$folder/errors" || { cat "$folder/errors"; exit 1; }
cat > "$folder/look.py" <<'PY'
import importlib.util
import pathlib
import sysconfig

file = pathlib.Path(sysconfig.get_paths()["purelib"]) / "circuit_tracer" / "frontend" / "graph_models.py"
spec = importlib.util.spec_from_file_location("graph_models", file)
models = importlib.util.module_from_spec(spec)
spec.loader.exec_module(models)
feature, error = models.Node.feature_node(0, 7, 3), models.Node.error_node(3, 7)
print(f"feature 3 of layer 0 at 7: node_id {feature.node_id}")
print(f"error of layer 3 at 7: node_id {error.node_id}")
other = models.Node.feature_node(3, 2, 7)
print(f"feature 7 of layer 3: jsNodeId {other.jsNodeId}")
print(f"error of layer 3 at 7: jsNodeId {error.jsNodeId}")
assert feature.node_id == error.node_id and other.jsNodeId == error.jsNodeId, "it has changed"
PY
"$folder/env/bin/python" "$folder/look.py"
