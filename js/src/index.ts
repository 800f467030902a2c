/** The bundle of all views but those of a survey and a graph. */
import { widgetOf } from "./entry";
import { View } from "./views/root";

export default widgetOf(View);
