#!/usr/bin/env bash
# ipywidgets 7.7.1 (as Colab has it) and 8.1.7, each with ipykernel 6.17.1: outside of a kernel a synced trait that
# changes is sent by the one and not by the other, though both widgets have a comm.
#
# The guess was: a widget whose `comm` is there calls `_send` for every synced trait that changes, so a test double put
# in the place of `_send` hears the same under both. Seen: version 8 calls it; version 7 asks for `comm.kernel` first,
# which is None outside of a running kernel, and calls neither `_send` nor `send_state`. Called by hand, `send_state`
# reaches `_send` in both. A test suite that listens so passes under 8 and hears nothing under 7, where the widget works.
# Output seen:
#   7.7.1 comm True kernel None changed [] by hand ['value']
#   8.1.7 comm True kernel missing changed ['value'] by hand ['value']
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat > "$folder/look.py" <<'PY'
import ipywidgets
from traitlets import Int


class Counter(ipywidgets.DOMWidget):
    value = Int(0).tag(sync=True)


def heard(act):
    """The traits that reach `_send` while `act` runs."""
    counter, said = Counter(), []
    counter._send = lambda message, buffers=None: said.extend(message.get("state", {}))
    act(counter)
    return said


made = Counter()
kernel = getattr(made.comm, "kernel", "missing")
changed = heard(lambda counter: setattr(counter, "value", 1))
by_hand = heard(lambda counter: counter.send_state("value"))
print(ipywidgets.__version__, "comm", made.comm is not None, "kernel", kernel, "changed", changed, "by hand", by_hand)
PY
for version in 7.7.1 8.1.7; do
  "${PYTHON:-python3}" -m venv "$folder/$version"
  "$folder/$version/bin/pip" install -q "ipywidgets==$version" ipykernel==6.17.1 traitlets==5.7.1 2> "$folder/errors" || { cat "$folder/errors"; exit 1; }
  "$folder/$version/bin/python" -W ignore "$folder/look.py"
done | tee "$folder/seen"
diff "$folder/seen" - <<'SEEN'
7.7.1 comm True kernel None changed [] by hand ['value']
8.1.7 comm True kernel missing changed ['value'] by hand ['value']
SEEN
