/** The offline page of an attribution graph. */
import { onPage } from "./entry";
import widget from "./graph";

onPage(widget);
