/** The offline page of these views. */
import { onPage } from "./entry";
import widget from "./index";

onPage(widget);
