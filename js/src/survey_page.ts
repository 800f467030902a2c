/** The offline page of a survey. */
import { onPage } from "./entry";
import widget from "./survey";

onPage(widget);
