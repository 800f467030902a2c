/** The offline page: the same view with a host that has no kernel. Reads #aw-state, draws into #aw-root. */
import { HostModel, readEmbedded } from "./core/host/host";
import widget from "./index";

const state = document.getElementById("aw-state");
const root = document.getElementById("aw-root");
if (state && root) widget.render({ model: new HostModel(readEmbedded(state.textContent ?? "{}")), el: root });
